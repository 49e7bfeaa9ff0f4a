"""Which web pages may connect: over both transports, by every method, before any handler."""

import gc
import json
import logging
from collections.abc import Iterator
from typing import Any, Final

import pytest
from pondsocket import Options
from pondsocket.testing import FakeClock
from pondsocket_asgi._origins import RefusalLog
from pondsocket_common import Headers

from tests.asgi.conftest import HTTP_RESPONSE, Pond

LISTED: Final = ("https://app.example.com", "https://*.example.org")
LOG: Final = "pondsocket.asgi.security"
# What a page of another site would say, and what no browser says.
FOREIGN: Final = [
    ["https://evil.example"],
    ["http://testserver:8000"],
    ["https://testserver.evil.example"],
    ["http://app.example.com"],
    ["https://example.org"],
    ["null"],
    [""],
    ["nonsense"],
    ["\xff\x00"],
    ["*"],
    ["https://app.example.com/"],
    ["https://app.example.com https://app.example.com"],
    ["https://app.example.com", "https://app.example.com"],
    ["https://app.example.com", "https://evil.example"],
    ["x" * 10_000],
]
WELCOME: Final = [
    [],
    ["http://testserver"],
    ["https://testserver"],
    ["https://TESTSERVER:443"],
    ["https://app.example.com"],
    ["https://a.b.example.org"],
]


def origins(values: list[str], **more: str) -> list[tuple[str, str]]:
    return [("Origin", value) for value in values] + list(more.items())


@pytest.fixture
def served() -> Pond:
    return Pond(allowed_origins=LISTED)


@pytest.mark.parametrize("values", WELCOME)
async def test_pages_of_the_host_listed_ones_and_other_clients_connect(
    served: Pond, values: list[str]
) -> None:
    session = await served.driver.connect_websocket("/socket", headers=origins(values))
    assert session.accepted
    await session.disconnect()
    stream = await served.driver.connect_sse("/socket", headers=origins(values))
    assert stream.accepted
    assert (await served.driver.sse_push(stream.connection_id, {"action": "ping"})).status == 204
    assert (await served.driver.sse_disconnect(stream.connection_id)).status == 204
    await stream.wait_ended()


@pytest.mark.parametrize("values", FOREIGN)
async def test_other_pages_are_refused_before_any_handler_runs(
    served: Pond, values: list[str]
) -> None:
    session = await served.driver.connect_websocket(
        "/socket", headers=origins(values), extensions=HTTP_RESPONSE
    )
    assert (session.accepted, session.status) == (False, 403)
    stream = await served.driver.connect_sse("/socket", headers=origins(values))
    assert (stream.accepted, stream.status) == (False, 403)
    for body in (session.body, stream.body):
        assert json.loads(body)["error"] == "UNAUTHORIZED_CONNECTION"
    assert served.contexts == []
    for each in (session, stream):
        await each.disconnect()


async def test_an_idle_member_keeps_nothing_that_the_check_has_read(served: Pond) -> None:
    named = {"Origin": "https://app.example.com", "Cookie": "session=" + "s" * 200}
    socket = await served.driver.connect_websocket("/socket", headers=named)
    stream = await served.driver.connect_sse("/socket", headers=named)
    assert len(served.endpoint.sessions) == 2
    for session in served.endpoint.sessions:
        kept = gc.get_referents(session.request.headers)
        # The list that the server has made, besides the class.
        assert [type(each) for each in kept if not isinstance(each, type)] == [list]
    await socket.disconnect()
    await stream.disconnect()


async def test_a_refused_handshake_is_a_close_where_there_is_no_response(served: Pond) -> None:
    session = await served.driver.connect_websocket(
        "/socket", headers={"Origin": "https://evil.example"}
    )
    assert (session.accepted, session.close_code) == (False, 4403)
    await session.disconnect()


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS", "PUT"])
@pytest.mark.parametrize("path", ["/socket", "/nowhere"])
async def test_other_pages_get_nothing_by_any_method(served: Pond, method: str, path: str) -> None:
    stream = await served.driver.connect_sse("/socket")
    answer = await served.driver.call_http(
        path,
        method=method,
        headers={
            "Origin": "https://evil.example",
            "X-Connection-ID": stream.connection_id,
            "Content-Type": "application/json",
        },
        body=b'{"action": "ping"}',
    )
    assert answer.status == 403
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["vary"] == "Origin"
    assert (await stream.receive_event())["event"] == "CONNECTION"
    with pytest.raises(TimeoutError):
        await stream.receive_event(wait=0.01)
    await stream.disconnect()


