"""Pushes, broadcasts of an endpoint, and disconnects, over real transports and both lanes."""

import pytest
from pondsocket_common import fresh_id

from tests.integration.clients import Client, Message, Transport, WebSocketClient, frame
from tests.integration.conftest import Shared
from tests.integration.connector import Connector
from tests.servers import FAST_LANE, Server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


@pytest.fixture(params=["plain", "fast lane"])
def server(shared: Shared, request: pytest.FixtureRequest) -> Server:
    """Return the server of `push_app`, with each way of writing to a WebSocket."""
    ws = FAST_LANE if request.param == "fast lane" else ("--ws", "websockets-sansio")
    return shared("tests.integration.push_app:app", "--log-level", "warning", *ws)


class Clients:
    """Connects clients to the server; each test has users of its own."""

    def __init__(self, connect: Connector, server: Server) -> None:
        self._connect = connect
        self._url = f"{server.http_url}/socket"
        self._ids: dict[str, str] = {}

    def id_of(self, user: str) -> str:
        return self._ids.setdefault(user, f"{user}-{fresh_id()}")

    async def __call__(self, transport: Transport, user: str) -> Client:
        return await self._connect(transport, f"{self._url}?user={self.id_of(user)}")


@pytest.fixture
def clients(connect: Connector, server: Server) -> Clients:
    """Return what connects clients to `server`."""
    return Clients(connect, server)


def from_here(client: Client, *kinds: str) -> list[Message]:
    """Take the messages of these events that have come; other tests' broadcasts may be there."""
    found = [each for each in client.unread if each["event"] in kinds]
    client.unread = [each for each in client.unread if each["event"] not in kinds]
    return found


async def test_progress_goes_to_the_connection_that_asked_and_to_no_other(
    clients: Clients, transport: Transport
) -> None:
    tab, other = await clients(transport, "ann"), await clients(transport, "ann")
    answer = await tab.call("GATEWAY", "import", {"lines": 200})
    assert answer["payload"] == {"result": "imported"}
    progress = from_here(tab, "progress")
    ids = {each["requestId"] for each in progress}
    assert len(ids) == 200
    assert progress == [
        frame("BROADCAST", "progress", "GATEWAY", each["requestId"], {"line": line})
        for line, each in enumerate(progress)
    ]
    await other.call("GATEWAY", "tell", {"user": "-", "text": ""})
    assert from_here(other, "progress") == []


async def test_a_thread_that_outlives_the_handler_pushes_in_order(
    clients: Clients, transport: Transport
) -> None:
    ann = await clients(transport, "ann")
    await ann.call("GATEWAY", "import_later", {"lines": 100})
    lines = [(await ann.receive_event("BROADCAST", "progress"))["payload"] for _ in range(100)]
    assert lines == [{"line": line} for line in range(100)]


async def test_pushes_keep_their_place_among_replies_and_broadcasts(
    clients: Clients, transport: Transport, room: str
) -> None:
    ann, bob = await clients(transport, "ann"), await clients(transport, "bob")
    for client in (bob, ann):
        await client.join(room)
        welcome = await client.receive_event("BROADCAST", "welcome")
        assert welcome == frame("BROADCAST", "welcome", room, welcome["requestId"], {})
    request_id = await ann.send("BROADCAST", room, "mix")
    reply = await ann.answer(request_id)
    assert reply["payload"] == {"result": "mixed"}
    kinds = ("said", "mine", "announced", "aside")
    mine = [each for each in from_here(ann, *kinds) if "n" in each["payload"]]
    assert [each["payload"]["n"] for each in mine] == [1, 2, 3, 4, 5]
    assert [each["channelName"] for each in mine] == [room, room, "GATEWAY", room, "GATEWAY"]
    await bob.call("GATEWAY", "tell", {"user": "-", "text": ""})
    hers = [each for each in from_here(bob, *kinds) if "n" in each["payload"]]
    assert [each["payload"]["n"] for each in hers] == [1, 3, 4, 6]
    assert await ann.call(room, "plain", {"count": 20})
    assert [each["payload"]["n"] for each in from_here(ann, "step")] == [*range(20)]


