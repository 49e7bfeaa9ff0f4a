"""`PondSocket(lifespan=…)`: opened once before the first client, closed after the last one."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from pondsocket import ConnectionContext, Depends, EventContext, PondSocket, UsageError
from pondsocket.adapter import Refusal
from pondsocket.testing import ConnectionRefused, connect

from tests.core.groups import accept, ask
from tests.core.ponds import admit, error_records, request


class Resource:
    """A lifespan that notes what happens to it, and fails or waits where it is told to."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.fail_at_opening = 0
        self.fails_at_closing = False
        self.may_open: anyio.Event | None = None
        self.opening = 0
        self.tasks: list[int] = []

    @asynccontextmanager
    async def opened_and_closed(self, pond: PondSocket) -> AsyncIterator[dict[str, str]]:
        assert isinstance(pond, PondSocket)
        self.opening += 1
        self.tasks.append(anyio.get_current_task().id)
        if self.may_open is not None:
            await self.may_open.wait()
        if self.fail_at_opening:
            self.fail_at_opening -= 1
            raise OSError("no database")
        # A task group makes an error of leaving it in another task than it was entered in.
        async with anyio.create_task_group():
            self.log.append("opened")
            yield {"db": "database"}
            self.log.append("closed")
        self.tasks.append(anyio.get_current_task().id)
        if self.fails_at_closing:
            raise OSError("not closed")


def build(resource: Resource) -> PondSocket:
    pond = PondSocket(lifespan=resource.opened_and_closed)

    @pond.endpoint("/socket")
    async def socket(ctx: ConnectionContext) -> None:
        resource.log.append(f"connect with {pond.state.get('db')}")
        ctx.accept()

    def get_db() -> str:
        db: str = pond.state["db"]
        return db

    @socket.on_message("db")
    async def which(db: str = Depends(get_db)) -> str:
        return db

    @socket.on_message("close")
    async def close(ctx: EventContext) -> None:
        await pond.close()
        resource.log.append("close has returned")

    lobby = socket.create_channel("/chat", accept)

    @lobby.on_leave
    async def leave() -> None:
        await anyio.lowlevel.checkpoint()
        resource.log.append(f"left with {pond.state.get('db')}")

    return pond


async def use(pond: PondSocket) -> None:
    async with connect(pond, "/socket") as ann:
        await ann.join("/chat")


USED = ["connect with database", "left with database"]


async def test_it_is_open_while_the_pond_is() -> None:
    resource = Resource()
    pond = build(resource)
    assert pond.state == {}
    async with pond:
        assert resource.log == ["opened"]
        assert pond.state == {"db": "database"}
        await use(pond)
        assert await ask(pond, "db") == "database"
    assert resource.log == ["opened", *USED, "connect with database", "closed"]
    assert pond.state == {}
    assert resource.tasks[0] == resource.tasks[1]


async def test_it_is_opened_once_however_many_hosts_open_the_pond() -> None:
    resource = Resource()
    pond = build(resource)
    async with pond:
        async with pond.lifespan():
            await use(pond)
        assert resource.log == ["opened", *USED]
        await use(pond)
    assert resource.log == ["opened", *USED, *USED, "closed"]


async def test_it_is_opened_again_with_the_pond() -> None:
    resource = Resource()
    pond = build(resource)
    for _ in range(2):
        async with pond:
            await use(pond)
    assert resource.log == ["opened", *USED, "closed"] * 2


async def test_it_is_closed_after_the_last_connection_has_ended() -> None:
    resource = Resource()
    pond = build(resource)
    async with connect(pond, "/socket") as ann:
        await ann.join("/chat")
        async with pond:
            pass
    assert resource.log == ["opened", *USED, "closed"]


async def test_without_a_host_the_first_connection_opens_it_and_others_wait() -> None:
    resource = Resource()
    resource.may_open = anyio.Event()
    pond = build(resource)
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(use, pond)
        await anyio.wait_all_tasks_blocked()
        assert resource.log == []
        resource.may_open.set()
    assert resource.opening == 1
    assert sorted(resource.log) == sorted(["opened", *(USED * 3)])
    assert resource.log[0] == "opened"
    assert await ask(pond, "db") == "database"
    await pond.close()
    assert resource.log[-1] == "closed"
    assert resource.tasks[0] == resource.tasks[1]
    with pytest.raises(ConnectionRefused, match="503"):
        await use(pond)
    assert resource.opening == 1


