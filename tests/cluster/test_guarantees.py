"""What docs/many-nodes.md guarantees, and has no test in `test_contract_of_ponds`.

Each sentence of it is in the docstring of a test that runs on every engine.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

import anyio
import pytest
from pondsocket import PondSocket, UsageError
from pondsocket.backplane import BackplaneUnavailable, PublishUncertain
from pondsocket.testing import connect
from pondsocket_asgi import PondASGIApp
from pondsocket_asgi.testing import ASGITestDriver, SSESession
from pondsocket_common import dump_json

from tests.servers import ROOT

from . import test_contract_of_ponds
from .engines import DOUBT, loops_of_engines
from .faults import FaultyEngine
from .rooms import IDENTITIES, KEPT, Cluster, until
from .test_contract_of_ponds import world

__all__ = ["world"]

pytestmark = pytest.mark.anyio
anyio_backend = loops_of_engines

World: TypeAlias = tuple[FaultyEngine, Cluster]
NewWorld: TypeAlias = Callable[..., AbstractAsyncContextManager[World]]


def test_each_sentence_is_the_docstring_of_a_test() -> None:
    text = (ROOT / "docs/many-nodes.md").read_text()
    section = text.partition("## What is guaranteed\n")[2].partition("\n## ")[0]
    section = re.sub(r"\*\*[^*]*\.\*\*|\*\*", "", section)  # titles
    sentences = [
        each.strip()
        for paragraph in section.split("\n\n")
        for each in re.split(r"(?<=[.:]) (?=[A-Z`])", _plain(paragraph))
    ]
    tests = [*vars(test_contract_of_ponds).items(), *globals().items()]
    said = " ".join(_plain(each.__doc__ or "") for name, each in tests if name.startswith("test_"))
    missing = [each for each in sentences if len(each.split()) > 4 and each not in said]
    assert missing == []
    assert len(sentences) >= 20


def _plain(text: str) -> str:
    """Leave out what marks code and links, and line breaks."""
    return re.sub(r"\[([^]]*)\]\([^)]*\)|`", r"\1", " ".join(text.split()))


# --- channels with a history ----------------------------------------------------------------------


async def test_an_engine_that_has_forgotten_all_is_told_of(world: NewWorld) -> None:
    """Where that cannot be kept, because the engine has lost what it had, members that are
    connected are told by an ACKNOWLEDGE that answers nothing, with `recovered: false` and the
    position after which they go on; clients treat it as they do after a reconnect. Nothing is lost
    in silence."""
    async with world(3) as (engine, found):
        clients = await found.join_all(6)
        for number in range(5):
            clients[number].say(number)
        await until(lambda: all(len(each.heard) == 5 for each in clients))
        epochs = {each.at.epoch for each in clients if each.at is not None}
        engine.forget()
        await found.check()
        for client in clients:
            assert client.told == 1
            assert client.at is not None
            assert client.at.epoch not in epochs
            assert client.heard[:5] == clients[0].heard[:5]
            client.other.clear()
        await anyio.sleep(DOUBT + 1.5)
        await found.check()
        for client in clients:
            client.read()
            assert [each.event for each in client.other if "LEAVE" in each.event] == []
        assert found.leaves() == {}


async def test_a_reply_comes_after_the_broadcast_before_it(world: NewWorld) -> None:
    """So a reply that is sent after it comes after it."""
    async with world(2) as (_, found):
        (_, bob) = await found.join_all(2)
        async with connect(found.nodes[0].pond, "/socket?user=ann") as ann:
            await ann.join(KEPT)
            for number in range(20):
                bob.say(f"bob {number}")
                ann.send("BROADCAST", KEPT, "say", {"id": number})
                before = []
                while (told := await ann.receive()).event != "taken":
                    before.append(told.payload)
                assert {"id": number} in before


async def test_what_is_unavailable_was_not_accepted(world: NewWorld) -> None:
    """`BackplaneUnavailable` (a `PondError`, 503): it was not accepted, and may be tried again."""
    async with world(2) as (engine, found):
        clients = await found.join_all(2)
        engine.cut_off()
        for node in found.nodes:
            await node.until_up(is_up=False)
        handle = found.nodes[0].pond.channel("/socket", KEPT)
        with pytest.raises(BackplaneUnavailable) as refused:
            await handle.broadcast("said", {"id": "again"})
        assert refused.value.code == 503
        engine.mend()
        await found.nodes[0].until_up()
        await handle.broadcast("said", {"id": "again"})
        await found.check()
        assert [each.heard.count("again") for each in clients] == [1, 1]


async def test_what_is_uncertain_may_have_been_accepted(world: NewWorld) -> None:
    """`PublishUncertain` (503): it may have been."""
    async with world(2) as (engine, found):
        here, there = await found.join_all(2)
        engine.lose_reply(0)
        handle = found.nodes[0].pond.channel("/socket", KEPT)
        with pytest.raises(PublishUncertain) as uncertain:
            await handle.broadcast("said", {"id": "perhaps"})
        assert uncertain.value.code == 503
        assert there.heard == ["perhaps"]
        assert here.heard == []
        engine.mend()
        await found.check()
        assert here.heard.count("perhaps") == there.heard.count("perhaps") == 1


# --- who is here, and commands --------------------------------------------------------------------


async def test_questions_are_about_the_whole_cluster(world: NewWorld) -> None:
    """Presence, `user_count`, `has_user` and `get_assigns` are those of the whole cluster. What a
    user shows is set where the connection is: `ctx.track(object, "bob")`, and `update_presence` and
    `untrack` likewise, reach bob's connections to this node, and raise `UsageError` if there are
    none."""
    async with world(3) as (_, found):
        clients = await found.join_all(6)
        users = {each.user for each in clients}
        await found.until_presence(users)
        for node in found.nodes:
            handle = node.pond.channel("/socket", KEPT)
            assert await handle.user_count() == 6
            assert await handle.has_user("user5")
            assert not await handle.has_user("user6")
            assert set(await handle.get_assigns()) == set(await handle.get_presence()) == users
        channel = found.nodes[0].pond.channel("/socket", KEPT)._find()
        assert [each.user_id for each in channel.members_of(["user3"])] == ["user3"]
        with pytest.raises(UsageError, match="user4 is not a member of /kept/1 on this server"):
            channel.members_of(["user4"])


async def test_commands_reach_every_node(world: NewWorld) -> None:
    """`evict_user`, `disconnect`, `pond.push` and `endpoint.broadcast` reach every node."""
    async with world(2) as (_, found):
        one, two = (node.pond for node in found.nodes)
        async with connect(one, "/socket?user=ann") as ann, connect(two, "/socket?user=ann") as too:
            for peer in (ann, too):
                await peer.join(KEPT)
            await one.push("ann", "news", {"n": 1})
            await found.nodes[0].endpoint.broadcast("all", {"n": 2})
            for peer in (ann, too):
                assert (await peer.receive_event("news")).payload == {"n": 1}
                assert (await peer.receive_event("all")).payload == {"n": 2}
            await one.channel("/socket", KEPT).evict_user("ann")
            for peer in (ann, too):
                await peer.receive_event("EVICTED")
            await one.disconnect(user_id="ann")
            for peer in (ann, too):
                assert await peer.wait_closed(wait=5) == 4403


# --- event streams --------------------------------------------------------------------------------


class Stream:
    """An event stream whose requests go to any node."""

    def __init__(self, ponds: list[PondSocket], *, who: str = "") -> None:
        self.who = who
        self.drivers = [ASGITestDriver(PondASGIApp(pond)) for pond in ponds]
        self.session: SSESession

    async def get(self, place: int, **headers: str) -> None:
        self.session = await self.drivers[place].connect_sse(
            "/socket", query_string="user=ann", headers={"cookie": f"who={self.who}", **headers}
        )

    async def call(self, method: str, place: int, body: object = None) -> int:
        headers = {
            "x-connection-id": self.session.connection_id,
            "cookie": f"who={self.who}",
            "content-type": "application/json",
        }
        answer = await self.drivers[place].call_http(
            "/socket", method=method, headers=headers, body=b"" if body is None else dump_json(body)
        )
        return answer.status

    async def post(self, place: int, action: str, event: str, payload: object) -> int:
        body = {
            "action": action,
            "event": event,
            "channelName": KEPT,
            "requestId": f"{event}{payload}",
            "payload": payload,
        }
        return await self.call("POST", place, body)

    async def said(self, count: int) -> list[Any]:
        """Receive events until so many were said. Return what was said."""
        found: list[Any] = []
        with anyio.fail_after(10):
            while len(found) < count:
                event = await self.session.receive_event()
                if event["event"] == "said":
                    found.append(event["payload"]["id"])
        return found


async def test_an_event_stream_is_served_by_any_node(world: NewWorld) -> None:
    """GET, POST and DELETE may arrive at any node. The order of a client that awaits each 204 is
    kept. A stream that is resumed on another node recovers there."""
    async with world(3) as (_, found):
        stream = Stream([node.pond for node in found.nodes])
        await stream.get(0)
        assert await stream.post(1, "JOIN_CHANNEL", "join", {}) == 204
        for number in range(12):
            assert await stream.post(number % 3, "BROADCAST", "say", {"id": number}) == 204
        assert await stream.said(12) == [*range(12)]
        latest = stream.session.last_event_id
        await stream.session.disconnect()
        await found.nodes[2].pond.channel("/socket", KEPT).broadcast("said", {"id": "missed"})
        await stream.get(1, **{"last-event-id": latest})
        assert await stream.said(1) == ["missed"]
        assert await stream.call("DELETE", 2) == 204
        await found.until_presence(set())
        await until(lambda: found.leaves() == {"ann": 2})


async def test_two_nodes_compare_an_identity(world: NewWorld) -> None:
    """With several nodes, an endpoint's `identity` returns a `str`, an `int`, `bytes` or None, as
    two nodes have to compare it."""
    async with world(2) as (_, found):
        names = ["", *IDENTITIES]
        for name in names:
            stream = Stream([node.pond for node in found.nodes], who=name)
            await stream.get(0)
            for other in names:
                stream.who = other
                expected = 204 if other == name else 404
                assert await stream.post(1, "JOIN_CHANNEL", "join", {}) == expected
            await stream.session.disconnect()
