"""What hostile clients cost a server: `python -m tests.fuzz.cost`, or `nox -s cost`.

It starts uvicorn twice, as it is and with the fast lane, and prints for each input of
`cost_inputs` what one costs, and which part of a core one client may take with it for ever. It
fails where that is over 15 %.

* What one costs is measured within the burst that the limits allow, on connections of its own.
* Then a client sends as fast as it can, until the server ends its connection. Where the server
  does, a client that wants to go on must keep to the limit: it takes the cost of one input, as many
  times a second as the limit allows. Where the server does not, within ten seconds, the CPU time of
  these seconds is what it takes.

Before that it prints how much memory clients can take that ping, track, make names or connect
again and again (`cost_memory`), and fails where that is more than the row allows.

In the rows of CPU time handlers do nothing, and nothing is broadcast. On a machine that is slower
than the reference, shares are divided by how much slower it reads a short message. A row that fails
is measured twice more, each time on a server of its own, and counts as failed if it always fails.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Final, TypeAlias

from tests.benchmarks._machine import machine
from tests.benchmarks._meter import group_seconds
from tests.fuzz.cost_clients import Poster, WebSocketFlooder
from tests.fuzz.cost_inputs import INPUTS, SMALL, Input, Transport
from tests.fuzz.cost_memory import measure_memory
from tests.fuzz.cost_memory_rows import DEEDS
from tests.fuzz.cost_verdict import (
    MOST_PERCENT,
    NO_FLOOD,
    Figure,
    Flood,
    Taken,
    Unit,
    loads_microseconds,
    slowness,
    together,
    verdict,
)
from tests.fuzz.raw_sockets import ask, request
from tests.servers import FAST_LANE, Server

APP: Final = "tests.fuzz.cost_app:app"
PLAIN: Final = ("--ws", "websockets-sansio")
QUIET: Final = ("--log-level", "error")
# A transport and the options of its server, by the name in the table.
SERVERS: Final[dict[str, tuple[Transport, tuple[str, ...]]]] = {
    "plain": ("websocket", PLAIN),
    "fast lane": ("websocket", FAST_LANE),
    "SSE": ("sse", PLAIN),
}
FLOOD_SECONDS: Final = 10.0
# Where nothing is judged.
GLANCE_SECONDS: Final = 0.3
# Twice what may be used in the ten seconds: then a flood that nothing has ended is seen enough.
ENOUGH_CPU_SECONDS: Final = 3.0
# Inputs by which it is guessed how many may be sampled, in how much CPU time.
PILOT: Final = 5
SAMPLE_CPU_SECONDS: Final = 0.15
# An input that takes more than so much of its limit is measured as a refused one, too.
HEAVY: Final = 8
REFUSED_SAMPLE: Final = 20
# A sample is given up after so long.
SAMPLE_SECONDS: Final = 10.0
ROUNDS: Final = 2
# How often a row that fails is measured in all: other work on the machine makes it expensive, too.
TRIES: Final = 3
# What costs less than this is not measured again.
CHEAP_PERCENT: Final = MOST_PERCENT / 5
# A server that used less CPU time than this in so many seconds has done what it was asked.
IDLE: Final = 0.0005
IDLE_SECONDS: Final = 0.015
SETTLE_SECONDS: Final = 10.0

Client: TypeAlias = WebSocketFlooder | Poster


class FuzzedServer:
    """One server, at which one row after the other is aimed.

    Args:
        name: The server's, of `SERVERS`.
        seconds: How long a client floods that nothing ends.
    """

    def __init__(self, name: str, server: Server, seconds: float) -> None:
        self.name = name
        self.transport = SERVERS[name][0]
        self._server = server
        self._seconds = seconds

    def figure(self, row: Input, slower: float) -> Figure:
        """Measure a row."""
        is_judged = row.judged_on == "all" or row.judged_on == self.name
        unit = self._unit(row)
        if row.tokens > HEAVY and not unit.ends:
            unit = replace(unit, refused_microseconds=self._refused(row))
        seconds = self._seconds if is_judged else min(GLANCE_SECONDS, self._seconds)
        unflooded = Figure(row, unit, NO_FLOOD, is_judged, slower)
        # What is far too expensive at the rate that the limit allows need not be flooded with, too.
        if unit.ends or unflooded.percent > 2 * MOST_PERCENT:
            return unflooded
        flood = self._flood(row, seconds, ENOUGH_CPU_SECONDS * slower)
        return Figure(row, unit, flood, is_judged, slower)

    # --- one input --------------------------------------------------------------------------------

    def _unit(self, row: Input) -> Unit:
        pilot = self._sampled(row, min(row.sample, PILOT))
        if pilot.microseconds * PILOT > SAMPLE_CPU_SECONDS * 1e6 and not pilot.ends:
            return pilot
        affordable = int(SAMPLE_CPU_SECONDS * 1e6 / max(1.0, pilot.microseconds))
        sample = min(row.sample, max(PILOT, affordable))
        for count, pause in ((sample, False), (PILOT, True)):
            units = [self._sampled(row, count, pause=pause)]
            if units[0].microseconds * row.per_second > CHEAP_PERCENT * 1e4:
                units += [self._sampled(row, count, pause=pause) for _ in range(ROUNDS - 1)]
            if not any(unit.ends for unit in units):
                return _least(units)
        # Each ends its connection: what the connection itself costs is taken off.
        around = _least([self._alone(row, 0) for _ in range(ROUNDS)])
        with_it = _least([self._alone(row, 1) for _ in range(ROUNDS)])
        microseconds = max(0.0, with_it.microseconds - around.microseconds)
        bytes_out = max(0.0, with_it.bytes_out - around.bytes_out)
        return Unit(microseconds, bytes_out, with_it.kib, ends=not row.sends_on)

    def _sampled(self, row: Input, sample: int, *, pause: bool = False) -> Unit:
        with self._client(row) as client:
            self._settle(client)
            kib, said, cpu = self._kib(), client.bytes_in, self._cpu()
            deadline = time.monotonic() + SAMPLE_SECONDS
            for count in [1] * sample if pause else [sample]:
                client.send_many(count, deadline)
                self._settle(client)
            used = self._cpu() - cpu
            kib, ends = self._kib() - kib, client.was_closed
            return Unit(used / sample * 1e6, (client.bytes_in - said) / sample, kib, ends)

    def _refused(self, row: Input) -> float:
        """What one costs that the rate refuses: those before it have used up the burst."""
        with self._client(row) as client:
            deadline = time.monotonic() + SAMPLE_SECONDS
            client.send_many(row.limit.burst // row.tokens + 2, deadline)
            self._settle(client)
            cpu = self._cpu()
            client.send_many(REFUSED_SAMPLE, deadline)
            self._settle(client)
            return (self._cpu() - cpu) / REFUSED_SAMPLE * 1e6

    def _alone(self, row: Input, count: int) -> Unit:
        kib, cpu = self._kib(), self._cpu()
        with self._client(row) as client:
            client.send_many(count, time.monotonic() + SAMPLE_SECONDS)
            self._settle(client)
            kib, said = self._kib() - kib, client.bytes_in
            return Unit((self._cpu() - cpu) * 1e6, said, kib, client.was_closed)

    # --- as many as can be ------------------------------------------------------------------------

    def _flood(self, row: Input, seconds: float, enough: float) -> Flood:
        with self._client(row) as client:
            self._settle(client)
            cpu, begun = self._cpu(), time.monotonic()
            end, used, inputs = begun + seconds, 0.0, 0.0
            is_counted = True
            while used < enough and not self._is_over(client, row, end):
                sent = client.flood(min(end, time.monotonic() + 0.5))
                is_counted, inputs = is_counted and sent is not None, inputs + (sent or 0.0)
                used = self._cpu() - cpu
            was_closed = client.was_closed and (not row.sends_on or time.monotonic() < end)
            if was_closed:
                self._settle(client)  # with what is still in the system's buffers
            took, used = time.monotonic() - begun, self._cpu() - cpu
            return Flood(took, used, was_closed, inputs if is_counted else None)

    def _is_over(self, client: Client, row: Input, end: float) -> bool:
        is_over = client.is_over if row.sends_on else client.was_closed
        return is_over or time.monotonic() >= end

    # --- the server -------------------------------------------------------------------------------

    def _client(self, row: Input) -> AbstractContextManager[Client]:
        kind = WebSocketFlooder if self.transport == "websocket" else Poster
        return kind(self._server.port, row)

    def _cpu(self) -> float:
        return group_seconds(self._server.pid)

    def _kib(self) -> int:
        answer = ask(self._server.port, request("GET", "/memory"))
        return int(json.loads(answer.body)["rss"])

    def _settle(self, client: Client) -> None:
        """Wait until the server has done what it was asked."""
        deadline = time.monotonic() + SETTLE_SECONDS
        before = self._cpu()
        while time.monotonic() < deadline:
            client.wait(IDLE_SECONDS)
            # A connection that is over is not waited for by reading.
            time.sleep(IDLE_SECONDS / 4)
            now = self._cpu()
            if now - before < IDLE:
                return
            before = now


def _least(units: Sequence[Unit]) -> Unit:
    """The cheaper one: what makes a sample more expensive is something else on the machine."""
    return min(units, key=lambda unit: unit.microseconds)


# --- the table ------------------------------------------------------------------------------------


def _head(name: str) -> str:
    columns = f"{'bytes in':>9} {'us':>9} {'x small':>8} {'bytes out':>9} {'KiB':>6} {'%':>7}"
    return f"\n{name:30} {columns}  bound by"


def _sock(figure: Figure, good: float) -> str:
    unit, flood, row = figure.unit, figure.flood, figure.row
    if unit.ends:
        bound = "ends its connection"
    elif flood is NO_FLOOD:
        bound = f"{row.limit.name}, {figure.per_second:.0f}/s"
    elif flood.was_closed:
        limit = row.limit.name if figure.holds else "more than its limit"
        bound = f"{limit}, {figure.per_second:.0f}/s; closed after {flood.cpu_seconds * 1e3:.0f} ms"
    else:
        bound = f"nothing in {flood.seconds:.0f} s"
    mark = " FAIL" if figure.is_too_expensive else "" if figure.is_judged else " (not judged)"
    return (
        f"{row.name:30} {len(row.data):9,} {unit.microseconds:9.1f} "
        f"{unit.microseconds / good:8.1f} {unit.bytes_out:9,.0f} {unit.kib:6,} "
        f"{figure.percent:7.2f}  {bound}{mark}"
    )


def measure(
    rows: Sequence[Input], names: Sequence[str], seconds: float
) -> list[tuple[str, Figure]]:
    """Print the table of CPU time; gives what was measured."""
    speeds = [loads_microseconds()]
    figures: list[tuple[str, Figure]] = []
    for name in names:
        transport, arguments = SERVERS[name]
        with Server(APP, *arguments, *QUIET) as server:
            aim = FuzzedServer(name, server, seconds)
            aim.figure(Input(name="", data=SMALL), 1.0)  # all is imported, and memory is there
            speeds.append(loads_microseconds())
            slower = slowness(speeds)
            print(f"{_head(name)}\n  machine: {speeds[-1]:.2f} us to read a short message;"
                  f" shares are divided by {slower:.2f}")  # fmt: skip
            good = 0.0
            for row in (row for row in rows if transport in row.transports):
                figure = aim.figure(row, slower)
                good = good or figure.unit.microseconds
                figures.append((name, figure))
                print(_sock(figure, good), flush=True)
            print(f"  {together([figure for where, figure in figures if where == name])}")
    return figures


def measure_again(
    figures: Sequence[tuple[str, Figure]], taken: Sequence[Taken], seconds: float
) -> tuple[list[tuple[str, Figure]], list[Taken]]:
    """Measure each row that has failed once more; gives all rows, in their order."""
    return (
        [
            measure([figure.row], [name], seconds)[0] if figure.is_too_expensive else (name, figure)
            for name, figure in figures
        ],
        [
            measure_memory([each.deed], {each.server: SERVERS[each.server]})[0]
            if each.faults
            else each
            for each in taken
        ],
    )


def main() -> int:
    """Parse the options, and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="rows that hold one of these")
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=list(SERVERS))
    parser.add_argument("--seconds", type=float, default=FLOOD_SECONDS, help="of an endless flood")
    parser.add_argument("--time-alone", action="store_true", help="leave memory out")
    parser.add_argument("--list", action="store_true", help="print the names of the rows, and end")
    options = parser.parse_args()
    rows = [
        row
        for row in INPUTS
        if options.only is None or any(text in row.name for text in options.only)
    ]
    deeds = [
        deed
        for deed in ([] if options.time_alone else DEEDS)
        if options.only is None or any(text in deed.name for text in options.only)
    ]
    if options.list:
        print("\n".join([*(row.name for row in rows), *(deed.name for deed in deeds)]))
        return 0
    if not rows and not deeds:
        parser.error("no row holds any of these; --list prints them")
    print(machine("orjson", "uvicorn", "websockets"))
    taken = measure_memory(deeds, {name: SERVERS[name] for name in options.servers})
    figures = measure(rows, options.servers, options.seconds) if rows else []
    for _ in range(TRIES - 1):
        figures, taken = measure_again(figures, taken, options.seconds)
    status, text = verdict(figures, taken)
    print(f"\n{text}")
    return status


if __name__ == "__main__":
    sys.exit(main())