@pytest.mark.parametrize(
    ("hosts", "origin", "welcome"),
    [
        (["a.example:8000"], "http://a.example:8000", True),
        (["a.example:8000"], "http://a.example", False),
        (["a.example"], "http://a.example:8000", False),
        (["[::1]:8000"], "http://[::1]:8000", True),
        ([""], "http://a.example", False),
        (["a.example", "a.example"], "http://a.example", False),
        (["\xff"], "http://a.example", False),
    ],
)
async def test_the_host_header_says_what_the_hosts_own_pages_are(
    served: Pond, hosts: list[str], origin: str, welcome: bool
) -> None:
    headers = [("Origin", origin), *(("Host", host) for host in hosts)]
    session = await served.driver.connect_websocket("/socket", headers=headers)
    assert session.accepted is welcome
    await session.disconnect()


async def test_without_a_host_no_page_is_the_hosts_own(served: Pond) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"origin", b"http://testserver")]
    scope = {"type": "http", "method": "DELETE", "path": "/socket", "headers": headers}
    await served.app(scope, receive, send)
    assert sent[0]["status"] == 403


@pytest.mark.parametrize("name", ["X-Forwarded-Host", "Forwarded", "X-Original-Host", "X-Host"])
async def test_a_forwarded_host_counts_only_where_the_server_put_it_into_host(
    served: Pond, name: str
) -> None:
    value = "host=public.example" if name == "Forwarded" else "public.example"
    headers = {"Origin": "https://public.example", name: value}
    session = await served.driver.connect_websocket("/socket", headers=headers)
    assert not session.accepted
    await session.disconnect()
    # As hypercorn's ProxyFixMiddleware, or a proxy that passes Host on, has it.
    rewritten = {"Origin": "https://public.example", "Host": "public.example"}
    session = await served.driver.connect_websocket("/socket", headers=rewritten)
    assert session.accepted
    await session.disconnect()


@pytest.mark.parametrize(
    ("site", "mode", "welcome"),
    [
        ("cross-site", "no-cors", False),
        ("same-site", "no-cors", False),
        ("same-origin", "no-cors", True),
        ("same-origin", "cors", True),
        ("none", "navigate", True),
    ],
)
async def test_a_page_that_hides_its_origin_opens_no_stream(
    served: Pond, caplog: pytest.LogCaptureFixture, site: str, mode: str, welcome: bool
) -> None:
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode}
    stream = await served.driver.connect_sse("/socket", headers=headers)
    assert (stream.accepted, stream.status) == (welcome, 200 if welcome else 403)
    assert any("an origin that it hides" in line for line in refusals(caplog)) is not welcome
    await stream.disconnect()


async def test_null_has_to_be_listed() -> None:
    headers = {"Origin": "null"}
    for served, welcome in ((Pond(), False), (Pond(allowed_origins=["null"]), True)):
        stream = await served.driver.connect_sse("/socket", headers=headers)
        assert stream.accepted is welcome
        await stream.disconnect()


async def test_the_list_of_the_pond_is_for_endpoints_without_one() -> None:
    options = Options(allowed_origins=("https://app.example.com",))
    headers = {"Origin": "https://app.example.com"}
    for served, welcome in ((Pond(options), True), (Pond(options, allowed_origins=()), False)):
        session = await served.driver.connect_websocket("/socket", headers=headers)
        assert session.accepted is welcome
        await session.disconnect()


def refusals(caplog: pytest.LogCaptureFixture) -> Iterator[str]:
    return (record.getMessage() for record in caplog.records if record.name == LOG)


async def test_a_refusal_says_once_which_option_to_set(
    served: Pond, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        session = await served.driver.connect_websocket(
            "/socket?token=secret", headers={"Origin": "https://evil.example"}
        )
        await session.disconnect()
    (line,) = refusals(caplog)
    assert "'https://evil.example'" in line
    assert "allowed_origins" in line
    assert "host='testserver' path='/socket'" in line
    assert "secret" not in line


def refuse(log: RefusalLog, origin: str) -> None:
    log.refused(Headers([("origin", origin), ("host", "h" * 5_000)]), "/" + "p" * 5_000)


def test_a_stranger_cannot_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    log = RefusalLog(clock)
    for number in range(1_000):
        refuse(log, f"https://{number}.example/" + "o" * 5_000)
    assert len(list(refusals(caplog))) == RefusalLog.LINES
    assert max(map(len, refusals(caplog))) < 700
    clock.advance(RefusalLog.SECONDS - 1)
    refuse(log, "https://later.example")
    assert len(list(refusals(caplog))) == RefusalLog.LINES
    clock.advance(1)
    refuse(log, "https://later.example")
    refuse(log, "https://later.example")
    assert len(list(refusals(caplog))) == RefusalLog.LINES + 1


def test_no_origin_can_write_a_line_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    log = RefusalLog(FakeClock())
    refuse(log, "x\r\nERROR forged\x1b[31m")
    (line,) = refusals(caplog)
    assert line.isprintable()
    assert caplog.records[0].levelno == logging.WARNING
