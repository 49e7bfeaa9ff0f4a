"""The cost of a history: the memory of many, and the time that one more message takes.

`python -m tests.benchmarks.history` prints both. The budget: 10,000 channels with 100 messages of
200 bytes take less than 500 MB, and a broadcast costs at most 1 us more than without a history.
"""

import argparse
import math
import time
import tracemalloc
from typing import Final, NamedTuple

import anyio
from pondsocket import PondSocket
from pondsocket._history.log import History, HistoryLog
from pondsocket._history.memory import MemoryStore
from pondsocket._history.recovery import Recovery, splice
from pondsocket._history.slice import Audience
from pondsocket_common import Position, dump_json, fresh_id
from pondsocket_common import fresh_ref as fresh_epoch

from tests.benchmarks._machine import machine

CHANNELS: Final = 10_000
MESSAGES: Final = 100
# A history holds up to an eighth more before it is trimmed.
HELD: Final = MESSAGES + MESSAGES // 8
MOST_BYTES: Final = 500_000_000
LOOPS: Final = 200_000


class Memory(NamedTuple):
    """The memory that channels take."""

    channels: int
    text_bytes: int
    taken_bytes: int


def fill(histories: MemoryStore, channels: int, payload: dict[str, str]) -> int:
    """Fill the history of each channel to its maximum; return the bytes of the payloads."""
    total = 0
    for number in range(channels):
        name = f"/room/{number}"
        log = histories.open(name, 0.0)
        for _ in range(HELD):
            text = dump_json(payload)
            # A new string each time: decoding a request makes its event's name anew.
            log.append(b"message".decode(), fresh_id(), text, time.monotonic())
            total += len(text)
    return total


def measure_memory(channels: int, payload: dict[str, str]) -> Memory:
    """Measure the memory of full histories."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        histories = MemoryStore(History(size=MESSAGES, ttl=3_600), fresh_epoch)
        text_bytes = fill(histories, channels, payload)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(histories) == channels
    return Memory(channels, text_bytes, after - before)


def microseconds(seconds: float, times: int) -> float:
    """Return the microseconds that one of `times` operations took."""
    return seconds / times * 1e6


def measure_append(audience: Audience | None, loops: int = LOOPS) -> float:
    """Measure appending to a full history, in microseconds of CPU time."""
    log = HistoryLog(History(), "abcdefgh", 0.0)
    text, event, fresh = b"x" * 200, "message", fresh_id()
    started = time.process_time()
    for _ in range(loops):
        log.append(event, fresh, text, time.monotonic(), audience)
    return microseconds(time.process_time() - started, loops)


def measure_open(loops: int = LOOPS) -> float:
    """Measure finding the history of a channel without members, in microseconds of CPU time."""
    histories = MemoryStore(History(), fresh_epoch)
    started = time.process_time()
    for _ in range(loops):
        histories.open("/room/1", time.monotonic())
    return microseconds(time.process_time() - started, loops)


async def measure_broadcasts(rounds: int = 20, each: int = 2_000) -> tuple[float, float]:
    """Measure broadcasts without and with a history in turn, in microseconds of CPU time."""
    pond = PondSocket()
    endpoint = pond.create_endpoint("/socket", _unused)
    endpoint.create_channel("/plain/:id", _unused)
    endpoint.create_channel("/kept/:id", _unused, history=History())
    payload = {"text": "x" * 88}
    best = [math.inf, math.inf]
    channels = [endpoint.routing.find_channel(name) for name in ("/plain/1", "/kept/1")]
    for _ in range(rounds):
        for place, channel in enumerate(channels):
            assert channel is not None
            if channel.channel_history is not None:
                # As a member does, so that no broadcast looks up the history.
                channel.channel_history.enter()
            started = time.process_time()
            for _ in range(each):
                await channel.broadcast("message", payload)
            best[place] = min(best[place], time.process_time() - started)
    return microseconds(best[0], each), microseconds(best[1], each)


async def _unused() -> None:
    """Do nothing: no client connects."""


def measure_recovery(loops: int = 2_000) -> float:
    """Measure the recovery of 100 missed messages, in microseconds of CPU time."""
    log = HistoryLog(History(), "abcdefgh", 0.0)
    for _ in range(MESSAGES):
        log.append("message", "", b"x" * 200, 0.0)
    started = time.process_time()
    for _ in range(loops):
        found = splice(log, Position(log.epoch, 0), "ann", is_user_known=True)
        recovery = Recovery[bytes](log, found.position.offset, "ann")
        while recovery.take() is not None:
            pass
    return microseconds(time.process_time() - started, loops)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--channels", type=int, default=CHANNELS)
    channels = parser.parse_args().channels
    print(machine("orjson"))
    print(f"\n{channels:,} channels with {MESSAGES} messages each")
    for title, text in (("messages of 200 bytes", "x" * 26), ("payloads of 200 bytes", "x" * 189)):
        memory = measure_memory(channels, {"text": text})
        each = memory.text_bytes / channels / HELD
        print(f"{title} ({each:.0f} of payload){memory.taken_bytes / 1e6:8.1f} MB")
    print(f"\nfound by its name            {measure_open():8.2f} us")
    print(f"append a message             {measure_append(None):8.2f} us")
    print(f"the same with an audience    {measure_append(Audience(('ann',))):8.2f} us")
    plain, kept = anyio.run(measure_broadcasts)
    print(f"a broadcast, no members      {plain:8.2f} us")
    print(f"the same with a history      {kept:8.2f} us")
    print(f"100 missed, decided and read {measure_recovery():8.2f} us")


if __name__ == "__main__":
    main()
