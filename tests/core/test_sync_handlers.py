"""Plain functions as handlers: in a worker thread, with the same names, blocking."""

# ruff: noqa: A002

import inspect
import threading
import time
from contextvars import ContextVar

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from pondsocket import (
    ConnectionContext,
    EventContext,
    JoinContext,
    LeaveContext,
    LeaveReason,
    Options,
    PondError,
    PondSocket,
    SyncEventContext,
    SyncJoinContext,
    SyncLeaveContext,
)
from pondsocket.testing import ConnectionRefused, connect
from pondsocket_common import Acknowledged, Refused

from tests.core.members import events, handled, member, settled
from tests.core.ponds import ROOM, assert_nothing_left, build
from tests.core.typed_handlers import fault, result


@pytest.mark.parametrize(
    ("waiting", "blocking", "missing"),
    [
        (EventContext, SyncEventContext, {"member", "outer_params"}),
        (JoinContext, SyncJoinContext, {"member", "refuse", "refuse_unfit", "run_leave_work"}),
        (LeaveContext, SyncLeaveContext, set()),
    ],
)
def test_a_blocking_context_has_the_same_names(
    waiting: type, blocking: type, missing: set[str]
) -> None:
    def names(of: type) -> set[str]:
        return {name for name in dir(of) if not name.startswith("_")}

    assert names(waiting) - names(blocking) == missing
    for name in names(blocking) & names(waiting):
        own, other = getattr(blocking, name), getattr(waiting, name)
        assert not inspect.iscoroutinefunction(own)
        if inspect.isfunction(own):
            assert list(inspect.signature(own).parameters) == list(
                inspect.signature(other).parameters
            ), name


async def test_a_plain_handler_runs_in_a_worker_thread_and_its_return_is_the_reply() -> None:
    loop = threading.get_ident()

    def report(ctx: SyncEventContext, id: int, n: int) -> list[object]:
        return [threading.get_ident() != loop, id, n, ctx.user.id, ctx.event_name]

    assert await result(report, {"n": "5"}) == [True, 1, 5, "ann", "ask"]


async def test_everything_of_a_context_works_from_a_thread() -> None:
    setup = build()

    def work(ctx: SyncEventContext) -> None:
        ctx.set_assign("a", 1)
        ctx.assign({"b": 2}, c=3)
        assert [ctx.get_assign(key) for key in ("a", "b", "c", "d")] == [1, 2, 3, None]
        assert ctx.get_all_assigns()["ann"]["c"] == 3
        ctx.track({"mood": "good"})
        assert ctx.get_all_presence() == {"ann": {"mood": "good"}}
        ctx.update_presence({"mood": "better"})
        ctx.untrack()
        ctx.broadcast("all", {})
        ctx.broadcast_from("others", {})
        ctx.broadcast_to("bob", {}, "bob")
        ctx.reply("done", {})
        ctx.evict("over", "bob")
        assert ctx.get_payload() == {"x": 1}
        assert (ctx.get_user().id, ctx.route.pattern, ctx.channel.name) == ("ann", "work", ROOM)

    setup.lobby.on_message("work", work)
    async with member(setup, "ann") as ann, member(setup, "bob") as bob:
        ann.drain()
        request = ann.send("BROADCAST", ROOM, "work", {"x": 1})
        await bob.receive_event("EVICTED")
        await ann.receive_event("JOIN")
        assert events(ann) == ["UPDATE", "LEAVE", "all", "done"]
        assert request
        assert events(bob) == []


async def test_a_plain_join_and_leave_handler() -> None:
    left: list[tuple[str, LeaveReason, int]] = []

    def join(ctx: SyncJoinContext, colour: str) -> None:
        if colour == "red":
            ctx.decline(418, "Not red.")
            return
        ctx.accept({"colour": colour}, response=ctx.join_params)
        ctx.broadcast("joined", {"event": ctx.event})

    def leave(ctx: SyncLeaveContext) -> None:
        left.append((ctx.user.id, ctx.reason, ctx.remaining_user_count()))
        ctx.broadcast("gone", dict(ctx.user.assigns))
        ctx.broadcast_to("gone-to", {}, "bob")
        ctx.broadcast_from("gone-from", {})

    setup = build(join)
    setup.lobby.on_leave(leave)
    async with connect(setup.pond, "/socket?user=bob") as bob:
        assert (await bob.join(ROOM, {"colour": "red"})).payload == Refused(418, "Not red.")
        blue = {"colour": "blue"}
        assert (await bob.join(ROOM, blue)).payload == Acknowledged(response=blue)
        async with connect(setup.pond, "/socket?user=ann") as ann:
            await ann.join(ROOM, blue)
        await bob.receive_event("gone")
        assert await bob.receive_event("gone-to")
        assert await bob.receive_event("gone-from")
    assert left == [("ann", "connection_closed", 1), ("bob", "connection_closed", 0)]