async def test_a_failure_refuses_all_that_wait_and_the_next_client_tries_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    resource = Resource()
    resource.fail_at_opening = 1
    resource.may_open = anyio.Event()
    pond = build(resource)
    outcomes: list[object] = []

    async def attempt() -> None:
        outcomes.append(await pond.connect(request()))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(attempt)
        await anyio.wait_all_tasks_blocked()
        resource.may_open.set()
    for outcome in outcomes:
        assert isinstance(outcome, Refusal)
        assert (outcome.status, outcome.message) == (503, "The server is not ready.")
        assert outcome.retry_after == 5
    (record,) = error_records(caplog)
    assert "The lifespan failed, and clients are refused" in record.getMessage()
    assert "no database" in str(record.exc_info)
    await use(pond)
    await pond.close()
    assert resource.log == ["opened", *USED, "closed"]


async def test_a_failure_at_the_start_is_raised_to_the_host() -> None:
    resource = Resource()
    resource.fail_at_opening = 1
    pond = build(resource)
    with pytest.raises(OSError, match="no database"):
        async with pond:
            raise AssertionError
    async with pond:
        await use(pond)
    assert resource.log == ["opened", *USED, "closed"]


async def test_a_host_that_is_cancelled_meanwhile_leaves_nothing_behind() -> None:
    resource = Resource()
    resource.may_open = anyio.Event()
    pond = build(resource)

    async def host() -> None:
        async with pond:
            raise AssertionError

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(host)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    resource.may_open.set()
    async with pond:
        await use(pond)
    assert resource.log == ["opened", *USED, "closed"]


async def test_a_failure_at_the_end_is_raised_to_the_host() -> None:
    resource = Resource()
    resource.fails_at_closing = True
    with pytest.raises(OSError, match="not closed"):
        async with build(resource):
            pass
    pond = build(resource)
    await use(pond)
    with pytest.raises(OSError, match="not closed"):
        await pond.close()


async def test_a_host_that_comes_later_finds_it_open() -> None:
    resource = Resource()
    pond = build(resource)
    await use(pond)
    async with pond:
        await use(pond)
    assert resource.log == ["opened", *USED, *USED, "closed"]


@pytest.mark.parametrize("has_host", [False, True])
async def test_a_handler_that_closes_the_pond_does_not_wait_for_it(has_host: bool) -> None:
    resource = Resource()
    pond = build(resource)
    host: Any = pond if has_host else anyio.CancelScope()
    if has_host:
        async with host, connect(pond, "/socket") as ann:
            await ann.join("/chat")
            ann.send("BROADCAST", "GATEWAY", "close")
            await ann.wait_closed()
    else:
        async with connect(pond, "/socket") as ann:
            await ann.join("/chat")
            ann.send("BROADCAST", "GATEWAY", "close")
            await ann.wait_closed()
    await anyio.wait_all_tasks_blocked()
    assert resource.log[0:2] == ["opened", "connect with database"]
    assert sorted(resource.log[2:4]) == ["close has returned", "left with database"]
    assert resource.log[4:] == ["closed"]


async def test_a_pond_that_closes_meanwhile_ends_the_opening() -> None:
    resource = Resource()
    resource.may_open = anyio.Event()
    pond = build(resource)
    outcomes: list[object] = []

    async def attempt() -> None:
        outcomes.append(await pond.connect(request()))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(attempt)
        await anyio.wait_all_tasks_blocked()
        await pond.close()
    assert isinstance(outcomes[0], Refusal)
    assert outcomes[0].status == 503
    assert resource.log == []


async def test_it_may_close_the_pond_itself() -> None:
    @asynccontextmanager
    async def closing(pond: PondSocket) -> AsyncIterator[None]:
        yield
        await pond.close()
        log.append("closed")

    log: list[str] = []
    async with PondSocket(lifespan=closing):
        pass
    assert log == ["closed"]


