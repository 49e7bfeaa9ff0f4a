"""One run of an open loop: all members send, at times that do not depend on what they receive."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.benchmarks._client import BLANK, BenchmarkFailed, Phrase, reserve
from tests.benchmarks._figures import percentile
from tests.benchmarks._meter import MICROSECONDS, group_seconds
from tests.benchmarks._scenarios.scenario import Stage
from tests.benchmarks._speaker import Order, poisson, speakers
from tests.benchmarks._taps import Tap, TimedTap, arrived, check_all, cut

# Short enough that a growing queue exceeds it: a fifteenth of the time of a run.
BACKLOG_SECONDS: Final = 0.1
# So many members record when they receive each message.
_TIMED: Final = 4
# For the sending process to start.
_LEAD_SECONDS: Final = 0.7
_SPEAKER: Final = Path(__file__).with_name("_speaker.py")
_LOOK_SECONDS: Final = 0.01


@dataclass(frozen=True, kw_only=True)
class Run:
    """The result of one run.

    Args:
        offered: Deliveries that were asked for.
        delivered: Those that happened before the run ended.
        in_time: The share of the offered deliveries that came before the last message was due, or
            at most `BACKLOG_SECONDS` later.
        per_second: Deliveries, from the first message to the last delivery.
        late_seconds: How long after the last message was due the last delivery came.
        busy: The share of a core that the client used; 1 if it could not send in time.
        said_late_ms: The longest delay with which a message was sent.
    """

    offered: int
    delivered: int
    in_time: float
    per_second: float
    late_seconds: float
    server_us: float
    client_us: float
    busy: float
    p50_ms: float
    p99_ms: float
    said_late_ms: float
    fault: str | None

    @property
    def kept_up(self) -> bool:
        """Whether every message was received in time."""
        return self.fault is None and self.late_seconds <= BACKLOG_SECONDS


async def run_open(
    stage: Stage,
    phrase: Phrase,
    rate: float,
    seconds: float,
    seed: int,
    patience: float,
    *,
    listeners: int = 0,
) -> Run:
    """Run the open loop; after a fault, the stage cannot be used again.

    Args:
        phrase: What the members send.
        rate: Messages a second, of all members together.
        patience: How long after the last message deliveries may still come.
        listeners: So many of the first members only listen, and their times are recorded; 0: all
            send, and the times of some are recorded.

    Raises:
        BenchmarkFailed: Something came twice, or out of order.
    """
    due = poisson(rate, seconds, seed)
    who = speakers(len(due), len(stage.crowd.clients) - listeners, seed)
    first = reserve(len(due))
    times = await _tokens_in_one(stage, phrase)
    faults: list[str] = []
    timed = [TimedTap(faults.append) for _ in stage.crowd.clients[: listeners or _TIMED]]
    taps: list[Tap | TimedTap] = [*timed]
    taps += [Tap(faults.append) for _ in stage.crowd.clients[len(timed) :]]
    for client, tap in zip(stage.crowd.clients, taps, strict=True):
        client.transport.set_protocol(tap)
    starts_at = time.monotonic() + _LEAD_SECONDS
    senders = stage.crowd.clients[listeners:]
    sockets = [own.transport.get_extra_info("socket").fileno() for own in senders]
    order = Order(
        sockets=sockets, frame=phrase.frame.decode("latin-1"), blank=BLANK, first=first,
        rate=rate, seconds=seconds, seed=seed, starts_at=starts_at,
    )  # fmt: skip
    ends_at = starts_at + due[-1]
    with _speaking(order) as speaker:
        await asyncio.sleep(starts_at - time.monotonic())
        server, own = group_seconds(stage.process.pid), time.process_time()
        while not faults and time.monotonic() < ends_at + patience:
            await asyncio.sleep(_LOOK_SECONDS)
            if all(tap.tokens >= len(due) * times for tap in timed) and _alike(taps):
                break
        server, own = group_seconds(stage.process.pid) - server, time.process_time() - own
        elapsed = time.monotonic() - starts_at
        said_late, saying = _end(speaker, faults)
    for client in stage.crowd.clients:
        if not client.transport.is_closing():
            client.transport.set_protocol(client)
    streams = [b"".join(tap.segments) for tap in taps]
    offered = len(due) * len(taps)
    delivered = sum(stream.count(b"<") for stream in streams) // times
    is_whole = delivered == offered and not faults
    if delivered > offered:
        raise BenchmarkFailed(f"{offered} deliveries were asked for, {delivered} came")
    if is_whole:
        check_all(streams, first, who)
    arrivals = [
        (number, at)
        for tap, stream in zip(timed, streams, strict=False)
        for number, at in arrived(tap, cut(stream))
    ]
    waits = [at - starts_at - due[number - first] for number, at in arrivals]
    in_time = sum(at <= ends_at + BACKLOG_SECONDS for _, at in arrivals)
    latest = max((tap.times[-1] for tap in timed if tap.times), default=starts_at)
    count = max(1, delivered)
    return Run(
        offered=offered,
        delivered=delivered,
        in_time=in_time / len(due) / len(timed),
        per_second=delivered / max(latest - starts_at, _LOOK_SECONDS),
        late_seconds=max(0.0, latest - ends_at) if is_whole else patience,
        server_us=server / count * MICROSECONDS,
        client_us=(own + saying) / count * MICROSECONDS,
        # A message that is sent too late is the client's fault as well.
        busy=1.0 if said_late > BACKLOG_SECONDS / 2 else own / elapsed,
        p50_ms=percentile(waits, 0.5) * 1e3 if waits else 0.0,
        p99_ms=percentile(waits, 0.99) * 1e3 if waits else 0.0,
        said_late_ms=said_late * 1e3,
        fault=None if is_whole else (faults or ["not all was delivered"])[0],
    )


async def _tokens_in_one(stage: Stage, phrase: Phrase) -> int:
    """Return how often a received message contains its token; sends one message to find out."""
    token, frame = phrase.fresh()
    counts: list[int] = []

    def is_it(text: bytes) -> bool:
        if token in text:
            counts.append(text.count(token))
        return token in text

    heard = [client.expect(is_it) for client in stage.crowd.clients]
    stage.crowd.clients[0].send(frame)
    await asyncio.gather(*heard)
    return counts[0]


def _alike(taps: Sequence[Tap | TimedTap]) -> bool:
    """Whether all have received at least as many bytes as the first."""
    whole = sum(map(len, taps[0].segments))
    return all(sum(map(len, tap.segments)) >= whole for tap in taps)


def _speaking(order: Order) -> subprocess.Popen[bytes]:
    speaker = subprocess.Popen(
        [sys.executable, "-I", str(_SPEAKER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=order.sockets,
    )
    assert speaker.stdin is not None
    speaker.stdin.write(order.json())
    speaker.stdin.close()
    return speaker


def _end(speaker: subprocess.Popen[bytes], faults: list[str]) -> tuple[float, float]:
    """Stop the sending process; return its longest delay and its CPU time, in seconds."""
    try:
        if faults:
            speaker.kill()
        speaker.wait(5)
    except subprocess.TimeoutExpired:
        speaker.kill()
        speaker.wait(5)
        faults.append("the server took no more messages")
    assert speaker.stdout is not None
    late, spent = speaker.stdout.read().split() or (0, 0)
    return float(late), float(spent)