async def test_a_plain_connection_handler_is_given_the_same_context() -> None:
    pond = PondSocket()

    @pond.endpoint("/socket")
    def socket(ctx: ConnectionContext, token: str) -> None:
        if token == "bad":
            raise PondError("No.", 401)
        ctx.accept(user_id=token)

    async with connect(pond, "/socket?token=ann") as peer:
        assert peer.session.user_id == "ann"
    with pytest.raises(ConnectionRefused) as failure:
        async with connect(pond, "/socket?token=bad"):
            pass
    assert failure.value.code == 401


async def test_a_plain_handler_that_raises_is_answered_like_any_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fails(ctx: SyncEventContext) -> None:
        raise ValueError("secret")

    def refuses(ctx: SyncEventContext) -> None:
        raise PondError("No.", 409)

    def stops(ctx: SyncEventContext) -> None:
        raise StopIteration

    answer = await fault(fails)
    assert (answer.code, "secret" in answer.message) == (500, False)
    assert "ValueError: secret" in caplog.text
    assert (await fault(refuses)).message == "No."
    assert (await fault(stops)).code == 500


async def test_a_usage_error_reaches_the_thread() -> None:
    seen: list[str] = []

    def handler(ctx: SyncEventContext) -> None:
        try:
            ctx.broadcast("ACKNOWLEDGE")
        except RuntimeError as error:
            seen.append(type(error).__name__)

    await ask_and_settle(handler)
    assert seen == ["UsageError"]


async def ask_and_settle(handler: object) -> None:
    setup = build()
    setup.lobby.on_message("ask", handler)  # type: ignore[call-overload]
    async with member(setup, "ann") as ann:
        await handled(ann, "ask")


async def test_the_loop_goes_on_while_a_plain_handler_blocks() -> None:
    release = threading.Event()
    setup = build()

    def blocks(ctx: SyncEventContext) -> str:
        assert release.wait(5)
        return "done"

    setup.lobby.on_message("block", blocks)
    async with member(setup, "ann") as ann, member(setup, "bob") as bob:
        request = ann.send("BROADCAST", ROOM, "block")
        bob.send("BROADCAST", ROOM, "say", {"text": "hi"})
        await ann.receive_event("say")
        ann.send_raw('{"action": "ping"}')
        await ann.receive_event("PONG")
        release.set()
        assert (await ann.answer(request)).payload == {"result": "done"}


async def test_a_join_over_its_time_limit_is_refused_while_its_thread_still_works(
    caplog: pytest.LogCaptureFixture,
) -> None:
    release = threading.Event()
    over = threading.Event()

    def join(ctx: SyncJoinContext) -> None:
        release.wait(5)
        try:
            ctx.accept()
        finally:
            over.set()

    setup = build(join, options=Options(join_timeout=0.05))
    async with connect(setup.pond, "/socket") as ann:
        answer = await ann.join(ROOM)
        assert isinstance(answer.payload, Refused)
        assert answer.payload.code == 408
        release.set()
        assert await anyio.to_thread.run_sync(over.wait, 5)
        await settled()
        assert events(ann) == ["CONNECTION"]
        assert await setup.lobby.list_channels() == []


async def test_a_connection_over_its_time_limit_is_refused_while_its_thread_still_works() -> None:
    release = threading.Event()

    def admit(ctx: ConnectionContext) -> None:
        release.wait(5)
        ctx.accept()

    setup = build(connect=admit, options=Options(connect_timeout=0.05))
    with pytest.raises(ConnectionRefused) as failure:
        async with connect(setup.pond, "/socket"):
            pass
    release.set()
    assert failure.value.code == 504
    await assert_nothing_left(setup)


