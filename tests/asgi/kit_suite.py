"""A suite as a user of the test kit writes it; test_plugin.py runs it under every runner.

The environment says how: MARKS names the marks of the async tests, FIXTURE the decorator of async
fixtures, which is in LIBRARY.
"""

import importlib
import os
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any
from unittest.mock import ANY

import pytest
from pondsocket import (
    ConnectionContext,
    EventContext,
    History,
    JoinContext,
    Options,
    PondError,
    PondSocket,
    SyncEventContext,
)
from pondsocket.backplane.memory import MemoryHub
from pondsocket.testing import FakeClock
from pondsocket_asgi import PondASGIApp
from pondsocket_asgi.testing import (
    CallFailed,
    ConnectedClient,
    ConnectionRefused,
    Faults,
    JoinRefused,
    PondClient,
    SSESession,
    SyncPondClient,
    WebSocketSession,
)

in_loop = [getattr(pytest.mark, name) for name in os.environ["MARKS"].split()]
async_fixture = getattr(importlib.import_module(os.environ["LIBRARY"]), os.environ["FIXTURE"])
URL = "/ws/socket?user=ann"


def create_pond(**options: Any) -> PondSocket:
    pond = PondSocket(options=Options(event_rate=1, event_burst=20), **options)

    @pond.endpoint("/socket")
    async def socket(ctx: ConnectionContext, user: str) -> None:
        if user == "mallory":
            ctx.decline(402, "Pay first.")
        else:
            ctx.accept(user_id=user)

    async def enter(ctx: JoinContext, room_id: int) -> None:
        if room_id == 13:
            raise PondError("There is no such room.", 404)
        await ctx.accept(response={"topic": "Welcome"})
        await ctx.track({"status": "online"})

    chat = socket.create_channel("/chat/:room_id", enter, history=History(ttl=300))

    @chat.on_message("say")
    async def say(ctx: EventContext, text: str) -> dict[str, int]:
        await ctx.broadcast("said", {"text": text, "id": 7})
        return {"id": 7}

    @chat.on_message("count")
    def count(ctx: SyncEventContext) -> None:
        time.sleep(0.02)
        ctx.broadcast("counted", {"by": ctx.user.id})

    @chat.on_message("fail")
    async def fail(ctx: EventContext) -> None:
        raise LookupError("mine")

    @chat.on_message("busy")
    async def busy(ctx: EventContext) -> None:
        await ctx.update_presence({"status": "busy"})

    @chat.on_message("kick")
    async def kick(ctx: EventContext, user: str) -> None:
        await ctx.channel.evict_user(user, "rude")

    @socket.on_message("add")
    async def add(a: int, b: int) -> int:
        return a + b

    return pond


def host(pond: PondSocket) -> Any:
    """A host that mounts the pond, and shows nothing of it."""
    inner = PondASGIApp(pond)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            scope = {**scope, "root_path": "/ws"}
        await inner(scope, receive, send)

    return app


@pytest.fixture
def pond_app() -> Any:
    return host(create_pond())


@async_fixture  # type: ignore[untyped-decorator]
async def ann(pond_client: PondClient) -> AsyncIterator[ConnectedClient]:
    """A block that some runners begin in one task and end in another."""
    async with pond_client.connect(URL) as ann:
        yield ann


@async_fixture  # type: ignore[untyped-decorator]
async def bob(pond_client: PondClient, ann: ConnectedClient) -> AsyncIterator[ConnectedClient]:
    bob = pond_client.connect_sse("/ws/socket?user=bob")
    await bob.__aenter__()
    yield bob
    await bob.session.disconnect()


