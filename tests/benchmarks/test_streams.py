"""The client of streams joins, finds every token wherever a stream is cut, and notices doubles."""

import asyncio
from typing import cast

import pytest

from tests.benchmarks._client import BenchmarkFailed, Client, Phrase
from tests.benchmarks._dialects import Dialect
from tests.benchmarks._streams import Audience, Stream, tell

HEAD = b"HTTP/1.1 200 OK\r\nX-Connection-ID: abc\r\ntransfer-encoding: chunked\r\n\r\n"
SAY = Phrase(str.encode).fresh


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Wire:
    """A server in memory: each text goes to every stream `times` times, cut into pieces."""

    def __init__(self, streams: list[Stream], times: int, step: int) -> None:
        self.streams = streams
        self.times = times
        self.step = step

    def write(self, frame: bytes) -> None:
        event = b"2b\r\nevent: say\ndata: %b\n\n\r\n" % (frame[6:] * 2)
        for stream in self.streams:
            for _ in range(self.times):
                for start in range(0, len(event), self.step):
                    piece = event[start : start + self.step]
                    asyncio.get_running_loop().call_soon(stream.data_received, piece)


def audience_of(times: int = 1, step: int = 1_000) -> Audience:
    """Make three streams and a speaker, all connected."""
    audience = Audience()
    fail = audience.speaker.fail
    audience.streams = [Stream(Dialect(), fail) for _ in range(3)]
    speaker = Client("/socket", fail)
    speaker.transport = cast(asyncio.Transport, Wire(audience.streams, times, step))
    audience.speaker.clients.append(speaker)
    return audience


@pytest.mark.parametrize("step", [1, 3, 9, 10, 11, 1_000])
async def test_a_message_counts_once_wherever_the_stream_is_cut(step: int) -> None:
    assert await tell(audience_of(step=step), SAY, 5, times=2) == 15


async def test_a_stream_that_hears_a_message_twice_fails() -> None:
    with pytest.raises(BenchmarkFailed, match=r"something (twice|else)"):
        await tell(audience_of(times=2), SAY, 5, times=2)


async def test_a_stream_that_ends_fails() -> None:
    audience = audience_of(times=0)
    asyncio.get_running_loop().call_soon(audience.streams[1].connection_lost, None)
    with pytest.raises(BenchmarkFailed, match="a stream was lost"):
        await tell(audience, SAY, 1, times=2)


async def test_what_a_stream_says_before_it_is_a_member_is_waited_for() -> None:
    stream = audience_of().streams[0]
    head = asyncio.ensure_future(stream.until(lambda data: b"\r\n\r\n" in data))
    await asyncio.sleep(0)
    stream.data_received(HEAD[:20])
    stream.data_received(HEAD[20:] + b"5\r\ndata:")
    assert await head == HEAD + b"5\r\ndata:"
    assert await stream.until(lambda data: data.endswith(b"data:"))
