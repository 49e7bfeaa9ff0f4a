"""The plain functions of one message: in one thread, in one context."""

import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from contextvars import ContextVar, Token
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from pondsocket import Depends, EventContext, Handler, JoinContext, Options, SyncEventContext
from pondsocket.testing import connect

from tests.core.members import handled, member, settled
from tests.core.ponds import ROOM, UNLIMITED, build
from tests.core.typed_handlers import fault, result

WAIT = 5.0


class Pool:
    """So many connections to a database, each handed out to one at a time."""

    def __init__(self, size: int) -> None:
        self._free = threading.BoundedSemaphore(size)
        self._free_here = anyio.Semaphore(size)
        self.threads: list[tuple[int, int]] = []

    def plain(self) -> Iterator[str]:
        assert self._free.acquire(timeout=WAIT), "no connection came free"
        thread = threading.get_ident()
        try:
            yield "db"
        finally:
            self.threads.append((thread, threading.get_ident()))
            self._free.release()

    async def waiting(self) -> AsyncIterator[str]:
        async with self._free_here:
            yield "db"


def handlers(pool: Pool) -> dict[str, Handler]:
    def asks_for(db: str = Depends(pool.plain)) -> str:
        return db

    async def asks_for_async(db: str = Depends(pool.plain)) -> str:
        await anyio.lowlevel.checkpoint()
        return db

    def plain(ctx: SyncEventContext, db: str = Depends(pool.plain)) -> str:
        ctx.broadcast("seen", {})
        return db

    def two(db: str = Depends(pool.plain), again: str = Depends(asks_for)) -> str:
        return db

    def two_async(db: str = Depends(pool.plain), again: str = Depends(asks_for_async)) -> str:
        return db

    async def waits(db: str = Depends(pool.plain)) -> str:
        await anyio.lowlevel.checkpoint()
        return db

    async def waits_for_plain(db: str = Depends(pool.waiting), a: str = Depends(str)) -> str:
        return db

    def held_by_async(db: str = Depends(pool.waiting)) -> str:
        return db

    cases = (plain, two, two_async, waits, waits_for_plain, held_by_async)
    return {case.__name__: case for case in cases}


@pytest.mark.parametrize("name", handlers(Pool(1)))
async def test_a_pool_may_be_smaller_than_the_number_of_threads(name: str) -> None:
    pool = Pool(2)
    setup = build(options=UNLIMITED)
    setup.lobby.on_message("ask", handlers(pool)[name], concurrent=True)
    async with AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(member(setup, f"u{n}")) for n in range(10)]
        requests = [(peer, peer.send("BROADCAST", ROOM, "ask")) for peer in peers * 9]
        for peer, request in requests:
            assert (await peer.answer(request, wait=WAIT)).payload == {"result": "db"}
    assert all(begun == ended for begun, ended in pool.threads)


async def test_all_plain_functions_of_a_message_run_in_one_thread() -> None:
    seen: list[int] = []

    def note() -> Iterator[None]:
        seen.append(threading.get_ident())
        yield
        seen.append(threading.get_ident())

    def again(_: None = Depends(note)) -> None:
        seen.append(threading.get_ident())

    async def between() -> None:
        await anyio.lowlevel.checkpoint()

    def plain(a: None = Depends(note), b: None = Depends(again)) -> None:
        seen.append(threading.get_ident())

    def mixed(a: None = Depends(note), b: None = Depends(between), c: None = Depends(again)) -> int:
        seen.append(threading.get_ident())
        return 1

    for handler in (plain, mixed):
        setup = build(options=UNLIMITED)
        setup.lobby.on_message("ask", handler, concurrent=True)
        async with member(setup, "ann") as ann:
            for _ in range(8):
                ann.send("BROADCAST", ROOM, "ask")
            ann.send("BROADCAST", ROOM, "say")
            await ann.receive_event("say")
            await settled()
        counts = Counter(seen)
        assert all(count % 4 == 0 for count in counts.values()), handler.__name__
        assert threading.get_ident() not in counts
        seen.clear()


# --- one context ------------------------------------------------------------------------------
tenant: ContextVar[str] = ContextVar("tenant", default="none")


def set_plain() -> Iterator[str]:
    token = tenant.set("acme")
    yield tenant.get()
    tenant.reset(token)


async def set_async() -> AsyncIterator[str]:
    token: Token[str] = tenant.set("acme")
    yield tenant.get()
    tenant.reset(token)


def set_by_function() -> None:
    tenant.set("acme")


async def set_by_async_function() -> None:
    tenant.set("acme")


def read_plain() -> str:
    return tenant.get()


async def read_async() -> str:
    return tenant.get()


