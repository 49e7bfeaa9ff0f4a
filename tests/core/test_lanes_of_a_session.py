"""Order, concurrency and bounds of what one connection sends."""

import contextvars
from itertools import pairwise

import anyio
import anyio.lowlevel
import pytest
from pondsocket import ErrorTypes, EventContext, JoinContext, Options, ServerActions
from pondsocket.testing import connect
from pondsocket_common import Fault, Refused, encode_client

from tests.core.members import events, member, say, say_in_two_rooms, settled
from tests.core.ponds import ROOM, UNLIMITED, accept_join, build


class Latch:
    """An event handler that waits until the test lets it go on."""

    def __init__(self) -> None:
        self.opened = anyio.Event()
        self.started: list[str] = []
        self.done: list[str] = []

    async def __call__(self, ctx: EventContext) -> None:
        text = ctx.get_payload()["text"]
        self.started.append(text)
        await self.opened.wait()
        self.done.append(text)
        await ctx.reply("done", {"text": text})


async def test_messages_to_one_channel_are_handled_one_at_a_time_in_order() -> None:
    setup, latch = build(), Latch()
    setup.lobby.on_message("slow", latch)
    async with member(setup, "ann") as ann:
        for text in "123":
            say(ann, text, event="slow")
        say(ann, "behind")
        await settled()
        assert latch.started == ["1"]
        assert not ann.unread

        latch.opened.set()
        received = [(await ann.receive()).payload for _ in range(4)]

    assert received == [{"text": "1"}, {"text": "2"}, {"text": "3"}, {"text": "behind"}]


async def test_other_channels_and_pings_do_not_wait() -> None:
    setup, latch = build(), Latch()
    setup.lobby.on_message("slow", latch)
    async with member(setup, "ann") as ann:
        await ann.join("/room/2")
        say(ann, "1", event="slow")
        await settled()

        say(ann, "other", "/room/2")
        assert (await ann.receive()).payload == {"text": "other"}
        ann.send_raw('{"action": "ping"}')
        assert (await ann.receive()).event == "PONG"
        assert latch.done == []
        latch.opened.set()
        assert (await ann.receive()).event == "done"


async def test_several_channels_wait_beside_each_other() -> None:
    setup, latch = build(), Latch()
    setup.lobby.on_message("slow", latch)
    names = [f"/room/{number}" for number in range(20)]
    async with member(setup, "ann", names[0]) as ann:
        for name in names[1:]:
            await ann.join(name)
        for name in names:
            say(ann, name, name, event="slow")
        await settled()
        assert latch.started == names

        latch.opened.set()
        assert {(await ann.receive()).channel_name for _ in names} == set(names)


async def test_an_event_behind_a_pending_join_waits_for_its_acceptance() -> None:
    opened = anyio.Event()

    async def join(ctx: JoinContext) -> None:
        await opened.wait()
        await ctx.accept()

    setup = build(join)
    async with connect(setup.pond, "/socket") as ann:
        await ann.receive_event("CONNECTION")
        ann.send("JOIN_CHANNEL", ROOM, "join")
        say(ann, "early")
        await settled()
        assert not ann.unread

        opened.set()
        assert (await ann.receive()).event == "ACKNOWLEDGE"
        assert (await ann.receive()).payload == {"text": "early"}


async def test_an_event_behind_a_refused_join_is_refused() -> None:
    opened = anyio.Event()

    async def join(ctx: JoinContext) -> None:
        await opened.wait()
        await ctx.decline(403, "no")

    setup = build(join)
    async with connect(setup.pond, "/socket") as ann:
        await ann.receive_event("CONNECTION")
        ann.send("JOIN_CHANNEL", ROOM, "join")
        request_id = say(ann, "early")
        await settled()
        opened.set()

        assert (await ann.receive()).payload == Refused(403, "no")
        answer = await ann.receive()
    assert (answer.action, answer.event) == (ServerActions.ERROR, "UNAUTHORIZED_BROADCAST")
    assert answer.request_id == request_id


async def test_a_leave_comes_after_the_events_sent_before_it() -> None:
    setup, latch = build(), Latch()
    setup.lobby.on_message("slow", latch)
    async with member(setup, "ann") as ann:
        say(ann, "1", event="slow")
        say(ann, "2")
        ann.send("LEAVE_CHANNEL", ROOM, "leave")
        say(ann, "3")
        await settled()
        latch.opened.set()
        await settled()

        assert events(ann) == ["done", "say", "EXIT_ACKNOWLEDGE", "UNAUTHORIZED_BROADCAST"]


