"""What a resume may and may not do: admission, cursors, keys and restarts, over the network."""

import base64
from pathlib import Path
from typing import Final

import pytest

from tests.integration.clients import Client, Message, SSEClient, Transport, until
from tests.integration.conftest import Shared
from tests.integration.connector import Connector, Refused
from tests.servers import Serve, Server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

APP: Final = "tests.integration.recovery_admission_app:app"
OLD_KEY: Final = "the-key-of-the-first-years"
NEW_KEY: Final = "the-key-of-the-later-years"


class ReturningClient:
    """A client that returns to where it was, and drops what it has, as docs/history.md says."""

    def __init__(
        self, connect: Connector, transport: Transport, server: Server, room: str, user: str = "ann"
    ) -> None:
        self._connect = connect
        self._transport = transport
        self.url = f"{server.http_url}/socket?user={user}"
        self.room = room
        self.client: Client
        self.known: Message | None = None
        self.cursor = ""

    async def connect(self) -> Client:
        """Connect, with the cursor if there is one."""
        if self.cursor:
            self.client = await self._connect.sse(self.url, last_event_id=self.cursor)
        else:
            self.client = await self._connect(self._transport, self.url)
        return self.client

    async def ask(self) -> Message:
        """Connect and ask to join, unless the cursor does; gives the answer."""
        await self.connect()
        if self.cursor:
            hello = self.client.hello["payload"]
            assert (hello["resumed"], hello["notResumed"]) == ([self.room], [])
        else:
            more = {} if self.known is None else {"since": self.known}
            await self.client.send("JOIN_CHANNEL", self.room, "join", **more)
        return await self.client.receive()

    async def come(self) -> Message:
        """Connect and be a member; gives the acknowledgement's payload."""
        answer = await self.ask()
        assert (answer["event"], answer["channelName"]) == ("ACKNOWLEDGE", self.room)
        payload: Message = answer["payload"]
        if not (payload.get("recovered") and self.known):
            self.known = {"epoch": payload["epoch"], "offset": payload["offset"]}
        return payload

    async def messages(self, count: int) -> list[Message]:
        """Return the next broadcasts that it does not have."""
        found: list[Message] = []
        while len(found) < count:
            message = await self.client.receive_event("BROADCAST", "said")
            if "epoch" in message:
                position = {"epoch": message["epoch"], "offset": message["offset"]}
                assert self.known is not None
                assert position["epoch"] == self.known["epoch"]
                if position["offset"] <= self.known["offset"]:
                    continue
                self.known = position
            found.append(message)
        return found

    async def hear(self, count: int) -> list[int]:
        """Return the numbers that they say."""
        return [message["payload"]["n"] for message in await self.messages(count)]

    async def go(self) -> None:
        """Be cut off."""
        if isinstance(stream := self.client, SSEClient):
            await until(lambda: has_cursor(stream), "a cursor")
            await stream.abort(reset=True)
            self.cursor = stream.last_event_id
        else:
            await self.client.abort(reset=True)


async def has_cursor(stream: SSEClient) -> bool:
    return stream.last_event_id != ""


