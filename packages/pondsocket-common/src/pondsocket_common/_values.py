"""The bounds of a client's JSON: 64 levels, and integers of 64 bits."""

from collections.abc import Iterable
from typing import Any, Final

from ._errors import InvalidMessage

MAX_DEPTH: Final = 64
_INT_MIN: Final = -(2**63)
_INT_MAX: Final = 2**64 - 1
_HUGE: Final = object()
# The types to check: those that nest, and float, which orjson makes of larger integers.
_RISKY: Final = frozenset({dict, list, float})


def is_tame(payload: dict[str, Any]) -> bool:
    """Return whether a payload is certainly within the bounds."""
    for item in payload.values():
        if type(item) in _RISKY:
            try:
                return not measure(payload, 2)
            except InvalidMessage:
                return False
    return True


def measure(container: dict[str, Any] | list[Any], depth: int) -> bool:
    """Refuse deep nesting. Return True if a float may have been an integer outside 64 bits.

    Args:
        depth: The level of the container; a message is at 1.

    Raises:
        InvalidMessage: The container is nested too deep.
    """
    if depth > MAX_DEPTH:
        raise InvalidMessage(f"The message is nested deeper than {MAX_DEPTH} levels.")
    suspect = False
    items: Iterable[Any] = container.values() if type(container) is dict else container
    # tests/benchmarks/microbench.py, "100 numbers in the payload": a third of the time. With 8
    # items or fewer it is no faster than the loop.
    if len(container) > 8 and _RISKY.isdisjoint(map(type, items)):
        return False
    for item in items:
        kind = type(item)
        if kind is str:
            continue
        if kind is float:
            # orjson silently reads 2^64 as a float.
            suspect = suspect or not _INT_MIN < item < 2**63
        elif (kind is dict or kind is list) and measure(item, depth + 1):
            suspect = True
    return suspect


def parse_int(digits: str) -> object:
    """Return 0 for an integer of 64 bits, for any other the mark that `holds_huge` looks for."""
    # Every 64-bit integer fits 20 digits and a sign; longer ones need not be converted.
    return 0 if len(digits) <= 21 and _INT_MIN <= int(digits) <= _INT_MAX else _HUGE


def holds_huge(value: object) -> bool:
    """Return whether a value that was read with `parse_int` holds an integer outside 64 bits."""
    if type(value) is dict:
        return any(map(holds_huge, value.values()))
    return any(map(holds_huge, value)) if type(value) is list else value is _HUGE
