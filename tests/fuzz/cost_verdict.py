"""What one client costs a second, from what was measured; and whether that is too much. Pure."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from tests.fuzz.cost_inputs import DEFAULTS, EVENTS, Input
from tests.fuzz.cost_memory_rows import Deed

# One client may take as much of a core, in per cent.
MOST_PERCENT: Final = 15.0
# Reading a message of 104 bytes took so long on the machine that the limits were chosen on.
REFERENCE_MICROSECONDS: Final = 0.35
_LOOPS: Final = 20_000
_TEXT: Final = (
    b'{"action":"BROADCAST","event":"echo","channelName":"/chat/1","requestId":"1",'
    b'"payload":{"text":"hello"}}'
)


def loads_microseconds() -> float:
    """How long this machine takes just now to read a short message."""
    loads, text, times = orjson.loads, _TEXT, []
    for _ in range(5):
        started = time.process_time()
        for _ in range(_LOOPS):
            loads(text)
        times.append((time.process_time() - started) / _LOOPS * 1e6)
    return statistics.median(times)


def slowness(microseconds: Sequence[float]) -> float:
    """How many times slower than the reference the machine is; 1 where it is faster.

    Args:
        microseconds: What `loads_microseconds` gave, during the run.
    """
    return max(1.0, statistics.median(microseconds) / REFERENCE_MICROSECONDS)


@dataclass(frozen=True)
class Unit:
    """What one input costs.

    Args:
        microseconds: Of the server's CPU.
        bytes_out: What the server sends for it.
        kib: By how much all inputs of the sample made the server's memory grow.
        ends: Whether it ends the connection, which then costs nothing more.
        refused_microseconds: Of the server's CPU where the rate refuses it; None: as much.
    """

    microseconds: float
    bytes_out: float
    kib: int
    ends: bool = False
    refused_microseconds: float | None = None


@dataclass(frozen=True)
class Flood:
    """What a client costs that sends as fast as it can.

    Args:
        seconds: How long it sent.
        cpu_seconds: Of the server, meanwhile.
        was_closed: Whether the server ended the connection, and so the flood.
        inputs: How many the server has taken or refused, as far as that is known.
    """

    seconds: float
    cpu_seconds: float
    was_closed: bool
    inputs: float | None = None


NO_FLOOD: Final = Flood(0.0, 0.0, was_closed=True)


@dataclass(frozen=True)
class Figure:
    """One row, measured on one server.

    Args:
        is_judged: Whether too high a cost is a fault there.
        slowness: By how much the machine is slower than the reference.
    """

    row: Input
    unit: Unit
    flood: Flood
    is_judged: bool
    slowness: float = 1.0

    @property
    def holds(self) -> bool:
        """Whether nothing shows that the flood went further than the limit of the row."""
        limit, flood = self.row.limit, self.flood
        if not flood.was_closed or flood.inputs is None:
            return True
        # The burst goes on filling up while it is spent.
        taken = (limit.burst + limit.rate * flood.seconds) / self.row.tokens
        refused = (DEFAULTS.max_refusals or 0) if limit.refused else 0
        return flood.inputs <= 1.5 * (taken + refused)

    @property
    def per_second(self) -> float:
        """How many inputs a second the client may go on with, as limits have it."""
        return self.row.per_second if self.holds else EVENTS.per_second(1)

    @property
    def percent(self) -> float:
        """Of one core of the reference machine, for as long as the client goes on."""
        if self.unit.ends:
            return 0.0
        refused = self.unit.refused_microseconds
        if refused is None or not self.holds:
            share = self.unit.microseconds * self.per_second / 1e6
        else:
            limit = self.row.limit
            share = self.unit.microseconds * limit.rate / self.row.tokens / 1e6
            share += refused * limit.refused / 1e6
        if not self.flood.was_closed:
            # Not less than by the limit: other work on the machine holds up the flood.
            share = max(share, self.flood.cpu_seconds / self.flood.seconds)
        return 100 * share / self.slowness

    @property
    def is_too_expensive(self) -> bool:
        """Whether the row fails."""
        return self.is_judged and self.percent > MOST_PERCENT


def together(figures: Sequence[Figure]) -> str:
    """What a client takes that sends the most expensive input of each limit, all at once.

    Args:
        figures: Of one server.
    """
    most_expensive: dict[str, Figure] = {}
    for figure in figures:
        limit = figure.row.limit.name
        is_more = limit not in most_expensive or figure.percent > most_expensive[limit].percent
        if figure.is_judged and is_more:
            most_expensive[limit] = figure
    parts = [
        f"{each.row.name} {each.percent:.1f}" for each in most_expensive.values() if each.percent
    ]
    percent = sum(each.percent for each in most_expensive.values())
    return f"{percent:.1f} % of a core for the most expensive of each limit: {', '.join(parts)}"


@dataclass(frozen=True)
class Taken:
    """What one row of memory has taken of one server, in bytes.

    Args:
        deed: The row.
        server: Its name in the table.
        peak: By how much resident memory was larger meanwhile than before, at most.
        held: By how much more was in use while the clients stayed.
        left: By how much more was in use after they had gone.
        open: What had not ended then, in words.
    """

    deed: Deed
    server: str
    peak: int
    held: int
    left: int
    open: str = ""

    @property
    def faults(self) -> list[str]:
        """Each figure that is above its limit, in words."""
        pairs = [
            ("at its peak", self.peak, self.deed.peak),
            ("held", self.held, self.deed.held),
            ("left", self.left, self.deed.left),
        ]
        faults = [
            f"{self.deed.name}, {self.server}: {taken / 1024:,.0f} KiB {when}, of at most"
            f" {most / 1024:,.0f} ({self.deed.why})"
            for when, taken, most in pairs
            if taken > most
        ]
        if self.open:
            faults.append(f"{self.deed.name}, {self.server}: does not end ({self.open})")
        return faults

    def line(self) -> str:
        """The row of the table."""
        deed = self.deed
        pairs = [(self.peak, deed.peak), (self.held, deed.held), (self.left, deed.left)]
        cells = [f"{taken / 1024:7,.0f} /{most / 1024:7,.0f}" for taken, most in pairs]
        return f"{deed.name:32} {' '.join(cells)}  {deed.why}{' FAIL' if self.faults else ''}"


def verdict(figures: Sequence[tuple[str, Figure]], taken: Sequence[Taken] = ()) -> tuple[int, str]:
    """The exit status and the last lines of the output.

    Args:
        figures: Each with the name of its server.
        taken: What the rows of memory have taken.
    """
    faults = [
        f"{figure.row.name}, {server}: {figure.percent:.0f} % of a core"
        for server, figure in figures
        if figure.is_too_expensive
    ]
    memory_faults = [fault for each in taken for fault in each.faults]
    if not faults and not memory_faults:
        return 0, f"ok: no client takes more than {MOST_PERCENT:g} % of a core, or memory for ever."
    lines = ["FAILED"]
    if faults:
        lines += [f"one client may take {MOST_PERCENT:g} % of a core:", *faults]
    if memory_faults:
        lines += ["memory beyond its bound:", *memory_faults]
    return 1, "\n  ".join(lines)
