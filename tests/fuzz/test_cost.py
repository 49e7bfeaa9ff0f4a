"""What is made of the figures of `python -m tests.fuzz.cost`, and its table: without a server."""

import json
import os
from dataclasses import replace

import pytest
from pondsocket_common import InvalidMessage, decode_client

from tests.fuzz import cost
from tests.fuzz.cost_clients import FrameMeter
from tests.fuzz.cost_inputs import (
    BODY_BYTES,
    CONTROLS,
    EVENTS,
    INPUTS,
    MESSAGE_BYTES,
    MESSAGES,
    REFUSED,
    SMALL_FRAMES,
    UNBOUND,
    Input,
    filled,
)
from tests.fuzz.cost_memory import MemoryServer
from tests.fuzz.cost_memory_clients import Crowd
from tests.fuzz.cost_memory_rows import DEEDS, Deed
from tests.fuzz.cost_verdict import (
    NO_FLOOD,
    REFERENCE_MICROSECONDS,
    Figure,
    Flood,
    Taken,
    Unit,
    loads_microseconds,
    slowness,
    together,
    verdict,
)

ROW = Input(name="a row", data=b"{}")
CLOSED = Flood(seconds=1.0, cpu_seconds=0.5, was_closed=True)


def figure(
    microseconds: float = 100.0, row: Input = ROW, flood: Flood = CLOSED, *, judged: bool = True
) -> Figure:
    """A row that costs so much."""
    return Figure(row, Unit(microseconds, 0.0, 0), flood, judged)


# --- the arithmetic -----------------------------------------------------------------------------


def test_a_limit_that_ends_the_flood_is_what_a_client_may_go_on_with() -> None:
    assert figure().per_second == pytest.approx(59.9)
    assert figure(1_000).percent == pytest.approx(5.99)


@pytest.mark.parametrize(
    ("limit", "messages", "per_second"),
    [
        (EVENTS, 1, 59.9),
        (CONTROLS, 1, 59.9),
        (EVENTS, 64, 50 / 64 + 9.9),
        (REFUSED, 1, 9.9),
        (SMALL_FRAMES, 1, 500.0),
        (UNBOUND, 1, 0.0),
    ],
)
def test_how_often_an_input_may_come(limit: object, messages: int, per_second: float) -> None:
    row = replace(ROW, limit=limit, messages=messages)  # type: ignore[arg-type]
    assert row.per_second == pytest.approx(per_second)


def test_an_input_that_takes_much_of_its_limit_costs_less_where_the_rate_refuses_it() -> None:
    row = replace(ROW, messages=100)
    unit = Unit(50_000.0, 0.0, 0, refused_microseconds=1_000.0)
    heavy = Figure(row, unit, NO_FLOOD, is_judged=True)
    assert heavy.percent == pytest.approx(100 * (50_000 * 0.5 + 1_000 * 9.9) / 1e6)
    assert replace(heavy, unit=replace(unit, refused_microseconds=None)).percent > heavy.percent


def test_a_flood_that_nothing_ends_costs_what_was_measured() -> None:
    endless = Flood(seconds=10.0, cpu_seconds=1.4, was_closed=False)
    assert figure(1, flood=endless).percent == pytest.approx(14.0)
    assert not figure(1, flood=endless).is_too_expensive
    assert figure(1, flood=replace(endless, cpu_seconds=1.6)).is_too_expensive


def test_a_flood_that_other_work_holds_up_costs_what_the_limit_allows() -> None:
    held_up = Flood(seconds=10.0, cpu_seconds=1.0, was_closed=False)
    assert figure(5_000, flood=held_up).percent == pytest.approx(29.95)


def test_a_flood_that_a_looser_limit_ends_is_counted_at_the_looser_rate() -> None:
    row = replace(ROW, limit=REFUSED)
    in_time = replace(CLOSED, inputs=100.0)
    assert figure(row=row, flood=in_time).per_second == pytest.approx(9.9)
    assert figure(row=row, flood=replace(CLOSED, inputs=600.0)).per_second == pytest.approx(59.9)


