"""Random peers against a simple model, and against rules that hold in whatever order."""

import gc
import logging
import random
import time
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from itertools import cycle
from typing import Any, Final, TypeAlias

import anyio
import anyio.lowlevel
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.core.model import Model
from tests.core.model_script import (
    ROOMS,
    Join,
    Leave,
    Op,
    Open,
    Outside,
    Setting,
    Step,
    program_of,
    smallest,
)
from tests.core.model_world import World, settled, world

# On each of the two loops, and others on the other.
EXAMPLES = 125
# Seven seconds of an idle machine, and a busy one has shown 25.
LIMIT = 120

ROOM = ROOMS[0]

Play: TypeAlias = Callable[[Setting, list[Op]], Coroutine[Any, Any, None]]

# The seed is the example, and `run` does the shrinking; hypothesis sees to it that trio shuffles
# its tasks in the same way every time.
examples = settings(max_examples=EXAMPLES, phases=(Phase.generate,))


@pytest.fixture(scope="module", autouse=True)
def quick_to_look_through() -> Iterator[None]:
    """Nothing made before counts as left over, and failures that were asked for make no noise."""
    logging.getLogger("pondsocket").setLevel(logging.CRITICAL)
    # For good: it lives to the end, and other tests collect garbage too.
    gc.collect()
    gc.freeze()
    yield
    logging.getLogger("pondsocket").setLevel(logging.NOTSET)


async def follow(setting: Setting, program: list[Op]) -> None:
    model = Model(setting)
    async with world(setting) as pond:
        for number, op in enumerate(program):
            request = f"r{number:02}"
            if model.is_racy(op):
                continue
            if isinstance(op, Open):
                pond.go_on(model.choose(op))
            else:
                await pond.apply(request, op)
            model.apply(request, op)
            await settled()
            await assert_agreement(model, pond)
        while model.held:
            pond.go_on(model.choose(Open(0)))
            model.apply("", Open(0))
            await settled()
            await assert_agreement(model, pond)
        await pond.setup.pond.close()
        model.close()
        await settled()
        await assert_agreement(model, pond)


async def assert_agreement(model: Model, pond: World) -> None:
    assert not pond.faults(), pond.faults()
    assert sorted(pond.latches) == sorted(model.held)
    assert len(pond.all_peers) == len(model.connections)
    for checked, connection in zip(pond.all_peers, model.connections, strict=True):
        assert checked.session.is_open is connection.is_open
        heard, expected = by_channel(checked.lines), by_channel(connection.heard)
        assert heard == expected, f"{connection.user} heard {heard} instead of {expected}"
        checked.lines.clear()
        connection.heard.clear()
    rooms = model.rooms.values()
    members = {room.name: sorted({each.user for each in room.members}) for room in rooms}
    assert await pond.users() == {name: users for name, users in members.items() if users}
    for room in rooms:
        assert await pond.presence(room.name) == room.listed()
    assert sorted(pond.left) == sorted(model.left), (pond.left, model.left)


def by_channel(lines: list[tuple[str, Any]]) -> dict[str, list[Any]]:
    """Where a handler may hold up a channel, only the order within each one is a promise.

    Nor is it one how many ticks the presence of one moment takes: what a disconnect changes, and
    what is then still handled, may be told together or one after the other.
    """
    heard: dict[str, list[Any]] = {}
    for channel, line in lines:
        told = heard.setdefault(channel, [])
        if line[0] != "DIFF":
            told.append(line)
        elif told and told[-1][0] == "DIFF":
            told[-1] = merged(told[-1], line)
        else:
            told.append(merged(NOTHING_CHANGED, line))
    return heard


NOTHING_CHANGED: Final[tuple[Any, ...]] = ("DIFF", [], [], [])


