"""How long a loop stands still is found out, and told."""

import asyncio
import gc
from typing import Any

import pytest

from tests.benchmarks._contenders import CONTENDERS, watched
from tests.benchmarks._figures import Line, Result
from tests.benchmarks._rounds import measure
from tests.benchmarks._scenarios.scenario import most_members
from tests.benchmarks._scenarios.stops import Stop, stops_of
from tests.benchmarks.apps import bare, stops
from tests.benchmarks.apps.stops import LoopClock, Watched
from tests.benchmarks.test_benchmarks import SECONDS

NONE = {"collection": 0.0, "collecting": 0.0}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _no_clock_stays() -> Any:
    before = list(gc.callbacks)
    yield
    gc.callbacks[:] = before


class FakeTime:
    """Time that stands still until a test lets it go on."""

    def __init__(self) -> None:
        self.now = self.used = 0.0

    def go_on(self, seconds: float, used: float = 0) -> None:
        """Let time go on, and let the thread use some of it."""
        self.now += seconds
        self.used += used

    def monotonic(self) -> float:
        """Return the time."""
        return self.now

    perf_counter = monotonic

    def thread_time(self) -> float:
        """Return the CPU time of the thread."""
        return self.used


@pytest.fixture
def fake_time(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    fake = FakeTime()
    monkeypatch.setattr(stops, "time", fake)
    return fake


async def test_a_loop_that_stands_still_is_noticed_once(fake_time: FakeTime) -> None:
    clock = LoopClock()
    assert clock.read() == {"stop": 0, "busy": 0} | NONE
    fake_time.go_on(0.251, used=0.125)
    await asyncio.sleep(0.01)  # the clock's own timer is due before this one
    assert clock.stop == 0.25
    assert clock.read() == pytest.approx({"stop": 250, "busy": 125} | NONE)
    assert clock.read()["stop"] == 0
    fake_time.go_on(0.501)
    assert clock.read() == pytest.approx({"stop": 500, "busy": 0} | NONE)


async def test_the_longest_stop_is_kept(fake_time: FakeTime) -> None:
    clock = LoopClock()
    for seconds in (0.01, 0.101, 0.02):
        clock._on_tick()
        fake_time.go_on(seconds, used=seconds)
    clock._on_tick()
    assert clock.read() == pytest.approx({"stop": 100, "busy": 101} | NONE)


async def test_a_collection_is_timed_by_itself(fake_time: FakeTime) -> None:
    clock = LoopClock()
    for seconds in (0.5, 0.25):
        clock._on_collection("start", {})
        fake_time.go_on(seconds, used=seconds / 2)
        clock._on_collection("stop", {})
    found = clock.read()
    assert (found["collection"], found["collecting"]) == (500, 250)
    assert clock._on_collection in gc.callbacks


class FakePond:
    """A pond that notes that it was told to drain."""

    def __init__(self) -> None:
        self.has_begun = False

    def begin_drain(self) -> None:
        """Note it."""
        self.has_begun = True


async def answered(app: Watched, word: str) -> tuple[int, bytes]:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    await app({"type": "http", "path": f"/stops/{word}"}, receive, send)
    return sent[0]["status"], sent[1]["body"]


async def test_the_clock_answers_and_tells_the_pond_to_drain() -> None:
    pond = FakePond()
    app = Watched(bare.app, pond)
    assert (await answered(app, "read"))[1].startswith(b'{"stop": ')
    assert (await answered(app, "collect"))[0] == 200
    assert not pond.has_begun
    assert await answered(app, "drain") == (200, b"{}")
    assert pond.has_begun


async def test_an_app_without_a_pond_does_not_drain() -> None:
    assert await answered(Watched(bare.app, None), "drain") == (404, b"{}")
    with pytest.raises(ValueError, match="only WebSockets"):
        await Watched(bare.app, None)({"type": "lifespan"}, None, None)  # type: ignore[arg-type]


def test_the_app_is_the_one_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    under, env = watched(CONTENDERS["ours"])
    assert under.command[-1] == "tests.benchmarks.apps.stops:app"
    assert env == {"BENCHMARK_APP": "tests.benchmarks.apps.pond:app"}
    monkeypatch.setenv("BENCHMARK_APP", "tests.benchmarks.apps.bare:app")
    assert isinstance(stops.app, Watched)


def test_the_usual_stop_is_the_median_and_what_is_always_there_is_no_stop() -> None:
    seen = [Stop(1, 5), Stop(9, 4), Stop(2, 6)]
    assert Stop.usual(seen) == (2, 5)
    assert Stop.longest(seen) == (9, 6)
    assert Stop(9, 1).without(Stop(2, 3)) == (7, 0)


def test_there_are_fewer_members_where_files_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    def limit(hard: int) -> None:
        monkeypatch.setattr("resource.getrlimit", lambda _: (1, hard))

    limit(4_096)
    assert most_members(20_000) == 3_596
    assert "3,596 idle members" in stops_of(()).title
    assert "20,000 were wanted" in stops_of(()).conditions
    limit(1_000_000)
    assert most_members(20_000) == 20_000
    assert "wanted" not in stops_of(()).conditions
    limit(-1)  # RLIM_INFINITY
    assert most_members(20_000) == 20_000


@pytest.mark.integration
@pytest.mark.timeout(SECONDS)
def test_stops_are_measured_and_a_drain_ends() -> None:
    scenario = stops_of(("bare", "ours"), 60, 1)
    lines = measure(scenario, [CONTENDERS["bare"], CONTENDERS["ours"]], 1, print)
    result = Result(key="stops", title="", unit="", lines=lines)
    assert {key: line.fault for key, line in result.lines.items()} == {"bare": None, "ours": None}
    found: dict[str, Line] = result.lines
    assert "drain_ms" not in found["bare"].samples[0].extras
    assert {"members", "growing_cpu_ms", "collection_ms", "tick_cpu_ms", "drain_cpu_ms"} < set(
        found["ours"].samples[0].extras
    )
