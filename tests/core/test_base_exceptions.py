"""What a handler lets out that is no Exception ends at that handler, and nowhere else."""

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
import trio
from pondsocket import (
    ConnectionContext,
    Depends,
    EventContext,
    Hooks,
    JoinContext,
    LeaveContext,
    OutgoingContext,
    PondSocket,
    SyncEventContext,
    SyncJoinContext,
    SyncLeaveContext,
)
from pondsocket._runtime.loop import failure_of
from pondsocket.testing import ConnectionRefused, connect
from pondsocket_common import (
    ClientActions,
    ClientMessage,
    CloseCode,
    ErrorTypes,
    Fault,
    Refused,
    encode_client,
)
from pydantic import AfterValidator, BaseModel, model_serializer

from tests.core.members import member, settled
from tests.core.ponds import ROOM, PondSetup, build


class Odd(BaseException):
    """A BaseException that is no Exception, and not one of Python's own."""


ERRORS: dict[str, Callable[[], BaseException]] = {
    "exit": lambda: SystemExit(3),
    "odd": Odd,
    "group": lambda: BaseExceptionGroup("several", [SystemExit(1), ValueError("secret")]),
    "nested group": lambda: BaseExceptionGroup("outer", [BaseExceptionGroup("inner", [Odd()])]),
}


@pytest.fixture(params=ERRORS)
def error(request: pytest.FixtureRequest) -> Callable[[], BaseException]:
    return ERRORS[request.param]


async def assert_served(setup: PondSetup) -> None:
    """Another client is served."""
    async with member(setup, "other") as other:
        request = other.send("BROADCAST", ROOM, "say", {"text": "hi"})
        assert (await other.receive_event("say")).request_id != request


def event_handlers(make: Callable[[], BaseException]) -> dict[str, Any]:
    def raises() -> None:
        raise make()

    async def raises_later() -> None:
        await anyio.lowlevel.checkpoint()
        raise make()

    async def at_once(ctx: EventContext) -> None:
        raise make()

    async def later(ctx: EventContext) -> None:
        await raises_later()

    def plain(ctx: SyncEventContext) -> None:
        raise make()

    async def by_dependency(_: None = Depends(raises)) -> None:
        raise AssertionError

    async def by_async_dependency(_: None = Depends(raises_later)) -> None:
        raise AssertionError

    def in_a_thread(_: None = Depends(raises_later)) -> None:
        raise AssertionError

    def cleans_up() -> Iterator[None]:
        yield
        raise make()

    async def cleans_up_async() -> AsyncIterator[None]:
        yield
        raise make()

    def in_clean_up(_: None = Depends(cleans_up)) -> None: ...

    async def in_clean_up_of_both(_: None = Depends(cleans_up)) -> None: ...

    async def in_async_clean_up(_: None = Depends(cleans_up_async)) -> None: ...

    async def in_validator(x: Annotated[int, AfterValidator(lambda _: raises())] = 1) -> None: ...

    class Sent(BaseModel):
        @property
        def model_dump(self) -> Any:
            raise make()

    async def in_encoding() -> Any:
        return Sent()

    class Written(BaseModel):
        @model_serializer
        def write(self) -> dict[str, Any]:
            raise make()

    async def in_serializer() -> Written:
        return Written()

    class Read:
        @property
        def name(self) -> str:
            raise make()

    class Named(BaseModel):
        name: str

    async def in_attribute() -> Named:
        return Read()  # type: ignore[return-value]

    cases = (
        at_once, later, plain, by_dependency, by_async_dependency, in_a_thread, in_clean_up,
        in_clean_up_of_both, in_async_clean_up, in_validator, in_encoding, in_serializer,
        in_attribute,
    )  # fmt: skip
    return {case.__name__: case for case in cases}


@pytest.mark.parametrize("name", event_handlers(Odd))
@pytest.mark.parametrize("concurrent", [False, True])
async def test_an_event_is_answered_500_and_its_connection_goes_on(
    name: str,
    concurrent: bool,
    error: Callable[[], BaseException],
    caplog: pytest.LogCaptureFixture,
) -> None:
    setup = build()
    setup.lobby.on_message("ask", event_handlers(error)[name], concurrent=concurrent)
    async with member(setup, "ann") as ann:
        for _ in range(2):
            answer = await ann.answer(ann.send("BROADCAST", ROOM, "ask", {"x": 1}))
            assert isinstance(answer.payload, Fault)
            assert (answer.payload.error, answer.payload.code) == (
                ErrorTypes.INTERNAL_SERVER_ERROR,
                500,
            )
            assert "secret" not in answer.payload.message
        assert caplog.text.count("An event handler failed") == 2
        assert "Traceback" in caplog.text
        await assert_served(setup)