async def test_a_user_is_told_on_every_connection_and_all_of_an_endpoint_are(
    clients: Clients,
) -> None:
    tab, phone = await clients("websocket", "ann"), await clients("sse", "ann")
    bob = await clients("websocket", "bob")
    answer = await bob.call("GATEWAY", "tell", {"user": clients.id_of("ann"), "text": "Žofie"})
    assert answer["payload"] == {"result": 2}
    for client in (tab, phone):
        notice = await client.receive_event("BROADCAST", "notice")
        payload = {"text": "Žofie"}
        assert notice == frame("BROADCAST", "notice", "GATEWAY", notice["requestId"], payload)
    mark = fresh_id()
    await bob.send("BROADCAST", "GATEWAY", "announce", {"text": mark, "times": 30})
    for client in (tab, phone, bob):
        heard: list[Message] = []
        while len(heard) < 30:
            announced = await client.receive_event("BROADCAST", "announced")
            if announced["payload"].get("text") == mark:
                heard.append(announced)
        assert [each["payload"]["time"] for each in heard] == [*range(30)]
        assert {each["channelName"] for each in heard} == {"GATEWAY"}
    assert from_here(bob, "notice") == []


async def test_the_endpoint_may_be_joined_and_left(clients: Clients, transport: Transport) -> None:
    ann = await clients(transport, "ann")
    for _ in range(2):
        request_id = await ann.send("JOIN_CHANNEL", "GATEWAY", "join", {}, presence="diff")
        answer = await ann.answer(request_id)
        assert answer == frame("SYSTEM", "ACKNOWLEDGE", "GATEWAY", request_id, {})
    answer = await ann.leave("GATEWAY")
    assert answer == frame("SYSTEM", "EXIT_ACKNOWLEDGE", "GATEWAY", answer["requestId"], {})
    told = await ann.call("GATEWAY", "tell", {"user": clients.id_of("ann"), "text": "hi"})
    assert told["payload"] == {"result": 1}
    await ann.receive_event("BROADCAST", "notice")


async def gone(client: Client, user: str) -> Message:
    while True:
        message = await client.receive_event("BROADCAST", "gone")
        if message["payload"]["user"] == user:
            assert message["channelName"] == "GATEWAY"
            return dict(message["payload"])


async def test_a_connection_closes_itself_alone_and_its_end_is_told(
    clients: Clients, transport: Transport
) -> None:
    bob = await clients("websocket", "bob")
    ann, other = await clients(transport, "ann"), await clients(transport, "ann")
    await ann.send("BROADCAST", "GATEWAY", "end")
    goodbye = await ann.receive_event("SYSTEM", "GOODBYE")
    payload = {"code": 4403, "reason": "done", "reconnect": False, "afterMs": 0}
    assert goodbye == frame("SYSTEM", "GOODBYE", "GATEWAY", goodbye["requestId"], payload)
    await ann.wait_closed()
    assert len(from_here(ann, "last")) == 1
    if isinstance(ann, WebSocketClient):
        assert ann.close_code == 4403
    user = clients.id_of("ann")
    assert await gone(bob, user) == {"user": user, "code": 4403, "reason": "done"}
    assert not other.closed


async def test_the_end_by_the_client_is_told_once_with_its_own_code(
    clients: Clients, transport: Transport
) -> None:
    bob, ann = await clients("sse", "bob"), await clients(transport, "ann")
    if isinstance(ann, WebSocketClient):
        await ann.connection.close(4999, "bye")
        told = {"code": 4999, "reason": "bye"}
    else:
        await ann.close()
        told = {"code": 1000, "reason": "Closed by the client."}
    user = clients.id_of("ann")
    assert await gone(bob, user) == {"user": user, **told}
    await bob.call("GATEWAY", "tell", {"user": "-", "text": ""})
    assert [each for each in from_here(bob, "gone") if each["payload"]["user"] == user] == []