@pytest.mark.parametrize("reader", [read_plain, read_async])
@pytest.mark.parametrize("setter", [set_plain, set_async, set_by_function, set_by_async_function])
@pytest.mark.parametrize("plain_handler", [True, False])
async def test_what_a_step_sets_in_the_context_is_seen_by_those_behind_it(
    setter: Any, reader: Any, plain_handler: bool
) -> None:
    def plain(a: None = Depends(setter), read: str = Depends(reader)) -> list[str]:
        return [read, tenant.get()]

    async def waits(a: None = Depends(setter), read: str = Depends(reader)) -> list[str]:
        return [read, tenant.get()]

    assert await result(plain if plain_handler else waits) == ["acme", "acme"]


async def test_a_variable_that_is_reset_is_reset_on_both_sides() -> None:
    seen: list[str] = []

    async def outer() -> AsyncIterator[None]:
        yield
        seen.append(tenant.get())

    async def handler(a: None = Depends(outer), b: str = Depends(set_plain)) -> None:
        seen.append(tenant.get())

    setup = build()
    setup.lobby.on_message("ask", handler)
    async with member(setup, "ann") as ann:
        await handled(ann, "ask")
    assert seen == ["acme", "none"]


async def test_middleware_sees_what_a_plain_handler_has_set() -> None:
    seen: list[str] = []

    async def middleware(ctx: EventContext, next: Any) -> None:  # noqa: A002
        await next()
        seen.append(tenant.get())

    def handler(ctx: SyncEventContext) -> None:
        tenant.set("acme")

    setup = build()
    setup.lobby.on_message("ask", handler, middleware)
    async with member(setup, "ann") as ann:
        await handled(ann, "ask", "ask")
    assert seen == ["acme", "acme"]
    assert tenant.get() == "none"


# --- what may fail ----------------------------------------------------------------------------


async def test_a_mixed_message_fails_as_its_handler_does_and_is_cleaned_up() -> None:
    seen: list[str] = []

    def held() -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            seen.append(str(error))
            raise

    async def handler(_: None = Depends(held)) -> None:
        raise ValueError("secret")

    assert (await fault(handler)).code == 500
    assert seen == ["secret"]


@pytest.mark.parametrize("plain", [True, False])
async def test_an_exception_that_a_dependency_swallows_is_said(
    plain: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def swallows() -> Iterator[None]:
        try:
            yield
        except ValueError:
            return

    def fails(_: None = Depends(swallows)) -> None:
        raise ValueError

    async def fails_async(_: None = Depends(swallows)) -> None:
        raise ValueError

    assert (await fault(fails if plain else fails_async)).code == 500
    assert "has swallowed an exception" in caplog.text


# --- a client that goes while a dependency is entered -------------------------------------------


@pytest.mark.parametrize("gone", ["left", "timed out"])
async def test_what_a_generator_has_opened_is_closed_in_its_thread(gone: str) -> None:
    entering, go_on, closed = threading.Event(), threading.Event(), threading.Event()
    log: list[str] = []
    threads: set[int] = set()

    def note(what: str) -> None:
        log.append(what)
        threads.add(threading.get_ident())

    def connection() -> Iterator[None]:
        note("connection opened")
        try:
            yield
        finally:
            note("connection closed")
            closed.set()

    def transaction(_: None = Depends(connection)) -> Iterator[None]:
        entering.set()
        assert go_on.wait(WAIT)
        note("transaction begun")
        try:
            yield
        finally:
            note("transaction ended")

    async def join(ctx: JoinContext, _: None = Depends(transaction)) -> None:
        await ctx.accept()

    timeout = 0.05 if gone == "timed out" else WAIT
    setup = build(join, options=Options(join_timeout=timeout))
    try:
        async with connect(setup.pond, "/socket") as ann:
            request = ann.send("JOIN_CHANNEL", ROOM, "join")
            assert await anyio.to_thread.run_sync(entering.wait, WAIT)
            if gone == "left":
                ann.vanish()
            else:
                assert (await ann.answer(request)).event == "UNAUTHORIZED"
            await settled()
        go_on.set()
        assert await anyio.to_thread.run_sync(closed.wait, WAIT)
    finally:
        go_on.set()
    assert log == [
        "connection opened",
        "transaction begun",
        "transaction ended",
        "connection closed",
    ]
    assert len(threads - {threading.get_ident()}) == len(threads) == 1


async def test_a_variable_that_an_async_step_resets_is_reset_for_plain_ones() -> None:
    seen: list[str] = []

    def outer() -> Iterator[None]:
        seen.append(tenant.get())
        yield
        seen.append(tenant.get())

    async def inner(_: None = Depends(outer)) -> AsyncIterator[None]:
        token = tenant.set("acme")
        yield
        tenant.reset(token)

    def handler(_: None = Depends(inner)) -> None:
        seen.append(tenant.get())

    setup = build()
    setup.lobby.on_message("ask", handler)
    async with member(setup, "ann") as ann:
        await handled(ann, "ask")
    assert seen == ["none", "acme", "none"]
