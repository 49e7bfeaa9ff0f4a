"""Sending from a process that serves no clients: through an engine in memory, and on Redis."""

import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from pondsocket import (
    ConnectionContext,
    EncodingError,
    Event,
    History,
    JoinContext,
    PondSocket,
    Publisher,
    UsageError,
)
from pondsocket.backplane import Backplane, BackplaneUnavailable, PublishUncertain
from pondsocket.backplane.memory import MemoryBackplane, MemoryHub
from pondsocket.backplane.redis import RedisBackplane
from pondsocket.testing import MemoryPeer, connect
from pydantic import BaseModel

from tests.servers import ROOT

from .redis_server import RedisServer

pytestmark = pytest.mark.anyio

NewBackplane = Callable[[], Backplane]


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    folder: Path = tmp_path_factory.mktemp("redis")
    with RedisServer(folder) as server:
        yield server


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
def backplane(request: pytest.FixtureRequest) -> NewBackplane:
    """Return what gives access to one engine."""
    if request.param == "memory":
        return MemoryHub().backplane
    server: RedisServer = request.getfixturevalue("redis")
    prefix = request.node.name.replace("[", "-").replace("]", "")
    return lambda: RedisBackplane(server.url, prefix=prefix)


def serve(backplane: Backplane) -> PondSocket:
    pond = PondSocket(backplane=backplane)

    @pond.endpoint("/:tenant/socket")
    async def socket(ctx: ConnectionContext, tenant: str, user: str) -> None:
        ctx.accept(user_id=user)

    @socket.channel("/kept/:name", history=History(size=10))
    async def kept(ctx: JoinContext) -> None:
        await ctx.accept()

    @socket.channel("/news")
    async def news(ctx: JoinContext) -> None:
        await ctx.accept()

    return pond


class World:
    """A server, a publisher, and clients."""

    def __init__(self, stack: AsyncExitStack, backplane: NewBackplane) -> None:
        self.backplane = backplane
        self.pond = serve(backplane())
        self.publisher = Publisher(backplane())
        self._stack = stack

    async def member(self, user: str, channel: str = "/kept/a") -> MemoryPeer:
        peer = await self._stack.enter_async_context(
            connect(self.pond, f"/acme/socket?user={user}")
        )
        await peer.receive_event("CONNECTION")
        await peer.join(channel)
        return peer


@pytest.fixture
async def world(backplane: NewBackplane) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        world = World(stack, backplane)
        await stack.enter_async_context(world.pond)
        stack.callback(world.publisher.close)
        yield world


async def run(call: Callable[..., None], *arguments: Any, **options: Any) -> None:
    """Call a publisher as a script does, in another thread."""
    await anyio.to_thread.run_sync(lambda: call(*arguments, **options))


async def events(peer: MemoryPeer, last: str = "last") -> list[tuple[str, Any]]:
    """Receive until the last event comes. Return the events before it."""
    found = []
    while (message := await peer.receive()).event != last:
        found.append((message.event, message.payload))
    return found


class Paid(BaseModel):
    by: str


async def test_members_get_what_is_published(world: World) -> None:
    ann, bob = await world.member("ann"), await world.member("bob")
    publish = world.publisher
    with publish:
        where = "/acme/socket", "/kept/a"
        await run(publish.broadcast, *where, "n", {"é": "\x1f\n"})
        await run(publish.broadcast, *where, Event("paid", Paid), Paid(by="ann"))
        await run(publish.broadcast_to, *where, "to", {}, "ann", 7)
        await run(publish.broadcast_from, *where, "from", None, "ann")
        await run(publish.broadcast, *where, "unkept", {}, history=False)
        await run(publish.broadcast, *where, "last")
    shared = [("n", {"é": "\x1f\n"}), ("paid", {"by": "ann"})]
    assert await events(ann) == [*shared, ("to", {}), ("unkept", {})]
    assert await events(bob) == [*shared, ("from", {}), ("unkept", {})]
    kept = await world.pond.channel("/acme/socket", "/kept/a").history()
    assert kept is not None
    assert [each.event for each in kept] == ["n", "paid", "to", "from", "last"]


async def test_a_channel_without_a_history_gets_it_too(world: World) -> None:
    ann = await world.member("ann", "/news")
    await run(world.publisher.broadcast, "/acme/socket", "/news", "n", {"n": 1})
    await run(world.publisher.broadcast, "/acme/socket", "/news", "last")
    assert await events(ann) == [("n", {"n": 1})]


