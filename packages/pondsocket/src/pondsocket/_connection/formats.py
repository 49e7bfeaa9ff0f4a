"""Which wire formats an endpoint speaks, and which one a client gets."""

import re
from collections.abc import Collection, Hashable
from typing import Final, NamedTuple

from pondsocket_common import POND, Codec

from pondsocket._errors import UsageError
from pondsocket._runtime.functions import is_async
from pondsocket._state.request import BEARER, ConnectRequest, Refusal

# RFC 6455, section 4.1: a subprotocol is a token (RFC 9110, section 5.6.2).
_TOKEN: Final = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)


class Format(NamedTuple):
    """The wire format of a connection, and the subprotocol that the client is told."""

    codec: Codec
    subprotocol: str | None


_PLAIN: Final = Format(POND, None)


class Formats:
    """The wire formats of an endpoint; the pond format is always one of them.

    Args:
        what: The endpoint, for error messages.
        codecs: Those besides the pond format.
        subprotocols: Further subprotocols, which do not choose a format.

    Raises:
        UsageError: A codec or a subprotocol cannot work.
    """

    def __init__(
        self, what: str, codecs: Collection[Codec] = (), subprotocols: Collection[str] = ()
    ) -> None:
        self.subprotocols: tuple[str, ...] = _checked_subprotocols(what, subprotocols)
        self._codecs: dict[str, Codec] = {POND.name: POND}
        for codec in _checked_codecs(what, codecs):
            if self._codecs.setdefault(codec.name, codec) is not codec:
                raise UsageError(f"{what}: two codecs are named {codec.name!r}.")

    def choose(self, request: ConnectRequest) -> Format | Refusal:
        """Return the wire format of a client; a Refusal if it asks for one that is not spoken.

        The subprotocols that it offers decide; if none of them is the name of a codec, `?codec=`
        decides. By default it is the pond format.
        """
        if not request.subprotocols and not request.query:  # as of most clients
            return _PLAIN
        codecs, offered = self._codecs, self._without_token(request.subprotocols)
        for name in offered:
            if name in codecs:
                return Format(codecs[name], name)
        subprotocol = next((name for name in offered if name in self.subprotocols), None)
        asked = request.query.get("codec")
        if asked is None:
            return Format(POND, subprotocol)
        if asked not in codecs:
            spoken = ", ".join(codecs)
            return Refusal(400, "UNKNOWN_CODEC", f"?codec= is one of these: {spoken}.")
        return Format(codecs[asked], subprotocol)

    def _without_token(self, offered: tuple[str, ...]) -> tuple[str, ...]:
        """Drop the token that follows `bearer`: it says nothing, and must not be sent back."""
        if BEARER not in self.subprotocols or BEARER not in offered:
            return offered
        token = offered.index(BEARER) + 1
        return offered[:token] + offered[token + 1 :]


def _checked_subprotocols(what: str, subprotocols: object) -> tuple[str, ...]:
    if isinstance(subprotocols, tuple | list | set | frozenset):
        names = tuple(name for name in subprotocols if isinstance(name, str) and name)
        if len(names) == len(subprotocols):
            for name in names:
                if not _TOKEN.fullmatch(name):
                    raise UsageError(f"{what}: no client can offer the subprotocol {name!r}.")
            return names
    raise UsageError(f"{what}: subprotocols is a tuple of names: {subprotocols!r}.")


def _checked_codecs(what: str, codecs: object) -> tuple[Codec, ...]:
    if not isinstance(codecs, tuple | list | set | frozenset):
        raise UsageError(f"{what}: codecs is a list of codecs: {codecs!r}.")
    for codec in codecs:
        name = getattr(codec, "name", None)
        methods = [getattr(codec, each, None) for each in ("decode", "decode_batch", "encode")]
        if isinstance(codec, type) or not (isinstance(name, str) and all(map(callable, methods))):
            raise UsageError(f"{what}: this is no codec, which has a name and methods: {codec!r}.")
        if not _TOKEN.fullmatch(name):
            raise UsageError(f"{what}: {name!r} is no name of a codec; it must be a token.")
        if any(map(is_async, methods)):
            raise UsageError(f"{what}: write `def`; the methods of codec {name!r} are not awaited.")
        if not isinstance(codec, Hashable):  # each frame is encoded once for each codec
            raise UsageError(f"{what}: codec {name!r} is not hashable.")
    return tuple(codecs)
