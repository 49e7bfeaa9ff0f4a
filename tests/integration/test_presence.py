"""Presence: full lists, to every member."""

import pytest

from tests.integration.clients import Client, Message, Transport, frame
from tests.integration.connector import Connector
from tests.servers import Server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


@pytest.fixture
async def ann(connect: Connector, server: Server, transport: Transport, room: str) -> Client:
    client = await connect(transport, f"{server.http_url}/socket?user=ann")
    await client.join(room, {"show": {"name": "Ann"}})
    await client.receive_event("PRESENCE", "JOIN")
    return client


@pytest.fixture
async def bob(
    connect: Connector, server: Server, transport: Transport, room: str, ann: Client
) -> Client:
    other: Transport = "sse" if transport == "websocket" else "websocket"
    client = await connect(other, f"{server.http_url}/socket?user=bob")
    await client.join(room, {"show": {"name": "Bob"}})
    return client


def listed(event: str, room: str, message: Message, names: list[str], changed: Message) -> Message:
    """Return the frame that lists these people."""
    payload = {"presence": [{"name": name} for name in names], "changed": changed}
    return frame("PRESENCE", event, room, message["requestId"], payload)


async def test_who_comes_is_seen_by_all(ann: Client, bob: Client, room: str) -> None:
    for client in (ann, bob):
        message = await client.receive()
        assert message == listed("JOIN", room, message, ["Ann", "Bob"], {"name": "Bob"})


async def test_who_changes_is_seen_by_all(ann: Client, bob: Client, room: str) -> None:
    await ann.send("BROADCAST", room, "show", {"name": "Anna"})
    for client in (ann, bob):
        message = await client.receive_event("PRESENCE", "UPDATE")
        assert message == listed("UPDATE", room, message, ["Anna", "Bob"], {"name": "Anna"})


async def test_who_hides_is_seen_by_all(ann: Client, bob: Client, room: str) -> None:
    await ann.send("BROADCAST", room, "hide")
    for client in (ann, bob):
        message = await client.receive_event("PRESENCE", "LEAVE")
        assert message == listed("LEAVE", room, message, ["Bob"], {"name": "Ann"})


@pytest.mark.parametrize("how", ["leave", "close", "reset", "end of file", "evict"])
async def test_who_goes_is_seen_by_the_others(
    ann: Client, bob: Client, room: str, how: str
) -> None:
    match how:
        case "leave":
            await bob.leave(room)
        case "close":
            await bob.close()
        case "evict":
            await ann.send("BROADCAST", room, "evict", {"users": ["bob"]})
        case _:
            await bob.abort(reset=how == "reset")
    message = await ann.receive_event("PRESENCE", "LEAVE")
    assert message == listed("LEAVE", room, message, ["Ann"], {"name": "Bob"})


async def test_a_user_with_two_connections_is_one(
    connect: Connector, server: Server, transport: Transport, ann: Client, bob: Client, room: str
) -> None:
    again = await connect(transport, f"{server.http_url}/socket?user=ann")
    await again.join(room, {"show": {"name": "Ann (phone)"}})
    await again.leave(room)
    await ann.leave(room)
    await bob.receive_event("PRESENCE", "JOIN")
    for event, names, changed in [
        ("UPDATE", ["Ann (phone)", "Bob"], "Ann (phone)"),
        ("UPDATE", ["Ann", "Bob"], "Ann"),
        ("LEAVE", ["Bob"], "Ann"),
    ]:
        message = await bob.receive()
        assert message == listed(event, room, message, names, {"name": changed})
