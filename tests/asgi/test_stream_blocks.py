"""Every block of an event stream has data, whatever happens to the stream; and a GET is told so.

Many readers take what stands between two empty lines for one event, and parse its data as JSON.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, Final

import anyio
import pytest
from pondsocket import History
from pondsocket_asgi._resume import positions as resume_positions
from pondsocket_asgi._transport import heartbeat
from pondsocket_asgi.testing import ASGITestDriver
from pondsocket_common import CloseCode, SSEDecoder, SSEEvent

from tests.array_codec import ARRAY
from tests.asgi.asgi_connections import ROOM, ASGIConnection, PondSetup, connection_loops, turns

pytestmark = pytest.mark.usefixtures("resets")
anyio_backend = connection_loops

KEPT: Final = ("/kept/1", "/kept/2")
HOUR: Final = 3_600


def careless_blocks(connection: ASGIConnection) -> list[dict[str, Any]]:
    """Read the stream as careless readers do: each block is an event, and its data is JSON."""
    text = b"".join(connection.bodies()).decode()
    lines: list[list[str]] = [[]]
    for line in text.splitlines():
        if line:
            lines[-1].append(line)
        else:
            lines.append([])
    *blocks, rest = lines
    assert not rest or set(rest) == {":"}  # the beginning of a block that is to come
    messages = []
    for block in blocks:
        (data,) = [line for line in block if line.startswith("data: ")]
        messages.append(json.loads(data.removeprefix("data: ")))
        names = [line.partition(":")[0] for line in block]
        assert names[-1] == ("id" if "id" in names else "data")
        assert set(names) <= {"", "retry", "event", "data", "id"}
    return messages


def events(connection: ASGIConnection) -> list[SSEEvent]:
    decoder = SSEDecoder()
    return [event for body in connection.bodies() for event in decoder.feed(body)]


@asynccontextmanager
async def listener(*channels: str, **options: Any) -> AsyncIterator[tuple[PondSetup, Any]]:
    """Yield a stream that has joined these channels."""
    setup = PondSetup(**options)
    setup.endpoint.create_channel("/kept/:id", setup.on_join, history=History())
    ann = ASGIConnection(setup, "sse")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ann.run)
        await turns()
        for name in channels:
            await ask(setup, "JOIN_CHANNEL", name)
        yield setup, ann
        ann.resume()
        ann.leave()


async def ask(setup: PondSetup, action: str, name: str, event: str = "e") -> None:
    (session,) = setup.endpoint.sessions
    message = {"action": action, "event": event, "channelName": name, "requestId": "r"}
    assert session.post(json.dumps({**message, "payload": {}}).encode()) is None
    await turns()


async def idle(setup: PondSetup, ann: ASGIConnection) -> None:
    await anyio.sleep(100)
    assert b":\n" in ann.bodies()


async def busy(setup: PondSetup, ann: ASGIConnection) -> None:
    for number in range(3):
        await setup.tell(number)
        await setup.pond.channel("/socket", KEPT[0]).broadcast("tick", {"n": number})


async def stalled(setup: PondSetup, ann: ASGIConnection) -> None:
    ann.stall()
    await busy(setup, ann)
    await anyio.sleep(5)
    ann.resume()
    await turns(100)


async def comment_before_others(setup: PondSetup, ann: ASGIConnection) -> None:
    (outlet,) = setup.heartbeat._beating
    outlet._keep_alive()  # type: ignore[attr-defined]
    await busy(setup, ann)
    outlet._keep_alive()  # type: ignore[attr-defined]
    await turns(100)


async def left(setup: PondSetup, ann: ASGIConnection) -> None:
    await ask(setup, "LEAVE_CHANNEL", KEPT[0])


async def evicted(setup: PondSetup, ann: ASGIConnection) -> None:
    await setup.pond.channel("/socket", KEPT[0]).evict_user("ann")


async def drained(setup: PondSetup, ann: ASGIConnection) -> None:
    setup.pond.begin_drain()
    await ann.ended.wait()


async def disconnected(setup: PondSetup, ann: ASGIConnection) -> None:
    await setup.pond.disconnect(user_id="ann")
    await ann.ended.wait()


async def deleted(setup: PondSetup, ann: ASGIConnection) -> None:
    (session,) = setup.endpoint.sessions
    session.close(CloseCode.NORMAL)
    await ann.ended.wait()


Happening = Callable[[PondSetup, ASGIConnection], Awaitable[None]]
HAPPENINGS: Final[tuple[Happening, ...]] = (
    idle,
    busy,
    stalled,
    comment_before_others,
    left,
    evicted,
    drained,
    disconnected,
    deleted,
)


@pytest.mark.parametrize("channels", [(ROOM,), (ROOM, KEPT[0]), (ROOM, *KEPT)], ids=len)
@pytest.mark.parametrize("happens", HAPPENINGS)
async def test_every_block_has_data(channels: tuple[str, ...], happens: Happening) -> None:
    async with listener(*channels, sse_keepalive_seconds=10) as (setup, ann):
        await happens(setup, ann)
        await turns()
        assert careless_blocks(ann) == ann.messages()
        assert ann.events()[0] == "CONNECTION"


@pytest.mark.parametrize(("happens", "event"), [(left, "EXIT_ACKNOWLEDGE"), (evicted, "EVICTED")])
async def test_the_end_of_the_last_membership_clears_the_id(happens: Happening, event: str) -> None:
    async with listener(*KEPT) as (setup, ann):
        await happens(setup, ann)
        await turns()
        first = events(ann)[-1].id
        assert first  # of the other channel
        await ask(setup, "LEAVE_CHANNEL", KEPT[1])
        assert [each.id for each in events(ann)[-2:]] == [first, ""]
        assert ann.events()[-2:] == [event, "EXIT_ACKNOWLEDGE"]
        assert ann.bodies()[-1].endswith(b"\nid: \n\n")


@pytest.mark.parametrize("is_busy", [False, True], ids=["idle", "with other messages"])
async def test_the_cursor_of_a_stream_on_which_nothing_moves_is_said_each_hour(
    monkeypatch: pytest.MonkeyPatch, is_busy: bool
) -> None:
    now = SimpleNamespace(time=lambda: 1_000_000.0 + anyio.current_time())
    monkeypatch.setattr(resume_positions, "time", now)
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 300.0)  # for speed
    async with listener(ROOM, KEPT[0], sse_keepalive_seconds=300, write_timeout=1e6) as (
        setup,
        ann,
    ):
        before = len(ann.events())
        for _ in range(25):
            await anyio.sleep(HOUR)
            if is_busy:
                await setup.tell(1)
            await turns()
        said = events(ann)[before:]
        ids = [event.id for event in said]
        assert careless_blocks(ann) == ann.messages()
        assert 22 <= len(dict.fromkeys(ids)) <= 26
        if not is_busy:
            assert {event.event for event in said} == {"PONG"}
            assert len(said) <= 26
        signer = setup.app._shared.cursor_keys.signer("/socket")
        # A day after the first one it would be too old.
        assert isinstance(signer.read(ids[-1], now.time() + 22 * HOUR), list)


# --- a stream that is opened during a drain -----------------------------------------------------


@pytest.fixture
def draining() -> PondSetup:
    setup = PondSetup()
    setup.pond.create_endpoint("/other", setup.on_connect, codecs=[ARRAY])
    setup.pond.begin_drain()
    return setup


@pytest.mark.parametrize(
    ("path", "query", "name"),
    [
        ("/socket", "", "GOODBYE"),
        ("/socket", "sse=unnamed", "message"),
        ("/other", "codec=array", "GOODBYE"),
        ("/other", "codec=unknown", "GOODBYE"),
        ("/socket", "lastEventId=AAAA", "GOODBYE"),
    ],
)
async def test_a_stream_opened_during_a_drain_is_told_when_to_come_back(
    draining: PondSetup, path: str, query: str, name: str
) -> None:
    driver = ASGITestDriver(draining.app)
    stream = await driver.connect_sse(path, query_string=query)
    await turns()
    assert (stream.status, stream.closed) == (200, True)
    assert stream.headers["content-type"] == "text/event-stream"
    assert stream.headers["cache-control"] == "no-cache, no-transform"
    assert stream.connection_id == ""
    (event,) = SSEDecoder().feed(b"".join(message["body"] for message in stream.outbox))
    assert event.event == name
    assert event.retry is not None
    assert 6_000 <= event.retry <= 9_000  # after the handlers' grace
    codec = ARRAY if query == "codec=array" else None
    if codec is None:
        payload = json.loads(event.data)["payload"]
        assert (payload["code"], payload["reconnect"]) == (1012, True)
    else:
        assert codec.decode_server(event.data).event == "GOODBYE"
    await stream.disconnect()


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/nowhere", {"Accept": "text/event-stream"}, 404),
        ("GET", "/socket", {"Accept": "text/html"}, 404),
        ("GET", "/socket", {"Accept": "text/event-stream", "Origin": "https://evil.example"}, 403),
        ("POST", "/socket", {"X-Connection-ID": "unknown"}, 503),
    ],
)
async def test_what_is_no_stream_is_refused_during_a_drain_as_ever(
    draining: PondSetup, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    answer = await ASGITestDriver(draining.app).call_http(path, method=method, headers=headers)
    assert answer.status == status


async def test_a_closed_pond_refuses_streams() -> None:
    setup = PondSetup()
    await setup.pond.close()
    stream = await ASGITestDriver(setup.app).connect_sse("/socket")
    assert stream.status == 503
    await stream.disconnect()


async def test_the_time_to_come_back_is_behind_the_window_and_the_handlers() -> None:
    setup = PondSetup(handler_grace=2)
    setup.pond._environment.restart.window = 30.0
    for _ in range(50):
        assert 33_000 <= setup.pond._environment.restart.retry_ms() <= 36_000
