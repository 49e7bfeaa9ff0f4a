"""A second wire format over WebSockets and event streams."""

import json
from typing import Any

import pytest
from pondsocket import EventContext, History, JoinContext, Options
from pondsocket_asgi.testing import SSESession, WebSocketSession
from pondsocket_common import (
    CONNECTION_ID_HEADER,
    POND,
    ClientActions,
    ClientCodec,
    ClientMessage,
    Position,
    SSEDecoder,
)

from tests.array_codec import ARRAY, KINDS
from tests.asgi.conftest import HTTP_RESPONSE, Pond, Session
from tests.virtual_time import jumping_loops

# On a busy machine, too, an answer comes before its limit.
anyio_backend = jumping_loops

ROOM = "/chat/1"
TRANSPORTS = pytest.mark.parametrize("transport", ["websocket", "sse"])


@pytest.fixture
def pond() -> Pond:
    return Pond(codecs=[ARRAY], subprotocols=("v1",))


async def open_session(
    pond: Pond, transport: str, codec: ClientCodec = ARRAY, path: str = "/socket"
) -> Session:
    connect = pond.driver.connect_websocket if transport == "websocket" else pond.driver.connect_sse
    session: Session = await connect(path, codec=codec)
    assert (await session.receive_json())["event"] == "CONNECTION"
    return session


async def join(session: Session) -> dict[str, Any]:
    await session.send_client_message(
        action="JOIN_CHANNEL", channel_name=ROOM, event="join", request_id="j"
    )
    return await session.receive_json()


async def say(session: Session, **payload: Any) -> str:
    return await session.send_client_message(
        action="BROADCAST", channel_name=ROOM, event="say", payload=payload
    )


def event(number: int, **payload: Any) -> list[Any]:
    return [3, str(number), ROOM, "say", payload]


async def post(
    pond: Pond, session: SSESession, body: object, path: str = "/socket"
) -> tuple[int, bytes]:
    """POST for a stream, with no more than is needed: without the query that opened it."""
    headers = {CONNECTION_ID_HEADER: session.connection_id, "content-type": "application/json"}
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    status, answer = await pond.driver.call_http(path, method="POST", headers=headers, body=text)
    return status, answer


# --- which format -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "offered", "codec", "echoed"),
    [
        ("/socket", ["array"], ARRAY, "array"),
        ("/socket", ["unknown", "array", "pond"], ARRAY, "array"),
        ("/socket?codec=array", [], ARRAY, None),
        ("/socket?codec=array", ["v1"], ARRAY, "v1"),
        ("/socket?codec=array", ["bearer", "a-token"], ARRAY, None),
        ("/socket?codec=array", ["pond"], POND, "pond"),
        ("/socket", ["pond"], POND, "pond"),
        ("/socket", ["bearer", "a-token"], POND, None),
        ("/socket", [], POND, None),
    ],
)
async def test_a_websocket_chooses_by_subprotocol_or_query(
    pond: Pond, path: str, offered: list[str], codec: ClientCodec, echoed: str | None
) -> None:
    session = await pond.driver.connect_websocket(path, subprotocols=offered, codec=codec)
    assert session.accepted
    assert session.subprotocol == echoed
    assert (await session.receive_json())["payload"]["connectionId"] == session.connection_id
    assert (await join(session))["event"] == "ACKNOWLEDGE"
    await session.disconnect()


async def test_a_stream_chooses_by_query(pond: Pond) -> None:
    stream = await pond.driver.connect_sse("/socket?codec=array&user=ann")
    decoder = SSEDecoder()
    (greeting,) = decoder.feed(await stream.receive_frame_bytes())
    kind, _, channel, name, payload = json.loads(greeting.data)
    assert (KINDS[kind], channel, name) == ("CONNECT", "GATEWAY", "CONNECTION")
    assert payload["connection-id"] == stream.connection_id
    assert greeting.event == "CONNECTION"
    await stream.disconnect()


REFUSAL = {
    "error": "UNKNOWN_CODEC",
    "code": 400,
    "message": "?codec= is one of these: pond, array.",
}


async def test_an_unknown_format_is_refused(pond: Pond) -> None:
    socket = await pond.driver.connect_websocket("/socket?codec=unknown", extensions=HTTP_RESPONSE)
    assert (socket.accepted, socket.status, json.loads(socket.body)) == (False, 400, REFUSAL)
    socket = await pond.driver.connect_websocket("/socket?codec=")
    assert (socket.close_code, socket.close_reason) == (4400, REFUSAL["message"])
    stream = await pond.driver.connect_sse("/socket?codec=unknown")
    assert (stream.accepted, stream.status, json.loads(stream.body)) == (False, 400, REFUSAL)
    assert pond.contexts == []