class TestAsync:
    pytestmark = in_loop

    async def test_hello(self, pond_client: PondClient) -> None:
        async with (
            pond_client.connect(URL) as ann,
            pond_client.connect_sse("/ws/socket?user=bob") as bob,
        ):
            other = await bob.join("/chat/1", presence=True)
            room = await ann.join("/chat/1")
            assert (ann.user_id, room.response) == ("ann", {"topic": "Welcome"})
            assert await room.call("say", {"text": "hi"}) == {"id": 7}
            await other.assert_broadcast("said", {"text": "hi", "id": ANY})
            await room.assert_broadcast("said", match={"text": "hi"})
            await room.assert_no_broadcast("secret")
            await room.assert_error("say", {}, code=422, loc=("text",))
            await other.assert_presence(joined="ann")
            assert await ann.call("add", {"a": 2, "b": 3}) == {"result": 5}

    async def test_fixtures(self, ann: ConnectedClient, bob: ConnectedClient) -> None:
        room, other = await ann.join("/chat/1"), await bob.join("/chat/1")
        await room.send("say", {"text": "hi"})
        await other.assert_broadcast("said")

    async def test_no_broadcast_waits_for_handlers_in_threads(self, ann: ConnectedClient) -> None:
        room = await ann.join("/chat/1")
        await room.send("count")
        with pytest.raises(AssertionError, match=r"There was a broadcast.*'counted'"):
            await room.assert_no_broadcast("counted")

    async def test_what_came_instead_is_told(self, ann: ConnectedClient) -> None:
        room = await ann.join("/chat/1")
        await room.call("say", {"text": "hi"})
        with pytest.raises(AssertionError, match=r"(?s)'said' with \{'text': 'ho'\}.*'text': 'hi'"):
            await room.assert_broadcast("said", {"text": "ho"}, wait=0.01)

    async def test_refusals(self, pond_client: PondClient, ann: ConnectedClient) -> None:
        with pytest.raises(ConnectionRefused, match=r"402 .*Pay first\.") as refused:
            async with pond_client.connect("/ws/socket?user=mallory"):
                pass
        assert refused.value.code == 402
        with pytest.raises(ConnectionRefused, match="422"):
            async with pond_client.connect_sse("/ws/socket"):
                pass
        with pytest.raises(JoinRefused, match="no such room") as unknown:
            await ann.join("/chat/13")
        assert unknown.value.code == 404
        with pytest.raises(JoinRefused, match="There is no channel /kitchen here"):
            await ann.join("/kitchen")
        room = await ann.join("/chat/1")
        with pytest.raises(CallFailed, match="HANDLER_NOT_FOUND: 404"):
            await room.call("whisper")

    async def test_errors_of_handlers(self, pond_client: PondClient, ann: ConnectedClient) -> None:
        room = await ann.join("/chat/1")
        with pytest.raises(LookupError, match="mine") as raised:
            await room.call("fail")
        assert "Raised by a event handler ('fail' in '/chat/1'" in raised.value.__notes__[0]
        with pond_client.expect_errors() as errors, pytest.raises(CallFailed, match="500"):
            await room.call("fail")
        assert [str(each.error) for each in errors] == ["mine"]
        await room.assert_error("fail", code=500)

    async def test_presence(self, ann: ConnectedClient, bob: ConnectedClient) -> None:
        room = await ann.join("/chat/1", presence=True)
        await room.assert_presence(joined="ann")
        other = await bob.join("/chat/1")
        await room.assert_presence(joined="bob", shown={"status": "online"})
        await other.send("busy")
        await room.assert_presence(updated="bob", shown={"status": "busy"})
        await ann.session.wait_until(lambda: True, "", wait=1)
        assert room.present == {"ann": [{"status": "online"}], "bob": [{"status": "busy"}]}
        await other.leave()
        await room.assert_presence(left="bob")

    async def test_ends(self, pond_client: PondClient, ann: ConnectedClient) -> None:
        room = await ann.join("/chat/1")
        await room.send("kick", {"user": "ann"})
        await room.assert_evicted(reason="rude")
        await pond_client.pond.push("ann", "notice", {"text": "bye"})
        await ann.assert_push("notice", {"text": "bye"})
        await ann.assert_no_push()
        await pond_client.pond.disconnect(user_id="ann", reason="banned")
        await ann.assert_closed(4403, reason="banned")
        with pytest.raises(AssertionError, match="the connection is closed"):
            await room.call("say", {"text": "hi"})

    @pytest.mark.parametrize("transport", ["connect", "connect_sse"])
    @pytest.mark.parametrize("fault", ["lost", "cut_mid_frame"])
    async def test_recovers(
        self,
        pond_client: PondClient,
        pond_clock: FakeClock,
        pond_faults: Faults,
        transport: str,
        fault: str,
    ) -> None:
        channel = pond_client.pond.channel("/socket", "/chat/1")
        async with getattr(pond_client, transport)(URL) as ann:
            room = await ann.join("/chat/1")
            async with getattr(pond_faults, fault)(ann):
                await channel.broadcast("said", {"n": 1})
            assert room.recovered
            assert (await room.assert_broadcast("said")).payload == {"n": 1}
            async with getattr(pond_faults, fault)(ann):
                await channel.broadcast("said", {"n": 2})
                await pond_client.settle()
                pond_clock.advance(301)
            assert not room.recovered
            await room.assert_no_broadcast("said")

    async def test_the_clock_is_that_of_rates(
        self, pond_client: PondClient, pond_clock: FakeClock
    ) -> None:
        async with pond_client.connect(URL) as ann:
            room = await ann.join("/chat/1")
            for _ in range(20):
                await room.send("busy")
            error = await room.assert_error("say", {"text": "hi"}, code=429)
            assert error.retry_after == 1
            pond_clock.advance(1)
            await room.call("say", {"text": "hi"})

    async def test_slow_clients(self, ann: ConnectedClient, pond_faults: Faults) -> None:
        room = await ann.join("/chat/1")
        async with pond_faults.slow(ann, frames=2):
            for text in "abc":
                await room.send("say", {"text": text})
            await room.assert_broadcast("said", match={"text": "a"})
            with pytest.raises(AssertionError, match="No broadcast"):
                await room.assert_broadcast("said", match={"text": "c"}, wait=0.01)
        await room.assert_broadcast("said", match={"text": "c"})
        async with pond_faults.stalled(ann):
            await room.send("say", {"text": "d"})
            with pytest.raises(AssertionError, match="No broadcast"):
                await room.assert_broadcast("said", match={"text": "d"}, wait=0.01)
        await room.assert_broadcast("said", match={"text": "d"})

    @pytest.mark.parametrize("pond_transport", ["websocket", "sse"])
    async def test_both_transports(
        self, pond_client: PondClient, ann: ConnectedClient, pond_transport: str
    ) -> None:
        async with pond_client.connect("/ws/socket?user=bob").joined("/chat/1") as room:
            await room.call("say", {"text": "hi"})
        kind = SSESession if pond_transport == "sse" else WebSocketSession
        assert isinstance(ann.session, kind)

    async def test_two_nodes(self, pond_hub: MemoryHub) -> None:
        ponds = [create_pond(backplane=pond_hub.backplane()) for _ in range(2)]
        async with ponds[0], ponds[1]:
            clients = [PondClient(pond) for pond in ponds]
            async with (
                clients[0].connect("/socket?user=ann") as ann,
                clients[1].connect("/socket?user=bob") as bob,
            ):
                room, other = await ann.join("/chat/1"), await bob.join("/chat/1")
                await room.call("say", {"text": "hi"})
                await other.assert_broadcast("said", match={"text": "hi"})