def test_a_burst_that_takes_long_fills_up_meanwhile() -> None:
    slow = Flood(seconds=10.0, cpu_seconds=5.0, was_closed=True, inputs=1_100.0)
    assert figure(flood=slow).holds


def test_what_ends_its_connection_costs_nothing_more() -> None:
    ending = replace(figure(), unit=Unit(1_000_000, 0.0, 0, ends=True))
    assert ending.percent == 0.0
    assert not ending.is_too_expensive


def test_shares_of_a_slower_machine_are_those_of_the_reference() -> None:
    assert slowness([2 * REFERENCE_MICROSECONDS]) == 2.0
    expensive = figure(4_000)
    assert expensive.is_too_expensive
    slower = replace(expensive, slowness=slowness([2 * REFERENCE_MICROSECONDS]))
    assert slower.percent == pytest.approx(expensive.percent / 2)
    assert not slower.is_too_expensive


def test_a_faster_machine_is_not_made_slower() -> None:
    assert slowness([REFERENCE_MICROSECONDS / 3]) == 1.0


def test_one_odd_moment_is_not_how_slow_the_machine_is() -> None:
    assert slowness([REFERENCE_MICROSECONDS, REFERENCE_MICROSECONDS, 5.0]) == 1.0


def test_reading_a_short_message_takes_microseconds() -> None:
    assert 0.01 < loads_microseconds() < 100


# --- the verdict --------------------------------------------------------------------------------


def test_a_row_over_the_share_fails_and_is_named() -> None:
    status, text = verdict([("SSE", figure(100)), ("plain", figure(3_000))])
    assert status == 1
    assert "a row, plain: 18 % of a core" in text
    assert "SSE" not in text


def test_rows_below_the_share_pass() -> None:
    status, text = verdict([("plain", figure(2_000)), ("SSE", figure(100))])
    assert (status, text[:2]) == (0, "ok")


def test_a_row_that_is_not_judged_fails_nothing() -> None:
    endless = Flood(seconds=1.0, cpu_seconds=1.0, was_closed=False)
    assert verdict([("plain", figure(flood=endless, judged=False))])[0] == 0


def test_the_most_expensive_inputs_of_each_limit_are_summed_up() -> None:
    join = Input(name="a join", data=b"", limit=CONTROLS)
    unjudged = figure(9_000, judged=False)
    figures = [figure(100), figure(1_000), figure(2_000, row=join), unjudged]
    assert together(figures) == (
        "18.0 % of a core for the most expensive of each limit: a row 6.0, a join 12.0"
    )


# --- the verdict on memory ----------------------------------------------------------------------

DEED = Deed(
    name="a deed", do=lambda _: None, peak=4_096, held=2_048, left=1_024, why="a bound of its own"
)


def taken(deed: Deed = DEED, peak: int = 0, held: int = 0, left: int = 0) -> Taken:
    """What a row has taken."""
    return Taken(deed, "SSE", peak, held, left)


@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.name)
@pytest.mark.parametrize("figure_name", ["peak", "held", "left"])
def test_each_limit_of_memory_can_fail(deed: Deed, figure_name: str) -> None:
    most = getattr(deed, figure_name)
    at_most = taken(deed, **{figure_name: most})
    assert verdict([], [at_most])[0] == 0
    assert "FAIL" not in at_most.line()

    above = taken(deed, **{figure_name: most + 1})
    status, text = verdict([], [at_most, above])
    assert status == 1
    assert text.count(f"{deed.name}, SSE") == 1
    assert deed.why in text
    assert above.line().endswith("FAIL")


def test_a_fault_of_memory_says_when_how_much_and_why() -> None:
    above = taken(peak=4_096, held=2_048, left=10 * 1_024)
    assert above.faults == ["a deed, SSE: 10 KiB left, of at most 1 (a bound of its own)"]


