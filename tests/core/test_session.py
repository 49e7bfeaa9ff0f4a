"""A connection's life: how it begins, what it says of itself, and all the ways it ends."""

from collections.abc import Iterator

import anyio
import anyio.lowlevel
import pytest
from pondsocket import CloseCode, ConnectionContext, EventContext, ServerActions
from pondsocket.testing import MemoryPeer, connect
from pondsocket_common import Connected, Fault, Pong, Refused

from tests.core.members import envelope_of, member, say, settled
from tests.core.ponds import admitted, assert_nothing_left, build

# --- the beginning ----------------------------------------------------------------------------


async def test_connection_is_always_the_first_message() -> None:
    async with connect(build().pond, "/socket?user=ann") as ann:
        first = await ann.receive()

    assert (first.action, first.event, first.channel_name) == (
        ServerActions.CONNECT,
        "CONNECTION",
        "GATEWAY",
    )
    assert first.payload == Connected("ann", ann.session.connection_id)


async def test_a_user_id_is_made_up_where_none_is_given_and_is_not_the_connection_id() -> None:
    setup = build()
    async with connect(setup.pond, "/socket") as one, connect(setup.pond, "/socket") as two:
        payloads = [(await peer.receive()).payload for peer in (one, two)]

    ids = set()
    for payload in payloads:
        assert isinstance(payload, Connected)
        assert len(payload.connection_id) == 32
        ids |= {payload.id, payload.connection_id}
    assert len(ids) == 4


async def test_replies_of_the_connection_handler_follow_the_greeting() -> None:
    async def greet(ctx: ConnectionContext) -> None:
        ctx.reply("welcome", {"to": "all"})
        ctx.accept()
        ctx.reply("and")

    async with connect(build(connect=greet).pond, "/socket") as ann:
        messages = [await ann.receive() for _ in range(3)]

    assert [message.event for message in messages] == ["CONNECTION", "welcome", "and"]
    assert [message.action for message in messages[1:]] == [ServerActions.SYSTEM] * 2
    assert messages[1].channel_name == "GATEWAY"
    assert messages[1].payload == {"to": "all"}
    assert messages[2].payload == {}


async def test_a_peer_that_cannot_take_its_greeting_leaves_nothing_behind() -> None:
    setup = build()
    async with connect(setup.pond, "/socket", capacity=0) as ann:
        assert await ann.wait_closed() is CloseCode.SLOW_CONSUMER
    await assert_nothing_left(setup)


async def test_an_adapter_may_give_what_its_server_returns_and_how_to_read_it() -> None:
    setup = build()
    session = await admitted(setup.pond)
    peer = MemoryPeer(session)
    told: Iterator[dict[str, str | None]]
    told = iter([{"text": '{"action": "ping"}'}, {"text": None}, {"text": "not asked for"}])

    async def receive() -> dict[str, str | None]:
        await anyio.lowlevel.checkpoint()
        return next(told)

    with anyio.fail_after(2):
        await session.run(peer, receive, read=lambda message: message["text"])

    assert [message.event for message in peer.drain()] == ["CONNECTION", "PONG"]
    assert next(told) == {"text": "not asked for"}
    await assert_nothing_left(setup)


# --- what it takes ----------------------------------------------------------------------------


async def test_a_ping_is_answered() -> None:
    async with connect(build().pond, "/socket") as ann:
        await ann.receive()
        ann.send_raw('{"action": "ping"}')
        pong = await ann.receive()
        ann.send_raw('{"action": "ping", "requestId": "mine"}')
        named = await ann.receive()

    assert (pong.action, pong.event, pong.channel_name) == (ServerActions.SYSTEM, "PONG", "GATEWAY")
    assert pong.payload == Pong()
    assert named.request_id == "mine"


async def test_a_broken_message_is_answered_with_what_is_wrong() -> None:
    async with connect(build().pond, "/socket") as ann:
        await ann.receive()
        ann.send_raw(b"\xff{")
        broken = await ann.receive()
        ann.send_raw(
            '{"action": "BROADCAST", "event": "", "channelName": "/room/1", "requestId": "r",'
            ' "payload": {}}'
        )
        nameless = await ann.receive()

    for answer in (broken, nameless):
        assert (answer.action, answer.event) == (ServerActions.ERROR, "INVALID_MESSAGE")
        assert isinstance(answer.payload, Fault)
        assert answer.payload.code == 400
    assert broken.channel_name == "GATEWAY"
    assert (nameless.channel_name, nameless.request_id) == ("/room/1", "r")
    assert isinstance(nameless.payload, Fault)
    assert "event" in nameless.payload.message


async def test_a_broken_join_is_refused_and_never_an_error() -> None:
    async with connect(build().pond, "/socket") as ann:
        await ann.receive()
        ann.send_raw(
            '{"action": "JOIN_CHANNEL", "event": "j", "channelName": "room", "requestId": "r",'
            ' "payload": {}}'
        )
        answer = await ann.receive()

    assert envelope_of(answer) == (ServerActions.SYSTEM, "UNAUTHORIZED", "room", "r")
    assert isinstance(answer.payload, Refused)
    assert answer.payload.code == 400


@pytest.mark.parametrize("event", ["ACKNOWLEDGE", "UNAUTHORIZED", "CONNECTION", "EVICTED"])
async def test_a_reserved_event_of_a_client_is_refused_and_reaches_no_member(event: str) -> None:
    setup = build()
    setup.lobby.on_message("*", hear)
    async with member(setup, "ann") as ann, member(setup, "bob") as bob:
        say(ann, "x", event=event)
        assert (await ann.receive()).event == "INVALID_MESSAGE"
        await settled()
        assert not bob.unread


async def hear(ctx: EventContext) -> None:
    await ctx.broadcast("heard", ctx.get_payload())


async def test_a_heartbeat_is_an_unasked_pong_and_comes_only_while_it_is_open() -> None:
    setup = build()
    async with member(setup, "ann") as ann:
        ann.session.heartbeat()
        (beat,) = ann.drain()
        assert (beat.action, beat.event, beat.channel_name) == (
            ServerActions.SYSTEM,
            "PONG",
            "GATEWAY",
        )
        assert beat.payload == Pong()
        ann.session.close(CloseCode.NORMAL)
        ann.session.heartbeat()
        await settled()
        assert not ann.unread
    ann.session.heartbeat()
    assert not ann.unread
