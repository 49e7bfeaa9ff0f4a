"""What browsers need to let a listed page of another origin speak with a stream."""

import json
from typing import Final

import pytest
from pondsocket import Options
from pondsocket_asgi.testing import ASGITestDriver
from starlette.middleware.cors import CORSMiddleware

from tests.asgi.conftest import Pond

PAGE: Final = "https://app.example.com"
# The Fetch Standard's names.
ORIGIN: Final = "access-control-allow-origin"
CREDENTIALS: Final = "access-control-allow-credentials"
EXPOSED: Final = "access-control-expose-headers"
HEADERS: Final = "access-control-allow-headers"
METHODS: Final = "access-control-allow-methods"


@pytest.fixture
def served() -> Pond:
    return Pond(Options(max_post_bytes=100), allowed_origins=[PAGE, "https://*.example.org"])


def names(value: str) -> set[str]:
    return {each.strip().lower() for each in value.split(",")}


@pytest.mark.parametrize("origin", [PAGE, "https://a.example.org", "https://A.Example.Org:443"])
async def test_a_stream_may_be_read_by_a_listed_page(served: Pond, origin: str) -> None:
    stream = await served.driver.connect_sse("/socket", headers={"Origin": origin})
    assert stream.accepted
    assert stream.headers[ORIGIN] == origin
    assert stream.headers[CREDENTIALS] == "true"
    assert {"x-connection-id", "retry-after"} == names(stream.headers[EXPOSED])
    assert stream.headers["vary"] == "Origin"
    push = await served.driver.sse_push(stream.connection_id, {"action": "ping"})
    assert (push.status, push.headers[ORIGIN], push.headers["vary"]) == (204, origin, "Origin")
    delete = await served.driver.sse_disconnect(stream.connection_id)
    assert (delete.status, delete.headers[ORIGIN]) == (204, origin)
    await stream.wait_ended()


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/socket?decline=429", {"Accept": "text/event-stream"}, 429),
        ("GET", "/socket?crash", {"Accept": "text/event-stream"}, 500),
        ("GET", "/socket?bad=%FF", {"Accept": "text/event-stream"}, 400),
        ("GET", "/socket", {}, 404),
        ("GET", "/socket", {"Sec-WebSocket-Key": "x"}, 426),
        ("POST", "/socket", {}, 400),
        ("POST", "/socket", {"X-Connection-ID": "unknown"}, 404),
        ("DELETE", "/socket", {"X-Connection-ID": "unknown"}, 404),
        ("PUT", "/socket", {}, 405),
    ],
)
async def test_errors_may_be_read_by_a_listed_page(
    served: Pond, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    answer = await served.driver.call_http(path, method=method, headers={"Origin": PAGE, **headers})
    assert answer.status == status
    assert (answer.headers[ORIGIN], answer.headers[CREDENTIALS]) == (PAGE, "true")
    assert json.loads(answer.body)["code"] == status


async def test_errors_of_a_post_may_be_read_too(served: Pond) -> None:
    stream = await served.driver.connect_sse("/socket", headers={"Origin": PAGE})
    for body, status in ((b"nonsense", 400), (b"x" * 101, 413)):
        answer = await served.driver.sse_push(stream.connection_id, body)
        assert (answer.status, answer.headers[ORIGIN]) == (status, PAGE)
    await stream.disconnect()


async def test_an_endpoint_that_is_missing_says_so_to_pages_that_the_pond_lists() -> None:
    served = Pond(Options(allowed_origins=(PAGE,)))
    answer = await served.driver.call_http(
        "/nowhere", headers={"Origin": PAGE, "Accept": "text/event-stream"}
    )
    assert (answer.status, answer.headers[ORIGIN]) == (404, PAGE)


@pytest.mark.parametrize("origin", [None, "http://testserver", "https://testserver"])
async def test_pages_of_the_host_itself_need_no_cors(served: Pond, origin: str | None) -> None:
    headers = {} if origin is None else {"Origin": origin}
    stream = await served.driver.connect_sse("/socket", headers=headers)
    assert stream.accepted
    preflight = await served.driver.call_http("/socket", method="OPTIONS", headers=headers)
    assert preflight.status == 204
    for given in (stream.headers, preflight.headers):
        assert not [name for name in given if name.startswith("access-control-")]
    await stream.disconnect()


@pytest.mark.parametrize("asked", ["POST", "DELETE", "GET", None])
async def test_a_preflight_of_a_listed_page_is_answered(served: Pond, asked: str | None) -> None:
    headers = {"Origin": PAGE}
    if asked is not None:
        headers["Access-Control-Request-Method"] = asked
        headers["Access-Control-Request-Headers"] = "content-type,x-connection-id"
    answer = await served.driver.call_http("/socket", method="OPTIONS", headers=headers)
    assert answer == (204, b"")
    assert (answer.headers[ORIGIN], answer.headers[CREDENTIALS]) == (PAGE, "true")
    assert answer.headers["vary"] == "Origin"
    assert {"content-type", "x-connection-id"} <= names(answer.headers[HEADERS])
    assert names(answer.headers[METHODS]) == {"get", "post", "delete"}
    assert int(answer.headers["access-control-max-age"]) > 0
    assert answer.headers["allow"] == "GET, POST, DELETE, OPTIONS"
    assert "*" not in "".join(answer.headers.values())
    assert served.contexts == []


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "", "*"])
async def test_a_preflight_of_another_page_is_refused(served: Pond, origin: str) -> None:
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    answer = await served.driver.call_http("/socket", method="OPTIONS", headers=headers)
    assert answer.status == 403
    assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ("X-CSRF-Token, x-csrf-token", {"x-csrf-token"}),
        ("x-tenant", {"x-tenant"}),
        ("", set()),
        ("a b", set()),
        ("x-a\r\nset-cookie: b", set()),
        ("*", set()),
        ("\xff", set()),
        (",", set()),
        ("x-" + "a" * 2_000, set()),
    ],
)
async def test_a_listed_page_may_send_what_headers_it_asks_for(
    served: Pond, asked: str, given: set[str]
) -> None:
    headers = {"Origin": PAGE, "Access-Control-Request-Headers": asked}
    answer = await served.driver.call_http("/socket", method="OPTIONS", headers=headers)
    always = {"authorization", "content-type", "last-event-id", "x-connection-id"}
    assert names(answer.headers[HEADERS]) == always | given


async def test_a_hosts_own_cors_middleware_does_no_harm(served: Pond) -> None:
    driver = ASGITestDriver(
        CORSMiddleware(served.app, allow_origins=[PAGE], allow_credentials=True)
    )
    stream = await driver.connect_sse("/socket", headers={"Origin": PAGE})
    assert stream.headers.getall(ORIGIN) == [PAGE]
    assert stream.headers.getall(CREDENTIALS) == ["true"]
    push = await driver.sse_push(stream.connection_id, {"action": "ping"})
    assert (push.status, push.headers.getall(ORIGIN)) == (204, [PAGE])
    await stream.disconnect()