async def test_a_task_that_runs_twice_publishes_once(world: World) -> None:
    ann = await world.member("ann")
    for _ in range(3):
        await run(world.publisher.broadcast, "/acme/socket", "/kept/a", "n", {}, once="task-7")
        await run(world.publisher.push, "ann", "p", {}, once="task-7")
    await run(world.publisher.push, "ann", "end")
    await run(world.publisher.broadcast, "/acme/socket", "/kept/a", "last")
    found = [await ann.receive() for _ in range(4)]
    assert sorted(each.event for each in found) == ["end", "last", "n", "p"]


async def test_users_are_pushed_to_evicted_and_disconnected(world: World) -> None:
    ann = await world.member("ann")
    await run(world.publisher.push, "ann", "p", {"n": 1}, path="/acme/socket")
    await run(world.publisher.push, "ann", "p", {"n": 2}, path="/other/socket")
    assert (await ann.receive_event("p")).payload == {"n": 1}
    await run(world.publisher.evict_user, "/acme/socket", "/kept/a", "ann", "go")
    with anyio.fail_after(5):
        room = world.pond.channel("/acme/socket", "/kept/a")
        while await room.has_user("ann"):  # noqa: ASYNC110 - the engine tells no test
            await anyio.sleep(0.01)
    await run(world.publisher.disconnect, user_id="ann", reason="banned")
    goodbye: Any = (await ann.receive_event("GOODBYE")).payload
    assert goodbye.reason == "banned"
    assert await ann.wait_closed() == 4403


async def test_mistakes_are_told_and_nothing_is_sent(world: World) -> None:
    ann = await world.member("ann")
    publish, where = world.publisher, ("/acme/socket", "/kept/a")
    unfit: Any = {"amount": 5}
    wrong: list[tuple[type[Exception], str, Callable[[], None]]] = [
        (UsageError, "no endpoint '/x'", lambda: publish.broadcast("/x", "/kept/a", "n")),
        (UsageError, "No channel pattern", lambda: publish.broadcast(where[0], "/x", "n")),
        (UsageError, "is a pattern", lambda: publish.broadcast("/:tenant/socket", "/news", "n")),
        (UsageError, "no endpoint", lambda: publish.push("ann", "n", path="/x")),
        (UsageError, "no endpoint", lambda: publish.disconnect(user_id="ann", path="/x")),
        (UsageError, "No channel", lambda: publish.evict_user(where[0], "/x", "ann")),
        (UsageError, "protocol's own", lambda: publish.broadcast(*where, "GOODBYE")),
        (UsageError, "A payload is an object", lambda: publish.broadcast(*where, "n", [1])),
        (UsageError, "user's id", lambda: publish.push("", "n")),
        (UsageError, "nothing keeps", lambda: publish.broadcast(where[0], "/news", "n", once="a")),
        (UsageError, "once is a text", lambda: publish.push("ann", "n", once="a" * 256)),
        (EncodingError, "JSON", lambda: publish.broadcast(*where, "n", {"a": {1}})),
        (EncodingError, "by", lambda: publish.push("ann", Event("n", Paid), unfit)),
    ]
    for kind, text, call in wrong:
        with pytest.raises(kind, match=text):
            await run(call)
    await run(publish.broadcast, *where, "last")
    assert await events(ann) == []


async def test_many_threads_share_one(world: World) -> None:
    ann = await world.member("ann", "/news")
    async with anyio.create_task_group() as tasks:
        for number in range(20):
            args = "/acme/socket", "/news", "n", {"n": number}
            tasks.start_soon(run, world.publisher.broadcast, *args)
    await run(world.publisher.broadcast, "/acme/socket", "/news", "last")
    found = await events(ann)
    assert sorted(payload["n"] for _, payload in found) == [*range(20)]


async def test_before_the_first_server_there_is_nothing_to_publish_to(
    backplane: NewBackplane,
) -> None:
    with Publisher(backplane()) as publisher:
        with pytest.raises(BackplaneUnavailable, match="No server has started"):
            await run(publisher.broadcast, "/acme/socket", "/news", "n")
        async with serve(backplane()):
            await run(publisher.broadcast, "/acme/socket", "/news", "n")
        await run(publisher.broadcast, "/acme/socket", "/news", "n")  # no member, no recipient


async def test_a_channel_that_a_newer_server_has_is_found(world: World) -> None:
    await run(world.publisher.broadcast, "/acme/socket", "/news", "n")
    newer = PondSocket(backplane=world.backplane())

    @newer.endpoint("/new")
    async def socket(ctx: ConnectionContext) -> None:
        ctx.accept()

    @socket.channel("/room")
    async def room(ctx: JoinContext) -> None:
        await ctx.accept()

    async with newer:
        await run(world.publisher.broadcast, "/new", "/room", "n")