class Control:
    """A member of the app's control channel."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def ask(self, event: str, **payload: object) -> Message:
        answer = await self.client.call("/control", event, payload)
        assert answer["event"] in ("done", "state"), answer
        found: Message = answer["payload"]
        return found

    async def say(self, room: str, first: int, last: int, *, history: bool = True) -> None:
        await self.ask("say", room=room, **{"from": first, "to": last}, history=history)

    async def wait_for(self, room: str, what: str, count: int) -> None:
        async def is_so() -> bool:
            return bool((await self.ask("state", room=room))[what] == count)

        await until(is_so, f"{count} {what}")


async def join_control(connect: Connector, server: Server) -> Control:
    client = await connect.websocket(f"{server.http_url}/socket?user=bob")
    await client.join("/control")
    return Control(client)


@pytest.fixture
def recovery_server(shared: Shared) -> Server:
    return shared(APP, "--log-level", "warning")


@pytest.fixture
async def control(connect: Connector, recovery_server: Server) -> Control:
    return await join_control(connect, recovery_server)


@pytest.fixture
def ann(
    connect: Connector, recovery_server: Server, transport: Transport, room: str
) -> ReturningClient:
    return ReturningClient(connect, transport, recovery_server, room)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(OLD_KEY)
    return path


async def test_what_is_not_to_be_kept_is_heard_live_without_a_position_and_not_replayed(
    ann: ReturningClient, control: Control
) -> None:
    async def say_four(first: int) -> None:
        for number in range(first, first + 4):
            await control.say(ann.room, number, number, history=number % 2 == 0)

    assert (await ann.come())["offset"] == 0
    await say_four(1)
    live = await ann.messages(4)
    assert [message["payload"]["n"] for message in live] == [1, 2, 3, 4]
    assert [message.get("offset") for message in live] == [None, 1, None, 2]
    assert [message.get("epoch") is None for message in live] == [True, False, True, False]
    await ann.go()
    await say_four(5)
    assert (await ann.come())["recovered"] is True
    await control.say(ann.room, 10, 10)
    missed = await ann.messages(3)
    assert [(m["payload"]["n"], m["offset"]) for m in missed] == [(6, 3), (8, 4), (10, 5)]


async def test_what_is_replayed_is_what_others_heard_with_its_request_ids_and_offsets(
    ann: ReturningClient,
    control: Control,
    connect: Connector,
    recovery_server: Server,
    transport: Transport,
) -> None:
    cat = ReturningClient(connect, transport, recovery_server, ann.room, "cat")
    await cat.come()
    await ann.come()
    await control.say(ann.room, 1, 2)
    assert await ann.hear(2) == [1, 2]
    await ann.go()
    await control.say(ann.room, 3, 7)
    assert (await ann.come())["recovered"] is True
    await control.say(ann.room, 8, 9)
    heard = await cat.messages(9)
    assert await ann.messages(7) == heard[2:]
    assert [message["offset"] for message in heard] == [*range(1, 10)]
    assert len({message["requestId"] for message in heard}) == 9


async def test_a_client_that_missed_more_than_the_outbox_holds_gets_it_all_and_stays(
    ann: ReturningClient, control: Control
) -> None:
    await ann.come()
    await ann.go()
    await control.say(ann.room, 1, 100)
    assert (await ann.come())["recovered"] is True
    await control.say(ann.room, 101, 103)
    assert await ann.hear(103) == [*range(1, 104)]
    for number in range(104, 107):
        await control.say(ann.room, number, number)
        assert await ann.hear(1) == [number]
    assert (await ann.client.join("/control"))["event"] == "ACKNOWLEDGE"
    assert not ann.client.closed


async def test_a_client_that_may_not_join_any_more_is_refused_and_gets_nothing_that_was_said(
    ann: ReturningClient, control: Control
) -> None:
    await ann.come()
    await control.say(ann.room, 1, 1)
    assert await ann.hear(1) == [1]
    await ann.go()
    await control.ask("refuse", user="ann", place=ann.room)
    await control.say(ann.room, 2, 3)
    answer = await ann.ask()
    assert (answer["event"], answer["channelName"]) == ("UNAUTHORIZED", ann.room)
    assert answer["payload"] == {"code": 403, "message": "Not any more."}
    await control.say(ann.room, 4, 4)
    assert (await ann.client.join("/control"))["event"] == "ACKNOWLEDGE"
    assert ann.client.unread == []
    await ann.client.abort(reset=True)
    # It was not for want of a position.
    await control.ask("admit", user="ann", place=ann.room)
    assert (await ann.come())["recovered"] is True
    assert await ann.hear(3) == [2, 3, 4]


async def test_a_client_that_may_not_connect_any_more_is_refused_with_its_cursor(
    connect: Connector, recovery_server: Server, control: Control, transport: Transport, room: str
) -> None:
    eve = ReturningClient(connect, transport, recovery_server, room, f"eve-{transport}")
    await eve.come()
    await eve.go()
    await control.ask("refuse", user=f"eve-{transport}", place="/socket")
    with pytest.raises(Refused) as refused:
        await eve.connect()
    assert refused.value.status == 401


@pytest.mark.parametrize(
    "kind", ["nonsense", "signature", "entries", "shortened", "path", "process"]
)
async def test_a_cursor_that_is_none_of_ours_is_a_fresh_start_and_connect_says_so(
    connect: Connector,
    recovery_server: Server,
    shared: Shared,
    control: Control,
    room: str,
    kind: str,
) -> None:
    server = shared(APP, "--log-level", "error") if kind == "process" else recovery_server
    ann = ReturningClient(connect, "sse", server, room)
    if kind == "path":
        ann.url = ann.url.replace("/socket?", "/other?")
    await ann.come()
    await ann.go()
    await control.say(room, 1, 3)
    cursor, url = altered(ann.cursor, kind, room), f"{recovery_server.http_url}/socket?user=ann"
    for number, stream in enumerate(
        (
            await connect.sse(url, last_event_id=cursor),
            await connect.sse(f"{url}&lastEventId={cursor}"),
        ),
        start=4,
    ):
        hello = stream.hello["payload"]
        assert (hello["resumed"], hello["notResumed"]) == ([], [])
        answer = await stream.join(room)
        assert (answer["event"], "recovered" in answer["payload"]) == ("ACKNOWLEDGE", False)
        await control.say(room, number, number)
        assert (await stream.receive_event("BROADCAST", "said"))["payload"] == {"n": number}


def altered(cursor: str, kind: str, room: str) -> str:
    """Return a client's cursor, altered as an attacker would alter it."""
    raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    match kind:
        case "nonsense":
            return "4711"
        case "signature":
            raw = raw[:10] + bytes([raw[10] ^ 1]) + raw[11:]
        case "entries":
            assert room.encode() in raw
            raw = raw.replace(room.encode(), b"/room/of-others")
        case "shortened":
            raw = raw[:-1]
        case _:
            return cursor
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


