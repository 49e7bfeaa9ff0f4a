"""What is SSE's own: its headers, its names, and the statuses of POST and DELETE."""

import json

import pytest

from tests.integration.clients import SSEClient, envelope
from tests.integration.connector import Connector
from tests.servers import Server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


@pytest.fixture
async def ann(connect: Connector, server: Server) -> SSEClient:
    return await connect.sse(f"{server.http_url}/socket?user=ann")


async def test_a_stream_has_the_headers_that_keep_proxies_off(ann: SSEClient) -> None:
    headers = ann.response.headers
    assert headers["content-type"] == "text/event-stream"
    assert headers["cache-control"] == "no-cache, no-transform"
    assert headers["x-accel-buffering"] == "no"
    assert "connection" not in headers


async def test_events_have_names_unless_told_otherwise(
    connect: Connector, server: Server, ann: SSEClient, room: str
) -> None:
    await ann.join(room)
    assert ann.event_names == ["CONNECTION", "ACKNOWLEDGE"]
    unnamed = await connect.sse(f"{server.http_url}/socket?sse=unnamed")
    await unnamed.join(room)
    assert unnamed.event_names == ["message", "message"]


async def test_an_array_is_taken_whole_and_in_order(ann: SSEClient, room: str) -> None:
    messages = [envelope("JOIN_CHANNEL", room, "join", {"how": "late"})]
    messages += [envelope("BROADCAST", room, "echo", {"n": n}) for n in range(63)]
    answer = await ann.post_json(messages)
    assert (answer.status_code, answer.content) == (204, b"")
    answers = [await ann.receive() for _ in messages]
    assert [each["requestId"] for each in answers] == [each["requestId"] for each in messages]


async def test_an_array_with_a_fault_is_not_taken_at_all(ann: SSEClient, room: str) -> None:
    join = envelope("JOIN_CHANNEL", room, "join")
    bad = envelope("SHOUT", room, "x")
    answer = await ann.post_json([join, bad])
    assert answer.status_code == 400
    error = await ann.receive()
    assert (error["event"], error["requestId"]) == ("INVALID_MESSAGE", bad["requestId"])
    assert (await ann.call(room, "echo"))["event"] == "UNAUTHORIZED_BROADCAST"


@pytest.mark.parametrize("count", [0, 65])
async def test_an_array_has_1_to_64_messages(ann: SSEClient, room: str, count: int) -> None:
    answer = await ann.post_json([envelope("JOIN_CHANNEL", room, "join")] * count)
    assert answer.status_code == 400


@pytest.mark.parametrize(("depth", "status"), [(64, 204), (65, 400)])
async def test_each_message_of_an_array_may_be_64_levels_deep(
    ann: SSEClient, room: str, depth: int, status: int
) -> None:
    message = envelope("JOIN_CHANNEL", room, "join", {"deep": "?"})
    nested = "[" * (depth - 2) + "]" * (depth - 2)
    body = json.dumps([message]).replace('"?"', nested).encode()
    assert (await ann.post(body)).status_code == status


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"nonsense", "application/json", 400),
        (b"", "application/json", 400),
        (b"{}", "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"{}", "application/x-www-form-urlencoded", 415),
        (b'"' + b"x" * 65_536 + b'"', "application/json", 413),
        (b"[" + b" " * 262_144 + b"]", "application/json", 413),
    ],
)
async def test_a_post_that_is_not_taken_says_why(
    ann: SSEClient, room: str, body: bytes, content_type: str, status: int
) -> None:
    answer = await ann.post(body, content_type=content_type)
    assert answer.status_code == status
    assert answer.json().keys() == {"error", "code", "message"}
    assert answer.json()["code"] == status
    assert (await ann.join(room))["event"] == "ACKNOWLEDGE"


async def test_json_with_a_charset_is_json(ann: SSEClient) -> None:
    answer = await ann.post(b'{"action": "ping"}', content_type="application/json; charset=utf-8")
    assert answer.status_code == 204
    assert (await ann.receive())["event"] == "PONG"


async def test_a_post_without_a_connection_is_400_and_with_an_unknown_one_404(
    connect: Connector, server: Server, ann: SSEClient
) -> None:
    json_type = {"content-type": "application/json"}
    without = await connect.http.post(ann.url, content=b"{}", headers=json_type)
    assert without.status_code == 400
    # The public id opens nothing, nor does the right id at another path.
    for name, path in [
        ("0" * 32, "/socket"),
        ("ann", "/socket"),
        (ann.connection_id, "/named/ann"),
        (ann.connection_id, "/elsewhere"),
    ]:
        headers = {**json_type, "x-connection-id": name}
        post = await connect.http.post(f"{server.http_url}{path}", content=b"{}", headers=headers)
        delete = await connect.http.delete(f"{server.http_url}{path}", headers=headers)
        assert (post.status_code, delete.status_code) == (404, 404)
        assert post.json() == delete.json()


async def test_a_delete_ends_the_stream(ann: SSEClient) -> None:
    answer = await ann.delete()
    assert (answer.status_code, answer.content) == (204, b"")
    await ann.wait_closed()
    assert not ann.unread
    assert (await ann.delete()).status_code == 404
    assert (await ann.post_json({"action": "ping"})).status_code == 404


@pytest.mark.parametrize("accept", ["*/*", "text/html", ""])
async def test_a_page_is_not_found_here(connect: Connector, server: Server, accept: str) -> None:
    answer = await connect.http.get(f"{server.http_url}/socket", headers={"accept": accept})
    assert answer.status_code == 404
    assert "not found" in answer.json()["message"].lower()


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_other_methods_are_not_allowed(
    connect: Connector, server: Server, method: str
) -> None:
    answer = await connect.http.request(method, f"{server.http_url}/socket")
    assert answer.status_code == 405
    assert {"GET", "POST", "DELETE"} <= set(answer.headers["allow"].replace(" ", "").split(","))
