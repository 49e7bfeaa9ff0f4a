"""Streams whose POSTs have to come from whom the stream is, beside bringing its secret."""

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
async def test_a_post_and_a_delete_come_from_whom_the_stream_is(
    identity: Callable[[ConnectRequest], object],
) -> None:
    door = Pond(identity=identity)
    stream = await door.driver.connect_sse("/socket", headers={"Cookie": "user=ann"})
    assert (await call(door.driver, stream.connection_id, Cookie="user=ann")).status == 204
    for other in ({"Cookie": "user=bob"}, {"Cookie": "user="}, {}):
        for method in ("POST", "DELETE"):
            answer = await call(door.driver, stream.connection_id, method, **other)
            assert answer.status == 404
    await stream.receive_event_named("PONG")
    with pytest.raises(TimeoutError):
        await stream.receive_event(wait=0.01)
    answer = await call(door.driver, stream.connection_id, "DELETE", Cookie="user=ann")
    assert answer.status == 204
    await stream.wait_ended()


async def test_no_answer_says_what_was_wrong() -> None:
    door = Pond(identity=user)
    door.pond.create_endpoint("/other/:name", door.on_connect)
    stream = await door.driver.connect_sse("/socket", headers={"Cookie": "user=ann"})
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
            answer = await door.driver.call_http(path, method=method, headers=headers, body=PING)
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

    door = Pond(identity=fragile)
    stream = await door.driver.connect_sse("/socket")
    broken = True
    refused = await door.driver.connect_sse("/socket")
    post = await call(door.driver, stream.connection_id)
    for status, body in ((refused.status, refused.body), post):
        assert status == 500
        assert json.loads(body)["error"] == "INTERNAL_SERVER_ERROR"
        assert b"inner" not in body
    assert len([each for each in caplog.records if each.levelno == logging.ERROR]) == 2
    broken = False
    assert (await call(door.driver, stream.connection_id)).status == 204
    await stream.disconnect()
    await refused.disconnect()


async def test_an_identity_that_takes_too_long_is_504() -> None:
    async def slow(request: ConnectRequest) -> None:
        await anyio.sleep_forever()

    door = Pond(Options(connect_timeout=0.01), identity=slow)
    refused = await door.driver.connect_sse("/socket")
    assert refused.status == 504
    await refused.disconnect()


async def test_a_websocket_is_asked_for_no_identity() -> None:
    def never(request: ConnectRequest) -> object:
        raise AssertionError(request)

    door = Pond(identity=never)
    session = await door.driver.connect_websocket("/socket")
    assert session.accepted
    await session.disconnect()


@pytest.mark.parametrize("identity", ["user", lambda: None, lambda a, b: None])
def test_an_identity_is_a_function_of_the_request(identity: Any) -> None:
    async def welcome(ctx: Any) -> None:
        ctx.accept()

    with pytest.raises(UsageError, match=r"endpoint '/socket', identity"):
        PondSocket().create_endpoint("/socket", welcome, identity=identity)
