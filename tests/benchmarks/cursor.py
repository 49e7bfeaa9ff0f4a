"""The cost of the cursor that a stream gets after each write.

`python -m tests.benchmarks.cursor` prints CPU time and length for streams in more and more
channels, of which one has moved.
"""

import time
from typing import Final

from pondsocket_asgi._resume.cursor import CursorKeys, StreamCursor
from pondsocket_common import Position

from tests.benchmarks._machine import machine

NOW: Final = 1_795_000_000.0
LOOPS: Final = 50_000
CHANNELS: Final = (1, 5, 32, 128)


def stream_in(channels: int) -> StreamCursor:
    """Make the cursor of a stream that has joined this many channels."""
    cursor = StreamCursor(CursorKeys().signer("/socket"))
    for number in range(channels):
        cursor.enter(f"/room/{number}", Position("abcdefgh", 1_000), {})
    return cursor


def measure(channels: int, loops: int) -> float:
    """Measure one move and one new cursor, in microseconds of CPU time."""
    cursor = stream_in(channels)
    started = time.process_time()
    for offset in range(loops):
        cursor.move("/room/0", offset)
        cursor.say(NOW)
    return (time.process_time() - started) / loops * 1e6


def measure_reading(channels: int, loops: int) -> float:
    """Measure reading a client's cursor, in microseconds of CPU time."""
    signer = CursorKeys().signer("/socket")
    cursor = StreamCursor(signer)
    for number in range(channels):
        cursor.enter(f"/room/{number}", Position("abcdefgh", 1_000), {})
    text = cursor.say(NOW).decode()
    started = time.process_time()
    for _ in range(loops):
        signer.read(text, NOW)
    return (time.process_time() - started) / loops * 1e6


def main() -> None:
    """Measure, and print."""
    print(machine("orjson"))
    print(f"\n{'channels':>8}{'characters':>12}{'move and say':>16}{'read':>12}")
    for channels in CHANNELS:
        length = len(stream_in(channels).say(NOW))
        said, read = measure(channels, LOOPS), measure_reading(channels, LOOPS // channels // 5)
        print(f"{channels:8}{length:12,}{said:13.2f} us{read:9.1f} us")


if __name__ == "__main__":
    main()