async def test_a_second_join_waits_for_the_first() -> None:
    opened, started = anyio.Event(), 0

    async def join(ctx: JoinContext) -> None:
        nonlocal started
        started += 1
        await opened.wait()
        await ctx.accept()

    setup = build(join)
    async with connect(setup.pond, "/socket") as ann:
        first = ann.send("JOIN_CHANNEL", ROOM, "join")
        second = ann.send("JOIN_CHANNEL", ROOM, "join")
        await settled()
        assert started == 1
        opened.set()

        assert (await ann.answer(first)).event == "ACKNOWLEDGE"
        assert (await ann.answer(second)).event == "ACKNOWLEDGE"


async def test_a_message_over_the_pending_limit_is_answered_429() -> None:
    setup, latch = build(options=Options(max_pending_messages=4)), Latch()
    setup.lobby.on_message("slow", latch)
    async with member(setup, "ann") as ann:
        for number in range(4):
            say(ann, str(number), event="slow")
        over = say(ann, "over", event="slow")
        join = ann.send("JOIN_CHANNEL", "/room/2", "join")
        await settled()

        answer = await ann.answer(over)
        assert (answer.action, answer.event) == (ServerActions.ERROR, "RATE_LIMITED")
        assert answer.channel_name == ROOM
        assert isinstance(answer.payload, Fault)
        assert answer.payload.error is ErrorTypes.RATE_LIMITED
        assert answer.payload.code == 429
        assert answer.payload.retry_after_ms is not None
        refusal = await ann.answer(join)
        assert (refusal.action, refusal.event) == (ServerActions.SYSTEM, "UNAUTHORIZED")
        assert isinstance(refusal.payload, Refused)
        assert refusal.payload.code == 429
        assert refusal.payload.retry_after_ms is not None

        latch.opened.set()
        await settled()
        assert latch.done == ["0", "1", "2", "3"]
        ann.drain()
        say(ann, "again")
        assert (await ann.receive()).payload == {"text": "again"}


async def test_the_default_limit_is_256_messages() -> None:
    setup, latch = build(), Latch()
    setup.lobby.on_message("slow", latch)
    async with member(setup, "ann") as ann:
        for number in range(257):
            say(ann, str(number), event="slow")
        await settled()
        assert events(ann) == ["RATE_LIMITED"]
        latch.opened.set()
        await settled()
        assert len(latch.done) == 256


async def test_more_bytes_than_the_pending_limit_are_answered_429() -> None:
    setup, latch = build(), Latch()  # 1 MiB
    setup.lobby.on_message("slow", latch)
    async with member(setup, "ann") as ann:
        for number in range(17):
            say(ann, str(number) + "x" * 65_000, event="slow")
        await settled()
        assert events(ann) == ["RATE_LIMITED"]
        latch.opened.set()
        await settled()
        assert len(latch.done) == 16