async def test_calls_from_the_thread_after_the_connection_has_ended() -> None:
    entered, release = threading.Event(), threading.Event()
    seen: list[object] = []
    setup = build()

    def slow(ctx: SyncEventContext) -> None:
        entered.set()
        release.wait(5)
        ctx.broadcast("late", {})
        ctx.reply("unheard", {})
        ctx.track({"x": 1})
        seen.append(ctx.get_all_presence())

    setup.lobby.on_message("slow", slow)
    async with member(setup, "bob") as bob:
        async with member(setup, "ann") as ann:
            ann.send("BROADCAST", ROOM, "slow")
            assert await anyio.to_thread.run_sync(entered.wait, 5)
            ann.vanish()
            await ann.wait_closed()
            release.set()
            await bob.receive_event("late")
        await settled()
        assert seen == [{}]
        assert events(bob) == []
    await assert_nothing_left(setup)


async def test_context_variables_reach_the_thread_and_do_not_leak_from_it() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="none")
    seen: list[str] = []
    setup = build()

    def handler(ctx: SyncEventContext) -> None:
        seen.append(variable.get())
        variable.set("leaked")

    setup.lobby.on_message("ask", handler)
    variable.set("server")
    async with member(setup, "ann") as ann:
        await handled(ann, "ask", "ask")
    assert seen == ["server", "server"]


async def test_plain_handlers_run_under_a_limiter_of_their_own() -> None:
    running: list[int] = []
    most: list[int] = []
    lock = threading.Lock()
    setup = build(options=Options(event_rate=None))

    def work(ctx: SyncEventContext) -> str:
        with lock:
            running.append(1)
            most.append(len(running))
        time.sleep(0.005)
        with lock:
            running.pop()
        return "done"

    setup.lobby.on_message("work", work, concurrent=True)
    async with member(setup, "ann") as ann:
        requests = [ann.send("BROADCAST", ROOM, "work") for _ in range(100)]
        for request in requests:
            assert (await ann.answer(request, wait=5)).event == "work"
    assert 1 < max(most) <= 40
    assert anyio.to_thread.current_default_thread_limiter().borrowed_tokens == 0


async def test_plain_handlers_of_one_channel_keep_their_order() -> None:
    seen: list[int] = []
    setup = build()

    def work(ctx: SyncEventContext, n: int) -> None:
        time.sleep(0.002 if n % 2 else 0)
        seen.append(n)

    setup.lobby.on_message("work", work)
    async with member(setup, "ann") as ann:
        for n in range(10):
            ann.send("BROADCAST", ROOM, "work", {"n": n})
        ann.send("BROADCAST", ROOM, "say")
        await ann.receive_event("say")
    assert seen == list(range(10))


async def test_plain_handlers_are_told_what_was_done_so_far_and_who_has_left() -> None:
    setup = build(join_plainly)
    seen: list[object] = []

    def ask(ctx: SyncEventContext) -> None:
        seen.extend([ctx.is_accepted, ctx.has_responded, ctx.has_replied()])
        ctx.reply("answer")
        seen.extend([ctx.is_accepted, ctx.has_responded, ctx.has_replied()])
        ctx.broadcast("done")

    def leave(ctx: SyncLeaveContext) -> None:
        seen.extend([ctx.get_user() == ctx.user, ctx.get_user().id, ctx.get_reason()])
        seen.extend([ctx.get_assign("role"), ctx.get_assign("nothing", 7)])
        seen.extend([ctx.get_all_presence(), ctx.get_all_assigns()])

    setup.lobby.on_message("ask", ask)
    setup.lobby.on_leave(leave)
    async with member(setup, "bob") as bob:
        await bob.receive_event("welcome")  # so the thread of the join is done
        async with member(setup, "ann") as ann:
            ann.send("BROADCAST", ROOM, "ask")
            await ann.receive_event("done")
        with anyio.fail_after(5):
            while len(seen) < 13:
                await anyio.lowlevel.checkpoint()
    assert seen[:6] == [True, False, False, True, True, True]
    assert seen[6:11] == [True, "ann", LeaveReason.CONNECTION_CLOSED, "member", 7]
    assert seen[11:13] == [{"bob": {"in": True}}, {"bob": {"user_id": "bob", "role": "member"}}]


def join_plainly(ctx: SyncJoinContext) -> None:
    assert [ctx.is_accepted, ctx.has_responded, ctx.has_replied()] == [False] * 3
    ctx.accept({"role": "member"})
    assert ctx.is_accepted
    assert ctx.has_responded
    ctx.track({"in": True})
    ctx.reply("welcome")
    assert ctx.has_replied()
