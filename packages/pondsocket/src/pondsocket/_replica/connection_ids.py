"""The secret ids of connections, by which every node knows whose they are. Pure.

An id that no node has made is refused before the body of a request is read, and asks no node.
"""

import hmac
from hashlib import blake2b
from typing import Final

from pondsocket_common import fresh_id

_RANDOM: Final = 32  # hexadecimal digits: 128 bits
_MAC: Final = 8  # bytes: a guess would be told apart by the node itself
_SEPARATOR: Final = "."


def new_id(node: str, key: bytes) -> str:
    """Return an id of a connection of a node."""
    named = f"{fresh_id()}{_SEPARATOR}{node}"
    return f"{named}{_SEPARATOR}{_mac(named, key)}"


def node_of(connection_id: str, key: bytes) -> str | None:
    """Return the node that has made an id; None: none has."""
    named, _, mac = connection_id.rpartition(_SEPARATOR)
    random, _, node = named.partition(_SEPARATOR)
    if len(random) != _RANDOM or not node or not connection_id.isascii():
        return None
    return node if hmac.compare_digest(mac, _mac(named, key)) else None


def _mac(named: str, key: bytes) -> str:
    return blake2b(named.encode(), key=key[:64], digest_size=_MAC, person=b"connection").hexdigest()