async def test_a_posted_event_is_answered_500_and_the_stream_goes_on(
    error: Callable[[], BaseException],
) -> None:
    # A POST is handled in a task of its own, from which asyncio lets SystemExit end the process.
    setup = build()

    async def ask(ctx: EventContext) -> None:
        raise error()

    setup.lobby.on_message("ask", ask)
    async with connect(setup.pond, "/socket?user=ann", transport="sse") as ann:
        await ann.join(ROOM)
        event = ClientMessage(ClientActions.BROADCAST, "ask", ROOM, "request", {})
        assert ann.session.post(encode_client(event)) is None
        answer = await ann.answer("request")
        assert isinstance(answer.payload, Fault)
        assert answer.payload.code == 500
        assert ann.closed is None
        await assert_served(setup)


@pytest.mark.parametrize("form", ["at once", "later", "plain", "middleware"])
async def test_a_join_is_refused_500(form: str, error: Callable[[], BaseException]) -> None:
    async def at_once(ctx: JoinContext) -> None:
        if ctx.join_params:
            raise error()
        await ctx.accept()

    async def later(ctx: JoinContext) -> None:
        await anyio.lowlevel.checkpoint()
        await at_once(ctx)

    def plain(ctx: SyncJoinContext) -> None:
        if ctx.join_params:
            raise error()
        ctx.accept()

    async def middleware(ctx: JoinContext, next: Any) -> None:  # noqa: A002
        await next()
        if ctx.join_params:
            raise error()

    async def decides_nothing(ctx: JoinContext) -> None:
        if not ctx.join_params:
            await ctx.accept()

    handlers: dict[str, Any] = {"at once": at_once, "later": later, "plain": plain}
    more = [middleware] if form == "middleware" else []
    setup = build(handlers.get(form, decides_nothing), *more)
    async with connect(setup.pond, "/socket") as ann:
        refused = (await ann.join(ROOM, {"fail": True})).payload
        assert isinstance(refused, Refused)
        assert refused.code == 500
        assert (await ann.join(ROOM)).event == "ACKNOWLEDGE"
        await assert_served(setup)


@pytest.mark.parametrize("form", ["at once", "later", "plain", "identity"])
async def test_a_connection_is_refused_500(form: str, error: Callable[[], BaseException]) -> None:
    pond = PondSocket()

    def plain(ctx: ConnectionContext) -> None:
        if ctx.query.get("fail"):
            raise error()
        ctx.accept()

    async def at_once(ctx: ConnectionContext) -> None:
        plain(ctx)

    async def later(ctx: ConnectionContext) -> None:
        await anyio.lowlevel.checkpoint()
        plain(ctx)

    def identity(request: Any) -> str:
        if request.query.get("fail"):
            raise error()
        return "ann"

    if form == "identity":
        pond.create_endpoint("/socket", lambda ctx: ctx.accept(), identity=identity)
    else:
        handlers: dict[str, Any] = {"at once": at_once, "later": later, "plain": plain}
        pond.create_endpoint("/socket", handlers[form])
    with pytest.raises(ConnectionRefused) as failure:
        async with connect(pond, "/socket?fail=1", transport="sse"):
            pass
    assert failure.value.code == 500
    async with connect(pond, "/socket", transport="sse") as ann:
        assert ann.closed is None


