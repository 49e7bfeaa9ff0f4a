"""Limits over real transports: each at its border, and what is said beyond it."""

import json

import httpx
import pytest
from pondsocket_common import fresh_id

from tests.integration.clients import (
    Client,
    Message,
    SSEClient,
    Transport,
    WebSocketClient,
    envelope,
    frame,
    until,
)
from tests.integration.connector import Refused
from tests.integration.engine_clients import OTHER, EngineClients, events, send_all, told

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

# `engine_app.TIGHT`, and the options' defaults.
TIGHT_EVENTS, TIGHT_CONTROLS, TIGHT_CHANNELS = 4, 6, 3
PENDING = 256
REFUSALS = 100
MESSAGE_BYTES = 65_536
BODY_BYTES = 262_144
PENDING_BYTES = 1_048_576


def sized(room: str, size: int, letter: str = "x", event: str = "say") -> bytes:
    """Return a message of so many bytes."""
    message = envelope("BROADCAST", room, event, {"text": ""})
    missing = size - len(json.dumps(message).encode())
    letters, rest = divmod(missing, len(letter.encode()))
    message["payload"]["text"] = letter * letters + "x" * rest
    body = json.dumps(message, ensure_ascii=False).encode()
    assert len(body) == size
    return body


def id_of(body: bytes) -> str:
    request_id: str = json.loads(body)["requestId"]
    return request_id


def assert_retry(answer: Message, error: str, name: str, request_id: str) -> float:
    """Assert that it is an ERROR; return after how many milliseconds the client may ask again."""
    wait: float = answer["payload"].pop("retryAfterMs")
    sentence = answer["payload"].pop("message")
    assert answer == frame("ERROR", error, name, request_id, {"error": error, "code": 429})
    assert sentence
    assert isinstance(wait, int)
    assert wait > 0
    return wait


def assert_too_many(answer: httpx.Response) -> None:
    """Assert that it says the same in HTTP's way."""
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.json().keys() == {"error", "code", "message"}
    assert (answer.json()["error"], answer.json()["code"]) == ("RATE_LIMITED", 429)


# --- rates ------------------------------------------------------------------------------------


async def test_an_event_too_many_is_refused_with_the_time_to_wait(
    clients: EngineClients, transport: Transport, room: str
) -> None:
    ann = await clients.member(transport, "ann", room, path="/tight")
    for _ in range(TIGHT_EVENTS):
        assert (await ann.call(room, "count"))["event"] == "count"
    request = envelope("BROADCAST", room, "count")
    if isinstance(ann, SSEClient):
        assert_too_many(await ann.post_json(request))
    else:
        await ann.send_raw(json.dumps(request).encode())
    wait = assert_retry(await ann.receive(), "RATE_LIMITED", room, request["requestId"])
    assert 50_000 < wait <= 100_000  # a token comes every 100 s
    # Joins, leaves and pings have a bucket of their own.
    assert (await ann.leave(room))["event"] == "EXIT_ACKNOWLEDGE"
    await ann.send_raw(b'{"action": "ping"}')
    assert (await ann.receive())["event"] == "PONG"


async def test_an_array_counts_for_each_of_its_messages(clients: EngineClients, room: str) -> None:
    ann = await clients.connector.sse(f"{clients.url}/tight")
    await ann.receive_event("SYSTEM", "admitted")
    await ann.join(room)
    requests = events(room, "count", [{}] * (TIGHT_EVENTS + 1))
    assert_too_many(await ann.post_json(requests))
    for request in requests:
        assert_retry(await ann.receive(), "RATE_LIMITED", room, request["requestId"])
    # Nothing of it was taken, so that a shorter one is.
    assert (await ann.post_json(requests[1:])).status_code == 204
    for request in requests[1:]:
        assert (await ann.receive())["requestId"] == request["requestId"]