# --- one channel, two formats, two transports --------------------------------------------------


async def test_clients_of_both_formats_and_transports_hear_each_other(pond: Pond) -> None:
    sessions = [
        await open_session(pond, transport, codec)
        for transport in ("websocket", "sse")
        for codec in (POND, ARRAY)
    ]
    for session in sessions:
        assert (await join(session))["event"] == "ACKNOWLEDGE"
    for number, sender in enumerate(sessions):
        await say(sender, n=number, a_b={"c_d": [number]})
        heard = [await session.receive_json() for session in sessions]
        assert all(each == heard[0] for each in heard)
        assert heard[0]["event"] == "said"
        assert heard[0]["payload"] == {"n": number, "a_b": {"c_d": [number]}}
    for session in sessions:
        await session.disconnect()
    assert await pond.is_empty()


@TRANSPORTS
async def test_what_is_on_the_wire_is_an_array(pond: Pond, transport: str) -> None:
    session = await open_session(pond, transport)
    await join(session)
    await session.send_text(json.dumps(event(1, n=1)))
    message = await session.receive_message()
    text = message["text"] if transport == "websocket" else message["body"].decode()
    if transport == "sse":
        name, data, *rest = text.split("\n")
        assert (name, rest) == ("event: said", ["", ""])
        text = data.removeprefix("data: ")
    kind, request_id, *rest = json.loads(text)
    assert (KINDS[kind], rest) == ("BROADCAST", [ROOM, "said", {"n": 1}])
    assert text == f'[{kind},"{request_id}","{ROOM}","said",{{"n":1}}]'
    await session.disconnect()


async def test_a_binary_frame_is_taken_too(pond: Pond) -> None:
    session = await open_session(pond, "websocket")
    await session.send_text(b'[0,"7"]')
    pong = await session.receive_json()
    assert (pong["event"], pong["requestId"]) == ("PONG", "7")
    await session.disconnect()


@TRANSPORTS
async def test_answers_and_a_goodbye_are_arrays(pond: Pond, transport: str) -> None:
    @pond.lobby.on_message("ask")
    async def ask(ctx: EventContext) -> dict[str, int]:
        return {"to_you": 1}

    session = await open_session(pond, transport)
    await join(session)
    for name, answer in (("ask", "ask"), ("unknown", "HANDLER_NOT_FOUND")):
        await session.send_client_message(
            action="BROADCAST", channel_name=ROOM, event=name, request_id="9"
        )
        message = await session.receive_json()
        assert (message["event"], message["requestId"]) == (answer, "9")
    (user,) = [each.user_id for each in pond.contexts]
    await pond.pond.disconnect(user_id=user)
    goodbye = (await session.receive_event_named("GOODBYE"))["payload"]
    assert goodbye["code"] == 4403
    assert goodbye["afterMs"] == 0
    await session.wait_ended()


@TRANSPORTS
async def test_what_breaks_the_format_is_answered(pond: Pond, transport: str) -> None:
    session = await open_session(pond, transport)
    await join(session)
    await session.send_text('[3,"5","/chat/1","say"]')
    message = await session.receive_json()
    assert (message["event"], message["requestId"]) == ("INVALID_MESSAGE", "5")
    assert message["payload"]["message"] == "payload: must be an object."
    await session.send_text('{"action":"ping"}')
    assert (await session.receive_json())["event"] == "INVALID_MESSAGE"
    if isinstance(session, SSESession):
        assert [status for status, _ in session.posted[1:]] == [400, 400]
        assert json.loads(session.posted[1][1])["message"] == "payload: must be an object."
    await session.disconnect()


# --- POST -------------------------------------------------------------------------------------


async def open_stream(pond: Pond, path: str = "/socket") -> SSESession:
    session = await open_session(pond, "sse", path=path)
    assert isinstance(session, SSESession)
    assert (await join(session))["event"] == "ACKNOWLEDGE"
    return session


@pytest.mark.parametrize("path", ["/socket", "/socket?codec=pond", "/socket?codec=unknown"])
async def test_a_post_is_in_the_format_of_its_stream(pond: Pond, path: str) -> None:
    stream = await open_stream(pond)
    assert await post(pond, stream, event(1, n=1), path) == (204, b"")
    assert (await stream.receive_json())["payload"] == {"n": 1}
    pond_event = {
        "action": "BROADCAST",
        "event": "say",
        "channelName": ROOM,
        "requestId": "1",
        "payload": {},
    }
    status, _ = await post(pond, stream, pond_event, path)
    assert status == 400
    await stream.disconnect()


