"""One scenario with the client published on PyPI, printing what it saw, one JSON object a line.

    python peer.py <http URL of the endpoint> <scenario>

Runs in an environment of its own, which holds that client and the older package it needs; ends
with 1 where a client saw something else, or nothing within the limit.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from pondsocket_client import (  # type: ignore[import-not-found]
    Channel,
    ClientOptions,
    ConnectionState,
    PondClient,
)

TOKEN: Final = "secret"
WAIT_SECONDS: Final = 10.0
# The client tries to reconnect once, and gives up if that fails: most servers are back by then.
RECONNECT_SECONDS: Final = 4.0

STARTED: Final = time.monotonic()
members: list["Member"] = []


def emit(**line: object) -> None:
    print(json.dumps({"at": round(time.monotonic() - STARTED, 3), **line}), flush=True)


def room(name: str) -> str:
    """Return a channel of this run alone: one server sees many runs."""
    return f"/room/{name}-{os.getpid()}"


def anything(_: object) -> bool:
    return True


def named(*names: str) -> Callable[[Any], bool]:
    return lambda users: sorted(user["name"] for user in users) == sorted(names)


class Member:
    """A client, what it has seen, and waits for what it will see."""

    def __init__(self, name: str, *, token: str = TOKEN) -> None:
        url = sys.argv[1].replace("http", "ws", 1)
        options = ClientOptions(base_reconnect_delay=RECONNECT_SECONDS)
        self.name = name
        self.seen: list[tuple[str, Any]] = []
        self._news = asyncio.Event()
        self.client = PondClient(url, {"token": token}, options)
        self.client.on_connection_change(lambda state: self._note("connection", state.value))
        self.client.on_error(lambda error: self._note("error", repr(error)))
        members.append(self)

    def _note(self, kind: str, value: object, **channel: str) -> None:
        self.seen.append((kind, value))
        self._news.set()
        emit(who=self.name, saw=kind, value=value, **channel)

    def saw(
        self, kind: str, test: Callable[[Any], bool] = anything, *, after: int = 0
    ) -> list[Any]:
        """Return the values of that kind that pass, from entry number `after` on."""
        return [value for seen, value in self.seen[after:] if seen == kind and test(value)]

    async def until(
        self,
        kind: str,
        test: Callable[[Any], bool] = anything,
        *,
        after: int = 0,
        limit: float = WAIT_SECONDS,
    ) -> Any:
        """Return the first value of that kind that passes, seen already or within the limit."""
        try:
            async with asyncio.timeout(limit):
                while not (found := self.saw(kind, test, after=after)):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"{self.name} saw no such {kind!r} within {limit:g} s") from None
        return found[0]

    async def connect(self) -> None:
        await self.client.connect()
        await self.until("connection", lambda state: state == "connected")
        assert self.client.get_state() is ConnectionState.CONNECTED

    async def reconnect(self, *, after: int) -> None:
        """Wait until a client that lost its connection has tried again; insist if that failed."""
        await self.until("state", "STALLED".__eq__, after=after)
        await self.until("connection", "connecting".__eq__, after=after)
        attempt = self.seen.index(("connection", "connecting"), after)
        await self.until("connection", after=attempt + 1)
        if self.saw("connection", after=attempt + 1)[0] == "disconnected":
            await self.client.connect()
        await self.until("connection", "connected".__eq__, after=attempt + 1)

    def channel(self, name: str, params: dict[str, object] | None = None) -> Channel:
        def note(kind: str) -> Callable[[Any], None]:
            return lambda value: self._note(kind, value, channel=name)

        channel = self.client.create_channel(name, params or {"name": self.name})
        channel.on_channel_state_change(lambda state: note("state")(state.value))
        channel.on_message(lambda message: note("message")([message.event, message.payload]))
        channel.on_message_event("said", lambda message: note("said")(message.payload))
        channel.on_join(note("join"))
        channel.on_leave(note("leave"))
        channel.on_presence_change(lambda update: note("presence")(update.model_dump()))
        channel.on_users_change(note("users"))
        return channel

    async def join(self, name: str) -> Channel:
        """Join, and wait until the server said so and this member is on the presence list."""
        after = len(self.seen)
        channel = self.channel(name)
        channel.join()
        await self.until("state", lambda state: state == "JOINED", after=after)
        await self.until("join", lambda presence: presence["name"] == self.name, after=after)
        return channel


async def joined(name: str, channel: str) -> tuple[Member, Channel]:
    member = Member(name)
    await member.connect()
    return member, await member.join(channel)


async def connects() -> None:
    await Member("ann").connect()


async def is_refused_with_a_bad_token() -> None:
    eve = Member("eve", token="wrong")
    await eve.client.connect()
    await eve.until("error")
    assert eve.client.get_state() is not ConnectionState.CONNECTED
    assert not eve.saw("connection", lambda state: state == "connected")
    # A refusal ends nothing on the server: who has the token is admitted.
    await Member("ann").connect()


async def joins() -> None:
    ann, channel = await joined("ann", room("join"))
    assert ann.saw("state") == ["IDLE", "JOINING", "JOINED"]
    assert channel.channel_state.value == "JOINED"
    assert channel.presence == [{"name": "ann", "status": "online"}]


async def joins_before_it_is_connected() -> None:
    ann = Member("ann")
    channel = ann.channel(room("early"))
    channel.join()
    # What is sent while joining waits in the client and follows the acknowledgement.
    channel.send_message("say", {"text": "early"})
    await ann.client.connect()
    await ann.until("said", lambda payload: payload == {"text": "early", "by": "ann"})


async def broadcasts() -> None:
    ann, hers = await joined("ann", room("broadcast"))
    bob, his = await joined("bob", room("broadcast"))
    texts = [f"{n}: grüß dich 🦆" for n in range(3)]
    for text in texts:
        hers.send_message("say", {"text": text, "deep": [1, 2.5, None, True]})
    expected = [{"text": text, "deep": [1, 2.5, None, True], "by": "ann"} for text in texts]
    for member in (ann, bob):
        await member.until("said", lambda payload: payload["text"] == texts[-1])
        assert member.saw("said") == expected
    his.send_message("say", {"text": "hello, ann"})
    for member in (ann, bob):
        await member.until("said", lambda payload: payload == {"text": "hello, ann", "by": "bob"})


async def gets_the_response_to_its_own_request() -> None:
    _, hers = await joined("ann", room("answers"))
    bob, his = await joined("bob", room("answers"))
    here = room("answers").removeprefix("/room/")
    answers: list[object] = await asyncio.gather(
        hers.send_for_response("where", {"n": 1}),
        hers.send_for_response("where", {"n": 2}),
        his.send_for_response("where", {"n": 3}),
    )
    assert answers == [
        {"n": 1, "room": here, "name": "ann"},
        {"n": 2, "room": here, "name": "ann"},
        {"n": 3, "room": here, "name": "bob"},
    ]
    assert not bob.saw("message", lambda message: message[1].get("name") == "ann")


async def sees_who_comes_changes_and_goes() -> None:
    ann, hers = await joined("ann", room("presence"))
    bob, his = await joined("bob", room("presence"))
    await ann.until("join", lambda presence: presence == {"name": "bob", "status": "online"})
    for member in (ann, bob):
        await member.until("users", named("ann", "bob"))
    his.send_message("status", {"status": "away"})
    update = await ann.until("presence")
    assert update["changed"] == {"name": "bob", "status": "away"}
    assert len(update["presence"]) == 2
    assert update["changed"] in hers.presence

    his.leave()
    assert await ann.until("leave") == {"name": "bob", "status": "away"}
    cleo, _ = await joined("cleo", room("presence"))
    await ann.until("users", named("ann", "cleo"))
    await cleo.client.disconnect()
    await ann.until("leave", lambda gone: gone["name"] == "cleo")
    assert hers.presence == [{"name": "ann", "status": "online"}]


async def is_declined_by_one_channel_and_joins_another() -> None:
    mallory = Member("mallory")
    await mallory.connect()
    refused = mallory.channel(room("closed"))
    refused.join()
    await mallory.until("state", lambda state: state == "DECLINED")
    assert refused.channel_state.value == "DECLINED"
    welcome = mallory.channel(room("open"), {"name": "not mallory"})
    welcome.join()
    answer = await welcome.send_for_response("where", {})
    assert answer == {"room": room("open").removeprefix("/room/"), "name": "not mallory"}


async def hears_nothing_after_it_left() -> None:
    ann, hers = await joined("ann", room("left"))
    bob, his = await joined("bob", room("left"))
    other = await ann.join(room("other"))
    hers.leave()
    await ann.until("state", lambda state: state == "CLOSED")
    await bob.until("leave", lambda gone: gone["name"] == "ann")
    his.send_message("say", {"text": "is she gone?"})
    await bob.until("said")
    # Ann's answer is sent to her after what Bob said would have been.
    await other.send_for_response("where", {})
    assert not ann.saw("said")
    # A channel that was left can be joined afresh, under the same name.
    again = await ann.join(room("left"))
    again.send_message("say", {"text": "I am back"})
    await ann.until("said", lambda payload: payload["text"] == "I am back")


async def uses_the_endpoint_itself() -> None:
    ann, bob = Member("ann"), Member("bob")
    channels = []
    for member in (ann, bob):
        await member.connect()
        channels.append(member.channel("GATEWAY"))
        channels[-1].join()
        await member.until("state", "JOINED".__eq__)
    hers, his = channels
    assert await hers.send_for_response("add", {"a": 2, "b": 3}) == {"result": 5}
    hers.send_message("count", {"to": 3})
    await ann.until("said", lambda payload: payload.get("number") == 3)
    his.send_message("announce", {"text": "to all"})
    for member in (ann, bob):
        await member.until("said", lambda payload: payload.get("text") == "to all")
    assert [payload.get("number") for payload in ann.saw("said")] == [0, 1, 2, 3, None]
    assert bob.saw("said") == [{"text": "to all"}]
    hers.leave()
    await ann.until("state", "CLOSED".__eq__)
    after = len(ann.seen)
    again = ann.channel("GATEWAY")
    again.join()
    await ann.until("state", "JOINED".__eq__, after=after)
    his.send_message("announce", {"text": "again"})
    await ann.until("said", lambda payload: payload["text"] == "again", after=after)
    for member in (ann, bob):
        assert not member.saw("error")


async def works_on_between_a_goodbye_and_the_end() -> None:
    ann, hers = await joined("ann", room("goodbye"))
    bob, _ = await joined("bob", room("goodbye"))
    await ann.until("users", named("ann", "bob"))
    marks = [(member, len(member.seen)) for member in (ann, bob)]
    await hers.send_for_response("restart", {})  # the goodbye comes before this answer
    for number in range(3):
        hers.send_message("say", {"number": number})
    for member, after in marks:
        await member.until("said", lambda payload: payload["number"] == 2, after=after)
        assert [payload["number"] for payload in member.saw("said", after=after)] == [0, 1, 2]
        for kind in ("connection", "state", "error"):
            assert not member.saw(kind, after=after)
    for member, after in marks:
        await member.reconnect(after=after)
        await member.until("state", "JOINED".__eq__, after=after)
        await member.until("users", named("ann", "bob"), after=after)
    hers.send_message("say", {"text": "after"})
    for member, after in marks:
        await member.until("said", lambda payload: payload.get("text") == "after", after=after)


async def hears_what_was_said_before_it_came() -> None:
    channel = room("late").replace("/room/", "/late/")
    ann, hers = await joined("ann", channel)
    for number in (1, 2, 3):
        hers.send_message("say", {"number": number})
    await ann.until("said", lambda payload: payload["number"] == 3)
    bob, his = await joined("bob", channel)
    his.send_message("say", {"number": 4})
    for member, numbers in ((ann, [1, 2, 3, 4]), (bob, [2, 3, 4])):
        await member.until("said", lambda payload: payload["number"] == 4)
        assert [payload["number"] for payload in member.saw("said")] == numbers
        assert not member.saw("error")


async def is_not_disturbed_by_heartbeats() -> None:
    ann, hers = await joined("ann", room("idle"))
    bob, his = await joined("bob", room("idle"))
    for member in (ann, bob):
        await member.until("users", named("ann", "bob"))
    marks = [(member, len(member.seen)) for member in (ann, bob)]
    emit(step="joined")
    await asyncio.to_thread(sys.stdin.readline)  # many have been sent
    for member, after in marks:
        assert member.seen[after:] == []
    answer = await hers.send_for_response("where", {})
    assert answer["name"] == "ann"
    his.send_message("say", {"text": "quiet here"})
    await ann.until("said", lambda payload: payload["text"] == "quiet here")
    for member, after in marks:
        assert not member.saw("error", after=after)


async def rejoins_after_a_restart() -> None:
    ann, hers = await joined("ann", room("restart"))
    bob, _ = await joined("bob", room("restart"))
    hers.send_message("say", {"text": "before"})
    for member in (ann, bob):
        await member.until("said", lambda payload: payload["text"] == "before")
    marks = [(member, len(member.seen)) for member in (ann, bob)]
    emit(step="joined")
    await asyncio.to_thread(sys.stdin.readline)  # the server has been started again
    for member, after in marks:
        await member.reconnect(after=after)
    for member, after in marks:
        await member.until("state", "JOINED".__eq__, after=after)
        await member.until("users", named("ann", "bob"), after=after)
    emit(step="rejoined")
    hers.send_message("say", {"text": "after"})
    for member in (ann, bob):
        await member.until("said", lambda payload: payload["text"] == "after")
    answer = await hers.send_for_response("where", {})
    assert answer["name"] == "ann"


SCENARIOS: Final[dict[str, Callable[[], Awaitable[None]]]] = {
    scenario.__name__.replace("_", " "): scenario
    for scenario in (
        connects,
        is_refused_with_a_bad_token,
        joins,
        joins_before_it_is_connected,
        broadcasts,
        gets_the_response_to_its_own_request,
        sees_who_comes_changes_and_goes,
        is_declined_by_one_channel_and_joins_another,
        hears_nothing_after_it_left,
        uses_the_endpoint_itself,
        works_on_between_a_goodbye_and_the_end,
        hears_what_was_said_before_it_came,
        is_not_disturbed_by_heartbeats,
        rejoins_after_a_restart,
    )
}


async def main() -> None:
    await SCENARIOS[sys.argv[2]]()
    emit(step="passed")
    for member in members:
        await member.client.disconnect()


if __name__ == "__main__":
    asyncio.run(main())