async def test_a_join_too_many_is_refused_with_the_time_to_wait(
    clients: EngineClients, transport: Transport, room: str
) -> None:
    bob = await clients.member(OTHER[transport], "bob", room, path="/tight")
    ann = await clients.connect(transport, "ann", path="/tight")
    for _ in range(TIGHT_CONTROLS):
        assert (await ann.join(room))["event"] == "ACKNOWLEDGE"
    request = envelope("JOIN_CHANNEL", room, "join")
    if isinstance(ann, SSEClient):
        assert_too_many(await ann.post_json(request))
    else:
        await ann.send_raw(json.dumps(request).encode())
    answer = await ann.receive()
    assert answer == frame("SYSTEM", "UNAUTHORIZED", room, request["requestId"], answer["payload"])
    assert answer["payload"].keys() == {"code", "message", "retryAfterMs"}
    assert answer["payload"]["code"] == 429
    assert 50_000 < answer["payload"]["retryAfterMs"] <= 100_000
    # As after any join that was refused, the membership that there was has ended.
    left = await bob.receive_event("BROADCAST", "left")
    assert left["payload"] == {"user": "ann", "reason": "evicted"}
    assert (await ann.call(room, "count"))["event"] == "UNAUTHORIZED_BROADCAST"
    assert (await bob.call(room, "count"))["payload"] == {"result": 1}


async def test_a_ping_too_many_is_refused(clients: EngineClients, transport: Transport) -> None:
    ann = await clients.connect(transport, path="/tight")
    for _ in range(TIGHT_CONTROLS):
        await ann.send_raw(b'{"action": "ping"}')
        assert (await ann.receive())["event"] == "PONG"
    await ann.send_raw(b'{"action": "ping", "requestId": "p"}')
    answer = await ann.receive()
    assert_retry(answer, "RATE_LIMITED", "GATEWAY", answer["requestId"])


async def test_a_client_that_goes_on_over_the_limits_is_closed(
    clients: EngineClients, transport: Transport, room: str
) -> None:
    ann = await clients.member(transport, "ann", room, path="/tight")
    bob = await clients.member(OTHER[transport], "bob", room, path="/tight")
    for _ in range(TIGHT_EVENTS):
        await ann.call(room, "count")
    for _ in range(REFUSALS):
        request_id = await ann.send("BROADCAST", room, "count")
        assert_retry(await ann.receive(), "RATE_LIMITED", room, request_id)
    goodbye = await ann.receive()
    reason = goodbye["payload"]["reason"]
    payload = {"code": 4429, "reason": reason, "reconnect": True, "afterMs": 0}
    assert goodbye == frame("SYSTEM", "GOODBYE", "GATEWAY", goodbye["requestId"], payload)
    await ann.wait_closed()
    assert not ann.unread
    if isinstance(ann, WebSocketClient):
        assert ann.close_code == 4429
    assert (await bob.receive_event("BROADCAST", "left"))["payload"]["user"] == "ann"


# --- numbers ----------------------------------------------------------------------------------


async def test_a_channel_too_many_is_refused_until_one_is_left(
    clients: EngineClients, transport: Transport, room: str
) -> None:
    ann = await clients.connect(transport, path="/tight")
    names = [f"{room}-{number}" for number in range(TIGHT_CHANNELS)]
    for name in names:
        assert (await ann.join(name))["event"] == "ACKNOWLEDGE"
    answer = await ann.join(room)
    assert answer["event"] == "UNAUTHORIZED"
    assert answer["payload"]["code"] == 429
    assert answer["payload"]["retryAfterMs"] > 0
    assert (await ann.leave(names[0]))["event"] == "EXIT_ACKNOWLEDGE"
    assert (await ann.join(room))["event"] == "ACKNOWLEDGE"