NESTS: list[object] = [
    [[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]
] * 1_500  # 60 KB, and some 3 MB of lists


async def test_lists_in_lists_count_as_the_memory_that_they_take_while_they_wait() -> None:
    setup, latch = build(), Latch()  # 1 MiB
    setup.lobby.on_message("slow", latch)
    async with member(setup, "ann") as ann:
        for number in range(5):
            payload = {"text": str(number), "nests": NESTS}
            ann.send("BROADCAST", ROOM, "slow", payload)
        await settled()
        assert events(ann) == ["RATE_LIMITED"] * 2
        latch.opened.set()
        await settled()
        assert latch.done == ["0", "1", "2"]


async def test_lists_in_lists_are_handled_where_nothing_else_waits() -> None:
    setup, latch = build(options=Options(max_pending_bytes=70_000)), Latch()
    setup.lobby.on_message("slow", latch)
    async with member(setup, "ann") as ann:
        for text in ("alone", "behind"):
            ann.send("BROADCAST", ROOM, "slow", {"text": text, "nests": NESTS})
        await settled()
        assert events(ann) == ["RATE_LIMITED"]
        latch.opened.set()
        await settled()
        assert latch.done == ["alone"]


async def test_rows_of_usual_values_wait_as_their_text() -> None:
    setup, latch = build(), Latch()  # 1 MiB
    setup.lobby.on_message("slow", latch)
    rows = [{"id": 17_000_000 + n, "name": "Ann from Ljubljana", "ok": True} for n in range(1_100)]
    async with member(setup, "ann") as ann:
        for number in range(16):
            ann.send("BROADCAST", ROOM, "slow", {"text": str(number), "rows": rows})
        await settled()
        assert events(ann) == []
        latch.opened.set()
        await settled()
        assert len(latch.done) == 16


VAR: contextvars.ContextVar[str] = contextvars.ContextVar("VAR", default="clean")


@pytest.mark.parametrize("waits", [False, True])
async def test_context_variables_of_a_handler_are_seen_by_no_later_one(waits: bool) -> None:
    seen: list[str] = []

    async def handler(ctx: EventContext) -> None:
        seen.append(VAR.get())
        VAR.set("soiled")
        if waits:
            await anyio.lowlevel.checkpoint()
        seen.append(VAR.get())

    setup = build()
    setup.lobby.on_message("touch", handler)
    async with member(setup, "ann") as ann:
        await ann.join("/room/2")
        for name in (ROOM, "/room/2", ROOM):
            say(ann, "", name, event="touch")
            await settled()
        say(ann, "", event="touch")
        say(ann, "", event="touch")
        await settled()

    assert seen == ["clean", "soiled"] * 5


async def test_context_variables_of_the_server_are_seen_by_handlers() -> None:
    seen: list[str] = []

    async def handler(ctx: EventContext) -> None:
        seen.append(VAR.get())
        await anyio.lowlevel.checkpoint()

    setup = build()
    setup.lobby.on_message("look", handler)
    token = VAR.set("of the connection")
    async with member(setup, "ann") as ann:
        VAR.reset(token)
        for _ in range(3):
            say(ann, "", event="look")
        await settled()

    assert seen == ["of the connection"] * 3


async def test_handlers_may_use_scopes_locks_and_groups_across_waits() -> None:
    lock = anyio.Lock()

    async def handler(ctx: EventContext) -> None:
        async with lock:
            with anyio.move_on_after(0.001) as timeout:
                await anyio.sleep_forever()
            with anyio.fail_after(5):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(anyio.lowlevel.checkpoint)
                    await anyio.lowlevel.checkpoint()
            with anyio.CancelScope() as scope:
                scope.cancel()
                await anyio.lowlevel.checkpoint()
        await ctx.reply(
            "outcome", {"late": timeout.cancelled_caught, "cut": scope.cancelled_caught}
        )

    setup = build()
    setup.lobby.on_message("scopes", handler)
    async with member(setup, "ann") as ann:
        await say_in_two_rooms(ann, "scopes")
        outcomes = [await ann.receive_event("outcome") for _ in range(3)]

    assert [outcome.payload for outcome in outcomes] == [{"late": True, "cut": True}] * 3


@pytest.mark.parametrize(
    "flood",
    [
        pytest.param('{"action": "ping"}', id="pings"),
        pytest.param("not JSON", id="broken messages"),
        pytest.param(
            '{"action": "BROADCAST", "event": "say", "channelName": "/room/1", "requestId": "1",'
            ' "payload": {}}',
            id="events that are handled without waiting",
        ),
    ],
)
async def test_a_flood_lets_others_have_their_turn(flood: str) -> None:
    setup = build(accept_join, options=UNLIMITED)
    async with member(setup, "ann") as ann:
        for _ in range(1_000):
            ann.send_raw(flood)
        turns: list[int] = []
        while len(ann.unread) < 1_000:
            turns.append(len(ann.unread))
            await anyio.lowlevel.checkpoint()
        assert len(turns) > 5
        # 16 a turn; trio shuffles each round, so that we may be passed over once.
        assert max(after - before for before, after in pairwise(turns)) <= 32


async def test_a_handler_whose_wait_is_over_is_not_held_up_by_what_queues_behind_it() -> None:
    handled: list[str] = []

    async def brief(ctx: EventContext) -> None:
        await anyio.lowlevel.checkpoint()
        handled.append(ctx.get_payload()["text"])

    setup = build(options=UNLIMITED)
    setup.lobby.on_message("brief", brief)
    async with member(setup, "ann") as ann:
        for number in range(1_000):
            say(ann, str(number), event="brief")
        await settled()
        refused = events(ann)

    # At the limit of 256 a message is refused, but those taken are handled all the while.
    assert len(handled) + len(refused) == 1_000
    assert len(handled) > 256


async def test_what_a_handler_posts_to_its_own_connection_comes_behind_it() -> None:
    order: list[str] = []

    async def handler(ctx: EventContext) -> None:
        text = ctx.get_payload()["text"]
        order.append(f"{text} begins")
        if text == "1":
            assert (
                ctx.session.post(encode_client(ctx.message._replace(payload={"text": "2"}))) is None
            )
        order.append(f"{text} ends")

    setup = build()
    setup.lobby.on_message("again", handler)
    async with member(setup, "ann") as ann:
        say(ann, "1", event="again")
        await settled()

    assert order == ["1 begins", "1 ends", "2 begins", "2 ends"]


async def test_a_handler_may_return_after_a_wait_and_without_one() -> None:
    async def handler(ctx: EventContext) -> dict[str, str] | None:
        text: str = ctx.get_payload()["text"]
        if text == "waits":
            await anyio.lowlevel.checkpoint()
        return {"text": text}

    setup = build()
    setup.lobby.on_message("tell", handler)
    async with member(setup, "ann") as ann:
        for text in ("waits", "does not"):
            say(ann, text, event="tell")
            assert (await ann.receive_event("tell")).payload == {"text": text}
