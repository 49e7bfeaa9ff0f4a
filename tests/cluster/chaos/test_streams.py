"""Event streams on any worker: GET, POST and DELETE land where they land."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from pondsocket_common import SSEDecoder

from tests.cluster.redis_server import RedisServer
from tests.servers import Server

from .world import APP, environment

pytestmark = [pytest.mark.redis, pytest.mark.timeout(60)]

ROOM: Final = "/room/1"
COUNT: Final = 60


class Stream:
    """An event stream, whose requests all have connections of their own."""

    def __init__(self, http: httpx.AsyncClient, url: str, response: httpx.Response) -> None:
        self.worker = response.headers["x-worker"]
        self.workers: set[str] = set()  # of its requests
        self._http = http
        self._url = url
        self._id = response.headers["x-connection-id"]
        self._chunks = response.aiter_bytes()
        self._decoder = SSEDecoder()
        self._messages: list[dict[str, Any]] = []

    async def next(self, event: str) -> dict[str, Any]:
        """Return the next message with an event."""
        while True:
            while self._messages:
                found = self._messages.pop(0)
                if found["event"] == event:
                    return found
            chunk = await anext(self._chunks)
            self._messages += [json.loads(each.data) for each in self._decoder.feed(chunk)]

    async def ask(self, method: str, *messages: dict[str, Any]) -> int:
        """Send a request; return the status."""
        answer = await self._http.request(
            method,
            self._url,
            headers={"x-connection-id": self._id},
            json=list(messages) if messages else None,
        )
        self.workers.add(answer.headers["x-worker"])
        return answer.status_code

    async def send(self, action: str, event: str, payload: dict[str, Any]) -> None:
        sent = {
            "action": action,
            "event": event,
            "channelName": ROOM,
            "requestId": uuid.uuid4().hex,
            "payload": payload,
        }
        assert await self.ask("POST", sent) == 204

    async def is_over(self) -> bool:
        """Return whether it ends soon."""
        try:
            async with asyncio.timeout(3):
                async for _ in self._chunks:
                    pass
        except TimeoutError:
            return False
        return True


@asynccontextmanager
async def opened(http: httpx.AsyncClient, url: str) -> AsyncIterator[Stream]:
    headers = {"accept": "text/event-stream"}
    async with http.stream("GET", url, headers=headers) as response:
        assert response.status_code == 200
        yield Stream(http, url, response)


async def test_posts_land_on_any_worker_in_order(tmp_path: Path) -> None:
    log = tmp_path / "notes"
    with (
        RedisServer(tmp_path / "redis") as redis,
        Server(APP, "--workers", "2", env=environment(redis.url, log, 0)) as server,
    ):
        url = f"{server.http_url}/socket?user="
        limits = httpx.Limits(max_keepalive_connections=0)
        async with (
            httpx.AsyncClient(limits=limits, timeout=10) as http,
            opened(http, f"{url}ann") as ann,
            opened(http, f"{url}bea") as bea,
        ):
            for each in (ann, bea):
                await each.send("JOIN_CHANNEL", "join", {})
                await each.next("ACKNOWLEDGE")
            for number in range(COUNT):
                await ann.send("BROADCAST", "say", {"id": number})
            for each in (ann, bea):
                said = [(await each.next("said"))["payload"]["id"] for _ in range(COUNT)]
                assert said == list(range(COUNT))
            assert len(ann.workers) == 2, "all requests landed on one worker"
            await end_elsewhere(http, f"{url}cid")
            assert await ann.ask("DELETE") == 204
            assert await ann.is_over()
            assert (await bea.next("LEAVE"))["payload"]["changed"] == {"user": "ann"}
            # The others are told at once; `on_leave` runs when its node knows the result.
            async with asyncio.timeout(10):
                while "0 leave ann /room/1" not in log.read_text():  # noqa: ASYNC110 - a file
                    await asyncio.sleep(0.02)
        assert "Traceback" not in server.log(), server.log()


async def end_elsewhere(http: httpx.AsyncClient, url: str) -> None:
    """End streams until a DELETE has landed on another worker than its stream."""
    for _ in range(40):
        async with opened(http, url) as stream:
            assert await stream.ask("DELETE") == 204
            assert await stream.is_over()
            if stream.workers != {stream.worker}:
                return
    pytest.fail("no request landed on another worker")