async def test_after_a_restart_the_channel_is_joined_again_and_the_gap_is_told(
    serve: Serve, connect: Connector, transport: Transport, room: str, key_file: Path
) -> None:
    server = serve(APP, "--log-level", "warning", env={"CURSOR_KEYS": str(key_file)})
    control = await join_control(connect, server)
    ann = ReturningClient(connect, transport, server, room)
    before = await ann.come()
    await control.say(room, 1, 1)
    assert await ann.hear(1) == [1]
    await ann.go()
    await control.client.close()
    server.restart()
    control = await join_control(connect, server)
    await control.say(room, 2, 3)
    after = await ann.come()
    assert (after["recovered"], after["offset"]) == (False, 2)
    assert after["epoch"] != before["epoch"]
    await control.say(room, 4, 4)
    assert await ann.hear(1) == [4]


def restart_with(server: Server, key_file: Path, *keys: str) -> None:
    key_file.write_text(" ".join(keys))
    server.restart()


async def test_a_cursor_is_read_until_its_key_is_taken_out(
    serve: Serve, connect: Connector, room: str, key_file: Path
) -> None:
    server = serve(APP, "--log-level", "warning", env={"CURSOR_KEYS": str(key_file)})
    ann = ReturningClient(connect, "sse", server, room)
    await ann.come()
    await ann.go()
    first = ann.cursor
    restart_with(server, key_file, NEW_KEY, OLD_KEY)
    assert (await ann.come())["recovered"] is False
    await ann.go()
    restart_with(server, key_file, NEW_KEY)
    assert (await ann.come())["recovered"] is False
    await ann.go()
    ann.cursor = first
    hello = (await ann.connect()).hello["payload"]
    assert (hello["resumed"], hello["notResumed"]) == ([], [])


async def test_the_position_outlives_the_last_member(
    ann: ReturningClient, control: Control
) -> None:
    await ann.come()
    await control.say(ann.room, 1, 2)
    assert await ann.hear(2) == [1, 2]
    await ann.go()
    await control.wait_for(ann.room, "members", 0)
    answer = await ann.come()
    assert (answer["recovered"], answer["epoch"]) == (True, (ann.known or {})["epoch"])
    await control.say(ann.room, 3, 3)
    (message,) = await ann.messages(1)
    assert (message["payload"], message["offset"]) == ({"n": 3}, 3)


async def test_what_was_missed_for_longer_than_it_is_kept_is_told_and_else_nothing_is_missed(
    connect: Connector, recovery_server: Server, control: Control, transport: Transport, room: str
) -> None:
    ann = ReturningClient(connect, transport, recovery_server, room.replace("/room/", "/brief/"))
    await ann.come()
    await ann.go()
    await control.say(ann.room, 1, 2)
    await control.wait_for(ann.room, "kept", 0)
    answer = await ann.come()
    assert (answer["recovered"], answer["offset"]) == (False, 2)
    await ann.go()
    await control.wait_for(ann.room, "members", 0)
    assert (await ann.come())["recovered"] is True
    await control.say(ann.room, 3, 3)
    assert await ann.hear(1) == [3]


async def test_nothing_is_missed_where_the_server_runs_on_trio(
    serve: Serve, connect: Connector, transport: Transport, room: str
) -> None:
    server = serve(APP, "-k", "trio", "--workers", "0", server="hypercorn")
    control = await join_control(connect, server)
    assert (await control.ask("state", room=room))["loop"] == "trio"
    ann = ReturningClient(connect, transport, server, room)
    assert "recovered" not in await ann.come()
    await control.say(room, 1, 3)
    assert await ann.hear(3) == [1, 2, 3]
    for first in (4, 104, 204):
        await ann.go()
        await control.say(room, first, first + 99)
        assert (await ann.come())["recovered"] is True
        assert await ann.hear(100) == [*range(first, first + 100)]
    await control.say(room, 304, 304)
    assert await ann.hear(1) == [304]
