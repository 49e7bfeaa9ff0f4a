"""Statuses, error frames and the richer answers of the engine, over WebSocket and over SSE."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import pytest
from pondsocket import (
    CloseCode,
    ConnectionContext,
    EventContext,
    JoinContext,
    Options,
    PondError,
    PondSocket,
    SyncEventContext,
)
from pondsocket.testing import FakeClock
from pondsocket_asgi import PondASGIApp
from pondsocket_asgi.testing import ASGITestDriver, SSESession, WebSocketSession
from pondsocket_common import fresh_id
from pydantic import BaseModel

Frame: TypeAlias = dict[str, Any]
ROOM = "/chat/1"


class Say(BaseModel):
    text: str


def make_pond(clock: FakeClock, **options: Any) -> PondSocket:
    pond = PondSocket(options=Options(**options), clock=clock)

    @pond.endpoint("/socket")
    async def socket(ctx: ConnectionContext, user: str, age: int | None = None) -> None:
        if user == "mallory":
            raise PondError("Not you.", 403)
        ctx.accept(user_id=user)

    @socket.on_message("add")
    async def add(a: int, b: int) -> int:
        return a + b

    @socket.channel("/chat/:room_id")
    async def chat(ctx: JoinContext, room_id: int, colour: str = "red") -> dict[str, Any]:
        if room_id == 9:
            raise PondError("Full.", 409)
        await ctx.accept(response={"room": room_id, "colour": colour})
        await ctx.track({"user": ctx.user.id})
        return None  # type: ignore[return-value]

    @chat.on_message("say")
    async def say(ctx: EventContext, payload: Say) -> None:
        await ctx.broadcast("said", payload)

    @chat.on_message("count")
    def count(ctx: SyncEventContext, text: str) -> int:
        ctx.broadcast_from("counted", {})
        return len(text)

    @chat.on_message("refuse")
    async def refuse() -> PondError:
        return PondError("No.", 418)

    @chat.on_message("fail")
    async def fail() -> None:
        raise ValueError("secret")

    @chat.on_message("kick")
    async def kick(ctx: EventContext) -> None:
        await pond.disconnect(user_id="ann", reason="banned")

    return pond


@dataclass
class Client:
    """One session of either transport."""

    session: WebSocketSession | SSESession
    driver: ASGITestDriver

    async def ask(self, action: str, name: str, event: str, **payload: Any) -> Frame:
        request_id = await self.send(action, name, event, **payload)
        return await self.answer(request_id)

    async def send(self, action: str, name: str, event: str, **payload: Any) -> str:
        message = {
            "action": action,
            "event": event,
            "channelName": name,
            "requestId": fresh_id(),
            "payload": payload,
        }
        await self.put(message)
        return str(message["requestId"])

    async def put(self, message: Frame) -> int | None:
        """Send a message; over SSE, the status of the POST."""
        if isinstance(self.session, SSESession):
            return (await self.driver.sse_push(self.session.connection_id, message)).status
        await self.session.send_json(message)
        return None

    async def answer(self, request_id: str) -> Frame:
        while True:
            frame = await self.session.receive_json()
            if frame["requestId"] == request_id:
                return frame

    async def hears(self, event: str) -> Frame:
        return await self.session.receive_event_named(event, attempts=300)

    async def expect_end(self, code: int, reason: str, *, reconnect: bool) -> None:
        """Expect a goodbye that says this, and the end of the connection."""
        assert (await self.hears("GOODBYE"))["payload"] == {
            "code": code,
            "reason": reason,
            "reconnect": reconnect,
            "afterMs": 0,
        }
        await self.session.wait_ended()
        assert self.session.closed


class ClientFactory:
    """Opens sessions of one transport."""

    def __init__(self, transport: str) -> None:
        self.transport = transport
        self.clock = FakeClock()
        self.driver = ASGITestDriver(PondASGIApp(make_pond(self.clock)))

    def limit(self, **options: Any) -> None:
        self.driver = ASGITestDriver(PondASGIApp(make_pond(self.clock, **options)))

    async def connect(self, query: str) -> WebSocketSession | SSESession:
        if self.transport == "sse":
            return await self.driver.connect_sse(f"/socket?{query}")
        http: dict[str, Frame] = {"websocket.http.response": {}}
        return await self.driver.connect_websocket(f"/socket?{query}", extensions=http)

    @asynccontextmanager
    async def open(self, user: str = "ann", join: bool = True) -> AsyncIterator[Client]:
        session = await self.connect(f"user={user}")
        assert session.accepted, session.body
        client = Client(session, self.driver)
        await client.hears("CONNECTION")
        if join:
            assert (await client.ask("JOIN_CHANNEL", ROOM, "join"))["event"] == "ACKNOWLEDGE"
            await client.hears("JOIN")
        yield client
        if not session.closed:
            await session.disconnect()


@pytest.fixture(params=["websocket", "sse"])
def clients(request: pytest.FixtureRequest) -> ClientFactory:
    """Return a pond, asked over one of the two transports."""
    return ClientFactory(request.param)


# --- before the connection --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "status", "word"),
    [
        ("", 422, b"user"),
        ("user=ann&age=old", 422, b"age"),
        ("user=mallory", 403, b"Not you."),
    ],
)
async def test_a_connection_that_is_refused_has_the_true_status(
    clients: ClientFactory, query: str, status: int, word: bytes
) -> None:
    session = await clients.connect(query)
    assert (session.accepted, session.status) == (False, status)
    assert word in session.body


async def test_a_full_endpoint_answers_503_with_retry_after(clients: ClientFactory) -> None:
    clients.limit(max_connections=1)
    async with clients.open():
        session = await clients.connect("user=bob")
        assert (session.accepted, session.status) == (False, 503)
        assert b"NO_CAPACITY" in session.body
        assert session.headers["retry-after"] == "5"
    again = await clients.connect("user=bob")
    assert again.accepted
    await again.disconnect()


# --- answers ----------------------------------------------------------------------------------


async def test_a_join_is_answered_with_its_response(clients: ClientFactory) -> None:
    async with clients.open(join=False) as ann:
        answer = await ann.ask("JOIN_CHANNEL", "/chat/7", "join", colour="blue")
        assert answer["payload"] == {"response": {"room": 7, "colour": "blue"}}


@pytest.mark.parametrize(
    ("name", "payload", "event", "code"),
    [
        ("/chat/9", {}, "UNAUTHORIZED", 409),
        ("/chat/1", {"colour": 5}, "UNAUTHORIZED", 422),
        ("/chat/kitchen", {}, "NOT_FOUND", 404),
    ],
)
async def test_a_join_that_is_refused(
    clients: ClientFactory, name: str, payload: Frame, event: str, code: int
) -> None:
    async with clients.open(join=False) as ann:
        answer = await ann.ask("JOIN_CHANNEL", name, "join", **payload)
        assert (answer["action"], answer["event"]) == ("SYSTEM", event)
        assert answer["payload"]["code"] == code
        if code == 422:
            assert answer["payload"]["details"][0]["loc"] == ["colour"]


async def test_a_returned_value_is_the_reply(clients: ClientFactory) -> None:
    async with clients.open() as ann:
        answer = await ann.ask("BROADCAST", ROOM, "count", text="four")
        assert (answer["event"], answer["payload"]) == ("count", {"result": 4})


async def test_the_endpoint_answers_without_a_join(clients: ClientFactory) -> None:
    async with clients.open(join=False) as ann:
        answer = await ann.ask("BROADCAST", "GATEWAY", "add", a=1, b=2)
        assert (answer["channelName"], answer["payload"]) == ("GATEWAY", {"result": 3})


@pytest.mark.parametrize(
    ("event", "error", "code"),
    [
        ("say", "INVALID_MESSAGE", 422),
        ("refuse", "CHANNEL_ERROR", 418),
        ("fail", "INTERNAL_SERVER_ERROR", 500),
        ("unknown", "HANDLER_NOT_FOUND", 404),
    ],
)
async def test_an_event_that_fails(
    clients: ClientFactory, event: str, error: str, code: int
) -> None:
    async with clients.open() as ann:
        answer = await ann.ask("BROADCAST", ROOM, event)
        assert (answer["action"], answer["event"], answer["channelName"]) == ("ERROR", error, ROOM)
        assert (answer["payload"]["error"], answer["payload"]["code"]) == (error, code)
        assert "secret" not in str(answer)
        if code == 422:
            detail = {"loc": ["text"], "msg": "Field required", "type": "missing"}
            assert answer["payload"]["details"] == [detail]


# --- rates ------------------------------------------------------------------------------------


def event(n: int) -> Frame:
    return {
        "action": "BROADCAST",
        "event": "say",
        "channelName": ROOM,
        "requestId": f"n{n}",
        "payload": {"text": "hi"},
    }


async def test_an_event_over_the_rate_is_429_on_the_connection(clients: ClientFactory) -> None:
    clients.limit(event_rate=2.0, event_burst=1)
    async with clients.open() as ann:
        statuses = [await ann.put(event(n)) for n in range(2)]
        refused = await ann.hears("RATE_LIMITED")
        assert refused["requestId"] == "n1"
        assert (refused["payload"]["code"], refused["payload"]["retryAfterMs"]) == (429, 500)
        assert statuses == ([204, 429] if clients.transport == "sse" else [None, None])
        clients.clock.advance(0.5)
        await ann.put(event(3))
        assert (await ann.hears("said"))["payload"] == {"text": "hi"}


async def test_the_response_of_a_429_says_when_to_come_back() -> None:
    clients = ClientFactory("sse")
    clients.limit(event_rate=0.25, event_burst=1)
    async with clients.open() as ann:
        await ann.put(event(1))
        answer = await clients.driver.sse_push(ann.session.connection_id, event(2))
        assert (answer.status, answer.headers["retry-after"]) == (429, "4")
        assert b"RATE_LIMITED" in answer.body


async def test_too_many_refusals_end_the_connection_with_a_goodbye(clients: ClientFactory) -> None:
    clients.limit(event_rate=0.001, event_burst=1)
    async with clients.open() as ann:
        for n in range(101):
            await ann.put(event(n))
        await ann.expect_end(4429, "too many requests over the limits", reconnect=True)
        if isinstance(ann.session, WebSocketSession):
            assert ann.session.close_code == CloseCode.RATE_LIMITED
        else:
            assert await ann.put(event(999)) == 404


async def test_a_join_over_its_rate_is_refused_and_never_an_error(clients: ClientFactory) -> None:
    clients.limit(control_rate=1.0, control_burst=1)
    async with clients.open(join=False) as ann:
        await ann.ask("JOIN_CHANNEL", ROOM, "join")
        answer = await ann.ask("JOIN_CHANNEL", "/chat/2", "join")
        assert (answer["event"], answer["payload"]["code"]) == ("UNAUTHORIZED", 429)
        assert answer["payload"]["retryAfterMs"] == 1_000


# --- presence, and the end --------------------------------------------------------------------


async def test_a_diff_is_asked_for_on_the_join(clients: ClientFactory) -> None:
    clients.limit(presence_tick=0.01)
    async with clients.open("bob"), clients.open("ann", join=False) as ann:
        await ann.put(
            {
                "action": "JOIN_CHANNEL",
                "event": "join",
                "channelName": ROOM,
                "requestId": "j1",
                "payload": {},
                "presence": "diff",
            }
        )
        state = (await ann.answer("j1"))["payload"]["presence"]
        assert [entry["user"] for entry in state["joins"]] == ["bob"]
        assert (state["updates"], state["leaves"]) == ([], [])
        diff = await ann.hears("DIFF")
        assert diff["action"] == "PRESENCE"
        (entry,) = diff["payload"]["joins"]
        assert (entry["user"], entry["presence"], bool(entry["ref"])) == (
            "ann",
            {"user": "ann"},
            True,
        )


async def test_a_disconnected_user_is_told_and_shall_not_come_back(clients: ClientFactory) -> None:
    async with clients.open() as ann, clients.open("bob") as bob:
        await bob.put(event(1) | {"event": "kick"})
        await ann.expect_end(4403, "banned", reconnect=False)
        assert (await bob.hears("LEAVE"))["payload"]["changed"] == {"user": "ann"}
