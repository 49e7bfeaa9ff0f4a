"""The same talk, the same refusals and the same endings on every server."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from http import HTTPStatus
from typing import Final

import anyio
import pytest
from pondsocket_common import CloseCode, fresh_id

from tests.integration.clients import Client, Message, Transport, until
from tests.integration.connector import ClientT, Connector, Refused
from tests.servers import SINGLES, Server, Setup

pytestmark = [pytest.mark.servers, pytest.mark.timeout(60)]

APP: Final = "tests.integration.portable_app:app"
# Enough to keep a server busy, few enough for any server's backlog.
AT_ONCE: Final = 16
TEXT: Final = "Žluťoučký 🐎"

# What a connection handler may decline with, and the status that it means: over WebSocket each of
# them, since servers treat these responses in ways of their own.
FEW: Final = (400, 401, 402, 403, 404, 408, 409, 418, 422, 429, 451, 499, 500, 503, 511, 599)
CODES: Final[dict[Transport, dict[int, int]]] = {
    "websocket": {status: status for status in range(400, 600)},
    "sse": {status: status for status in FEW},
}
SHIFTED: Final = {4000 + status: status for status in FEW}
NONSENSE: Final = dict.fromkeys(
    (0, -1, 1, 200, 302, 399, 600, 1000, 1006, 4000, 4399, 4600, 99_999), 403
)
REGISTERED: Final = {status.value for status in HTTPStatus}


@pytest.fixture(scope="module")
def server(setup: Setup) -> Iterator[Server]:
    """Yield the server; one for all tests that run on it."""
    with Server(APP, *setup.arguments, server=setup.server) as server:
        yield server


# Between its clients, a server of several processes needs more than one process has.
with_one_worker = pytest.mark.parametrize("setup", SINGLES, indirect=True, ids=str)


# --- talk -------------------------------------------------------------------------------------


@with_one_worker
async def test_members_over_both_transports_hear_each_other(
    connect: Connector, server: Server, room: str
) -> None:
    ann = await connect.websocket(f"{server.http_url}/socket")
    bob = await connect.sse(f"{server.http_url}/socket")
    for speaker in (ann, bob):
        assert (await speaker.join(room))["event"] == "ACKNOWLEDGE"
    for speaker in (ann, bob):
        for number in range(20):
            answer = await speaker.call(room, "say", {"number": number, "text": TEXT})
            assert answer["event"] == "heard"
        for listener in (ann, bob):
            assert await heard(listener, 20) == [
                {"number": number, "text": TEXT} for number in range(20)
            ]


async def heard(client: Client, count: int) -> list[Message]:
    """Return the payloads of the next broadcasts."""
    return [(await client.receive_event("BROADCAST", "said"))["payload"] for _ in range(count)]


async def test_a_websocket_is_served_whichever_worker_has_it(
    connect: Connector, server: Server, room: str
) -> None:
    for _ in range(4):
        ann = await connect.websocket(f"{server.http_url}/socket")
        assert (await ann.join(room))["event"] == "ACKNOWLEDGE"
        assert (await ann.call(room, "say", {"number": 1}))["event"] == "heard"
        assert await heard(ann, 1) == [{"number": 1}]
        await ann.close()


async def test_a_stream_begins_whichever_worker_has_it(connect: Connector, server: Server) -> None:
    for _ in range(4):
        bob = await connect.sse(f"{server.http_url}/socket?user=bob")
        assert bob.hello["payload"]["id"] == "bob"
        assert bob.response.headers["content-type"] == "text/event-stream"
        assert bob.response.headers["x-accel-buffering"] == "no"


# --- refusals ---------------------------------------------------------------------------------


async def refusal(connect: Connector, transport: Transport, url: str) -> Refused:
    """Return the refusal of a client; its body is whole and agrees with the status."""
    with pytest.raises(Refused) as refused:
        await connect(transport, url)
    answer = refused.value
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-length"] == str(len(answer.body))
    assert answer.json().keys() == {"error", "code", "message"}
    return answer


def seen(setup: Setup, transport: Transport, status: int) -> int:
    """Return the status of the response, which may be another one than its body has."""
    # uvicorn's older WebSocket implementation sends what Python has a name for. RFC 9110,
    # section 15: a status that one does not know counts as the first of its class.
    if transport == "websocket" and "websockets" in setup.arguments and status not in REGISTERED:
        return status // 100 * 100
    return status


async def test_every_code_of_a_refusal_arrives_as_its_status(
    connect: Connector, server: Server, setup: Setup, transport: Transport
) -> None:
    expected = CODES[transport] | SHIFTED | NONSENSE
    answers: dict[int, Refused] = {}
    limit = anyio.CapacityLimiter(AT_ONCE)

    async def ask(code: int) -> None:
        async with limit:
            answers[code] = await refusal(connect, transport, f"{server.http_url}/refuse/{code}")

    async with anyio.create_task_group() as tasks:
        for code in expected:
            tasks.start_soon(ask, code)
    for code, status in expected.items():
        answer = answers[code]
        assert (code, answer.status) == (code, seen(setup, transport, status))
        assert answer.json() == {
            "error": "UNAUTHORIZED_CONNECTION",
            "code": status,
            "message": "Not today, Žofie",
        }
    assert "Traceback" not in server.log()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/refuse/silent", 401),
        ("/refuse/crash", 500),
        ("/refuse/slow", 504),
        ("/elsewhere", 404),
        ("/socket?user=%ff", 400),
    ],
)
async def test_a_client_that_is_refused_is_told_why(
    connect: Connector, server: Server, transport: Transport, path: str, status: int
) -> None:
    answer = await refusal(connect, transport, server.http_url + path)
    assert (answer.status, answer.json()["code"]) == (status, status)
    assert b"inner" not in answer.body


async def test_a_server_that_is_full_says_when_to_come_back(
    connect: Connector, server: Server, transport: Transport
) -> None:
    answer = await refusal(connect, transport, f"{server.http_url}/full")
    assert (answer.status, answer.json()["code"]) == (503, 503)
    assert int(answer.headers["retry-after"]) > 0


@with_one_worker
@pytest.mark.parametrize("size", [262_145, 1_000_000])
async def test_a_post_that_is_too_long_gets_its_answer(
    connect: Connector, server: Server, size: int
) -> None:
    # Not a matter of course: a connection that is closed with something unread in it is reset.
    bob = await connect.sse(f"{server.http_url}/socket")
    for body in (b" " * size, chunks(size)):
        answer = await bob.http.post(
            bob.url,
            content=body,
            headers={"x-connection-id": bob.connection_id, "content-type": "application/json"},
        )
        assert (answer.status_code, answer.json()["code"]) == (413, 413)
    assert not bob.closed


async def chunks(size: int) -> AsyncIterator[bytes]:
    """Yield a body whose length is not said before."""
    for start in range(0, size, 10_000):
        yield b" " * min(10_000, size - start)


# --- endings ----------------------------------------------------------------------------------


with_each_close_code = pytest.mark.parametrize("code", CloseCode, ids=lambda code: str(code.value))


async def closed_with(
    code: CloseCode, server: Server, connect: Callable[[str], Awaitable[ClientT]]
) -> ClientT:
    """Connect a client, and have the server close its connection with this code."""
    user = fresh_id()
    client = await connect(f"{server.http_url}/socket?user={user}")
    await client.send("BROADCAST", "GATEWAY", "end", {"user": user, "code": code})
    await client.wait_closed()
    return client


@with_each_close_code
async def test_a_close_code_arrives_with_its_reason(
    connect: Connector, server: Server, code: CloseCode
) -> None:
    ann = await closed_with(code, server, connect.websocket)
    assert ann.close_code == code
    assert ann.connection.close_reason == "Asked for, Žofie"
    said_before(ann, code)


@with_one_worker
@with_each_close_code
async def test_a_stream_ends_after_its_goodbye(
    connect: Connector, server: Server, code: CloseCode
) -> None:
    bob = await closed_with(code, server, connect.sse)
    said_before(bob, code)


def said_before(client: Client, code: CloseCode) -> None:
    """Check what a client was told before the end: nothing where it is a normal one."""
    if code is CloseCode.NORMAL:
        assert client.unread == []
        return
    (goodbye,) = client.unread
    assert (goodbye["action"], goodbye["event"]) == ("SYSTEM", "GOODBYE")
    assert goodbye["payload"]["code"] == code
    assert goodbye["payload"]["reconnect"] == code.reconnect


async def test_a_message_that_is_too_long_closes_its_websocket(
    connect: Connector, server: Server
) -> None:
    ann = await connect.websocket(f"{server.http_url}/socket")
    await ann.send_raw(b'"' + b"x" * 70_000 + b'"')
    await ann.wait_closed()
    assert ann.close_code == CloseCode.TOO_BIG


@with_one_worker
async def test_a_client_that_leaves_is_gone(
    connect: Connector, server: Server, transport: Transport
) -> None:
    ann = await connect.websocket(f"{server.http_url}/socket")
    before = (await ann.call("GATEWAY", "crowd"))["payload"]["result"]
    leaving = [await connect(transport, f"{server.http_url}/socket") for _ in range(4)]
    await leaving[0].close()
    await leaving[1].abort(reset=False)
    await leaving[2].abort(reset=True)
    await leaving[3].close()

    async def all_are_gone() -> bool:
        return bool((await ann.call("GATEWAY", "crowd"))["payload"]["result"] == before)

    await until(all_are_gone, "those who left are gone")
