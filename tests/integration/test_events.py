"""Events: replies, broadcasts and errors, their order and their numbers."""

import json

import pytest

from tests.integration.clients import (
    Client,
    Message,
    SSEClient,
    Transport,
    WebSocketClient,
    envelope,
    frame,
    not_found,
)
from tests.integration.connector import Connector
from tests.servers import Server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


@pytest.fixture
async def ann(connect: Connector, server: Server, transport: Transport, room: str) -> Client:
    client = await connect(transport, f"{server.http_url}/socket?user=ann")
    await client.join(room)
    return client


@pytest.fixture
async def bob(connect: Connector, server: Server, transport: Transport, room: str) -> Client:
    other: Transport = "sse" if transport == "websocket" else "websocket"
    client = await connect(other, f"{server.http_url}/socket?user=bob")
    await client.join(room)
    return client


async def heard(client: Client, room: str) -> list[Message]:
    """Return the payloads of all broadcasts before the answer to an event that is sent now."""
    await client.call(room, "echo")
    return [message["payload"] for message in client.unread if message["action"] == "BROADCAST"]


async def test_a_reply_comes_under_the_requests_id_and_to_no_other_client(
    ann: Client, bob: Client, room: str
) -> None:
    request_id = await ann.send("BROADCAST", room, "echo", {"text": "hi"})
    assert await ann.receive() == frame("SYSTEM", "echoed", room, request_id, {"text": "hi"})
    await bob.call(room, "echo")
    assert not bob.unread


async def test_a_broadcast_comes_to_all_under_one_fresh_id(
    ann: Client, bob: Client, room: str
) -> None:
    request_id = await ann.send("BROADCAST", room, "say", {"text": "hi"})
    said = await ann.receive()
    assert said == frame("BROADCAST", "said", room, said["requestId"], {"text": "hi"})
    assert said["requestId"] != request_id
    assert await bob.receive() == said


async def test_events_as_values_come_with_their_declared_fields_alone(
    ann: Client, bob: Client, room: str
) -> None:
    request_id = await ann.send("BROADCAST", room, "announce", {"users": ["bob"]})
    reply, said = await ann.receive(), await ann.receive()
    assert reply == frame("SYSTEM", "announced", room, request_id, {"n": 1})
    assert said == frame("BROADCAST", "announced", room, said["requestId"], {"n": 2})
    assert await bob.receive() == said
    assert await heard(bob, room) == [{"n": 3}, {"n": 4}]
    assert await heard(ann, room) == []


async def test_a_broadcast_to_users_comes_to_them_alone(
    ann: Client, bob: Client, room: str
) -> None:
    await ann.send("BROADCAST", room, "say_to", {"users": ["bob"], "n": 1})
    await ann.send("BROADCAST", room, "say_to", {"users": ["ann", "bob"], "n": 2})
    assert [payload["n"] for payload in await heard(ann, room)] == [2]
    assert [payload["n"] for payload in await heard(bob, room)] == [1, 2]


async def test_a_broadcast_from_comes_to_all_but_its_sender(
    ann: Client, bob: Client, room: str
) -> None:
    await ann.send("BROADCAST", room, "say_from", {"n": 1})
    assert await heard(ann, room) == []
    assert await heard(bob, room) == [{"n": 1}]


async def test_replies_and_broadcasts_come_in_the_order_they_were_sent(
    ann: Client, bob: Client, room: str
) -> None:
    await ann.send("BROADCAST", room, "mingle")
    assert [(await ann.receive())["payload"]["step"] for _ in range(3)] == [1, 2, 3]
    assert [(await bob.receive())["payload"]["step"] for _ in range(2)] == [1, 3]


async def test_the_messages_of_one_sender_come_to_all_in_order(
    ann: Client, bob: Client, room: str
) -> None:
    await ann.send("BROADCAST", room, "wait_and_echo", {"seconds": 0.2})
    for number in range(50):
        await ann.send("BROADCAST", room, "say", {"n": number})
    assert (await ann.receive())["event"] == "echoed"
    for client in (ann, bob):
        assert [(await client.receive())["payload"]["n"] for _ in range(50)] == [*range(50)]


async def test_evicted_members_are_told_and_are_out(ann: Client, bob: Client, room: str) -> None:
    await ann.send("BROADCAST", room, "evict", {"users": ["bob"]})
    evicted = await bob.receive()
    payload = {"reason": "enough"}
    assert evicted == frame("SYSTEM", "EVICTED", room, evicted["requestId"], payload)
    assert (await bob.call(room, "echo"))["event"] == "UNAUTHORIZED_BROADCAST"
    assert (await ann.call(room, "echo"))["event"] == "echoed"
    assert not ann.unread


async def test_one_may_evict_oneself(ann: Client, room: str) -> None:
    await ann.send("BROADCAST", room, "evict")
    assert (await ann.receive())["event"] == "EVICTED"
    assert (await ann.join(room))["event"] == "ACKNOWLEDGE"


async def test_an_event_without_a_handler_is_404(ann: Client, room: str) -> None:
    request_id = await ann.send("BROADCAST", room, "sing")
    assert await fault(ann) == error("HANDLER_NOT_FOUND", room, request_id, 404)


async def test_an_event_by_a_client_that_has_not_joined_is_403(ann: Client, room: str) -> None:
    name = f"{room}-b"
    request_id = await ann.send("BROADCAST", name, "echo")
    assert await fault(ann) == error("UNAUTHORIZED_BROADCAST", name, request_id, 403)