@pytest.mark.parametrize("plain", [False, True])
async def test_a_leave_handler_fails_alone(
    plain: bool, error: Callable[[], BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    async def leave(ctx: LeaveContext) -> None:
        raise error()

    def leave_plain(ctx: SyncLeaveContext) -> None:
        raise error()

    setup = build()
    setup.lobby.on_leave(leave_plain if plain else leave)
    async with member(setup, "bob") as bob:
        async with member(setup, "ann") as ann:
            answer = await ann.answer(ann.send("LEAVE_CHANNEL", ROOM, "leave"))
            assert answer.event == "EXIT_ACKNOWLEDGE"
            await settled()
            assert (await ann.join(ROOM)).event == "ACKNOWLEDGE"
        await assert_served(setup)
        assert bob.closed is None
    assert caplog.text.count("A leave handler failed") >= 2


@pytest.mark.parametrize("late", [False, True])
async def test_an_outgoing_handler_withholds_from_one_member(
    late: bool, error: Callable[[], BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    def outgoing(ctx: OutgoingContext) -> None:
        if ctx.get_user().id == "bob":
            raise error()

    async def outgoing_late(ctx: OutgoingContext) -> None:
        await anyio.lowlevel.checkpoint()
        outgoing(ctx)

    setup = build()
    setup.lobby.on_outgoing("say", outgoing_late if late else outgoing)
    async with member(setup, "ann") as ann, member(setup, "bob") as bob:
        ann.send("BROADCAST", ROOM, "say")
        await ann.receive_event("say")
        await settled()
        assert [message.event for message in bob.drain()] == []
        assert "An outgoing handler failed" in caplog.text
        assert (ann.closed, bob.closed) == (None, None)


async def test_hooks_fail_alone(
    error: Callable[[], BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Hooks):
        def connected(self, *_: object) -> None:
            raise error()

        joined = left = message = disconnected = connected  # type: ignore[assignment]

    class Metrics:
        def count(self, *_: object) -> None:
            raise error()

        queue_depth = count

    pond = PondSocket(hooks=Failing(), metrics=Metrics())

    @pond.endpoint("/socket")
    async def socket(ctx: ConnectionContext) -> None:
        ctx.accept()

    @socket.channel("/room/:id")
    async def room(ctx: JoinContext) -> None:
        await ctx.accept()

    @room.on_message("ask")
    async def ask() -> str:
        return "done"

    async with connect(pond, "/socket") as ann:
        await ann.join(ROOM)
        answer = await ann.answer(ann.send("BROADCAST", ROOM, "ask"))
        assert answer.payload == {"result": "done"}
    assert {"A hook failed", "Metrics failed"} <= {
        record.message.partition(" (")[0] for record in caplog.records
    }


async def test_a_parameter_of_the_pattern_does_not_fit_where_its_validator_fails(
    error: Callable[[], BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    def check(_: str) -> str:
        raise error()

    async def join(ctx: JoinContext, id: Annotated[str, AfterValidator(check)]) -> None:  # noqa: A002
        await ctx.accept()

    setup = build(join)
    async with connect(setup.pond, "/socket") as ann:
        assert (await ann.join(ROOM)).event == "NOT_FOUND"
        assert ann.closed is None
    assert "A validator of 'id' failed" in caplog.text


@pytest.mark.parametrize("cls", [KeyboardInterrupt, GeneratorExit])
async def test_what_ends_tasks_and_programs_is_a_failure_out_of_a_thread(
    cls: type[BaseException],
) -> None:
    setup = build()

    def ask(ctx: SyncEventContext) -> None:
        raise cls

    setup.lobby.on_message("ask", ask)
    async with member(setup, "ann") as ann:
        answer = await ann.answer(ann.send("BROADCAST", ROOM, "ask"))
        assert isinstance(answer.payload, Fault)
        assert answer.payload.code == 500


async def test_a_call_that_exits_inside_of_a_handler_is_a_failure() -> None:
    setup = build()

    async def ask(ctx: EventContext) -> None:
        sys.exit("fatal")

    setup.lobby.on_message("ask", ask)
    async with member(setup, "ann") as ann:
        answer = await ann.answer(ann.send("BROADCAST", ROOM, "ask"))
        assert isinstance(answer.payload, Fault)
        assert (answer.payload.code, "fatal" in answer.payload.message) == (500, False)


async def test_a_connection_that_cannot_go_on_is_closed_with_1011(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise Odd

    setup = build()
    async with member(setup, "other") as other, connect(setup.pond, "/socket?user=ann") as ann:
        with monkeypatch.context() as patch:
            patch.setattr("pondsocket._connection.inbound.Inbound.take", fails)
            ann.send("BROADCAST", ROOM, "say")
            assert await ann.wait_closed() is CloseCode.INTERNAL
        goodbye = await ann.receive_event("GOODBYE")
        assert goodbye.payload.code == CloseCode.INTERNAL  # type: ignore[union-attr]
        assert "A connection failed" in caplog.text
        other.send("BROADCAST", ROOM, "say")
        await other.receive_event("say")


# --- what the task must get ---------------------------------------------------------------------


@pytest.mark.parametrize("cls", [KeyboardInterrupt, GeneratorExit])
async def test_what_ends_the_program_or_the_task_is_raised_again(cls: type[BaseException]) -> None:
    error = cls()
    with pytest.raises(cls) as raised:
        failure_of(error)
    assert raised.value is error
    with pytest.raises(BaseExceptionGroup) as group:
        failure_of(BaseExceptionGroup("several", [error, ValueError()]))
    assert group.value.exceptions == (error,)


async def test_a_cancellation_of_the_task_is_raised_again_and_what_came_with_it_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cancelled = anyio.get_cancelled_exc_class()
    seen: list[BaseException] = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        try:
            await anyio.lowlevel.checkpoint()
        except cancelled as error:
            for given in (error, BaseExceptionGroup("several", [error, Odd("lost")])):
                try:
                    failure_of(given)
                except BaseException as raised:  # noqa: BLE001 - what the function raises is tested
                    seen.append(raised)
            raise
    assert isinstance(seen[0], cancelled)
    assert isinstance(seen[1], BaseExceptionGroup)
    assert [type(each) for each in seen[1].exceptions] == [cancelled]
    assert "A handler failed while it was cancelled" in caplog.text
    assert "Odd: lost" in caplog.text


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_cancellation_of_trio_is_raised_again_on_any_loop(anyio_backend: str) -> None:
    # Trio may run as a guest of asyncio's loop.
    seen: list[BaseException] = []

    async def cancelled() -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as error:
                seen.append(error)
                raise

    await anyio.to_thread.run_sync(trio.run, cancelled)
    with pytest.raises(trio.Cancelled):
        failure_of(seen[0])
