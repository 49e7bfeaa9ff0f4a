"""Limits on what a message holds: its levels of nesting, and the size of its integers.

Both are judged by the message's text. To walk its value item by item in Python takes several times
as long as orjson takes to make it, and in the value an integer outside 64 bits is a float like any
other. The text is searched by methods of `bytes`, in a time that grows with its length alone.
"""

from array import array
from itertools import accumulate
from operator import add
from typing import Final, NamedTuple

MAX_DEPTH: Final = 64
_TOO_DEEP: Final = f"The message is nested deeper than {MAX_DEPTH} levels."
_TOO_LARGE: Final = "The message holds an integer outside -2^63 .. 2^64-1."


_INT_MIN: Final = b"%d" % -(2**63)
_INT_MAX: Final = b"%d" % (2**64 - 1)
# No integer outside has fewer characters, and few inside have as many.
_RUN: Final = b"0" * min(len(_INT_MIN), len(_INT_MAX))
_TO_RUNS: Final = bytes(ord("0" if chr(code) in "-0123456789" else " ") for code in range(256))
# What beside such a run makes it a part of another number, or of a string.
_BEFORE: Final = b'.eE+"'
_BEHIND: Final = b'.eE"'

_TO_BITS: Final = bytes.maketrans(b"[{]}", b"1100")
_ALL_BUT_BRACKETS: Final = bytes(code for code in range(256) if code not in b'[{]}"')
# Of eight brackets, each a bit: how they change the depth, how far up they go and how far down.
_DEPTHS: Final = [
    [*accumulate(1 if eight >> bit & 1 else -1 for bit in range(7, -1, -1))] for eight in range(256)
]
_CHANGES: Final = bytes(depths[-1] % 256 for depths in _DEPTHS)
_RISES: Final = bytes(max(0, *depths) for depths in _DEPTHS)
_FALLS: Final = bytes(-min(0, *depths) for depths in _DEPTHS)


class Excess(NamedTuple):
    """What a text holds that it may not.

    Args:
        reason: The sentence for the peer.
        message: Which message of an array holds it, counted from 0; 0 if it is no array.
    """

    reason: str
    message: int


def find_excess(data: str | bytes, *, is_array: bool = False) -> Excess | None:
    """Find what the JSON text of a message holds beyond the limits. None if nothing.

    Args:
        data: The text, which has been parsed: it is valid.
        is_array: Whether it is an array of messages, which does not count as a level.
    """
    text = data.encode() if isinstance(data, str) else data
    levels = MAX_DEPTH + is_array
    # Brackets and digits inside strings count here, so this may be a false alarm.
    may_be_deep = text.count(b"[") + text.count(b"{") > levels
    may_be_large = _find_large(text) >= 0
    if not may_be_deep and not may_be_large:
        return None
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    reason = _TOO_DEEP
    before = _before_depth(text, levels) if may_be_deep else None
    if before is None and may_be_large:
        reason = _TOO_LARGE
        before = _before_large(text)
    return None if before is None else Excess(reason, _ended(before) if is_array else 0)


def _before_depth(text: bytes, levels: int) -> bytes | None:
    """Return the brackets of a text without escapes up to the first too deep; None if none is."""
    # Two quotes without a bracket between them enclose nothing that counts, or they separate two
    # strings, which may be joined.
    brackets = text.translate(_TO_BITS, _ALL_BUT_BRACKETS).replace(b'""', b"")
    if b'"' in brackets:
        brackets = b"".join(brackets.split(b'"')[::2])
    eights, depths = _by_eights(brackets)
    if max(map(add, depths, eights.translate(_RISES))) <= levels:
        return None
    tops = map(add, depths, eights.translate(_RISES))
    return brackets[: 8 * next(place for place, top in enumerate(tops) if top > levels)]


def _before_large(text: bytes) -> bytes | None:
    """Return the brackets of a text without escapes up to its first integer outside 64 bits."""
    # Every other piece was a string. A quote in its place separates its neighbours.
    outside = b'"'.join(text.split(b'"')[::2])
    place = _find_large(outside)
    if place < 0:
        return None
    return outside[:place].translate(_TO_BITS, _ALL_BUT_BRACKETS).replace(b'"', b"")


def _find_large(text: bytes) -> int:
    """Find what looks like an integer outside 64 bits, by itself and its neighbours; -1 if none."""
    runs = text.translate(_TO_RUNS)
    start = runs.find(_RUN)
    while start >= 0:
        stop = runs.find(b" ", start)
        if text[start - 1] not in _BEFORE and text[stop] not in _BEHIND:
            bound = _INT_MIN if text[start] == ord("-") else _INT_MAX
            excess = stop - start - len(bound)
            if excess > 0 or (excess == 0 and text[start:stop] > bound):
                return start
        start = runs.find(_RUN, stop)
    return -1


def _by_eights(brackets: bytes) -> tuple[bytes, list[int]]:
    """Pack brackets eight to a byte: a tenth of the time of looking at each.

    Returns:
        The bytes, and the depth before each.
    """
    filled = brackets.ljust(-(-len(brackets) // 8) * 8, b"1")
    eights = int(filled, 2).to_bytes(len(filled) // 8)
    return eights, [*accumulate(array("b", eights.translate(_CHANGES)), initial=0)]


def _ended(brackets: bytes) -> int:
    """Count the messages of an array that have ended after the first brackets of its text."""
    ended = 0
    eights, depths = _by_eights(brackets)
    for eight, before, fall in zip(eights, depths, eights.translate(_FALLS), strict=False):
        if before - fall > 1:
            continue
        for is_opening, change in zip(f"{eight:08b}", _DEPTHS[eight], strict=True):
            ended += is_opening == "0" and before + change == 1
    return ended
