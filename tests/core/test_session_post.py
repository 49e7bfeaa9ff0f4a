"""Messages that come by another way than `pull`: the POST of an event stream."""

import contextvars

import anyio
import anyio.lowlevel
import pytest
from pondsocket import EventContext, Options
from pondsocket.adapter import Refusal
from pondsocket.testing import MemoryPeer, connect
from pondsocket_common import ClientActions, ClientMessage, encode_client

from tests.core.members import events, member, settled
from tests.core.ponds import ROOM, build


def body(*texts: str, name: str = ROOM, event: str = "say") -> bytes:
    messages = [
        encode_client(ClientMessage(ClientActions.BROADCAST, event, name, text, {"text": text}))
        for text in texts
    ]
    return messages[0] if len(texts) == 1 else b"[" + b",".join(messages) + b"]"


async def test_one_message_or_an_array_is_taken_in_order() -> None:
    async with member(build(), "ann") as ann:
        assert ann.session.post(body("1")) is None
        assert ann.session.post(body("2", "3", "4")) is None
        received = [(await ann.receive()).payload for _ in range(4)]

    assert received == [{"text": str(number)} for number in range(1, 5)]


async def test_it_does_not_wait_for_handlers_and_keeps_their_order() -> None:
    opened = anyio.Event()

    async def slow(ctx: EventContext) -> None:
        await opened.wait()
        await ctx.reply("done", ctx.get_payload())

    setup = build()
    setup.lobby.on_message("slow", slow)
    async with member(setup, "ann") as ann:
        assert ann.session.post(body("1", "2", event="slow")) is None
        assert ann.session.post(body("3")) is None
        ann.send("JOIN_CHANNEL", "/room/2", "join")
        assert (await ann.receive()).event == "ACKNOWLEDGE"
        opened.set()
        await settled()
        assert events(ann) == ["done", "done", "say"]


async def test_a_ping_is_answered() -> None:
    async with member(build(), "ann") as ann:
        assert ann.session.post(b'{"action": "ping"}') is None
        assert (await ann.receive()).event == "PONG"


@pytest.mark.parametrize(
    "broken", [b"no JSON", b"[]", b"7", b"[" + body("1") + b"," + b'{"action": "x"}' + b"]"]
)
async def test_what_is_broken_is_refused_whole_and_told_on_the_stream(broken: bytes) -> None:
    async with member(build(), "ann") as ann:
        refusal = ann.session.post(broken)
        await settled()
        assert events(ann) == ["INVALID_MESSAGE"]

    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.error) == (400, "INVALID_MESSAGE")


async def test_a_message_over_the_limit_is_413() -> None:
    setup = build(options=Options(max_message_bytes=200))
    async with member(setup, "ann") as ann:
        for data in (body("x" * 200), body("1", "x" * 200)):
            refusal = ann.session.post(data)
            assert isinstance(refusal, Refusal)
            assert refusal.status == 413
        assert ann.session.post(body("1", "2", "3", "4")) is None  # together they are longer
        await settled()
        assert events(ann) == ["say"] * 4


async def test_more_than_may_be_pending_is_429_for_all_of_it() -> None:
    async def endless(ctx: EventContext) -> None:
        await anyio.sleep_forever()

    setup = build(options=Options(max_pending_messages=2, handler_grace=0))
    setup.lobby.on_message("endless", endless)
    async with member(setup, "ann") as ann:
        assert ann.session.post(body("1", event="endless")) is None
        refusal = ann.session.post(body("2", "3"))
        assert isinstance(refusal, Refusal)
        assert (refusal.status, refusal.error, refusal.retry_after) == (429, "RATE_LIMITED", 1)
        assert [message.request_id for message in ann.drain()] == ["2", "3"]
        assert ann.session.post(body("4")) is None


async def test_a_session_that_is_not_served_takes_nothing() -> None:
    setup = build()
    async with member(setup, "ann") as ann:
        pass
    refusal = ann.session.post(body("1"))
    assert isinstance(refusal, Refusal)
    assert refusal.status == 404
    fresh = MemoryPeer(ann.session)
    assert not fresh.unread


VAR: contextvars.ContextVar[str] = contextvars.ContextVar("VAR", default="clean")


async def test_handlers_run_in_the_context_of_the_connection_not_of_the_post() -> None:
    seen: list[str] = []

    async def look(ctx: EventContext) -> None:
        seen.append(VAR.get())
        VAR.set("soiled")
        await anyio.lowlevel.checkpoint()

    setup = build()
    setup.lobby.on_message("look", look)
    async with member(setup, "ann") as ann:
        token = VAR.set("of the request")
        ann.session.post(body("1", "2", event="look"))
        ann.session.post(body("3", name="/room/2", event="look"))
        VAR.reset(token)
        await settled()

    assert seen == ["clean", "clean"]


async def test_an_array_to_several_channels_is_taken_at_once() -> None:
    async with connect(build().pond, "/socket") as ann:
        await ann.join(ROOM)
        await ann.join("/room/2")
        ann.drain()
        messages = b"[" + body("1") + b"," + body("2", name="/room/2") + b"]"
        assert ann.session.post(messages) is None
        await settled()
        assert {message.channel_name for message in ann.drain()} == {ROOM, "/room/2"}
