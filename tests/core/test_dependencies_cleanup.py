"""Dependencies that are generators are cleaned up, whatever happens; and where they may stand."""

# ruff: noqa: A002

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from pondsocket import (
    ConnectionContext,
    Depends,
    EventContext,
    JoinContext,
    LeaveContext,
    Options,
    PondError,
    PondSocket,
    UsageError,
)
from pondsocket.testing import ConnectionRefused, connect
from pondsocket_common import Acknowledged, Refused

from tests.core.dependency_log import DependencyLog
from tests.core.members import member, settled
from tests.core.ponds import ROOM, build
from tests.core.typed_handlers import ask, fault, lobby, result


@pytest.mark.parametrize("form", ["generates", "generates_async"])
@pytest.mark.parametrize("plain", [False, True])
async def test_a_generator_sees_the_handlers_exception_and_is_cleaned_up(
    form: str, plain: bool, caplog: pytest.LogCaptureFixture
) -> None:
    log = DependencyLog()
    dependency = getattr(log, form)

    def fails(value: str = Depends(dependency)) -> None:
        raise ValueError(value)

    async def fails_async(value: str = Depends(dependency)) -> None:
        raise ValueError(value)

    assert (await fault(fails if plain else fails_async)).code == 500
    assert log == ["open", "saw ValueError", "closed"]
    assert "ValueError: generated" in caplog.text


@pytest.mark.parametrize("form", ["generates", "generates_async"])
async def test_the_clean_up_precedes_the_reply(form: str) -> None:
    setup = build()
    log = DependencyLog()

    async def handler(ctx: EventContext, value: str = Depends(getattr(log, form))) -> str:
        return value

    setup.lobby.on_message("ask", handler)
    async with member(setup, "ann") as ann:
        await ann.answer(ann.send("BROADCAST", ROOM, "ask"))
        assert log == ["open", "closed"]


async def test_a_clean_up_that_fails_is_the_handlers_failure() -> None:
    async def transaction() -> AsyncIterator[None]:
        yield
        raise OSError("commit failed")

    async def handler(_: None = Depends(transaction)) -> str:
        return "done"

    assert (await fault(handler)).code == 500


async def test_a_dependency_that_refuses_is_the_answer_and_those_before_it_are_cleaned_up() -> None:
    log = DependencyLog()

    async def refuse() -> None:
        raise PondError("Not you.", 403)

    async def handler(a: str = Depends(log.generates), b: None = Depends(refuse)) -> None:
        log.append("handler")

    answer = await fault(handler)
    assert (answer.code, answer.message) == (403, "Not you.")
    assert log == ["open", "saw PondError", "closed"]


@pytest.mark.parametrize("form", ["generates", "generates_async"])
async def test_a_generator_is_cleaned_up_where_the_join_takes_too_long(form: str) -> None:
    log = DependencyLog()

    async def join(ctx: JoinContext, value: str = Depends(getattr(log, form))) -> None:
        await anyio.sleep_forever()

    setup = build(join, options=Options(join_timeout=0.05))
    async with connect(setup.pond, "/socket") as ann:
        refused = (await ann.join(ROOM)).payload
    assert isinstance(refused, Refused)
    assert refused.code == 408
    assert (log[0], log[-1]) == ("open", "closed")


async def test_what_is_given_back_needs_no_thread_of_those_that_wait_for_it() -> None:
    """The threads wait for what the others hold: giving it back must not queue behind them."""
    setup = build(options=Options(event_rate=None))
    pool = threading.BoundedSemaphore(2)

    def lease() -> Iterator[None]:
        assert pool.acquire(timeout=5)
        yield
        pool.release()

    async def handler(_: None = Depends(lease)) -> str:
        await anyio.lowlevel.checkpoint()
        return "done"

    setup.lobby.on_message("ask", handler, concurrent=True)
    async with member(setup, "ann") as ann:
        with anyio.fail_after(5):
            requests = [ann.send("BROADCAST", ROOM, "ask") for _ in range(90)]
            for request in requests:
                assert (await ann.answer(request, wait=5)).payload == {"result": "done"}


# --- everywhere -------------------------------------------------------------------------------


async def test_every_kind_of_handler_may_have_dependencies() -> None:
    pond = PondSocket()
    seen: list[str] = []

    async def token(token: str) -> str:
        if token != "good":
            raise PondError("Bad token.", 401)
        return token

    @pond.endpoint("/socket")
    async def socket(ctx: ConnectionContext, checked: str = Depends(token)) -> None:
        ctx.accept(user_id=checked)

    async def who(ctx: JoinContext) -> str:
        return ctx.user.id

    @socket.channel("/room/:id")
    async def room(user: str = Depends(who)) -> dict[str, str]:
        return {"hello": user}

    def where(ctx: LeaveContext, id: int) -> str:
        return f"{id}"

    async def where_async(ctx: LeaveContext, id: int) -> str:
        return f"{ctx.user.id} left {id}"

    @room.on_leave
    async def on_leave(left: str = Depends(where_async)) -> None:
        seen.append(left)

    with pytest.raises(ConnectionRefused) as failure:
        async with connect(pond, "/socket?token=bad"):
            pass
    assert failure.value.code == 401
    async with connect(pond, "/socket?token=good") as ann:
        assert (await ann.join(ROOM)).payload == Acknowledged(response={"hello": "good"})
    await settled()
    assert seen == ["good left 1"]


# --- what cannot work -------------------------------------------------------------------------


def test_what_cannot_be_called_is_no_dependency() -> None:
    with pytest.raises(UsageError, match="a function or a class, not 5"):
        Depends(5)  # type: ignore[call-overload]


def test_a_dependencys_signature_is_checked_like_a_handlers() -> None:
    def wrong(ctx: EventContext) -> None: ...
    def unknown(where) -> None: ...  # type: ignore[no-untyped-def]
    def number(id: int) -> int:
        return id

    async def first(x: None = Depends(wrong)) -> None: ...
    async def second(x: None = Depends(unknown)) -> None: ...

    with pytest.raises(UsageError, match="event 'a', wrong: it is a plain function"):
        lobby().on_message("a", first)
    with pytest.raises(UsageError, match="event 'a', unknown: where does 'where' come from"):
        lobby().on_message("a", second)


async def test_a_dependencys_path_type_counts_for_the_match() -> None:
    def number(n: int) -> int:
        return n

    async def handler(n: str, number: int = Depends(number)) -> list[Any]:
        return [n, number]

    assert await result(handler, pattern="get/:n", event="get/5") == ["5", 5]
    assert (await ask(handler, pattern="get/:n", event="get/x")).event == "HANDLER_NOT_FOUND"


async def test_a_context_manager_is_a_value_like_any_other() -> None:
    @asynccontextmanager
    async def session() -> AsyncIterator[int]:
        yield 1

    async def handler(opened: Any = Depends(session)) -> int:
        async with opened as value:
            return int(value)

    assert await result(handler) == 1