async def test_128_channels_are_let_in_at_once_and_no_more(
    clients: EngineClients, transport: Transport, room: str
) -> None:
    ann = await clients.connect(transport)
    joins = [envelope("JOIN_CHANNEL", f"{room}-{number}", "join") for number in range(129)]
    await send_all(ann, joins)
    answers = [await ann.answer(join["requestId"]) for join in joins]
    assert {answer["event"] for answer in answers[:128]} == {"ACKNOWLEDGE"}
    assert answers[128]["event"] == "UNAUTHORIZED"
    assert answers[128]["payload"]["code"] == 429


async def test_256_messages_may_wait_and_one_more_is_refused(
    clients: EngineClients, transport: Transport, room: str
) -> None:
    ann = await clients.member(transport, "ann", room)
    latch = fresh_id()
    waiting = events(room, "wait", [{"latch": latch}])
    waiting += events(room, "say", [{"text": str(n)} for n in range(PENDING - 1)])
    assert set(await send_all(ann, waiting)) <= {204}
    assert (await ann.receive_event("BROADCAST", "began"))["payload"] == {"latch": latch}
    request = envelope("BROADCAST", "GATEWAY", "add", {"a": 1, "b": 1})
    if isinstance(ann, SSEClient):
        assert_too_many(await ann.post_json(request))
    else:
        await ann.send_raw(json.dumps(request).encode())
    wait = assert_retry(await ann.receive(), "RATE_LIMITED", "GATEWAY", request["requestId"])
    assert wait == 1_000
    assert (await ann.join(f"{room}-b"))["payload"]["code"] == 429
    await ann.send_raw(b'{"action": "ping"}')
    assert (await ann.receive())["event"] == "PONG"
    await clients.open(latch)
    for number in range(PENDING - 1):
        said = await ann.receive_event("BROADCAST", "said")
        assert said["payload"] == {"text": str(number)}
    await ann.answer(waiting[-1]["requestId"])
    assert (await ann.call("GATEWAY", "add", {"a": 1, "b": 1}))["payload"] == {"result": 2}