class TestSync:
    def test_hello(self, pond_sync: SyncPondClient) -> None:
        with pond_sync.connect(URL) as ann, pond_sync.connect_sse(URL) as other:
            room, there = ann.join("/chat/1", presence=True), other.join("/chat/1")
            assert room.call("say", {"text": "hi"}) == {"id": 7}
            there.assert_broadcast("said", match={"text": "hi"})
            there.assert_no_broadcast("secret")
            assert room.assert_error("say", {}, code=422).message
            room.assert_presence(joined="ann")
            assert ann.call("add", {"a": 1, "b": 1}) == {"result": 2}
            with ann.lost():
                pond_sync.pond.channel("/socket", "/chat/1").broadcast_nowait("said", {"n": 1})
            room.assert_broadcast("said", {"n": 1})

    @pytest.mark.parametrize("pond_transport", ["websocket", "sse"])
    def test_both_transports(self, pond_sync: SyncPondClient, pond_transport: str) -> None:
        with pond_sync.connect(URL) as ann:
            ann.join("/chat/1").call("say", {"text": "hi"})
            kind = SSESession if pond_transport == "sse" else WebSocketSession
            assert isinstance(ann._inner.session, kind)

    def test_a_handlers_error_is_the_tests(self, pond_sync: SyncPondClient) -> None:
        with pond_sync.connect(URL) as ann, pytest.raises(LookupError, match="mine"):
            ann.join("/chat/1").call("fail")


@pytest.fixture
def sync_client(pond_sync: SyncPondClient) -> Iterator[Any]:
    with pond_sync.connect(URL) as ann:
        yield ann


def test_a_sync_fixture(sync_client: Any) -> None:
    assert sync_client.join("/chat/1").response == {"topic": "Welcome"}
