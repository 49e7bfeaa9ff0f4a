"""Whether a payload is the one that a test expects, and how to show what came."""

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final

from pondsocket_common import Payload, ServerMessage

ANYTHING: Final[Any] = type("Anything", (), {"__repr__": lambda _: "ANYTHING"})()
_LONGEST: Final = 200


def fits(payload: object, expected: object, match: Payload | None) -> bool:
    """Return whether a payload is equal to `expected`, and has all that `match` has."""
    if expected is not ANYTHING and expected != payload:
        return False
    return match is None or contains(payload, match)


def contains(whole: object, part: object) -> bool:
    """Return whether a JSON value has all that another has; lists must be as long."""
    if isinstance(part, Mapping):
        return isinstance(whole, Mapping) and all(
            key in whole and contains(whole[key], value) for key, value in part.items()
        )
    if isinstance(part, list) and isinstance(whole, list):
        return len(part) == len(whole) and all(map(contains, whole, part))
    return bool(part == whole)


def expectation(expected: object, match: Payload | None) -> str:
    """Describe what is expected of a payload."""
    told = [] if expected is ANYTHING else [f"with {expected!r}"]
    told += [] if match is None else [f"that has {match!r}"]
    return "".join(f" {each}" for each in told)


def shown(message: ServerMessage) -> str:
    """Describe a message in a line."""
    place = "" if message.channel_name == "GATEWAY" else f" {message.channel_name!r}"
    text = repr(_plain(message.payload))
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
    return f"{message.action} {message.event!r}{place} {text}"


def listed(messages: Iterable[str]) -> str:
    """Describe what came, a line each."""
    lines = [f"\n  {each}" for each in messages]
    return "nothing." if not lines else "".join(lines)


def _plain(payload: Any) -> Any:
    if is_dataclass(payload) and not isinstance(payload, type):
        values = {each.name: getattr(payload, each.name) for each in fields(payload) if each.repr}
        return {name: value for name, value in values.items() if value is not None}
    return payload
