"""Whether one pattern matches all names that another matches, which then is never reached."""

from enum import Enum, auto
from typing import Final, TypeAlias


class _Wild(Enum):
    """What stands for several characters of a name."""

    SEGMENT = auto()  # a parameter: one character or more, to the end of a segment
    REST = auto()  # a final `*`: one character or more, to the end of the name


_Token: TypeAlias = str | _Wild
_SLASH: Final = "/"


def covers(pattern: str, other: str) -> bool:
    """Return whether a pattern matches every name that another one matches; both are valid."""
    mine, others = _tokens(pattern), _tokens(other)
    place = 0
    for token in mine:
        if place == len(others):
            return False
        if token is _Wild.REST:
            return True
        if token is _Wild.SEGMENT:
            end = others.index(_SLASH, place) if _SLASH in others[place:] else len(others)
            if end == place or _Wild.REST in others[place:end]:
                return False
            place = end
        elif token == others[place]:
            place += 1
        else:
            return False
    return place == len(others)


def _tokens(pattern: str) -> list[_Token]:
    tokens: list[_Token] = []
    place = 0
    while place < len(pattern):
        if pattern.startswith("::", place):
            tokens.append(":")
            place += 2
        elif pattern[place] == ":":
            tokens.append(_Wild.SEGMENT)
            end = pattern.find(_SLASH, place)  # a parameter's name ends its segment
            place = len(pattern) if end < 0 else end
        else:
            tokens.append(_Wild.REST if pattern[place] == "*" else pattern[place])
            place += 1
    return tokens