async def test_a_publisher_is_no_node(world: World) -> None:
    await world.member("ann")
    await run(world.publisher.push, "ann", "p")
    endpoint = world.pond.find_endpoint("/acme/socket")
    assert endpoint is not None
    assert await endpoint.connection_count() == 1
    assert await world.pond.channel("/acme/socket", "/kept/a").user_count() == 1


@pytest.mark.redis
async def test_a_publisher_has_no_lease(redis: RedisServer) -> None:
    with Publisher(RedisBackplane(redis.url, prefix="lease")) as publisher:
        await run(publisher.push, "ann", "p")
        assert redis.call("KEYS", "{lease}:nodes") == []


async def test_what_is_closed_says_so(world: World) -> None:
    world.publisher.close()
    world.publisher.close()
    with pytest.raises(UsageError, match="closed"):
        world.publisher.push("ann", "p")
    assert not [each for each in threading.enumerate() if "publisher" in each.name]


async def test_an_engine_that_is_not_there(caplog: pytest.LogCaptureFixture) -> None:
    hub = MemoryHub()
    hub.stop()
    access = hub.backplane()
    access.publish_seconds = 0.1
    with Publisher(access) as publisher:
        for call in (
            lambda: publisher.broadcast("/a", "/b", "n"),
            lambda: publisher.push("ann", "p"),
        ):
            with pytest.raises(BackplaneUnavailable):
                await run(call)
    with Publisher("redis://127.0.0.1:1") as publisher, pytest.raises(BackplaneUnavailable):
        await run(publisher.push, "ann", "p")
    assert "Redis cannot be used" in caplog.text


async def test_a_lost_answer_is_found_by_the_next_link_or_uncertain() -> None:
    hub = MemoryHub()
    access: MemoryBackplane = hub.backplane()
    async with serve(hub.backplane()):
        with Publisher(access) as publisher:
            await run(publisher.broadcast, "/acme/socket", "/news", "n")
            access.lose_results()
            await run(publisher.push, "ann", "p")  # carried out once, and answered on the next link
            access.lose_results(1_000_000)
            access.publish_seconds = 0.5  # in which it is carried out over and over
            with pytest.raises(PublishUncertain):
                await run(publisher.push, "ann", "p")


async def test_a_backplane_of_another_one_is_refused() -> None:
    hub = MemoryHub()
    access = hub.backplane()
    with Publisher(access) as first:
        await run(first.push, "ann", "p")
        # Not before: each opens in a thread of its own.
        with Publisher(access) as second:
            for _ in range(2):
                with pytest.raises(UsageError, match="backplane of its own"):
                    await run(second.push, "ann", "p")


def test_a_fork_may_not_use_what_its_parent_has_opened() -> None:
    script = """
        import os
        from pondsocket import Publisher, UsageError
        from pondsocket.backplane.memory import MemoryHub

        later, opened = Publisher(MemoryHub().backplane()), Publisher(MemoryHub().backplane())
        opened.push("ann", "n")
        child = os.fork()
        if child == 0:
            code = 1
            try:
                opened.push("ann", "n")
            except UsageError as error:
                later.push("ann", "n")
                opened.close()
                later.close()
                code = 0 if "before the process forked" in str(error) else 2
            os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        opened.push("ann", "n")
        print("done")
    """
    assert script_output(script) == "done\n"


def test_a_script_that_closes_nothing_ends() -> None:
    script = """
        from pondsocket import Publisher
        from pondsocket.backplane.memory import MemoryHub

        publisher = Publisher(MemoryHub().backplane())
        publisher.push("ann", "n")
        print("done")
    """
    assert script_output(script) == "done\n"


@pytest.mark.redis
async def test_a_script_publishes_to_a_server(redis: RedisServer) -> None:
    pond = serve(RedisBackplane(redis.url, prefix="script"))
    script = """
        import sys
        from pondsocket import Publisher
        from pondsocket.backplane.redis import RedisBackplane

        with Publisher(RedisBackplane(sys.argv[1], prefix="script")) as publisher:
            publisher.broadcast("/acme/socket", "/kept/a", "news", {"from": "a script"})
        print("done")
    """
    async with pond, connect(pond, "/acme/socket?user=ann") as ann:
        await ann.join("/kept/a")
        assert await anyio.to_thread.run_sync(script_output, script, redis.url) == "done\n"
        assert (await ann.receive_event("news")).payload == {"from": "a script"}


def script_output(script: str, *arguments: str) -> str:
    """Run a script in a process of its own. Return what it has printed."""
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(script), *arguments]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout
