"""`pond.dependency_overrides`: what a test puts in the place of dependencies."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Annotated, Any, Final

import pytest
from pondsocket import (
    ConnectionContext,
    Depends,
    EventContext,
    JoinContext,
    LeaveContext,
    Lobby,
    PondSocket,
    SyncEventContext,
)
from pondsocket.testing import connect

from tests.core.members import answer_to_event, member
from tests.core.ponds import ROOM, PondSetup, build, logged_error

LOG: Final[list[str]] = []


@pytest.fixture(autouse=True)
def empty_log() -> None:
    LOG.clear()


def get_db() -> str:
    return "real"


class Clock:
    def __init__(self, db: str = Depends(get_db)) -> None:
        self.shown = f"clock of {db}"


def get_motd(clock: Clock = Depends(Clock)) -> str:
    return clock.shown


async def waits() -> str:
    return "fake"


async def opens() -> AsyncIterator[str]:
    yield "fake"
    LOG.append("closed")


def opens_plainly() -> Iterator[str]:
    yield "fake"
    LOG.append("closed")


class Callables:
    def __call__(self) -> str:
        return "fake"

    async def bound(self, ctx: EventContext) -> str:
        return "fake"


def with_context(ctx: SyncEventContext) -> str:
    return "fake"


def with_field(kind: str = "fake") -> str:
    return kind


FAKES: Final[list[Callable[..., Any]]] = [
    lambda: "fake",
    waits,
    opens,
    opens_plainly,
    Callables(),
    Callables().bound,
    with_context,
    with_field,
]


def plain_handler(db: str = Depends(get_db)) -> str:
    return db


async def async_handler(ctx: EventContext, db: Annotated[str, Depends(get_db)]) -> str:
    return db


async def asked(setup: PondSetup, event: str = "db") -> Any:
    async with member(setup, "ann") as ann:
        answer = await ann.answer(ann.send("BROADCAST", ROOM, event))
        assert isinstance(answer.payload, Mapping)
        return answer.payload["result"]


@pytest.mark.parametrize("handler", [plain_handler, async_handler])
@pytest.mark.parametrize("fake", FAKES)
async def test_any_function_may_stand_in_the_place_of_a_dependency(
    handler: Callable[..., Any], fake: Callable[..., Any]
) -> None:
    setup = build()
    setup.lobby.on_message("db", handler)
    setup.pond.dependency_overrides[get_db] = fake
    assert await asked(setup) == "fake"
    assert ("closed" in LOG) is (fake in (opens, opens_plainly))


async def test_a_dependency_of_a_dependency_is_overridden_too() -> None:
    setup = build()
    setup.lobby.on_message("db", lambda text=Depends(get_motd): text)
    setup.pond.dependency_overrides[get_db] = lambda: "fake"
    assert await asked(setup) == "clock of fake"
    setup.pond.dependency_overrides[Clock] = lambda: type("Fake", (), {"shown": "at noon"})()
    assert await asked(setup) == "at noon"


async def test_an_override_holds_until_it_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = build()
    setup.lobby.on_message("db", async_handler)
    overrides = setup.pond.dependency_overrides
    assert await asked(setup) == "real"
    with monkeypatch.context() as patch:
        patch.setitem(overrides, get_db, lambda: "first")
        assert await asked(setup) == "first"
        patch.setitem(overrides, get_db, lambda: "second")
        assert await asked(setup) == "second"
    assert await asked(setup) == "real"
    overrides[get_db] = waits
    overrides.clear()
    assert await asked(setup) == "real"


async def test_a_handler_of_every_kind_gets_what_stands_in_its_place() -> None:
    pond = PondSocket()
    pond.dependency_overrides[get_db] = waits

    async def admit(ctx: ConnectionContext, db: str = Depends(get_db)) -> None:
        LOG.append(f"connection {db}")
        ctx.accept(user_id="ann")

    async def join(ctx: JoinContext, db: str = Depends(get_db)) -> None:
        LOG.append(f"join {db}")
        await ctx.accept()

    async def leave(ctx: LeaveContext, db: str = Depends(get_db)) -> None:
        LOG.append(f"leave {db}")

    lobby = Lobby("/room/:id", join)  # before it belongs to the pond
    lobby.on_leave(leave)
    lobby.on_message("db", plain_handler)
    endpoint = pond.create_endpoint("/socket", admit)
    endpoint.on_message("db", plain_handler)
    endpoint.include(lobby)
    async with connect(pond, "/socket") as ann:
        await ann.join(ROOM)
        for name in (ROOM, "GATEWAY"):
            answer = await ann.answer(ann.send("BROADCAST", name, "db"))
            assert answer.payload == {"result": "fake"}
    assert LOG == ["connection fake", "join fake", "leave fake"]


async def test_overrides_of_one_pond_are_not_those_of_another() -> None:
    faked, real = build(), build()
    for setup in (faked, real):
        setup.lobby.on_message("db", plain_handler)
    faked.pond.dependency_overrides[get_db] = lambda: "fake"
    assert [await asked(faked), await asked(real)] == ["fake", "real"]


@pytest.mark.parametrize(
    ("fake", "text"),
    [
        (lambda where: "fake", "where does 'where' come from"),
        (async_handler, "it depends on async_handler, which depends on it"),
        ("fake", "is no function"),
    ],
)
async def test_what_cannot_stand_there_is_logged_with_what_to_write(
    fake: Any, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    setup = build()
    setup.lobby.on_message("db", plain_handler)
    setup.pond.dependency_overrides[get_db] = fake
    async with member(setup, "ann") as ann:
        answer = await ann.answer(ann.send("BROADCAST", ROOM, "db"))
        assert answer.event == "INTERNAL_SERVER_ERROR"
    logged_error(caplog)
    assert text in caplog.text


def test_the_dict_itself_cannot_be_replaced() -> None:
    with pytest.raises(AttributeError):
        PondSocket().dependency_overrides = {}  # type: ignore[misc]


async def test_handlers_without_dependencies_do_not_change() -> None:
    setup = build()
    setup.lobby.on_message("same", lambda: "same")
    setup.pond.dependency_overrides[get_db] = lambda: "fake"
    async with member(setup, "ann") as ann:
        assert await answer_to_event(ann, "same") == "same"
