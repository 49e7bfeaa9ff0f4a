"""What a publisher must know of an application: its paths, its channels, and what they keep. Pure.

Nodes write it into the engine. A publisher, which has no application, reads it.
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, Self

from pondsocket_common import InvalidMessage, dump_json, is_channel_name, is_name, load_json

from pondsocket._errors import UsageError
from pondsocket._state.patterns import Paths, Pattern
from pondsocket.backplane import SEPARATOR, Keep, Topic

_VERSION: Final = 1


class Served(NamedTuple):
    """The channels of one lobby.

    Args:
        keep: What each keeps; None: nothing.
        is_selective: Whether the types of its parameters may refuse a name that matches.
    """

    pattern: str
    keep: Keep | None
    is_selective: bool


class Opened(NamedTuple):
    """One endpoint.

    Args:
        is_shared: Whether all its paths share their channels.
        is_selective: Whether the types of its parameters may refuse a path that matches.
    """

    path: str
    is_shared: bool
    is_selective: bool
    lobbies: tuple[Served, ...]


class Application:
    """The endpoints of an application, in the order of their registration."""

    def __init__(self, endpoints: Iterable[Opened]) -> None:
        self._endpoints = [
            (Paths(each.path, shared=each.is_shared), each, _patterns(each)) for each in endpoints
        ]

    def to_bytes(self) -> bytes:
        """Encode it."""
        endpoints = [
            [path, is_shared, is_selective, [_plain(each) for each in lobbies]]
            for _, (path, is_shared, is_selective, lobbies), _ in self._endpoints
        ]
        return dump_json({"v": _VERSION, "endpoints": endpoints})

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Decode it.

        Raises:
            UsageError: It is of another version.
        """
        try:
            found = load_json(data)
            if not isinstance(found, dict) or found.get("v") != _VERSION:
                raise ValueError
            return cls(_endpoint_of(*each) for each in found["endpoints"])
        except (InvalidMessage, KeyError, TypeError, ValueError):
            raise UsageError(
                "The servers run another version of pondsocket, and describe their channels in"
                " another form."
            ) from None

    def check_path(self, path: str) -> None:
        """Refuse a path that no endpoint has.

        Raises:
            UsageError: None has it, or it is the pattern of several paths.
        """
        for paths, _, _ in self._at(path):
            paths.resolve(path)

    def find(self, path: str, name: str) -> tuple[Topic, Keep | None]:
        """Return the topic of a channel, and what it keeps.

        Raises:
            UsageError: No endpoint has the path, or it is the pattern of several; or none of its
                lobbies serves the name.
        """
        found: dict[tuple[Topic, Keep | None], None] = {}
        for paths, _, patterns in self._at(path):
            topic = f"{paths.resolve(path)}{SEPARATOR}{name}"
            for pattern, lobby in patterns if is_name(name) and is_channel_name(name) else ():
                if pattern.match(name) is None:
                    continue
                found[topic, lobby.keep] = None
                if not lobby.is_selective:
                    break
        if not found:
            raise UsageError(f"No channel pattern of {path!r} matches {name!r}.")
        if len(found) > 1:
            raise UsageError(
                f"Several patterns match {path!r} and {name!r}, and only the servers know, by the"
                " types of their parameters, which one is meant: give them the same history, or"
                " patterns that do not overlap."
            )
        return next(iter(found))

    def _at(self, path: str) -> "Iterator[_Endpoint]":
        """Yield the endpoints that may serve a path, the first registered one first."""
        is_found = False
        for each in self._endpoints:
            paths, opened, _ = each
            if paths.pattern.literal is None and opened.path == path:
                yield each
                return
        for each in self._endpoints:
            paths, opened, _ = each
            if paths.pattern.match(path) is not None:
                is_found = True
                yield each
                if not opened.is_selective:
                    return
        if not is_found:
            known = ", ".join(opened.path for _, opened, _ in self._endpoints) or "none"
            raise UsageError(f"There is no endpoint {path!r}; the servers have: {known}.")


_Endpoint = tuple[Paths, Opened, list[tuple[Pattern, Served]]]


def _patterns(endpoint: Opened) -> list[tuple[Pattern, Served]]:
    return [(Pattern(each.pattern), each) for each in endpoint.lobbies]


def _plain(lobby: Served) -> list[object]:
    pattern, keep, is_selective = lobby
    return [pattern, None if keep is None else [*keep], is_selective]


def _endpoint_of(
    path: str, is_shared: bool, is_selective: bool, lobbies: list[list[object]]
) -> Opened:
    return Opened(path, is_shared, is_selective, tuple(_lobby_of(*each) for each in lobbies))


def _lobby_of(pattern: object, keep: object, is_selective: object) -> Served:
    kept = Keep(*keep) if isinstance(keep, list) else None
    return Served(str(pattern), kept, bool(is_selective))
