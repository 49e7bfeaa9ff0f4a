"""Who may connect, how, and what is logged about it, on every server."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import anyio
import httpx
import pytest
from pondsocket_common import SSEDecoder
from websockets.typing import Subprotocol

from tests.integration.clients import Message, SSEClient
from tests.integration.connector import NO_TLS, Connector
from tests.integration.raw_http import Answer, RawConnection, call, calling
from tests.integration.secure_app import PAGE, POST_BYTES, POST_SECONDS
from tests.servers import SINGLES, Serve, Server, ServerName, Setup

pytestmark = [pytest.mark.servers, pytest.mark.timeout(60)]

APP: Final = "tests.integration.secure_app:app"
# Logs as talkative as the servers' options make them.
LOGGING: Final[dict[ServerName, tuple[str, ...]]] = {
    "uvicorn": (),
    "hypercorn": (
        "--access-logfile", "-",
        "--access-logformat", '%(h)s "%(R)s" %(s)s %({x-connection-id}i)s %({cookie}i)s %(q)s',
    ),
    "granian": (
        "--access-log", "--access-log-fmt", "%(method)s %(path)s?%(query_string)s %(status)s",
    ),
    "gunicorn": ("--access-logfile", "-"),
}  # fmt: skip
STREAM: Final = b"Accept: text/event-stream"
JSON: Final = b"Content-Type: application/json"
FOREIGN: Final = b"Origin: https://evil.example"
LISTED: Final = b"Origin: " + PAGE.encode()
PING: Final = b'{"action": "ping"}'
# What header values may hold (RFC 9110, section 5.5): all but control characters.
ODD_BYTES: Final = bytes(byte for byte in range(0x21, 0x100) if byte != 0x7F)


@pytest.fixture(scope="module")
def server(setup: Setup) -> Iterator[Server]:
    """Yield the server; one for all tests that run on it."""
    arguments = (*setup.arguments, *LOGGING[setup.server])
    with Server(APP, *arguments, server=setup.server) as server:
        yield server


# A POST has to come to the process that holds its stream.
with_one_worker = pytest.mark.parametrize("setup", SINGLES, indirect=True, ids=str)


@asynccontextmanager
async def streaming(
    server: Server, *headers: bytes, target: bytes = b"/socket"
) -> AsyncIterator[tuple[RawConnection, Answer, bytes]]:
    """Yield an open stream: its line, the beginning of its answer, and the header that names it."""
    async with calling(server) as line:
        line.ask(b"GET", target, STREAM, *headers)
        answer = await line.answer()
        assert answer.status == 200, answer
        yield line, answer, b"X-Connection-ID: " + answer.headers["x-connection-id"].encode()


async def read_of(line: RawConnection) -> Message:
    """Return what the application says that it has read of the request for this stream."""
    decoder = SSEDecoder()
    while True:
        for event in decoder.feed(await line.read_until(b"\n\n")):
            if event.event == "read":
                payload: Message = json.loads(event.data)["payload"]
                return payload


# --- origins ----------------------------------------------------------------------------------


async def test_other_pages_are_refused_over_both_transports(server: Server) -> None:
    async with calling(server) as line:
        line.shake_hands(b"/socket", FOREIGN)
        handshake = await line.answer()
    others = [
        await call(server, method, b"/socket", STREAM, FOREIGN, JSON)
        for method in (b"GET", b"POST", b"DELETE", b"OPTIONS")
    ]
    for answer in (handshake, *others):
        assert (answer.status, answer.json()["error"]) == (403, "UNAUTHORIZED_CONNECTION")
        assert "access-control-allow-origin" not in answer.headers
    assert "'https://evil.example' may not connect" in server.log()


async def test_pages_of_the_host_itself_and_listed_ones_connect(server: Server) -> None:
    own = f"Origin: {server.http_url}".encode()
    for origin in (own, LISTED):
        async with calling(server) as line:
            line.shake_hands(b"/socket", origin, b"Sec-WebSocket-Protocol: graphql-ws, pond.v1")
            answer = await line.answer()
            assert (answer.status, answer.headers["sec-websocket-protocol"]) == (101, "pond.v1")
        async with streaming(server, origin) as (_, answer, _):
            assert ("access-control-allow-origin" in answer.headers) is (origin is LISTED)


async def test_a_forwarded_host_does_not_count(server: Server) -> None:
    async with calling(server) as line:
        line.shake_hands(
            b"/socket", b"Origin: https://public.example", b"X-Forwarded-Host: public.example"
        )
        assert (await line.answer()).status == 403


@with_one_worker
async def test_a_listed_page_may_do_and_read_everything(server: Server) -> None:
    asks = (b"Access-Control-Request-Method: POST", b"Access-Control-Request-Headers: x-tenant")
    preflight = await call(server, b"OPTIONS", b"/socket", LISTED, *asks)
    assert (preflight.status, preflight.body) == (204, b"")
    assert {"x-connection-id", "x-tenant"} <= set(
        preflight.headers["access-control-allow-headers"].split(", ")
    )
    async with streaming(server, LISTED) as (_, opened, name):
        answers = [
            opened,
            preflight,
            await call(server, b"POST", b"/socket", name, JSON, LISTED, body=PING),
            await call(server, b"POST", b"/socket", name, JSON, LISTED, body=b"nonsense"),
            await call(server, b"POST", b"/socket", name, LISTED, body=PING),
            await call(server, b"GET", b"/nowhere", STREAM, LISTED),
            await call(server, b"DELETE", b"/socket", name, LISTED),
        ]
    assert [answer.status for answer in answers] == [200, 204, 204, 400, 415, 404, 204]
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert "x-connection-id" in answer.headers["access-control-expose-headers"].lower()
        assert "Origin" in answer.headers["vary"]


@with_one_worker
async def test_a_post_comes_from_the_streams_own_user(server: Server) -> None:
    ann, bob = b"Cookie: a=b; odd name; user=ann", b"Cookie: user=bob"
    async with streaming(server, ann) as (_, _, name):
        assert (await call(server, b"POST", b"/socket", name, JSON, ann, body=PING)).status == 204
        wrong = [
            await call(server, b"POST", b"/socket", name, JSON, bob, body=PING),
            await call(server, b"POST", b"/socket", b"X-Connection-ID: x", JSON, ann, body=PING),
            await call(server, b"DELETE", b"/socket", name),
            await call(server, b"DELETE", b"/elsewhere", name, ann),
        ]
        assert {(answer.status, answer.body) for answer in wrong} == {(404, wrong[0].body)}


@pytest.mark.parametrize(
    ("name", "arguments"), [("hypercorn", ()), ("granian", ("--http", "auto"))]
)
async def test_the_authority_of_http_2_is_the_host(
    serve: Serve, name: ServerName, arguments: tuple[str, ...]
) -> None:
    server = serve(APP, *arguments, server=name)
    url = f"{server.http_url}/socket"
    async with httpx.AsyncClient(http1=False, http2=True, verify=NO_TLS, trust_env=False) as http:
        for origin, status in ((server.http_url, 200), (PAGE, 200), ("https://evil.example", 403)):
            asked = {"accept": "text/event-stream", "origin": origin}
            async with http.stream("GET", url, headers=asked) as answer:
                assert (answer.http_version, answer.status_code) == ("HTTP/2", status)


# --- odd and late requests --------------------------------------------------------------------


async def test_headers_cookies_and_queries_of_odd_bytes_are_read(server: Server) -> None:
    odd = (b"X-Odd: " + ODD_BYTES, b"Cookie: \xe9[]=1; =; a=b=c; ;user=ann; user=bob")
    target = b"/socket?k=1&k=%C3%A9&&flag&=v&k=%00"
    async with streaming(server, *odd, target=target) as (line, _, _):
        read = await read_of(line)
    assert read["odd"] == ODD_BYTES.decode("latin-1")
    assert read["cookies"] == {"\xe9[]": "1", "a": "b=c", "user": "ann"}
    assert read["keys"] == {"k": ["1", "é", "\x00"], "flag": [""], "": ["v"]}


@pytest.mark.parametrize("target", [b"/socket?a=%FF", b"/socket?%C3", b"/socket?ok=1&a=%ED%A0%80"])
async def test_an_undecodable_query_is_a_bad_request(server: Server, target: bytes) -> None:
    async with calling(server) as line:
        line.shake_hands(target)
        handshake = await line.answer()
    for answer in (handshake, await call(server, b"GET", target, STREAM)):
        assert (answer.status, answer.json()["error"]) == (400, "INVALID_MESSAGE")


async def test_a_handshake_without_its_upgrade_is_told_so(server: Server) -> None:
    key = (b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", b"Sec-WebSocket-Version: 13")
    answer = await call(server, b"GET", b"/socket", *key)
    assert (answer.status, answer.headers["upgrade"]) == (426, "websocket")
    assert "proxy" in answer.json()["message"]


@with_one_worker
async def test_a_post_that_does_not_come_is_cut(server: Server) -> None:
    async with streaming(server) as (_, _, name), AsyncExitStack() as lines:
        late = []
        for length, beginning in (
            (b"Content-Length: 20", b""),
            (b"Content-Length: 20", b"{"),
            (b"Transfer-Encoding: chunked", b"1\r\n{\r\n"),
        ):
            line = await lines.enter_async_context(calling(server))
            line.ask(b"POST", b"/socket", name, JSON, length)
            line.say(beginning)
            late.append(line)
        started = anyio.current_time()
        # No other client notices.
        assert (await call(server, b"POST", b"/socket", name, JSON, body=PING)).status == 204
        for line in late:
            answer = await line.answer()
            assert anyio.current_time() - started > POST_SECONDS - 0.1
            assert (answer.status, answer.headers["connection"]) == (408, "close")
            await line.wait_closed()


@with_one_worker
async def test_a_post_that_is_too_long_is_not_waited_for(server: Server) -> None:
    async with streaming(server) as (_, _, name):
        largest = b"[" + PING.ljust(POST_BYTES - 2) + b"]"
        assert (await call(server, b"POST", b"/socket", name, JSON, body=largest)).status == 413
        largest = b"[" + b",".join([PING] * 64).ljust(POST_BYTES - 2) + b"]"
        assert (await call(server, b"POST", b"/socket", name, JSON, body=largest)).status == 204
        for length, beginning in (
            (b"Content-Length: %d" % (POST_BYTES + 1), b""),
            (b"Transfer-Encoding: chunked", b"%x\r\n%b\r\n" % (POST_BYTES + 1, largest + b" ")),
        ):
            async with calling(server) as line:
                line.ask(b"POST", b"/socket", name, JSON, length)
                line.say(beginning)
                answer = await line.answer()
                assert (answer.status, answer.headers["connection"]) == (413, "close")
                await line.wait_closed()
        assert (await call(server, b"POST", b"/socket", name, JSON, body=PING)).status == 204


@with_one_worker
async def test_who_posts_too_much_still_reads_the_answer(
    connect: Connector, server: Server
) -> None:
    url = f"{server.http_url}/socket"
    ann = await connect.sse(url)
    for name, status in ((ann.connection_id, 413), ("unknown", 404), ("", 400)):
        headers = {"x-connection-id": name, "content-type": "application/json"}
        for _ in range(5):
            answer = await connect.http.post(url, content=bytes(800_000), headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (status, status)


# --- logs -------------------------------------------------------------------------------------


async def talk(connect: Connector, server: Server, marker: str) -> list[str]:
    """Connect, speak and be refused, with a secret in every query; gives the connections' ids."""
    ids = []
    for path in (f"/socket?token={marker}", f"/socket?{marker}", f"/nowhere?token={marker}"):
        target = path.encode()
        async with calling(server) as line:
            line.shake_hands(target, FOREIGN)
            assert (await line.answer()).status == 403
        await call(server, b"GET", target, f"Cookie: session={marker}".encode())
        if path.startswith("/nowhere"):
            continue
        offer = [Subprotocol("pond.v1"), Subprotocol(marker)]
        ann = await connect.websocket(server.http_url + path, subprotocols=offer)
        bob = await connect.sse(server.http_url + path)
        ids += [client.hello["payload"]["connectionId"] for client in (ann, bob)]
        await bob.post(PING)
        await bob.post(b"nonsense")
        for client in (ann, bob):
            await client.abort(reset=False)
    return ids


