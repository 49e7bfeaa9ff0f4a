"""Handlers over real transports: what they give, what they refuse, and how a connection ends."""

from typing import Any

import pytest
from pondsocket_common import fresh_id

from tests.integration.clients import Client, Message, Transport, WebSocketClient, frame
from tests.integration.connector import Refused
from tests.integration.engine_clients import OTHER, EngineClients

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


def fault(error: str, room: str, request_id: str, code: int, message: str) -> Message:
    payload = {"error": error, "code": code, "message": message}
    return frame("ERROR", error, room, request_id, payload)


# --- what handlers give -----------------------------------------------------------------------


async def test_what_a_join_handler_returns_is_the_response_in_the_acknowledgement(
    clients: EngineClients, transport: Transport, room: str
) -> None:
    ann = await clients.connect(transport)
    request_id = await ann.send("JOIN_CHANNEL", room, "join", {"age": 7})
    response = {"room": room.removeprefix("/room/"), "age": 7}
    acknowledged = frame("SYSTEM", "ACKNOWLEDGE", room, request_id, {"response": response})
    assert await ann.receive() == acknowledged


@pytest.mark.parametrize(
    ("event", "payload", "reply"),
    [
        ("say", {"text": "Žofie"}, {"length": 5}),
        ("count", {}, {"result": 1}),
        ("presence", {}, {}),
    ],
)
async def test_what_an_event_handler_returns_is_the_reply_under_the_events_name(
    ann: Client, room: str, event: str, payload: Message, reply: Message
) -> None:
    request_id = await ann.send("BROADCAST", room, event, payload)
    assert await ann.answer(request_id) == frame("SYSTEM", event, room, request_id, reply)


async def test_a_return_type_says_which_fields_are_sent(ann: Client, room: str) -> None:
    for name in (room, "GATEWAY"):
        answer = await ann.call(name, "profile", {"user": "ann"})
        assert answer["payload"] == {"user": "ann"}


async def test_an_event_is_confirmed_behind_what_its_handler_has_sent(
    ann: Client, room: str
) -> None:
    payload = {"users": ["ann"], "text": "hi"}
    request_id = await ann.send("BROADCAST", room, "tell", payload, confirm=True)
    assert (await ann.receive())["event"] == "said"
    assert await ann.receive() == frame("SYSTEM", "tell", room, request_id, {})


async def test_a_broadcast_of_a_model_comes_before_the_reply_and_to_others(
    ann: Client, bob: Client, room: str
) -> None:
    request_id = await ann.send("BROADCAST", room, "say", {"text": "hi", "more": "is dropped"})
    said = await ann.receive()
    assert said == frame("BROADCAST", "said", room, said["requestId"], {"text": "hi"})
    assert (await ann.receive())["requestId"] == request_id
    assert await bob.receive() == said


async def test_an_endpoint_answers_requests_without_a_join(
    clients: EngineClients, transport: Transport
) -> None:
    ann = await clients.connect(transport)
    request_id = await ann.send("BROADCAST", "GATEWAY", "add", {"a": 2, "b": 3})
    assert await ann.receive() == frame("SYSTEM", "add", "GATEWAY", request_id, {"result": 5})


async def test_what_needs_a_channel_fails_at_the_endpoint(
    clients: EngineClients, transport: Transport
) -> None:
    ann = await clients.connect(transport)
    answer = await ann.call("GATEWAY", "shout")
    assert (answer["event"], answer["payload"]["code"]) == ("INTERNAL_SERVER_ERROR", 500)
    assert "channel" not in answer["payload"]["message"]


async def test_plain_functions_run_in_worker_threads_side_by_side(
    clients: EngineClients, transport: Transport, room: str
) -> None:
    ann = await clients.connector(transport, f"{clients.url}/socket?user=ann&floor=3")
    admitted = await ann.receive_event("SYSTEM", "admitted")
    assert admitted["payload"] == {"floor": 3, "in_main_thread": False}
    desk = await ann.join("/desk/4")
    assert desk["payload"]["response"] == {"number": 4, "in_main_thread": False}
    # Both block their thread until the other is there, and the event loop goes on.
    meeting = fresh_id()
    await ann.join(room)
    await ann.join(f"{room}-b")
    requests = [
        await ann.send("BROADCAST", name, "meet", {"meeting": meeting})
        for name in (room, f"{room}-b")
    ]
    for request_id in requests:
        assert (await ann.answer(request_id))["payload"] == {"in_main_thread": False}
    met = {(await ann.receive())["channelName"] for _ in requests}
    assert met == {room, f"{room}-b"}


async def test_broadcasts_from_any_thread_of_the_server_come_in_its_order(
    ann: Client, bob: Client, room: str
) -> None:
    answer = await ann.call("GATEWAY", "announce", {"room": room, "count": 100})
    assert answer["payload"] == {"result": True}
    for client in (ann, bob):
        news = [await client.receive_event("BROADCAST", "news") for _ in range(100)]
        assert [each["payload"]["n"] for each in news] == [*range(100)]
        # Sent by another thread, and handed out by the event loop's.
        assert all(each["payload"]["in_main_thread"] for each in news)
        assert not client.unread


