"""Joining and leaving: every answer that a join or a leave can get."""

import pytest

from tests.integration.clients import Client, Transport, frame, not_found
from tests.integration.connector import Connector
from tests.servers import Server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


@pytest.fixture
async def ann(connect: Connector, server: Server, transport: Transport) -> Client:
    return await connect(transport, f"{server.http_url}/socket?user=ann")


async def test_an_accepted_join_is_acknowledged(ann: Client, room: str) -> None:
    request_id = await ann.send("JOIN_CHANNEL", room, "join", {"anything": 1})
    assert await ann.receive() == frame("SYSTEM", "ACKNOWLEDGE", room, request_id, {})


async def test_nothing_of_a_channel_precedes_its_acknowledgement(ann: Client, room: str) -> None:
    request_id = await ann.send("JOIN_CHANNEL", room, "join", {"announce": "Ann", "show": {"a": 1}})
    events = [(await ann.receive()) for _ in range(3)]
    assert [event["event"] for event in events] == ["ACKNOWLEDGE", "came", "JOIN"]
    assert events[0]["requestId"] == request_id


@pytest.mark.parametrize(
    ("how", "code", "message"),
    [
        (403, 403, "Members only"),
        (4999, 4999, "Members only"),
        ("silent", 401, None),
        ("crash", 500, None),
        ("slow", 408, None),
    ],
)
async def test_a_refused_join_is_answered_unauthorized(
    ann: Client, room: str, how: int | str, code: int, message: str | None
) -> None:
    request_id = await ann.send("JOIN_CHANNEL", room, "join", {"how": how})
    answer = await ann.receive()
    sentence: str = message or answer["payload"]["message"]
    payload = {"code": code, "message": sentence}
    assert answer == frame("SYSTEM", "UNAUTHORIZED", room, request_id, payload)
    assert "inner" not in sentence
    assert (await ann.call(room, "echo"))["event"] == "UNAUTHORIZED_BROADCAST"


@pytest.mark.parametrize("name", ["room", "/room//1", "/room/1/", "/", "GATEWAY/1"])
async def test_a_join_of_a_bad_name_is_answered_400(ann: Client, name: str) -> None:
    request_id = await ann.send("JOIN_CHANNEL", name, "join")
    answer = await ann.receive()
    payload = {"code": 400, "message": answer["payload"]["message"]}
    assert answer == frame("SYSTEM", "UNAUTHORIZED", name, request_id, payload)


@pytest.mark.parametrize("since", [7, {"epoch": "e"}, {"epoch": "e", "offset": -1}])
async def test_a_join_since_nonsense_is_answered_400(ann: Client, room: str, since: object) -> None:
    request_id = await ann.send("JOIN_CHANNEL", room, "join", since=since)
    answer = await ann.receive()
    payload = {"code": 400, "message": answer["payload"]["message"]}
    assert answer == frame("SYSTEM", "UNAUTHORIZED", room, request_id, payload)


async def test_a_join_of_a_channel_without_a_lobby_is_answered_not_found(ann: Client) -> None:
    request_id = await ann.send("JOIN_CHANNEL", "/cellar/1", "join")
    answer = await ann.receive()
    assert answer == not_found("/cellar/1", request_id, answer["payload"]["message"])


async def test_a_channel_name_is_never_decoded(ann: Client, room: str) -> None:
    name = f"{room}%2Fa?b=%C3"
    assert (await ann.join(name))["channelName"] == name
    assert (await ann.call(name, "echo"))["channelName"] == name


async def test_a_second_join_is_acknowledged_and_replaces_the_first(ann: Client, room: str) -> None:
    await ann.join(room)
    assert (await ann.join(room))["event"] == "ACKNOWLEDGE"
    await ann.send("BROADCAST", room, "say", {"n": 1})
    await ann.call(room, "echo")
    assert [message["event"] for message in ann.unread] == ["said"]


async def test_a_second_join_that_is_refused_ends_the_first(ann: Client, room: str) -> None:
    await ann.join(room)
    assert (await ann.join(room, {"how": 403}))["event"] == "UNAUTHORIZED"
    assert (await ann.call(room, "echo"))["event"] == "UNAUTHORIZED_BROADCAST"


async def test_a_leave_is_answered(ann: Client, room: str) -> None:
    await ann.join(room)
    request_id = await ann.send("LEAVE_CHANNEL", room, "leave")
    assert await ann.receive() == frame("SYSTEM", "EXIT_ACKNOWLEDGE", room, request_id, {})
    assert (await ann.call(room, "echo"))["event"] == "UNAUTHORIZED_BROADCAST"


@pytest.mark.parametrize("name", ["/room/never-joined", "/cellar/1"])
async def test_a_leave_of_what_was_not_joined_is_answered_the_same(ann: Client, name: str) -> None:
    request_id = await ann.send("LEAVE_CHANNEL", name, "leave")
    assert await ann.receive() == frame("SYSTEM", "EXIT_ACKNOWLEDGE", name, request_id, {})


async def test_a_join_an_event_and_a_leave_sent_at_once_are_handled_in_order(
    ann: Client, room: str
) -> None:
    sent = [
        await ann.send("JOIN_CHANNEL", room, "join", {"how": "late"}),
        await ann.send("BROADCAST", room, "echo", {"n": 1}),
        await ann.send("LEAVE_CHANNEL", room, "leave"),
        await ann.send("JOIN_CHANNEL", room, "join"),
    ]
    answers = [await ann.receive() for _ in sent]
    assert [answer["requestId"] for answer in answers] == sent
    assert [answer["event"] for answer in answers] == [
        "ACKNOWLEDGE",
        "echoed",
        "EXIT_ACKNOWLEDGE",
        "ACKNOWLEDGE",
    ]


async def test_a_slow_join_of_one_channel_holds_up_no_other(ann: Client, room: str) -> None:
    slow = await ann.send("JOIN_CHANNEL", room, "join", {"how": "slow"})
    assert (await ann.join(f"{room}-b"))["event"] == "ACKNOWLEDGE"
    assert (await ann.answer(slow))["payload"]["code"] == 408


async def test_a_client_that_vanishes_from_a_pending_join_never_comes_in(
    connect: Connector, server: Server, transport: Transport, ann: Client, room: str
) -> None:
    bob = await connect(transport, f"{server.http_url}/socket?user=bob")
    await bob.join(room)
    await ann.send("JOIN_CHANNEL", room, "join", {"how": "late", "announce": "Ann"})
    await ann.abort(reset=True)
    # Longer than Ann's join would have taken.
    await bob.call(room, "wait_and_echo", {"seconds": 0.3})
    assert not bob.unread


async def test_extra_fields_of_an_envelope_are_ignored(ann: Client, room: str) -> None:
    request_id = await ann.send("JOIN_CHANNEL", room, "join", colour="red", shape={"a": [1]})
    assert await ann.receive() == frame("SYSTEM", "ACKNOWLEDGE", room, request_id, {})
