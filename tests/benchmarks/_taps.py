"""What members receive while many send: kept as bytes, and checked afterwards.

A client that should be cheaper than the server cannot read hundreds of thousands of frames a second
as they come. So a member's segments go into a list, which runs no line of Python; a few members
record the time as well. The bytes are cut into frames after the measurement.
"""

import asyncio
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Final, TypeAlias

from tests.benchmarks._client import BenchmarkFailed

_TOKEN: Final = re.compile(rb"<(\d{8})>")
_CONTROL: Final = 0x08

OnLost: TypeAlias = Callable[[str], None]


class Tap(asyncio.Protocol):
    """Takes the place of a `Client` on its transport."""

    def __init__(self, on_lost: OnLost) -> None:
        self.segments: list[bytes] = []
        self._on_lost = on_lost
        # The list's own method, called by the loop without a frame of Python between.
        self.data_received = self.segments.append  # type: ignore[method-assign, assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        """Report that the connection was lost."""
        self._on_lost(f"a connection was lost ({exc!r})")


class TimedTap(asyncio.Protocol):
    """A tap that also records times, and counts tokens, so that a caller can wait for the last."""

    def __init__(self, on_lost: OnLost) -> None:
        self.segments: list[bytes] = []
        self.times: list[float] = []
        self.tokens = 0
        self._on_lost = on_lost

    def data_received(self, data: bytes) -> None:
        """Keep the bytes, the time and the number of tokens."""
        self.times.append(monotonic())
        self.segments.append(data)
        self.tokens += data.count(b"<")

    def connection_lost(self, exc: Exception | None) -> None:
        """Report that the connection was lost."""
        self._on_lost(f"a connection was lost ({exc!r})")


@dataclass(kw_only=True)
class Heard:
    """What one member received: the numbers of the messages in order, and where each one ended."""

    numbers: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    other: list[bytes] = field(default_factory=list)
    rest: int = 0


def cut(stream: bytes) -> Heard:
    """Find a server's frames in the bytes; `rest` counts those of an incomplete last frame."""
    heard, start, end = Heard(), 0, len(stream)
    while end - start >= 2:
        size, body = stream[start + 1], start + 2
        if size >= 126:
            body += 2 if size == 126 else 8
            size = int.from_bytes(stream[start + 2 : body])
        if body + size > end:
            break
        found = _TOKEN.search(stream, body, body + size)
        if found is not None and not stream[start] & _CONTROL:
            heard.numbers.append(int(found[1]))
            heard.ends.append(body + size)
        else:
            heard.other.append(stream[start : body + size])
        start = body + size
    heard.rest = end - start
    return heard


def check(heard: Heard, first: int, speakers: Sequence[int]) -> None:
    """Check that every message came exactly once, and each speaker's messages in order.

    Args:
        first: The first message's number.
        speakers: The members that sent it and each one after it.

    Raises:
        BenchmarkFailed: It did not.
    """
    if sorted(heard.numbers) != list(range(first, first + len(speakers))):
        missing = len(speakers) - len(set(heard.numbers))
        raise BenchmarkFailed(
            f"a member heard {len(heard.numbers)} of {len(speakers)} messages, {missing} missing"
        )
    latest: dict[int, int] = {}
    for number in heard.numbers:
        speaker = speakers[number - first]
        if latest.get(speaker, 0) > number:
            raise BenchmarkFailed(f"a member heard speaker {speaker} out of order")
        latest[speaker] = number
    if heard.rest:
        raise BenchmarkFailed(f"{heard.rest} bytes of a frame came, and not the others")


def check_all(streams: Sequence[bytes], first: int, speakers: Sequence[int]) -> None:
    """Check many members, most of which received the same bytes.

    Raises:
        BenchmarkFailed: One of them did not receive every message once and in order.
    """
    checked: list[bytes] = []
    for stream in streams:
        if stream not in checked:
            check(cut(stream), first, speakers)
            checked.append(stream)


def arrived(tap: TimedTap, heard: Heard) -> Iterator[tuple[int, float]]:
    """Yield the numbers of the messages, and when the last byte of each arrived."""
    segment, size = -1, 0
    for number, end in zip(heard.numbers, heard.ends, strict=True):
        while size < end:
            segment += 1
            size += len(tap.segments[segment])
        yield number, tap.times[segment]
