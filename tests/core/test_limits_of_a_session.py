"""What one connection may send and be: rates, names, channels, and its end over them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
from pondsocket import JoinContext, Options, OutgoingContext
from pondsocket.testing import connect
from pondsocket_common import Acknowledged, Fault, PresenceMode, Refused

from tests.core.members import answer_to_event, client_message, settled
from tests.core.ponds import ROOM, build, timed


@contextmanager
def options_off() -> Iterator[Options]:
    yield Options(event_rate=None, control_rate=None, max_refusals=None, max_channels=None)


async def test_events_over_the_rate_are_answered_429_with_the_time_to_wait() -> None:
    setup, clock = timed(Options(event_rate=2.0, event_burst=3))
    async with connect(setup.pond, "/socket") as ann:
        await ann.join(ROOM)
        ann.drain()
        assert [await answer_to_event(ann) for _ in range(3)] == ["say"] * 3
        refused = await answer_to_event(ann)
        assert isinstance(refused, Fault)
        assert (refused.error, refused.code) == ("RATE_LIMITED", 429)
        assert refused.retry_after_ms == 500
        clock.advance(0.5)
        assert await answer_to_event(ann) == "say"
        assert isinstance(await answer_to_event(ann), Fault)


async def test_the_default_is_500_events_at_once_and_50_a_second() -> None:
    setup, clock = timed(Options())
    async with connect(setup.pond, "/socket") as ann:
        await ann.join(ROOM)
        ann.drain()
        for _ in range(2):
            for _ in range(250):
                ann.send("BROADCAST", ROOM, "say")
            await settled()
        assert {each.event for each in ann.drain()} == {"say"}
        assert isinstance(await answer_to_event(ann), Fault)
        clock.advance(1.0)
        answers = [await answer_to_event(ann) for _ in range(51)]
        assert answers[:50] == ["say"] * 50
        assert isinstance(answers[50], Fault)


async def test_joins_leaves_and_pings_have_a_bucket_of_their_own() -> None:
    setup, _ = timed(Options(event_rate=1.0, event_burst=1, control_rate=1.0, control_burst=3))
    async with connect(setup.pond, "/socket") as ann:
        await ann.join(ROOM)  # one of three
        ann.drain()
        assert await answer_to_event(ann) == "say"
        assert isinstance(await answer_to_event(ann), Fault)  # no event any more, but:
        ann.send_raw('{"action": "ping", "requestId": "p1"}')
        assert (await ann.receive_event("PONG")).request_id == "p1"
        left = await ann.answer(ann.send("LEAVE_CHANNEL", ROOM, "x"))
        assert left.event == "EXIT_ACKNOWLEDGE"
        refused = (await ann.join(ROOM)).payload
        assert isinstance(refused, Refused)
        assert (refused.code, refused.retry_after_ms) == (429, 1_000)
        ann.send_raw('{"action": "ping", "requestId": "p2"}')
        ping = await ann.answer("p2")
        assert isinstance(ping.payload, Fault)
        assert (ping.channel_name, ping.payload.code) == ("GATEWAY", 429)
        leave = await ann.answer(ann.send("LEAVE_CHANNEL", ROOM, "x"))
        assert isinstance(leave.payload, Fault)
        assert (leave.event, leave.payload.retry_after_ms) == ("RATE_LIMITED", 1_000)


async def test_a_client_with_128_channels_can_come_back_and_no_further() -> None:
    setup, _ = timed(Options())
    async with connect(setup.pond, "/socket") as ann:
        for _ in range(2):
            for n in range(128):
                ann.send("JOIN_CHANNEL", f"/room/{n}", "join")
            await settled()
        answers = {each.event for each in ann.drain()}
        assert answers == {"CONNECTION", "ACKNOWLEDGE"}


async def test_128_channels_are_the_most_of_one_connection() -> None:
    setup, _ = timed(Options(control_rate=None))
    async with connect(setup.pond, "/socket") as ann:
        for n in range(128):
            assert isinstance((await ann.join(f"/room/{n}")).payload, Acknowledged)
        refused = (await ann.join("/room/128")).payload
        assert isinstance(refused, Refused)
        assert (refused.code, refused.retry_after_ms is None) == (429, False)
        assert isinstance((await ann.join("/room/0")).payload, Acknowledged)  # again is no more
        ann.send("LEAVE_CHANNEL", "/room/0", "x")
        assert isinstance((await ann.join("/room/128")).payload, Acknowledged)


async def test_joins_that_are_being_decided_count_as_channels() -> None:
    latch = anyio.Event()

    async def join(ctx: JoinContext) -> None:
        await latch.wait()
        await ctx.accept()

    setup = build(join, options=Options(max_channels=2))
    async with connect(setup.pond, "/socket") as ann:
        first = [ann.send("JOIN_CHANNEL", f"/room/{n}", "join") for n in (1, 2)]
        assert isinstance((await ann.join("/room/3")).payload, Refused)
        latch.set()
        for each in first:
            assert isinstance((await ann.answer(each)).payload, Acknowledged)


async def test_a_pending_join_of_a_channel_that_one_is_in_counts_once() -> None:
    latch = anyio.Event()
    latch.set()

    async def join(ctx: JoinContext) -> None:
        await latch.wait()
        await ctx.accept()

    setup = build(join, options=Options(max_channels=2))
    async with connect(setup.pond, "/socket") as ann:
        await ann.join("/room/1")
        latch = anyio.Event()
        again = ann.send("JOIN_CHANNEL", "/room/1", "join")
        other = ann.send("JOIN_CHANNEL", "/room/2", "join")
        await settled()
        latch.set()
        for each in (again, other):
            assert isinstance((await ann.answer(each)).payload, Acknowledged)


async def test_timers_and_ordered_of_a_connection_are_no_channels() -> None:
    setup = build(options=Options(max_channels=3, presence_tick=60))

    @setup.lobby.on_outgoing("say")
    async def slowly(ctx: OutgoingContext) -> None:
        await anyio.sleep_forever()

    @setup.lobby.on_message("track")
    async def track(ctx: Any) -> None:
        await ctx.track({"a": 1})

    async with connect(setup.pond, "/socket") as ann:
        await ann.join(ROOM, presence=PresenceMode.DIFF)
        ann.send("BROADCAST", ROOM, "track")
        ann.send("BROADCAST", ROOM, "say")
        await settled()
        assert isinstance((await ann.join("/room/2")).payload, Acknowledged)
        assert isinstance((await ann.join("/room/3")).payload, Acknowledged)
        assert isinstance((await ann.join("/room/4")).payload, Refused)


async def test_names_over_the_limit_are_refused() -> None:
    setup = build(options=Options(max_name_chars=10))
    async with connect(setup.pond, "/socket") as ann:
        await ann.join(ROOM)
        long = await ann.answer(ann.send("BROADCAST", ROOM, "e" * 11))
        assert (long.event, isinstance(long.payload, Fault)) == ("INVALID_MESSAGE", True)
        refused = (await ann.join("/room/12345")).payload
        assert isinstance(refused, Refused)
        assert refused.code == 400
        assert (await ann.answer(ann.send("BROADCAST", ROOM, "e" * 10))).event == (
            "HANDLER_NOT_FOUND"
        )


async def test_the_default_for_names_is_255_characters() -> None:
    setup = build(options=Options(max_name_chars=None))
    async with connect(setup.pond, "/socket") as ann:
        await ann.join(ROOM)
        ann.drain()
        assert (await ann.answer(ann.send("BROADCAST", ROOM, "e" * 255))).event == (
            "HANDLER_NOT_FOUND"
        )
        ann.send_raw(json.dumps(client_message(1, event="e" * 256)))
        assert (await ann.answer("r1")).event == "INVALID_MESSAGE"


async def test_each_limit_can_be_switched_off() -> None:
    with options_off() as options:
        setup, _ = timed(options)
    async with connect(setup.pond, "/socket") as ann:
        for n in range(300):
            ann.send("JOIN_CHANNEL", f"/room/{n}", "join")
        for _ in range(2):
            for _ in range(200):
                ann.send("BROADCAST", "/room/1", "say")
            await settled()
        seen = [each.event for each in ann.drain()]
        assert (seen.count("ACKNOWLEDGE"), seen.count("say")) == (300, 400)