async def test_one_that_ends_by_itself_is_logged_and_opened_by_the_next_client(
    caplog: pytest.LogCaptureFixture,
) -> None:
    crash = anyio.Event()

    @asynccontextmanager
    async def crashing(pond: PondSocket) -> AsyncIterator[None]:
        async def work() -> None:
            await crash.wait()
            raise OSError("lost")

        async with anyio.create_task_group() as tasks:
            log.append("opened")
            tasks.start_soon(work)
            yield
            tasks.cancel_scope.cancel()

    log: list[str] = []
    pond = PondSocket(lifespan=crashing)
    pond.create_endpoint("/socket", admit)
    async with connect(pond, "/socket"):
        crash.set()
        with anyio.fail_after(5):
            while not error_records(caplog):
                await anyio.lowlevel.checkpoint()
        (record,) = error_records(caplog)
        assert "The lifespan has ended before the pond was closed" in record.getMessage()
        crash = anyio.Event()
        async with connect(pond, "/socket"):
            assert log == ["opened"] * 2
    await pond.close()


async def test_the_first_client_s_variables_are_not_seen() -> None:
    user: ContextVar[str] = ContextVar("user", default="none")

    @asynccontextmanager
    async def reading(pond: PondSocket) -> AsyncIterator[None]:
        seen.append(user.get())
        yield

    seen: list[str] = []
    pond = PondSocket(lifespan=reading)
    pond.create_endpoint("/socket", admit)
    user.set("ann")
    async with connect(pond, "/socket"):
        assert seen == ["none"]
    await pond.close()


def test_a_loop_that_ends_closes_it() -> None:
    resource = Resource()
    pond = build(resource)
    for _ in range(2):
        asyncio.run(use(pond))
    assert resource.log == ["opened", *USED] * 2
    assert resource.opening == 2
    assert not pond.state


def test_another_task_may_end_the_block() -> None:
    resource = Resource()
    pond = build(resource)
    with asyncio.Runner() as runner:

        async def enter() -> None:
            await pond.__aenter__()

        async def leave() -> None:
            await pond.__aexit__(None, None, None)

        runner.run(enter())
        runner.run(use(pond))
        runner.run(leave())
    assert resource.log == ["opened", *USED, "closed"]
    assert resource.tasks[0] == resource.tasks[1]


async def generator(pond: PondSocket) -> AsyncIterator[None]:
    yield


async def coroutine(pond: PondSocket) -> None: ...


def plain_generator(pond: PondSocket) -> Iterator[None]:
    yield


@asynccontextmanager
async def without_pond() -> AsyncIterator[None]:
    yield


@contextmanager
def not_async(pond: PondSocket) -> Iterator[None]:
    yield


@asynccontextmanager
async def yields_text(pond: PondSocket) -> AsyncIterator[str]:
    yield "state"


async def enter(function: Any) -> None:
    async with PondSocket(lifespan=function):
        raise AssertionError


MISTAKES: dict[str, tuple[Callable[..., Any], str]] = {
    "a generator": (generator, r"write `@asynccontextmanager` above `async def generator\(pond\)`"),
    "a coroutine function": (coroutine, "write `@asynccontextmanager`"),
    "a plain generator": (plain_generator, "write `@asynccontextmanager`"),
    "called already": (without_pond(), "give the function itself"),
    "without a parameter": (without_pond, r"it is called with the pond, but takes \(\)"),
    "no function": (3, "write `@asynccontextmanager`"),  # type: ignore[dict-item]
    "a plain context manager": (not_async, "write `@asynccontextmanager`"),
    "a text": (yields_text, "it yields a mapping for `pond.state`, or nothing, not 'state'"),
    "a lambda that returns a coroutine": (lambda pond: coroutine(pond), "write `@asynccontextm"),
}


@pytest.mark.parametrize("name", MISTAKES)
async def test_a_mistake_is_told_with_what_to_write(name: str) -> None:
    function, text = MISTAKES[name]
    with pytest.raises(UsageError, match=text):
        await enter(function)