@pytest.mark.parametrize("query", ["", "?sse=unnamed"])
async def test_a_post_may_hold_a_batch(pond: Pond, query: str) -> None:
    stream = await open_stream(pond, f"/socket{query}")
    batch = [event(1, n=1), [0, "2"], event(3, n=3)]
    assert (await post(pond, stream, batch))[0] == 204
    heard = [await stream.receive_json() for _ in batch]
    assert sorted(each["payload"].get("n", 0) for each in heard) == [0, 1, 3]
    # All or nothing.
    status, body = await post(pond, stream, [event(1), [3, "2"]])
    assert (status, json.loads(body)["message"]) == (400, "channel: must be a name.")
    assert (await stream.receive_json())["requestId"] == "2"
    assert (await post(pond, stream, []))[0] == 400
    assert (await stream.receive_json())["event"] == "INVALID_MESSAGE"
    assert (await post(pond, stream, [[0, str(n)] for n in range(65)]))[0] == 400
    assert (await stream.receive_json())["event"] == "INVALID_MESSAGE"
    await stream.disconnect()


async def test_unnamed_events_are_arrays_too(pond: Pond) -> None:
    stream = await open_stream(pond, "/socket?sse=unnamed")
    await stream.send_text(json.dumps(event(1, n=1)))
    text = (await stream.receive_frame_bytes()).decode()
    assert text.startswith("data: [")
    assert json.loads(text.removeprefix("data: "))[3:] == ["said", {"n": 1}]
    await stream.disconnect()


async def test_a_message_over_the_limit_is_refused_in_each_format() -> None:
    pond = Pond(Options(max_message_bytes=200), codecs=[ARRAY])
    stream = await open_stream(pond)
    large = event(1, text="x" * 200)
    assert (await post(pond, stream, large))[0] == 413
    assert (await post(pond, stream, [event(1), large]))[0] == 413
    assert (await post(pond, stream, [event(1, n=1), event(2, n=2)]))[0] == 204
    assert [(await stream.receive_json())["payload"]["n"] for _ in range(2)] == [1, 2]
    await stream.disconnect()


@TRANSPORTS
async def test_depth_is_limited_in_each_format(pond: Pond, transport: str) -> None:
    session = await open_session(pond, transport)
    await join(session)
    deepest: Any = {}
    for _ in range(61):
        deepest = [deepest]
    await session.send_text(json.dumps(event(1, n=deepest)))
    assert (await session.receive_json())["event"] == "said"
    await session.send_text(json.dumps(event(2, n=[deepest])))
    message = await session.receive_json()
    assert (message["event"], message["requestId"]) == ("INVALID_MESSAGE", "2")
    await session.disconnect()


# --- history ----------------------------------------------------------------------------------


async def test_a_stream_resumes_in_its_format(pond: Pond) -> None:
    async def accept(ctx: JoinContext) -> None:
        await ctx.accept()

    pond.endpoint.create_channel("/log/:name", accept, history=History())
    log = pond.pond.channel("/socket", "/log/a")
    stream = await open_session(pond, "sse")
    assert isinstance(stream, SSESession)
    await stream.send_client_message(action="JOIN_CHANNEL", channel_name="/log/a", event="join")
    await stream.receive_event_named("ACKNOWLEDGE")
    await log.broadcast("line", {"n": 1})
    first = await stream.receive_json()
    await stream.disconnect()
    await log.broadcast("line", {"n": 2})

    for codec in (ARRAY, POND):
        again = await pond.driver.connect_sse(
            "/socket", headers={"Last-Event-ID": stream.last_event_id}, codec=codec
        )
        assert (await again.receive_json())["payload"]["resumed"] == ["/log/a"]
        missed = await again.receive_event_named("line")
        assert (missed["payload"], missed["offset"]) == ({"n": 2}, first["offset"] + 1)
        await again.disconnect()


async def test_a_websocket_recovers_in_its_format(pond: Pond) -> None:
    async def accept(ctx: JoinContext) -> None:
        await ctx.accept()

    pond.endpoint.create_channel("/log/:name", accept, history=History())
    log = pond.pond.channel("/socket", "/log/a")
    socket = await open_session(pond, "websocket")
    assert isinstance(socket, WebSocketSession)
    request = ClientMessage(ClientActions.JOIN_CHANNEL, "join", "/log/a", "1", {})
    await socket.send_text(ARRAY.encode_client(request).decode())
    known = (await socket.receive_json())["payload"]
    for number in range(3):
        await log.broadcast("line", {"n": number})
    live = [await socket.receive_json() for _ in range(3)]
    since = Position(known["epoch"], known["offset"])
    await socket.send_text(ARRAY.encode_client(request._replace(since=since)).decode())
    assert (await socket.receive_json())["payload"]["recovered"] is True
    assert [await socket.receive_json() for _ in range(3)] == live
    await socket.disconnect()