def merged(first: tuple[Any, ...], second: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return two diffs as one: what the first added and the second removed was never there."""
    joins, updates, leaves = (sorted([*a, *b]) for a, b in zip(first[1:], second[1:], strict=True))
    passing = [entry for entry in joins if entry in leaves]
    rest = [[each for each in told if each not in passing] for told in (joins, leaves)]
    return ("DIFF", rest[0], updates, rest[1])


def run(backend: str, play: Play, seed: int, *, racy: bool) -> None:
    """Play the program of a seed; if that fails, fail with a short one that does."""
    setting, program = program_of(seed, racy=racy)

    def fails(ops: list[Op]) -> bool:
        try:
            play_on(backend, play(setting, ops))
        except Exception:  # noqa: BLE001 - whatever it is, it is what is looked for
            return True
        return False

    if fails(program):
        enough = time.monotonic() + 20
        short = smallest(program, lambda ops: time.monotonic() < enough and fails(ops))
        print(setting, *short, sep="\n")
        play_on(backend, play(setting, short))
        pytest.fail("It failed, but does not always.")


def play_on(backend: str, play: Coroutine[Any, Any, None]) -> None:
    async def limited() -> None:
        with anyio.fail_after(10):
            await play

    try:
        anyio.run(limited, backend=backend)
    except BaseExceptionGroup as group:
        # A failed assertion should look like one.
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None


async def race(setting: Setting, program: list[Op], *, turns: list[int]) -> None:
    """Do all of it nearly at once: between two operations pass so many turns of the loop."""
    async with world(setting) as pond:
        for number, (op, pause) in enumerate(zip(program, cycle(turns), strict=False)):
            request = f"r{number:02}"
            if isinstance(op, Open):
                waiting = sorted(pond.latches)
                pond.go_on(waiting[op.which % len(waiting)] if waiting else None)
            else:
                await pond.apply(request, op)
            for _ in range(pause):
                await anyio.lowlevel.checkpoint()
        await settled()
        while pond.latches:
            pond.go_on(min(pond.latches))
            await settled()
        await assert_settled(pond, setting)


async def assert_settled(pond: World, setting: Setting) -> None:
    for name in ROOMS:
        # Also tells what waits to be told.
        await pond.apply(f"probe {name}", Outside(name, Step("broadcast")))
    await settled()
    assert not pond.faults(), pond.faults()
    for checked in pond.all_peers:
        for request, op in checked.asked.items():
            answers = checked.answered.get(request, [])
            if isinstance(op, Join) and checked.session.is_open:
                assert len(answers) == 1, (request, answers)
    for mark, audience in pond.audiences.items():
        heard_by = [checked for checked in pond.all_peers if mark in checked.marks]
        if not setting.late or mark.startswith("probe"):
            assert heard_by == audience, mark
    for name in ROOMS:
        shown = await pond.presence(name)
        inside = [checked for checked in pond.all_peers if checked.is_in(name)]
        users = sorted({checked.session.user_id for checked in inside})
        assert (await pond.users()).get(name, []) == users
        for checked in inside:
            view = checked.view(name)
            if view.shown is not None:
                assert {user for user, _ in view.shown.values()} == shown.keys()
                assert set(shown.items()) <= set(view.shown.values())
            elif view.listed is not None:
                assert view.listed == sorted(shown.values())


def own(seed: int, backend: str) -> int:
    """Hypothesis gives the same examples to both loops: make others of them for trio."""
    return seed if backend == "asyncio" else seed + 2**32


@pytest.mark.timeout(LIMIT)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@examples
@given(st.integers(0, 2**32 - 1))
def test_whatever_peers_do_each_hears_what_the_model_says(backend: str, seed: int) -> None:
    run(backend, follow, own(seed, backend), racy=False)


@pytest.mark.timeout(LIMIT)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@examples
@given(st.integers(0, 2**32 - 1))
def test_whatever_races_every_peer_is_told_in_order(backend: str, seed: int) -> None:
    seed = own(seed, backend)
    turns = random.Random(seed).choices(range(4), k=7)
    run(backend, partial(race, turns=turns), seed, racy=True)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("last", [Leave(0, ROOM), Join(0, ROOM, (Step("decline"),))])
def test_an_answer_does_not_overtake_what_the_former_member_is_still_to_get(
    backend: str, last: Op
) -> None:
    setting = Setting(hosted=False, batches=False, late=True)
    join, news = Join(0, ROOM, (Step("accept"),)), Outside(ROOM, Step("broadcast"))
    evict = Outside(ROOM, Step("evict"))
    program: list[Op] = [join, news, news, news, evict, last]
    play_on(backend, race(setting, program, turns=[6, 0, 0, 0, 0, 0]))