async def test_an_event_to_a_channel_without_a_lobby_is_not_found(ann: Client) -> None:
    request_id = await ann.send("BROADCAST", "/cellar/1", "echo")
    answer = await ann.receive()
    assert answer == not_found("/cellar/1", request_id, answer["payload"]["message"])


async def test_an_exceptions_text_never_leaves_the_server(ann: Client, room: str) -> None:
    request_id = await ann.send("BROADCAST", room, "crash")
    answer = await ann.receive()
    assert "inner" not in json.dumps(answer)
    ann.unread.append(answer)
    assert await fault(ann) == error("INTERNAL_SERVER_ERROR", room, request_id, 500)
    assert (await ann.call(room, "echo"))["event"] == "echoed"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"nonsense",
        b"7",
        b"{}",
        b'{"action": "BROADCAST"}',
        b'{"action":"BROADCAST","event":"x","channelName":"/room/1","requestId":"r","payload":[]}',
        b'{"n": NaN}',
        b'{"text": "\xff"}',
        b'{"text": "\\ud800"}',
        b"[" * 60_000,
    ],
)
async def test_a_bad_frame_is_answered_and_the_connection_goes_on(
    ann: Client, room: str, raw: bytes
) -> None:
    await ann.send_raw(raw)
    answer = await ann.receive()
    assert (answer["action"], answer["event"]) == ("ERROR", "INVALID_MESSAGE")
    assert answer["channelName"] in ("GATEWAY", "/room/1")
    assert answer["payload"].keys() == {"error", "code", "message"}
    assert answer["payload"]["code"] == 400
    assert (await ann.call(room, "echo"))["event"] == "echoed"


@pytest.mark.parametrize("event", ["ACKNOWLEDGE", "UNAUTHORIZED", "GOODBYE"])
async def test_an_event_by_a_reserved_name_is_refused(ann: Client, room: str, event: str) -> None:
    request_id = await ann.send("BROADCAST", room, event)
    assert await fault(ann) == error("INVALID_MESSAGE", room, request_id, 400)


@pytest.mark.parametrize("number", ["18446744073709551615", "-9223372036854775808", "0.1", "1e300"])
async def test_a_number_is_echoed_digit_for_digit(
    ann: Client, bob: Client, room: str, number: str
) -> None:
    message = json.dumps(envelope("BROADCAST", room, "say", {"n": "?"}))
    await ann.send_raw(message.replace('"?"', number).encode())
    for client in (ann, bob):
        said = await client.receive()
        assert json.dumps(said["payload"]["n"]).replace("+", "") == number


@pytest.mark.parametrize("number", ["18446744073709551616", "-9223372036854775809"])
async def test_a_larger_integer_is_refused(
    ann: Client, bob: Client, room: str, number: str
) -> None:
    message = envelope("BROADCAST", room, "say", {"n": "?"})
    await ann.send_raw(json.dumps(message).replace('"?"', number).encode())
    assert await fault(ann) == error("INVALID_MESSAGE", room, message["requestId"], 400)
    assert await heard(bob, room) == []


@pytest.mark.parametrize(("depth", "event"), [(64, "echoed"), (65, "INVALID_MESSAGE")])
async def test_a_message_may_be_64_levels_deep(
    ann: Client, room: str, depth: int, event: str
) -> None:
    message = envelope("BROADCAST", room, "echo", {"deep": "?"})
    # The envelope and its payload are two of the levels.
    nested = "[" * (depth - 2) + "]" * (depth - 2)
    await ann.send_raw(json.dumps(message).replace('"?"', nested).encode())
    answer = await ann.answer(message["requestId"])
    assert answer["event"] == event
    if event == "echoed":
        assert json.dumps(answer["payload"]["deep"]) == nested


async def test_a_binary_frame_is_taken_as_text(
    connect: Connector, server: Server, room: str
) -> None:
    ann = await connect.websocket(f"{server.http_url}/socket")
    message = envelope("JOIN_CHANNEL", room, "join")
    await ann.connection.send(json.dumps(message).encode())
    assert (await ann.answer(message["requestId"]))["event"] == "ACKNOWLEDGE"


async def test_a_ping_is_answered(ann: Client) -> None:
    await ann.send_raw(b'{"action": "ping"}')
    pong = await ann.receive()
    assert pong == frame("SYSTEM", "PONG", "GATEWAY", pong["requestId"], {})


async def test_a_message_over_the_size_limit_is_refused(ann: Client, room: str) -> None:
    await ann.send("BROADCAST", room, "echo", {"text": "x" * 65_000})
    assert (await ann.receive())["event"] == "echoed"
    message = json.dumps(envelope("BROADCAST", room, "echo", {"text": "x" * 65_536})).encode()
    if isinstance(ann, SSEClient):
        assert (await ann.post(message)).status_code == 413
        assert (await ann.call(room, "echo"))["event"] == "echoed"
    else:
        assert isinstance(ann, WebSocketClient)
        await ann.send_raw(message)
        await ann.wait_closed()
        assert ann.close_code == 1009


async def fault(client: Client) -> Message:
    """Return the next message, without its sentence."""
    message = await client.receive()
    sentence = message["payload"].pop("message")
    assert isinstance(sentence, str)
    assert sentence
    return message


def error(name: str, channel_name: str, request_id: str, code: int) -> Message:
    payload = {"error": name, "code": code}
    return frame("ERROR", name, channel_name, request_id, payload)