# --- what handlers refuse ---------------------------------------------------------------------


async def test_a_payload_that_does_not_fit_is_answered_with_its_fields(
    ann: Client, bob: Client, room: str
) -> None:
    request_id = await ann.send("BROADCAST", room, "say", {"text": 7})
    answer = await ann.receive()
    details = answer["payload"].pop("details")
    assert answer["payload"].pop("errorCount") == 1
    message = "What was sent does not fit: text."
    assert answer == fault("INVALID_MESSAGE", room, request_id, 422, message)
    assert details == [{"loc": ["text"], "msg": details[0]["msg"], "type": "string_type"}]
    assert (await ann.call(room, "say", {"text": "7"}))["payload"] == {"length": 1}
    assert (await bob.receive())["payload"] == {"text": "7"}


async def test_join_parameters_that_do_not_fit_are_answered_with_their_fields(
    clients: EngineClients, transport: Transport, room: str
) -> None:
    ann = await clients.connect(transport)
    params = {"age": "old", "show": {"nickname": "Ann"}}
    request_id = await ann.send("JOIN_CHANNEL", room, "join", params)
    answer = await ann.receive()
    assert answer == frame("SYSTEM", "UNAUTHORIZED", room, request_id, answer["payload"])
    assert answer["payload"].keys() == {"code", "message", "errorCount", "details"}
    assert (answer["payload"]["code"], answer["payload"]["errorCount"]) == (422, 2)
    found = [(each["loc"], each["type"]) for each in answer["payload"]["details"]]
    assert found == [(["age"], "int_parsing"), (["show", "name"], "missing")]
    assert (await ann.join(room))["event"] == "ACKNOWLEDGE"


async def test_a_query_that_does_not_fit_is_422(
    clients: EngineClients, transport: Transport
) -> None:
    with pytest.raises(Refused) as refused:
        await clients.connector(transport, f"{clients.url}/socket?floor=many")
    assert refused.value.status == 422
    body = refused.value.json()
    assert body.keys() == {"error", "code", "message"}
    assert (body["code"], "floor" in body["message"]) == (422, True)


async def test_a_name_that_does_not_fit_is_not_found(
    clients: EngineClients, transport: Transport
) -> None:
    ann = await clients.connect(transport)
    assert (await ann.join("/desk/four"))["event"] == "NOT_FOUND"


async def test_an_error_of_the_applications_own_is_answered_with_its_code_and_words(
    clients: EngineClients, ann: Client, room: str
) -> None:
    request_id = await ann.send("BROADCAST", room, "deny")
    denied = fault("CHANNEL_ERROR", room, request_id, 409, "The shop is closed.")
    assert await ann.receive() == denied
    request_id = await ann.send("BROADCAST", "GATEWAY", "refuse")
    refused = fault("ENDPOINT_ERROR", "GATEWAY", request_id, 418, "Not in this channel.")
    assert await ann.receive() == refused
    name = f"{room}-b"
    request_id = await ann.send("JOIN_CHANNEL", name, "join", {"code": 451})
    payload = {"code": 451, "message": "Members only."}
    assert await ann.receive() == frame("SYSTEM", "UNAUTHORIZED", name, request_id, payload)


# --- how a connection ends --------------------------------------------------------------------


async def assert_goodbye(client: Client, payload: dict[str, Any]) -> None:
    """Assert that it is the last message, before a close with its code."""
    goodbye = await client.receive_event("SYSTEM", "GOODBYE")
    assert goodbye == frame("SYSTEM", "GOODBYE", "GATEWAY", goodbye["requestId"], payload)
    await client.wait_closed()
    assert not client.unread
    if isinstance(client, WebSocketClient):
        assert client.close_code == payload["code"]


async def test_a_disconnected_user_is_told_on_every_connection(
    clients: EngineClients, transport: Transport, room: str
) -> None:
    name = fresh_id()
    tabs = [await clients.member(each, name, room) for each in OTHER]
    bob = await clients.member(transport, "bob", room)
    await bob.send("BROADCAST", "GATEWAY", "disconnect", {"user": name, "reason": "banned"})
    goodbye = {"code": 4403, "reason": "banned", "reconnect": False, "afterMs": 0}
    for tab in tabs:
        await assert_goodbye(tab, goodbye)
    left = await bob.receive_event("BROADCAST", "left")
    assert left["payload"] == {"user": name, "reason": "connection_closed"}
    assert (await bob.call(room, "count"))["payload"] == {"result": 1}


async def test_a_closed_pond_says_goodbye_and_admits_no_client(
    clients: EngineClients, transport: Transport, room: str
) -> None:
    path = f"/few/{fresh_id()}"
    visitors = [await clients.member(each, each, room, path=path) for each in OTHER]
    answer = await clients.connector.http.post(f"{clients.url}/close{path}")
    assert answer.status_code == 204
    for visitor in visitors:
        reason = "the server is closing"
        goodbye = {"code": 1001, "reason": reason, "reconnect": True, "afterMs": 0}
        await assert_goodbye(visitor, goodbye)
    with pytest.raises(Refused) as refused:
        await clients.connect(transport, path=path)
    assert refused.value.status == 503
    assert int(refused.value.headers["retry-after"]) >= 1
