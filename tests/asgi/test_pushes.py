"""Pushes, broadcasts of an endpoint, joins of it, and disconnects, as ASGI messages."""

import json
from typing import Any

import pytest
from pondsocket import (
    CloseCode,
    DisconnectContext,
    EventContext,
    GatewayContext,
    History,
    JoinContext,
)
from pondsocket_asgi.testing import SSESession

from tests.asgi.conftest import Pond, Session
from tests.virtual_time import jumping_loops

# On a busy machine, too, an answer comes before its limit.
anyio_backend = jumping_loops

ROOM = "/chat/1"
TRANSPORTS = pytest.mark.parametrize("transport", ["websocket", "sse"])


class Pushing(Pond):
    """The same pond, whose endpoint takes requests and notes disconnects."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: list[tuple[CloseCode | int, str]] = []
        self.endpoint.on_disconnect(self.on_disconnect)
        for handler in (self.count, self.announce, self.end):
            self.endpoint.on_message(handler.__name__, handler)
        self.lobby.on_message("work", self.work)

    async def on_disconnect(self, ctx: DisconnectContext) -> None:
        self.ended.append((ctx.code, ctx.reason))
        await ctx.broadcast("gone", {"code": ctx.code})

    async def count(self, ctx: GatewayContext, to: int) -> str:
        for n in range(to):
            await ctx.push("n", {"n": n})
        return "counted"

    async def announce(self, ctx: GatewayContext, text: str) -> None:
        await self.endpoint.broadcast("announced", {"text": text})

    async def end(self, ctx: GatewayContext) -> None:
        await ctx.push("last")
        await ctx.close("done")

    async def work(self, ctx: EventContext) -> str:
        await ctx.push("mine")
        await ctx.broadcast("all")
        ctx.connection.push("aside")
        return "worked"


@pytest.fixture
def pond() -> Pushing:
    return Pushing()


async def open_session(pond: Pond, transport: str, path: str = "/socket") -> Session:
    connect = pond.driver.connect_websocket if transport == "websocket" else pond.driver.connect_sse
    session: Session = await connect(path)
    assert (await session.receive_json())["event"] == "CONNECTION"
    return session


async def ask(session: Session, event: str, channel: str = "GATEWAY", **payload: Any) -> str:
    return await session.send_client_message(
        action="BROADCAST", channel_name=channel, event=event, payload=payload
    )


@TRANSPORTS
async def test_pushes_come_in_order_and_before_the_reply(pond: Pushing, transport: str) -> None:
    session = await open_session(pond, transport)
    request_id = await ask(session, "count", to=5)
    frames = [await session.receive_json() for _ in range(6)]
    ids = [each.pop("requestId") for each in frames]
    assert frames[:5] == [
        {"action": "BROADCAST", "event": "n", "channelName": "GATEWAY", "payload": {"n": n}}
        for n in range(5)
    ]
    assert frames[5]["payload"] == {"result": "counted"}
    assert (ids[5], len(set(ids))) == (request_id, 6)
    await session.disconnect()


@TRANSPORTS
async def test_the_endpoint_is_joined_left_and_heard_all_the_same(
    pond: Pushing, transport: str
) -> None:
    session = await open_session(pond, transport)
    for action, event in (("JOIN_CHANNEL", "ACKNOWLEDGE"), ("LEAVE_CHANNEL", "EXIT_ACKNOWLEDGE")):
        request_id = await session.send_client_message(
            action=action, channel_name="GATEWAY", event="x"
        )
        assert await session.receive_json() == {
            "action": "SYSTEM",
            "event": event,
            "channelName": "GATEWAY",
            "requestId": request_id,
            "payload": {},
        }
        await ask(session, "announce", text="to all")
        announced = await session.receive_json()
        assert (announced["event"], announced["channelName"]) == ("announced", "GATEWAY")
    await session.disconnect()


@TRANSPORTS
async def test_a_push_in_a_channel_keeps_its_place(pond: Pushing, transport: str) -> None:
    session = await open_session(pond, transport)
    await session.send_client_message(action="JOIN_CHANNEL", channel_name=ROOM, event="join")
    assert (await session.receive_json())["event"] == "ACKNOWLEDGE"
    await ask(session, "work", ROOM)
    frames = [await session.receive_json() for _ in range(4)]
    assert [(each["event"], each["channelName"]) for each in frames] == [
        ("mine", ROOM),
        ("all", ROOM),
        ("aside", "GATEWAY"),
        ("work", ROOM),
    ]
    await session.disconnect()


@TRANSPORTS
async def test_a_connection_closes_itself_alone_after_what_it_was_sent(
    pond: Pushing, transport: str
) -> None:
    session, other = await open_session(pond, transport), await open_session(pond, "websocket")
    await ask(session, "end")
    frames = [await session.receive_json() for _ in range(2)]
    assert [each["event"] for each in frames] == ["last", "GOODBYE"]
    assert (frames[1]["payload"]["code"], frames[1]["payload"]["reason"]) == (4403, "done")
    gone = await other.receive_json()
    assert (gone["event"], gone["payload"]) == ("gone", {"code": 4403})
    assert pond.ended == [(CloseCode.DISCONNECTED, "done")]
    if transport == "websocket":
        with pytest.raises(ConnectionError, match="4403"):
            await session.receive_json()
        assert session.close_code == 4403  # type: ignore[union-attr]
    await session.disconnect()
    await other.disconnect()
    assert len(pond.ended) == 2


async def test_the_number_with_which_a_client_closes_is_told(pond: Pushing) -> None:
    session = await open_session(pond, "websocket")
    await session.disconnect(code=4999)  # type: ignore[call-arg]
    assert pond.ended == [(4999, "")]
    assert not isinstance(pond.ended[0][0], CloseCode)


async def test_the_end_of_a_stream_has_no_number(pond: Pushing) -> None:
    stream = await open_session(pond, "sse")
    await stream.disconnect()
    assert pond.ended == [(CloseCode.NORMAL, "")]
    stream = await open_session(pond, "sse")
    status, _ = await pond.driver.sse_disconnect(stream.connection_id)
    await stream.disconnect()
    assert (status, pond.ended[1:]) == (204, [(CloseCode.NORMAL, "Closed by the client.")])


async def test_neither_a_push_nor_a_join_of_the_endpoint_moves_the_cursor() -> None:
    pond = Pond()

    async def enter(ctx: JoinContext) -> None:
        await ctx.accept()
        await ctx.push("welcome")

    pond.endpoint.create_channel("/log/:id", enter, history=History())
    stream = await open_session(pond, "sse")
    assert isinstance(stream, SSESession)
    for name, expected in (
        ("GATEWAY", ["ACKNOWLEDGE"]),
        ("/log/1", ["ACKNOWLEDGE", "welcome"]),
    ):
        await stream.send_client_message(action="JOIN_CHANNEL", channel_name=name, event="x")
        for event in expected:
            assert (await stream.receive_json())["event"] == event
    await pond.pond.channel("/socket", "/log/1").broadcast("said", {"n": 1})
    said = await stream.receive_json()
    await pond.endpoint.broadcast("announced")
    announced = await stream.receive_json()
    assert said["offset"] == 1
    assert {"epoch", "offset"}.isdisjoint(announced)
    last_id = stream.last_event_id
    await stream.disconnect()
    again = await pond.driver.connect_sse("/socket", headers={"last-event-id": last_id})
    connected = await again.receive_json()
    assert connected["payload"]["resumed"] == ["/log/1"]
    acknowledged = await again.receive_json()
    assert acknowledged["payload"]["recovered"] is True
    assert (await again.receive_json())["event"] == "welcome"
    await again.disconnect()
    assert json.dumps(connected).count("GATEWAY") == 1