def test_both_kinds_of_faults_are_named() -> None:
    status, text = verdict([("plain", figure(3_000))], [taken(held=3_000)])
    assert status == 1
    assert "a row, plain: 18 % of a core" in text
    assert "a deed, SSE: 3 KiB held" in text


def test_nothing_of_memory_is_beyond_its_bound() -> None:
    assert verdict([("plain", figure(100))], [taken()])[0] == 0


def test_each_deed_has_a_name_of_its_own_and_limits() -> None:
    assert len({deed.name for deed in DEEDS}) == len(DEEDS)
    for deed in DEEDS:
        assert deed.peak > 0, deed.name
        assert deed.held > 0, deed.name
        # What may be left for ever is less than what clients may hold, or a bound of its own.
        assert 0 < deed.left <= deed.held, deed.name


# --- measuring again ----------------------------------------------------------------------------


def test_only_rows_that_failed_are_measured_again_and_stay_in_their_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured: list[tuple[str, ...]] = []

    def cheap(rows: list[Input], names: list[str], _: float) -> list[tuple[str, Figure]]:
        measured.append((rows[0].name, names[0]))
        return [(names[0], figure(1, row=rows[0]))]

    def small(deeds: list[Deed], servers: dict[str, object]) -> list[Taken]:
        measured.append((deeds[0].name, *servers))
        return [Taken(deeds[0], "SSE", 1, 1, 1)]

    monkeypatch.setattr(cost, "measure", cheap)
    monkeypatch.setattr(cost, "measure_memory", small)
    dear = Input(name="dear", data=b"")
    figures = [("plain", figure(2)), ("fast lane", figure(3_000, row=dear)), ("SSE", figure(3))]
    figures, kept = cost.measure_again(figures, [taken(held=3_000), taken(held=5)], 1.0)

    assert measured == [("dear", "fast lane"), ("a deed", "SSE")]
    assert [(name, each.unit.microseconds) for name, each in figures] == [
        ("plain", 2),
        ("fast lane", 1),
        ("SSE", 3),
    ]
    assert [each.held for each in kept] == [1, 5]
    assert verdict(figures, kept)[0] == 0


# --- measuring memory ---------------------------------------------------------------------------


class Server:
    """Stands in for the server: its process is this one."""

    pid = os.getpid()
    port = 0


class Measured(MemoryServer):
    """Says what it is told to: before, during and after."""

    def __init__(self, held: list[int], still_open: str = "") -> None:
        self._server = Server()  # type: ignore[assignment]
        self._transport = "websocket"
        self._turn = 0
        self._readings = held
        self._open = still_open
        self.ends = 0

    def _held(self) -> int:
        return self._readings.pop(0)

    def _settle(self) -> None:
        pass

    def _wait_for_end(self) -> str:
        self.ends += 1
        return self._open


def test_what_is_held_and_left_is_what_was_not_there_before() -> None:
    found = Measured([1_000, 6_000, 1_500]).measure(DEED, "SSE")
    assert (found.held, found.left) == (5_000, 500)
    # Its peak is that of this process, which may take a page at any time.
    held = [each for each in found.faults if " held," in each or " left," in each]
    assert held == ["a deed, SSE: 5 KiB held, of at most 2 (a bound of its own)"]


def test_a_connection_that_does_not_end_is_a_fault() -> None:
    found = Measured([0, 0, 0], "2 connections instead of 0").measure(DEED, "SSE")
    assert "a deed, SSE: does not end (2 connections instead of 0)" in found.faults


class Ending(MemoryServer):
    """Its server has these states, one after the other, and then the last for ever."""

    def __init__(self, states: list[dict[str, int]]) -> None:
        self._start = states[0]
        self._states = states

    def _state(self) -> dict[str, int]:
        return self._states.pop(0) if len(self._states) > 1 else self._states[0]

    def wait(self) -> str:
        return self._wait_for_end()


