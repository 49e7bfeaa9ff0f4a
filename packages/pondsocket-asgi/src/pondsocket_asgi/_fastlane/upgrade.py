"""The request that opens a WebSocket, read once, and the answer to it. Pure: bytes in, values out.

uvicorn has parsed the request already, and writes it out again for the class of its option `--ws`.
What nearly all clients send is taken apart here. For any other request there is None, and uvicorn's
own class parses it a second time and refuses it where websockets does: this never refuses one.
"""

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from hashlib import sha1
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

__all__ = ["Upgrade", "read_upgrade", "switching_protocols"]

# Below every limit that websockets has for a line, so that none of its errors is missed.
_LONGEST: Final = 8_000
# As in websockets, less the request's line.
_MOST_HEADERS: Final = 127
_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9a-z-]++"
# A value begins with a visible character, and ends with one: white space would have to be stripped.
# The end is not in this expression, which never goes back: that took 0.5 ms on 8,000 spaces.
_VALUE: Final = rb"[!-~\x80-\xff][\t -~\x80-\xff]*+"
_WHITE_ENDS: Final = (b" \r\n", b"\t\r\n")
_REQUEST: Final = re.compile(
    rb"GET (/[!\"$-~]*+) HTTP/1\.1\r\n((?:" + _TOKEN + rb": " + _VALUE + rb"\r\n)++)\r\n"
)
_HEADER: Final = re.compile(rb"([^:\r\n]+): ([^\r]*)\r\n")
# 16 bytes (RFC 6455, section 4.1): the last digit has four bits that say nothing.
_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==")
# The second one is Firefox's.
_CONNECTION: Final = (b"upgrade", b"keep-alive, upgrade")
_SUBPROTOCOLS: Final = re.compile(rb"(?i:" + _TOKEN + rb")(?:, ?(?i:" + _TOKEN + rb"))*")
# What may not be there: a request has no body.
_BODY: Final = (b"content-length", b"transfer-encoding")
# RFC 6455, section 1.3.
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Upgrade(NamedTuple):
    """A request to open a WebSocket.

    Attributes:
        path: As the client has sent it.
        headers: Their names are in small letters, and differ.
        subprotocols: Those that the client offers.
        key: The client's.
    """

    path: bytes
    query: bytes
    headers: list[tuple[bytes, bytes]]
    subprotocols: list[str]
    key: bytes

    def scope(self, root_path: str) -> dict[str, Any]:
        """Return what an ASGI scope says of the request."""
        path = self.path.decode("ascii")
        return {
            "type": "websocket",
            "http_version": "1.1",
            "root_path": root_path,
            "path": root_path + (unquote(path) if "%" in path else path),
            "raw_path": root_path.encode("ascii") + self.path,
            "query_string": self.query,
            "headers": self.headers,
            "subprotocols": self.subprotocols,
        }


def read_upgrade(request: bytes) -> Upgrade | None:
    """Take a request apart. None if it is not one whole, plain request to open a WebSocket."""
    if len(request) > _LONGEST or any(end in request for end in _WHITE_ENDS):
        return None
    match = _REQUEST.fullmatch(request)
    if match is None:
        return None
    target, lines = match.groups()
    headers = _HEADER.findall(lines)
    named: dict[bytes, bytes] = dict(headers)
    # Several of one name: for some headers websockets refuses that.
    if len(named) < len(headers) or len(headers) > _MOST_HEADERS or not _opens_websocket(named):
        return None
    offered = named.get(b"sec-websocket-protocol")
    if offered is None:
        subprotocols = []
    elif _SUBPROTOCOLS.fullmatch(offered) is None:
        return None
    else:
        subprotocols = [name.strip() for name in offered.decode("ascii").split(",")]
    path, _, query = target.partition(b"?")
    return Upgrade(path, query, headers, subprotocols, named[b"sec-websocket-key"])


def _opens_websocket(named: Mapping[bytes, bytes]) -> bool:
    """Return whether headers are as RFC 6455, section 4.2.1, demands, in their usual form."""
    get = named.get
    return (
        get(b"upgrade", b"").lower() == b"websocket"
        and get(b"connection", b"").lower() in _CONNECTION
        and get(b"sec-websocket-version") == b"13"
        and _KEY.fullmatch(get(b"sec-websocket-key", b"")) is not None
        and not any(name in named for name in _BODY)
    )


def switching_protocols(
    key: bytes, headers: Iterable[tuple[bytes, bytes]], subprotocol: str | None
) -> bytes:
    """Return the answer that opens the WebSocket, as uvicorn writes it.

    Args:
        key: The client's.
        headers: The server's and the application's.
        subprotocol: The one that was chosen.
    """
    accept = b64encode(sha1(key + _GUID, usedforsecurity=False).digest())
    lines = [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n" % accept
    ]
    lines += [b"%b: %b\r\n" % (name.lower(), value) for name, value in headers]
    if subprotocol:
        lines.append(b"Sec-WebSocket-Protocol: %b\r\n" % subprotocol.encode("latin-1"))
    lines.append(b"\r\n")
    return b"".join(lines)