async def test_1_mib_of_messages_may_wait_and_one_byte_more_is_refused(
    clients: EngineClients, transport: Transport, room: str
) -> None:
    ann = await clients.member(transport, "ann", room)
    latch = fresh_id()
    waiting = envelope("BROADCAST", room, "wait", {"latch": latch})
    size = len(json.dumps(waiting))
    await ann.send_raw(json.dumps(waiting).encode())
    await ann.receive_event("BROADCAST", "began")
    full, last = [MESSAGE_BYTES] * (PENDING_BYTES // MESSAGE_BYTES - 1), 400
    rest = PENDING_BYTES - size - sum(full) - last
    taken = [sized(room, each, event="count") for each in (*full, rest)]
    for body in taken:
        await ann.send_raw(body)
    over = sized(room, last + 1, event="count")
    await ann.send_raw(over)
    assert_retry(await ann.receive(), "RATE_LIMITED", room, id_of(over))
    taken.append(sized(room, last, event="count"))
    await ann.send_raw(taken[-1])
    await clients.open(latch)
    for body in taken:
        assert (await ann.answer(id_of(body)))["event"] == "count"


async def test_a_connection_too_many_is_refused_until_one_has_gone(
    clients: EngineClients, transport: Transport
) -> None:
    path = f"/few/{fresh_id()}"
    first, _second = [await clients.connect(each, path=path) for each in OTHER]
    with pytest.raises(Refused) as refused:
        await clients.connect(transport, path=path)
    assert refused.value.status == 503
    assert refused.value.headers["retry-after"] == "5"
    assert refused.value.json()["code"] == 503
    await first.close()

    async def is_let_in() -> bool:
        try:
            await clients.connect(transport, path=path)
        except Refused:
            return False
        return True

    await until(is_let_in, "a place became free")


# --- sizes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("letter", ["x", "ž", "€", "🐸"])
async def test_a_message_of_exactly_64_kib_is_taken(
    clients: EngineClients, transport: Transport, room: str, letter: str
) -> None:
    ann = await clients.member(transport, "ann", room)
    body = sized(room, MESSAGE_BYTES, letter)
    await ann.send_raw(body)
    text = json.loads(body)["payload"]["text"]
    assert (await ann.receive())["payload"] == {"text": text}
    assert (await ann.answer(id_of(body)))["payload"] == {"length": len(text)}


@pytest.mark.parametrize("letter", ["x", "ž", "€", "🐸"])
async def test_a_message_of_one_byte_more_is_not(
    clients: EngineClients, transport: Transport, room: str, letter: str
) -> None:
    ann = await clients.member(transport, "ann", room)
    body = sized(room, MESSAGE_BYTES + 1, letter)
    if isinstance(ann, SSEClient):
        answer = await ann.post(body)
        assert (answer.status_code, answer.json()["code"]) == (413, 413)
        assert (await ann.call(room, "count"))["payload"] == {"result": 1}
        assert not ann.unread
        return
    assert isinstance(ann, WebSocketClient)
    await ann.send_raw(body)
    goodbye = await ann.receive()
    assert goodbye["event"] == "GOODBYE"
    assert (goodbye["payload"]["code"], goodbye["payload"]["reconnect"]) == (1009, False)
    await ann.wait_closed()
    assert ann.close_code == 1009


@pytest.mark.parametrize("binary", [False, True])
async def test_a_frame_may_be_as_long_as_text_or_as_bytes(
    clients: EngineClients, room: str, binary: bool
) -> None:
    ann = await clients.member("websocket", "ann", room)
    assert isinstance(ann, WebSocketClient)
    for size, event in ((MESSAGE_BYTES, "said"), (MESSAGE_BYTES + 1, "GOODBYE")):
        body = sized(room, size)
        await ann.connection.send(body if binary else body.decode())
        assert (await ann.receive())["event"] == event
        if event == "said":
            await ann.answer(id_of(body))


@pytest.mark.parametrize(("extra", "status"), [(0, 204), (1, 413)])
async def test_a_body_may_have_256_kib(
    clients: EngineClients, room: str, extra: int, status: int
) -> None:
    ann = await clients.member("sse", "ann", room)
    assert isinstance(ann, SSEClient)
    messages = [sized(room, 65_000) for _ in range(4)]
    body = b"[" + b",".join(messages)
    body += b" " * (BODY_BYTES + extra - len(body) - 1) + b"]"
    assert len(body) == BODY_BYTES + extra
    answer = await ann.post(body)
    assert answer.status_code == status
    if status == 204:
        for message in messages:
            assert (await ann.answer(id_of(message)))["event"] == "say"
    assert (await ann.call(room, "count"))["payload"] == {"result": 1}


async def test_a_message_in_an_array_may_be_as_long_as_one_alone(
    clients: EngineClients, room: str
) -> None:
    ann = await clients.member("sse", "ann", room)
    assert isinstance(ann, SSEClient)
    first, second = sized(room, 1_000), sized(room, MESSAGE_BYTES)
    assert (await ann.post(b"[%b,%b]" % (first, second))).status_code == 204
    for body in (first, second):
        assert (await ann.answer(id_of(body)))["event"] == "say"
    # Longer even without its envelope.
    first, second = sized(room, 1_000), sized(room, MESSAGE_BYTES + 1_000)
    assert (await ann.post(b"[%b,%b]" % (first, second))).status_code == 413
    assert (await ann.call(room, "count"))["payload"] == {"result": 1}
    assert len(told(ann)) == 2  # of the first array


@pytest.mark.parametrize(("chars", "event"), [(255, "ACKNOWLEDGE"), (256, "UNAUTHORIZED")])
async def test_a_name_may_have_255_characters(
    clients: EngineClients, transport: Transport, chars: int, event: str
) -> None:
    ann: Client = await clients.connect(transport)
    answer = await ann.join("/room/" + "ž" * (chars - len("/room/")))
    assert answer["event"] == event
    if event == "UNAUTHORIZED":
        assert answer["payload"]["code"] == 400
