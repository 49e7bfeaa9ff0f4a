"""Streams whose POSTs have to come from the stream's own user, besides bringing its secret."""

import json
import logging
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from pondsocket import ConnectRequest, Options, PondSocket, UsageError
from pondsocket_asgi.testing import ASGITestDriver, HTTPAnswer

from tests.asgi.conftest import Pond

PING = b'{"action": "ping"}'


def user(request: ConnectRequest) -> object:
    return request.cookies.get("user")


async def user_later(request: ConnectRequest) -> object:
    await anyio.lowlevel.checkpoint()
    return request.cookies.get("user")


async def call(
    driver: ASGITestDriver, connection_id: str, method: str = "POST", **headers: str
) -> HTTPAnswer:
    given = {"X-Connection-ID": connection_id, "Content-Type": "application/json", **headers}
    return await driver.call_http("/socket", method=method, headers=given, body=PING)


@pytest.mark.parametrize("identity", [user, user_later])
async def test_a_post_and_a_delete_come_from_the_streams_own_user(
    identity: Callable[[ConnectRequest], object],
) -> None:
    served = Pond(identity=identity)
    stream = await served.driver.connect_sse("/socket", headers={"Cookie": "user=ann"})
    assert (await call(served.driver, stream.connection_id, Cookie="user=ann")).status == 204
    for other in ({"Cookie": "user=bob"}, {"Cookie": "user="}, {}):
        for method in ("POST", "DELETE"):
            answer = await call(served.driver, stream.connection_id, method, **other)
            assert answer.status == 404
    await stream.receive_event_named("PONG")
    with pytest.raises(TimeoutError):
        await stream.receive_event(wait=0.01)
    answer = await call(served.driver, stream.connection_id, "DELETE", Cookie="user=ann")
    assert answer.status == 204
    await stream.wait_ended()


async def test_no_answer_says_what_was_wrong() -> None:
    served = Pond(identity=user)
    served.pond.create_endpoint("/other/:name", served.on_connect)
    stream = await served.driver.connect_sse("/socket", headers={"Cookie": "user=ann"})
    here = {"X-Connection-ID": stream.connection_id, "Cookie": "user=ann"}
    wrong = [
        ("/socket", {**here, "X-Connection-ID": "0" * 32}),
        ("/socket", {**here, "X-Connection-ID": stream.connection_id.upper()}),
        ("/socket", {**here, "X-Connection-ID": stream.connection_id[:-1]}),
        ("/socket", {**here, "Cookie": "user=bob"}),
        ("/other/one", here),
        ("/nowhere", here),
    ]
    answers = []
    for path, headers in wrong:
        for method in ("POST", "DELETE"):
            headers["Content-Type"] = "application/json"
            answer = await served.driver.call_http(path, method=method, headers=headers, body=PING)
            answers.append((answer.status, answer.body, sorted(answer.headers.items())))
    assert all(each == answers[0] for each in answers)
    assert answers[0][0] == 404
    await stream.disconnect()


async def test_an_identity_that_fails_is_logged_and_answered_without_its_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = False

    def fragile(request: ConnectRequest) -> object:
        if broken:
            raise ValueError("an inner detail")
        return 1

    served = Pond(identity=fragile)
    stream = await served.driver.connect_sse("/socket")
    broken = True
    refused = await served.driver.connect_sse("/socket")
    post = await call(served.driver, stream.connection_id)
    for status, body in ((refused.status, refused.body), post):
        assert status == 500
        assert json.loads(body)["error"] == "INTERNAL_SERVER_ERROR"
        assert b"inner" not in body
    assert len([each for each in caplog.records if each.levelno == logging.ERROR]) == 2
    broken = False
    assert (await call(served.driver, stream.connection_id)).status == 204
    await stream.disconnect()
    await refused.disconnect()


async def test_an_identity_that_takes_too_long_is_504() -> None:
    async def slow(request: ConnectRequest) -> None:
        await anyio.sleep_forever()

    served = Pond(Options(connect_timeout=0.01), identity=slow)
    refused = await served.driver.connect_sse("/socket")
    assert refused.status == 504
    await refused.disconnect()


async def test_a_websocket_is_asked_for_no_identity() -> None:
    def never(request: ConnectRequest) -> object:
        raise AssertionError(request)

    served = Pond(identity=never)
    session = await served.driver.connect_websocket("/socket")
    assert session.accepted
    await session.disconnect()


