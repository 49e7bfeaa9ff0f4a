"""Pushes, broadcasts and closes between two ponds on a real Redis whose links are killed."""

from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from pondsocket import ConnectionContext, Endpoint, PondError, PondSocket
from pondsocket.backplane.redis import RedisBackplane
from pondsocket.testing import MemoryPeer, connect

from .redis_server import RedisServer

pytestmark = [pytest.mark.anyio, pytest.mark.redis]


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    folder: Path = tmp_path_factory.mktemp("redis")
    with RedisServer(folder) as server:
        yield server


def serve(server: RedisServer, prefix: str) -> tuple[PondSocket, Endpoint]:
    pond = PondSocket(backplane=RedisBackplane(server.url, prefix=prefix))

    async def admit(ctx: ConnectionContext) -> None:
        ctx.accept(user_id=ctx.query["user"])

    return pond, pond.create_endpoint("/socket", admit)


async def test_what_is_pushed_while_links_are_killed_arrives_once_and_in_order(
    redis: RedisServer, anyio_backend_name: str
) -> None:
    (one, _), (two, _) = (serve(redis, f"killed-{anyio_backend_name}") for _ in range(2))
    sent = []
    async with one, two, connect(two, "/socket?user=ann") as ann:
        for number in range(60):
            if number % 20 == 10:
                await anyio.to_thread.run_sync(redis.kill_clients)
            try:
                await one.push("ann", "n", {"n": number})
                sent.append(number)
            except PondError:
                pass  # of a link that was killed for longer than a push may wait
        await one.push("ann", "last")
        found = []
        with anyio.fail_after(10):
            while (message := await ann.receive()).event != "last":
                if message.event == "n":
                    assert isinstance(message.payload, dict)
                    found.append(message.payload["n"])
        assert found == sorted(set(found))
        assert set(sent) <= set(found)
        assert len(sent) > 30


async def test_connections_of_all_nodes_are_counted_told_and_closed(
    redis: RedisServer, anyio_backend_name: str
) -> None:
    (one, endpoint), (two, _) = (serve(redis, f"all-{anyio_backend_name}") for _ in range(2))
    async with AsyncExitStack() as stack:
        for pond in (one, two):
            await stack.enter_async_context(pond)
        ann, bob = [
            await stack.enter_async_context(connect(pond, f"/socket?user={user}"))
            for pond, user in ((two, "ann"), (one, "bob"))
        ]
        assert await endpoint.connection_count() == 2
        await endpoint.broadcast("all", {"é": "\x1f"})
        for peer in (ann, bob):
            assert (await receive(peer, "all")) == {"é": "\x1f"}
        await endpoint.close_connection("ann")
        assert await ann.wait_closed() == 4403
        await two.disconnect(user_id="bob", reason="banned")
        assert await bob.wait_closed() == 4403


async def receive(peer: MemoryPeer, event: str) -> object:
    with anyio.fail_after(5):
        return (await peer.receive_event(event)).payload
