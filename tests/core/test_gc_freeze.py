"""The garbage collector while a pond is open: what is frozen and when, and that all is restored."""

import gc
import logging
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Final

import anyio
import pytest
from pondsocket import Options, PondSocket, UsageError
from pondsocket._serving.gc_freeze import LEAST_CONNECTIONS, MOST_AT_ONCE, THRESHOLDS, GCFreeze
from pondsocket.testing import MemoryPeer

from tests.core.members import settled
from tests.core.ponds import PondSetup, admitted, build

ON: Final = Options(gc_freeze=True)
OWN: Final = (650, 9, 8)


def state() -> tuple[tuple[int, int, int], int]:
    return gc.get_threshold(), gc.get_freeze_count()


class Freezes:
    """How often `gc.freeze` was called, and what was collected before."""

    def __init__(self) -> None:
        self.count = 0
        self.collected: list[int] = []


@pytest.fixture(scope="module", autouse=True)
def nothing_frozen() -> Iterator[None]:
    """Let the module begin with a collector as Python starts it."""
    gc.unfreeze()
    yield
    gc.freeze()


@pytest.fixture(autouse=True)
def freezes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Freezes]:
    """Count the freezes, and restore the collector also after a failure."""
    thresholds, freeze, collect = gc.get_threshold(), gc.freeze, gc.collect
    noted = Freezes()

    def note_freeze() -> None:
        noted.count += 1
        freeze()

    def note_collect(generation: int = 2) -> int:
        noted.collected.append(generation)
        return collect(generation)

    monkeypatch.setattr(gc, "freeze", note_freeze)
    monkeypatch.setattr(gc, "collect", note_collect)
    gc.set_threshold(*OWN)
    yield noted
    gc.enable()
    gc.unfreeze()
    gc.set_threshold(*thresholds)


@asynccontextmanager
async def crowd(setup: PondSetup, count: int) -> AsyncIterator[None]:
    """Have so many clients connected."""
    async with anyio.create_task_group() as tasks:
        peers: list[MemoryPeer] = []
        for number in range(count):
            session = await admitted(setup.pond, f"user{number}")
            peers.append(MemoryPeer(session))
            tasks.start_soon(session.run, peers[-1], peers[-1].pull)
            await settled()
        yield
        for peer in peers:
            peer.vanish()


async def test_it_is_off_by_default(freezes: Freezes) -> None:
    before = state()
    setup = build()
    async with setup.pond, crowd(setup, LEAST_CONNECTIONS + 1):
        assert state() == before
    assert (state(), freezes.count, freezes.collected) == (before, 0, [])


async def test_it_begins_with_the_pond_and_all_is_restored_at_its_end(freezes: Freezes) -> None:
    before = state()
    setup = build(options=ON)
    assert state() == before
    for _ in range(2):
        freezes.count = 0
        async with setup.pond:
            assert gc.get_threshold() == THRESHOLDS
            assert gc.get_freeze_count() > 1_000  # modules, classes, functions
            async with crowd(setup, LEAST_CONNECTIONS):
                assert freezes.count == 1  # at the start
                async with crowd(setup, 1):
                    assert freezes.count == 2
        assert state() == before


@pytest.mark.parametrize("inner", ["fails", "is cancelled"])
async def test_all_is_restored_however_the_block_ends(inner: str) -> None:
    before = state()
    with anyio.CancelScope() as scope:
        try:
            async with PondSocket(options=ON):
                if inner == "fails":
                    raise ValueError
                scope.cancel()
                await anyio.lowlevel.checkpoint()
        except ValueError:
            assert inner == "fails"
    assert state() == before


async def test_nothing_changes_if_the_application_does_not_start(freezes: Freezes) -> None:
    before = state()

    @asynccontextmanager
    async def failing(pond: PondSocket) -> AsyncIterator[None]:
        assert state() == before  # what it opens is frozen, too
        raise ValueError
        yield

    with pytest.raises(ValueError, match=r"^$"):
        async with PondSocket(options=ON, lifespan=failing):
            pass
    assert (state(), freezes.count) == (before, 0)


async def test_a_pond_entered_by_the_host_and_the_adapter_restores_once(freezes: Freezes) -> None:
    before = state()
    pond = PondSocket(options=ON)
    async with pond:
        async with pond:
            assert freezes.count == 1
        assert gc.get_threshold() == THRESHOLDS
    assert state() == before


@pytest.mark.parametrize("first_ends_first", [True, False])
async def test_of_several_ponds_the_last_one_restores(first_ends_first: bool) -> None:
    before = state()
    first, last = PondSocket(options=ON), PondSocket(options=ON)
    await first.__aenter__()
    await last.__aenter__()
    if not first_ends_first:
        first, last = last, first
    await first.__aexit__(None, None, None)
    assert gc.get_threshold() == THRESHOLDS
    assert gc.get_freeze_count()
    await last.__aexit__(None, None, None)
    assert state() == before


async def test_thresholds_that_the_application_sets_meanwhile_stay() -> None:
    async with PondSocket(options=ON):
        gc.set_threshold(5_000, 20, 20)
    assert state() == ((5_000, 20, 20), 0)


async def test_what_a_server_had_frozen_before_is_frozen_afterwards(freezes: Freezes) -> None:
    marked: list[object] = [[]]
    gc.freeze()
    frozen = gc.get_freeze_count()
    async with PondSocket(options=ON):
        pass
    assert gc.get_freeze_count() >= frozen * 0.9  # some of them are garbage now
    assert gc.get_threshold() == OWN
    assert all(each is not marked for each in gc.get_objects())  # frozen objects are not listed


async def test_a_collector_that_is_switched_off_is_left_alone(
    freezes: Freezes, caplog: pytest.LogCaptureFixture
) -> None:
    gc.disable()
    before = state()
    setup = build(options=ON)
    async with setup.pond, crowd(setup, LEAST_CONNECTIONS + 1):
        assert (state(), freezes.count) == (before, 0)
        gc.enable()
        async with crowd(setup, LEAST_CONNECTIONS + 1):
            assert freezes.count == 0
    assert not caplog.records


async def test_a_pond_that_nothing_has_entered_says_so_once(
    freezes: Freezes, caplog: pytest.LogCaptureFixture
) -> None:
    """As nothing would end it either."""
    before = state()
    setup = build(options=ON)
    async with crowd(setup, LEAST_CONNECTIONS + 1):
        assert (state(), freezes.count) == (before, 0)
    (record,) = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert "Options.gc_freeze has no effect" in record.getMessage()


# --- how often --------------------------------------------------------------------------------


class Clients:
    """How many there are, as one after the other connects."""

    def __init__(self, freezes: Freezes) -> None:
        self.freezes = freezes
        self.count = 0
        self.freeze = GCFreeze(lambda: self.count)
        self.freeze.begin()
        freezes.count, freezes.collected = 0, []

    def become(self, count: int) -> list[int]:
        """Let clients connect. Return how many were there at each freeze."""
        frozen: list[int] = []
        while self.count < count:
            self.count += 1
            before = self.freezes.count
            self.freeze.connecting()
            frozen += [self.count] * (self.freezes.count - before)
        return frozen


@pytest.fixture
def clients(freezes: Freezes) -> Iterator[Clients]:
    clients = Clients(freezes)
    yield clients
    clients.freeze.end()


def test_connections_are_frozen_each_time_they_have_doubled_or_are_500_more(
    clients: Clients, freezes: Freezes
) -> None:
    assert (LEAST_CONNECTIONS, MOST_AT_ONCE) == (64, 500)
    assert clients.become(2_200) == [64, 128, 256, 512, 1012, 1512, 2012]
    assert freezes.collected == [1] * 7  # never all


def test_clients_that_come_and_go_bring_no_freezes(clients: Clients) -> None:
    clients.become(1_012)
    for _ in range(20):
        clients.count = 506  # just not half of them have left
        assert clients.become(1_500) == []


def test_clients_that_come_after_most_have_left_are_frozen_again(clients: Clients) -> None:
    clients.become(1_012)
    clients.count = 100
    assert clients.become(900) == [202, 404, 808]
    clients.count = 0
    assert clients.become(128) == [64, 128]


# --- its price --------------------------------------------------------------------------------


class Knot:
    """An object that only the collector can free."""

    def __init__(self) -> None:
        self.me = self


def test_garbage_of_frozen_objects_is_found_after_the_end(clients: Clients) -> None:
    early, knot = weakref.ref(Knot()), Knot()
    clients.become(LEAST_CONNECTIONS)
    assert early() is None  # garbage is collected before, as far as it is young
    late = weakref.ref(knot)
    del knot
    gc.collect()
    assert late() is not None
    clients.freeze.end()
    gc.collect()
    assert late() is None


@pytest.mark.parametrize("value", [1, None, "yes"])
def test_it_is_on_or_off(value: object) -> None:
    with pytest.raises(UsageError, match=r"Options\.gc_freeze is True or False: "):
        Options(gc_freeze=value)  # type: ignore[arg-type]