@pytest.mark.parametrize("identity", ["user", lambda: None, lambda a, b: None])
def test_an_identity_is_a_function_of_the_request(identity: Any) -> None:
    async def welcome(ctx: Any) -> None:
        ctx.accept()

    with pytest.raises(UsageError, match=r"endpoint '/socket', identity"):
        PondSocket().create_endpoint("/socket", welcome, identity=identity)


class Slow:
    """An identity that is told when the test lets it, for requests with such a header."""

    def __init__(self) -> None:
        self.latches: dict[str, anyio.Event] = {}

    async def __call__(self, request: ConnectRequest) -> object:
        latch = self.latches.get(request.headers.get("x-latch") or "")
        if latch is not None:
            await latch.wait()
        return request.cookies.get("user")


class Post:
    """A message whose body comes in two halves, the second when the test lets it."""

    def __init__(self, served: Pond, connection_id: str, text: str, *, user: str = "ann") -> None:
        message = {
            "action": "BROADCAST",
            "event": "say",
            "channelName": "/chat/1",
            "requestId": text,
            "payload": {"text": text},
        }
        body = json.dumps(message).encode()
        self.is_whole = anyio.Event()
        self.status: int | None = None
        self._served = served
        self._halves = [body[:20], body[20:]]
        self._headers = [
            (b"content-type", b"application/json"),
            (b"x-connection-id", connection_id.encode()),
            (b"cookie", f"user={user}".encode()),
            (b"x-latch", text.encode()),
        ]

    async def run(self) -> None:
        scope = {"type": "http", "method": "POST", "path": "/socket", "headers": self._headers}
        await self._served.app(scope, self._receive, self._send)

    async def _receive(self) -> Any:
        half = self._halves.pop(0)
        if not self._halves:
            await self.is_whole.wait()
        return {"type": "http.request", "body": half, "more_body": bool(self._halves)}

    async def _send(self, message: Any) -> None:
        self.status = message.get("status", self.status)


async def test_posts_keep_the_order_of_their_bodies_however_long_an_identity_takes() -> None:
    identity = Slow()
    served = Pond(identity=identity)
    stream = await served.driver.connect_sse("/socket", headers={"Cookie": "user=ann"})
    await stream.send_client_message(action="JOIN_CHANNEL", channel_name="/chat/1", event="join")
    await stream.receive_event_named("ACKNOWLEDGE")
    identity.latches = {"second": anyio.Event(), "strange": anyio.Event()}
    # In the order in which they begin, which is not the one in which their bodies are there.
    posts = {
        text: Post(served, stream.connection_id, text) for text in ("third", "second", "first")
    }
    posts["strange"] = Post(served, stream.connection_id, "strange", user="bob")
    async with anyio.create_task_group() as tasks:
        for post in posts.values():
            tasks.start_soon(post.run)
        await anyio.wait_all_tasks_blocked()
        for text in ("first", "strange", "second", "third"):
            posts[text].is_whole.set()
            await anyio.wait_all_tasks_blocked()
        assert {text: post.status for text, post in posts.items()} == {
            "first": 204,
            "strange": None,
            "second": None,
            "third": None,
        }
        identity.latches["second"].set()
        await anyio.wait_all_tasks_blocked()
        identity.latches["strange"].set()
    assert [post.status for post in posts.values()] == [204, 204, 204, 404]
    said = [(await stream.receive_event_named("said"))["payload"]["text"] for _ in range(3)]
    assert said == ["first", "second", "third"]
    await stream.disconnect()


async def test_a_request_that_waits_for_an_identity_keeps_no_other_connection_waiting() -> None:
    identity = Slow()
    served = Pond(identity=identity)
    streams = [
        await served.driver.connect_sse("/socket", headers={"Cookie": "user=ann"}) for _ in range(2)
    ]
    identity.latches = {"slow": anyio.Event()}
    slow = Post(served, streams[0].connection_id, "slow")
    other = Post(served, streams[1].connection_id, "other")
    async with anyio.create_task_group() as tasks:
        for post in (slow, other):
            post.is_whole.set()
            tasks.start_soon(post.run)
        await anyio.wait_all_tasks_blocked()
        assert (slow.status, other.status) == (None, 204)
        identity.latches["slow"].set()
    for stream in streams:
        await stream.disconnect()