async def test_the_servers_log_holds_no_secrets(
    connect: Connector, server: Server, setup: Setup
) -> None:
    marker = "SECRET" + str(setup).replace("-", "")
    ids = await talk(connect, server, marker)
    log = server.log()
    assert marker not in log
    assert not [each for each in ids if each in log]
    # It is there, and says what it is for.
    assert log.count("/socket?***") >= 4 or setup.server == "granian"
    assert "Traceback" not in log
    assert "Logging error" not in log


@pytest.mark.parametrize("ws", ["websockets", "websockets-sansio", "wsproto"])
async def test_uvicorns_log_holds_no_secrets_at_its_most_talkative(
    connect: Connector, serve: Serve, ws: str
) -> None:
    server = serve(APP, "--ws", ws, "--log-level", "trace")
    ids = await talk(connect, server, "SECRET")
    log = server.log()
    # What the library websockets shows of a message are its last bytes.
    assert not [line for line in log.splitlines() if "SECRET" in line]
    assert not [each for each in ids if each in log or each[-8:] in log]
    assert '"WebSocket /socket?***" [accepted]' in log
    assert '"GET /socket?*** HTTP/1.1" 200' in log
    assert '"POST /socket?*** HTTP/1.1" 204' in log


async def test_the_demo_logs_no_names(connect: Connector, serve: Serve) -> None:
    server = serve("examples.chat:app", "--log-level", "debug")
    for transport in ("websocket", "sse"):
        client = await connect(transport, f"{server.http_url}/socket?name=Ann")
        assert isinstance(client, SSEClient) or client.hello
        await client.close()
    assert "name=Ann" not in server.log()
    assert "/socket?***" in server.log()