def state(held: int = 0, **more: int) -> dict[str, int]:
    return {"connections": 0, "channels": 0, "tasks": 3, "files": 9, "held": held} | more


def test_a_server_is_waited_for_until_all_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Ending([state(), state(9_000, tasks=4), state(9_000), state(99), state(98)])
    assert server.wait() == ""
    monkeypatch.setattr("tests.fuzz.cost_memory.END_SECONDS", 0.1)
    assert Ending([state(), state(files=10)]).wait() == "10 files instead of 9"


def test_the_peak_is_seen_though_it_is_over() -> None:
    def take_much(_: Crowd) -> None:
        bytes(64 * 1024 * 1024)  # and lets go of it
        bytearray(b"x") * (64 * 1024 * 1024)

    found = Measured([0, 0, 0]).measure(replace(DEED, do=take_much, is_fresh=True), "SSE")
    assert found.peak > 50 * 1024 * 1024


@pytest.mark.parametrize(("is_fresh", "times"), [(True, 1), (False, 2)])
def test_a_row_is_done_once_before_unless_it_must_be_fresh(is_fresh: bool, times: int) -> None:
    turns: list[int] = []
    deed = replace(DEED, do=lambda crowd: turns.append(crowd.turn), is_fresh=is_fresh)
    server = Measured([0, 0, 0])
    server.measure(deed, "SSE")
    assert turns == list(range(1, times + 1))
    assert server.ends == 2  # before the first reading, and before the last


def test_names_of_a_crowd_are_never_given_twice() -> None:
    crowds = [Crowd(0, "websocket", turn) for turn in (1, 2)]
    names = [name for crowd in crowds for n in (0, 1) for name in crowd.names("room", 3, n)]
    assert len(set(names)) == 12
    assert {len(name) for name in names} == {250}


# --- the table ----------------------------------------------------------------------------------


def test_each_row_has_a_name_of_its_own() -> None:
    assert len({row.name for row in INPUTS}) == len(INPUTS)


def test_messages_are_within_the_limits() -> None:
    for row in MESSAGES:
        most = MESSAGE_BYTES if "websocket" in row.transports else BODY_BYTES
        assert len(row.data) <= most, row.name


def test_good_messages_are_messages() -> None:
    for row in MESSAGES:
        if row.name.startswith("good"):
            decode_client(row.data)


def test_broken_messages_are_none() -> None:
    broken = [row for row in MESSAGES if row.name in {"JSON that breaks at its end", "no fields"}]
    assert len(broken) == 2
    for row in broken:
        with pytest.raises(InvalidMessage):
            decode_client(row.data)


def test_a_message_is_filled_to_the_last_item() -> None:
    for size in (1_000, 1_001, 1_002):
        text = filled("{}", size=size)
        assert size - 3 < len(text) <= size
        assert set(map(str, json.loads(text)["payload"]["a"])) == {"{}"}


def test_a_sample_stays_within_the_burst() -> None:
    for row in INPUTS:
        if row.limit in (EVENTS, CONTROLS, SMALL_FRAMES):
            assert row.sample * row.tokens < row.limit.burst, row.name


# --- the client ---------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1, 3, 1_000])
def test_a_close_frame_is_seen_wherever_it_is_cut(step: int) -> None:
    sizes = (b"\x81\x7d" + b"x" * 125, b"\x81\x7e\x01\x00" + b"\x88\x02" * 128, b"\x8a\x00")
    stream = b"".join(sizes)
    meter = FrameMeter()
    for at in range(0, len(stream), step):
        meter.feed(stream[at : at + step])
    assert (meter.closed, meter.bytes) == (None, len(stream))
    for byte in b"\x88\x04\x11\x4dno":
        meter.feed(bytes([byte]))
    assert meter.closed == 4429
