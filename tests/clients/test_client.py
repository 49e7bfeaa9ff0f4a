"""The client in Python against a pond in memory, over both transports."""

import gc
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

import anyio
import anyio.abc
import anyio.lowlevel
import pytest
from pondsocket import PondSocket
from pondsocket_asgi import PondASGIApp
from pondsocket_asgi.client import (
    ChannelState,
    Client,
    Gap,
    Message,
    PondClientError,
    PresenceDiff,
    State,
    Status,
    TokenReason,
)
from pondsocket_asgi.client._machine.errors import Ended
from pondsocket_asgi.client._machine.values import Outgoing
from pondsocket_asgi.client._transports import Received, encoded
from pondsocket_common import Ping
from pydantic import ValidationError

from tests.clients.fakes import ScenarioClient
from tests.clients.python_app import Said, Say, new_pond

TransportName = Literal["websocket", "sse"]

BEN = {"user": "ben"}
CONNECT = (
    '{"action":"CONNECT","event":"CONNECTION","channelName":"GATEWAY","requestId":"r",'
    '"payload":{"id":"ann","connectionId":"secret"}}'
)


@pytest.fixture(params=["websocket", "sse"])
def transport(request: pytest.FixtureRequest) -> TransportName:
    name: TransportName = request.param
    return name


@pytest.fixture
def pond() -> PondSocket:
    return new_pond()


def client(pond: PondSocket, transport: TransportName, **options: Any) -> Client:
    url = options.pop("url", "/socket")
    return Client(url, app=PondASGIApp(pond), transports=[transport], **options)


async def test_a_call_is_answered_and_an_event_heard(
    pond: PondSocket, transport: TransportName
) -> None:
    async with client(pond, transport) as ann:
        room = await ann.join("/chat/1", {"nick": "Ann"})
        assert room.response == {"welcome": "Ann"}
        assert await room.call("say", {"text": "hi"}) == {"id": 2}
        assert await room.send("typing")
        said, typing = await room.receive(), await room.receive()
        assert isinstance(said, Message)
        assert (said.event, said.payload, said.offset) == ("said", {"text": "hi"}, 1)
        assert isinstance(typing, Message)
        assert (typing.event, typing.payload) == ("typing", {"user": "ann"})
        assert (ann.id, ann.status.transport) == ("ann", transport)
        assert room.position == typing.position


async def test_answers_and_payloads_have_types(pond: PondSocket, transport: TransportName) -> None:
    @dataclass
    class Spoken:
        text: str

    class Other(Said):
        name: str

    async with client(pond, transport) as ann:
        room = await ann.join("/chat/1")
        assert await room.call("say", Say(text="hello"), returns=Said) == Said(id=5)
        assert await room.call("say", Spoken("hi"), returns=dict[str, int]) == {"id": 2}
        with pytest.raises(ValidationError):
            await room.call("say", Say(text="x"), returns=Other)
        with pytest.raises(TypeError, match="a mapping, a model or a dataclass"):
            await room.call("say", ["no object"])
        with pytest.raises(TypeError, match="JSON"):
            await room.send("say", {"text": object()})
        with pytest.raises(ValueError, match="event's name"):
            await room.send("")


async def test_what_has_waited_together_is_no_post_that_is_too_large(
    pond: PondSocket, transport: TransportName
) -> None:
    text = "é" * 20_000  # 40 KB each

    async with client(pond, transport) as ann:
        room = await ann.join("/chat/1")
        answers = dict[int, Any]()

        async def call(number: int) -> None:
            answers[number] = await room.call("length_of", {"text": text})

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(call, number)
        assert answers == {number: {"length": 20_000} for number in range(20)}


async def test_errors_say_what_the_server_said(pond: PondSocket, transport: TransportName) -> None:
    async with client(pond, transport) as ann:
        room = await ann.join("/chat/1")
        with pytest.raises(PondClientError) as conflict:
            await room.call("conflict")
        assert (conflict.value.error, conflict.value.code) == ("CHANNEL_ERROR", 409)
        assert conflict.value.message == "Somewhere else."
        with pytest.raises(PondClientError) as unfit:
            await room.call("say", {})
        assert (unfit.value.error, unfit.value.code) == ("INVALID_MESSAGE", 422)
        assert unfit.value.details[0].loc == ("text",)
        with pytest.raises(PondClientError, match="HANDLER_NOT_FOUND"):
            await room.call("unknown")
        with pytest.raises(PondClientError) as closed:
            await ann.join("/closed/1")
        assert (closed.value.error, closed.value.code) == ("UNAUTHORIZED", 403)
        with pytest.raises(PondClientError, match=r"NOT_FOUND \(404\)"):
            await ann.join("/unknown/1")
        with pytest.raises(ValueError, match="No name of a channel"):
            await ann.join("without a slash")


async def test_an_event_that_takes_too_long_times_out(
    pond: PondSocket, transport: TransportName
) -> None:
    async with client(pond, transport) as ann:
        room = await ann.join("/chat/1")
        with pytest.raises(TimeoutError):
            await room.call("sleep", timeout=0.01)


async def test_events_of_the_endpoint_need_no_channel(
    pond: PondSocket, transport: TransportName
) -> None:
    async with client(pond, transport) as ann:
        assert await ann.call("add_numbers", {"a": 1, "b": 2}) == {"sum": 3}
        await ann.send("notify_all")
        async for message in ann:
            assert isinstance(message, Message)
            assert (message.event, message.payload) == ("notice", {"from": "ann"})
            break


async def test_presence_is_a_table_by_ref(pond: PondSocket, transport: TransportName) -> None:
    async with (
        client(pond, transport) as ann,
        client(pond, transport, params=BEN) as ben,
    ):
        room = await ann.join("/chat/1", {"nick": "A"}, presence=True)
        first = await room.receive()
        assert isinstance(first, PresenceDiff)
        await ben.join("/chat/1", {"nick": "B"})
        diff = await room.receive()
        assert isinstance(diff, PresenceDiff)
        assert [entry.presence for entry in diff.joins] == [{"nick": "B"}]
        people = {entry.user: entry.presence for entry in room.presence.values()}
        assert people == {"ann": {"nick": "A"}, "ben": {"nick": "B"}}


async def test_a_loop_that_is_left_early_leaves_the_channel(
    pond: PondSocket, transport: TransportName
) -> None:
    async with client(pond, transport) as ann:
        room = await ann.join("/chat/1")
        await room.send("typing")
        async for _ in room:
            break
        assert room.state is ChannelState.LEFT
        # The answer to the leave comes before that to the next call.
        await ann.call("add_numbers", {"a": 1, "b": 2})
        assert not await pond.channel("/socket", "/chat/1").has_user("ann")
        again = await ann.join("/chat/1")
        assert again is not room
        assert again.state is ChannelState.JOINED


async def test_a_room_is_left_with_its_block(pond: PondSocket, transport: TransportName) -> None:
    async with client(pond, transport) as ann:
        async with await ann.join("/chat/1") as room:
            await room.call("say", {"text": "hi"})
        states = [room.state]
        assert states == [ChannelState.LEFT]
        with pytest.raises(PondClientError, match="UNSENT"):
            await room.call("say", {"text": "late"})
        assert [event.payload async for event in room if isinstance(event, Message)] == [
            {"text": "hi"}
        ]
        with pytest.raises(PondClientError, match="LEFT"):
            await room.receive()


async def test_a_channel_that_has_ended_is_forgotten(
    pond: PondSocket, transport: TransportName
) -> None:
    async with client(pond, transport) as ann:
        kept = await ann.join("/chat/kept")
        for number in range(3):
            await (await ann.join(f"/chat/{number}")).leave()
            with pytest.raises(PondClientError, match="UNAUTHORIZED"):
                await ann.join(f"/closed/{number}")
            evicted = await ann.join(f"/chat/{number}")
            await evicted.send("evict_me")
            with pytest.raises(PondClientError, match="EVICTED"):
                await evicted.receive()
            assert evicted.state is ChannelState.EVICTED
        assert [*ann._driver.machine.memberships.channels] == ["/chat/kept"]
        await kept.leave()
        assert not ann._driver.machine.memberships.channels
        assert not ann._rooms


async def test_an_evicted_member_is_told(pond: PondSocket, transport: TransportName) -> None:
    async with client(pond, transport) as ann:
        room = await ann.join("/chat/1")
        await room.send("evict_me")
        with pytest.raises(PondClientError, match="EVICTED: rude"):
            async for _ in room:
                pass
        assert room.state is ChannelState.EVICTED


async def test_a_slow_reader_misses_nothing(pond: PondSocket, transport: TransportName) -> None:
    async with client(pond, transport, buffer=10) as ann:
        room = await ann.join("/chat/1")
        assert await ann.call("add_numbers", {"a": 1, "b": 2})
        heard: list[Any] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(room.call, "burst", {"count": 100})
            async for event in room:
                assert isinstance(event, Message), event
                heard.append(event.payload["n"])
                if len(heard) == 1:
                    await wait_for(lambda: room.state is ChannelState.PAUSED)
                if len(heard) == 100:
                    break
        assert heard == list(range(100))


@pytest.mark.parametrize("how", ["call", "send"])
async def test_a_reader_may_call_while_its_buffer_is_full(
    pond: PondSocket, transport: TransportName, how: str
) -> None:
    async with client(pond, transport, buffer=10) as ann:
        room = await ann.join("/chat/1")
        heard: list[Any] = []
        answers: list[Any] = []
        typing = 0
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(room.call, "burst", {"count": 30})
            async for event in room:
                assert isinstance(event, Message), event
                if event.event == "typing":
                    typing += 1
                elif event.event == "said":
                    if not heard:
                        await wait_for(lambda: room.state is ChannelState.PAUSED)
                    heard.append(event.payload["n"])
                    if how == "send":
                        assert await room.send("typing")
                    else:
                        answers.append(await room.call("length_of", {"text": "x"}, timeout=2))
                if len(heard) == 30 and (how == "call" or typing == 30):
                    break
        assert heard == list(range(30))
        assert answers == [{"length": 1}] * (30 if how == "call" else 0)


async def test_a_program_that_calls_and_reads_no_more_stays_bounded(
    pond: PondSocket, transport: TransportName
) -> None:
    async with client(pond, transport, buffer=10) as ann:
        room = await ann.join("/chat/1")
        await room.send("typing")
        await room.receive()
        for _ in range(50):
            assert await room.call("say", {"text": "x"}, timeout=2) == {"id": 1}
        assert len(room.buffer) <= 20
        events = [await room.receive() for _ in range(len(room.buffer))]
        assert Gap("/chat/1") in events


async def test_a_slow_reader_without_a_history_is_told_of_the_gap(
    pond: PondSocket, transport: TransportName
) -> None:
    async with client(pond, transport, buffer=10) as ann:
        room = await ann.join("/plain/1")
        with anyio.move_on_after(0):
            await room.receive()  # a reader
        await room.call("burst", {"count": 100})
        await wait_for(lambda: room.state is ChannelState.PAUSED)
        kept = [await room.receive() for _ in range(10)]
        assert [event.payload["n"] for event in kept if isinstance(event, Message)] == [*range(10)]
        assert await room.receive() == Gap("/plain/1")
        await room.call("burst", {"count": 1, "first": 100})
        event = await room.receive()
        assert isinstance(event, Message)
        assert event.payload == {"n": 100}


async def test_what_no_one_reads_is_bounded(pond: PondSocket, transport: TransportName) -> None:
    async with client(pond, transport, buffer=10) as ann:
        room = await ann.join("/chat/1")
        await room.call("burst", {"count": 35})
        assert room.state is ChannelState.JOINED
        events = [await room.receive() for _ in range(6)]
        assert events[0] == Gap("/chat/1")
        numbers = [event.payload["n"] for event in events if isinstance(event, Message)]
        assert numbers == [*range(numbers[0], numbers[0] + 5)]


async def test_one_task_reads_a_room_at_a_time(pond: PondSocket) -> None:
    async with client(pond, "websocket") as ann:
        room = await ann.join("/chat/1")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(room.receive)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(RuntimeError, match="Another task is reading"):
                await room.receive()
            tasks.cancel_scope.cancel()


async def test_an_error_in_the_block_is_raised_as_itself(
    pond: PondSocket, transport: TransportName
) -> None:
    async def fail(error: Exception) -> None:
        async with client(pond, transport) as ann:
            await ann.wait_open()
            raise error

    with pytest.raises(ZeroDivisionError):
        await fail(ZeroDivisionError())
    group = ExceptionGroup("two", [ValueError("1"), ValueError("2")])
    with pytest.raises(ExceptionGroup) as raised:
        await fail(group)
    assert raised.value.exceptions == group.exceptions


async def test_a_refusal_stops_the_client(pond: PondSocket, transport: TransportName) -> None:
    seen: list[Status] = []
    async with client(pond, transport, params={"user": "stranger"}, on_status=seen.append) as ann:
        with pytest.raises(PondClientError, match="You are not welcome") as refused:
            await ann.wait_open()
        assert refused.value.code == 403
        with pytest.raises(PondClientError, match="You are not welcome"):
            await ann.join("/chat/1")
        assert ann.status.state is State.STOPPED
    assert [status.state for status in seen] == [State.CONNECTING, State.STOPPED]


async def test_an_error_of_the_app_ends_the_connection_alone(
    pond: PondSocket, transport: TransportName, caplog: pytest.LogCaptureFixture
) -> None:
    app = PondASGIApp(pond)
    failing: list[str] = ["before"]

    async def fragile(scope: Any, receive: Any, send: Any) -> None:
        if failing == ["before"]:
            failing.clear()
            raise ZeroDivisionError("the app's")

        async def send_some(message: Any) -> None:
            if failing == ["open"]:
                failing.clear()
                raise ZeroDivisionError("the app's")
            await send(message)

        await app(scope, receive, send_some)

    seen: list[tuple[State, int]] = []
    async with Client(
        "/socket",
        app=fragile,
        transports=[transport],
        on_status=lambda status: seen.append((status.state, status.code)),
    ) as ann:
        room = await ann.join("/chat/1")
        assert (State.WAITING, 500) in seen
        failing.append("open")
        with pytest.raises(PondClientError):
            await room.call("say", {"text": "hi"})
        failing.clear()
        assert await room.call("say", {"text": "again"}) == {"id": 5}
    logged = [record.name for record in caplog.records if record.exc_info]
    assert logged[:1] == ["pondsocket.client"]


@pytest.mark.parametrize(
    ("code", "status"), [(1000, 403), (1008, 403), (4399, 403), (4404, 404), (4600, 403)]
)
async def test_a_close_before_the_accept_is_a_refusal(code: int, status: int) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.close", "code": code, "reason": "no"})

    async with Client("/socket", app=app, transports=["websocket"]) as ann:
        with pytest.raises(PondClientError) as refused:
            await ann.wait_open(timeout=2)
        assert refused.value.code == status


async def test_what_takes_too_long_says_why_there_is_no_connection(
    transport: TransportName,
) -> None:
    has_failed = anyio.Event()

    async def fetch_token(reason: TokenReason) -> str:
        raise OSError("no token today")

    def on_status(status: Status) -> None:
        if status.state is State.WAITING:
            has_failed.set()

    options: dict[str, Any] = {"token": fetch_token, "on_status": on_status}
    async with Client("http://127.0.0.1/socket", transports=[transport], **options) as ann:
        await has_failed.wait()
        with pytest.raises(TimeoutError, match=r"not open in time: no token today$"):
            await ann.wait_open(timeout=0.01)
        with pytest.raises(TimeoutError, match=r"^/chat/1 was not .* in time: no token today$"):
            await ann.join("/chat/1", timeout=0.01)


async def test_a_websocket_that_is_tried_and_closed_is_no_error(
    pond: PondSocket, caplog: pytest.LogCaptureFixture
) -> None:
    app = PondASGIApp(pond)
    tried: list[str] = []

    async def proxied(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await app(scope, receive, send)
            return
        if tried:
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": 1012, "reason": "later"})
        else:
            await send({"type": "websocket.close", "code": 4426, "reason": "no"})
        tried.append("websocket")

    async with Client("/socket", app=proxied) as ann:
        await ann.wait_open()
        assert ann.status.transport == "sse"
        await ann._driver._probe()
        assert len(tried) == 2
        assert ann.status.transport == "sse"
        assert await ann.call("add_numbers", {"a": 1, "b": 1}) == {"sum": 2}
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_token_travels_in_a_header_and_is_renewed_once(
    pond: PondSocket, transport: TransportName
) -> None:
    reasons: list[TokenReason] = []

    async def token(reason: TokenReason) -> str:
        reasons.append(reason)
        return "old" if reason is TokenReason.CONNECT else "new=="

    scopes: list[dict[str, Any]] = []
    app = PondASGIApp(pond)

    async def spying(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        await app(scope, receive, send)

    async with Client(
        "/socket", app=spying, transports=[transport], token=token, params={"need": "new=="}
    ) as ann:
        assert await ann.call("add_numbers", {"a": 2, "b": 2}) == {"sum": 4}
    assert reasons == [TokenReason.CONNECT, TokenReason.REFUSED]
    for scope in scopes:
        assert scope["query_string"] == b"need=new%3D%3D"
        headers = dict(scope["headers"])
        name = b"sec-websocket-protocol" if transport == "websocket" else b"authorization"
        assert name in headers


async def test_a_token_is_not_shown(pond: PondSocket) -> None:
    ann = client(pond, "websocket", token="secret-token")
    assert "secret-token" not in repr(await ann._driver._make_target(None))


async def test_a_call_under_way_is_lost_with_the_server(
    pond: PondSocket, transport: TransportName
) -> None:
    async with client(pond, transport) as ann:
        room = await ann.join("/chat/1")
        async with anyio.create_task_group() as tasks:

            async def call() -> None:
                with pytest.raises(PondClientError, match="LOST"):
                    await room.call("sleep")

            tasks.start_soon(call)
            await anyio.wait_all_tasks_blocked()
            await ann.close()
        assert room.state is ChannelState.LEFT
        ann.connect()
        await room.call("say", {"text": "again"})


@asynccontextmanager
async def no_task_left() -> AsyncIterator[None]:
    before = {task.id for task in anyio.get_running_tasks()}
    yield
    for _ in range(200):
        left = [task for task in anyio.get_running_tasks() if task.id not in before]
        if not left:
            return
        await anyio.lowlevel.checkpoint()
    raise AssertionError(f"still running: {left}")


async def use_all(pond: PondSocket, transport: TransportName) -> None:
    """Do a bit of everything."""
    async with client(pond, transport) as ann:
        async with await ann.join("/chat/1", presence=True) as room:
            await room.call("say", {"text": "hi"})
            await room.send("typing")
            async for event in room:
                if isinstance(event, Message) and event.event == "typing":
                    break
        await ann.call("add_numbers", {"a": 1, "b": 2})


# httpx2's transport in memory does not close all that it has opened, if it is cancelled meanwhile.
# It is collected here, where that is known, and not within a later test.
@pytest.mark.filterwarnings("ignore:Exception ignored in.*MemoryObject.*Stream")
async def test_a_client_that_is_cancelled_anywhere_leaves_no_task(
    pond: PondSocket, transport: TransportName, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An app that is cancelled before it is called is waited for.
    monkeypatch.setattr("pondsocket_asgi.client._memory.CLOSE_SECONDS", 0.02)
    for turns in range(400):
        async with no_task_left():
            is_done = False
            async with anyio.create_task_group() as tasks:

                async def run() -> None:
                    nonlocal is_done
                    await use_all(pond, transport)
                    is_done = True

                tasks.start_soon(run)
                for _ in range(turns):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
        if is_done:
            break
    gc.collect()
    assert is_done
    assert turns > 20
    (endpoint,) = pond.endpoints
    with anyio.fail_after(5):
        while await endpoint.connection_count():  # noqa: ASYNC110 - nothing tells
            await anyio.sleep(0.001)


async def wait_for(ready: Any) -> None:
    with anyio.fail_after(5):
        while not ready():  # noqa: ASYNC110 - nothing tells
            await anyio.sleep(0.001)


def test_the_adapter_does_not_import_httpx2() -> None:
    code = "import sys, pondsocket_asgi; print('httpx2' in sys.modules, 'wsproto' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["False"] * 2


def test_without_the_extra_the_error_says_what_to_install() -> None:
    code = "import sys; sys.modules['wsproto'] = None; import pondsocket_asgi.client"
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=False)
    assert done.returncode == 1
    assert 'pip install "httpx2[ws]>=2.16"' in done.stderr.splitlines()[-1]


async def test_what_is_not_written_yet_is_bounded(
    pond: PondSocket, transport: TransportName
) -> None:
    async with client(pond, transport) as ann:
        room = await ann.join("/chat/1")
        outbox = ann._driver.outbox
        outbox.put((Ping(),) * 1_024)
        with pytest.raises(PondClientError, match="UNSENT: 1024 messages are waiting already"):
            await room.call("say", {"text": "x"})
        assert not await room.send("typing")
        assert not await ann.send("notify_all")


async def test_a_message_is_encoded_once(
    pond: PondSocket, transport: TransportName, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def counted(message: Outgoing) -> bytes:
        seen.append("ping" if isinstance(message, Ping) else message.event)
        return encoded(message)

    monkeypatch.setattr("pondsocket_asgi.client._driver.encoded", counted)
    monkeypatch.setattr("pondsocket_asgi.client._transports.encoded", counted)
    async with client(pond, transport) as ann:
        room = await ann.join("/chat/1")
        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(room.call, "say", {"text": f"{number}"})
    assert seen == ["join", "say", "say", "say"]


async def test_send_says_when_nothing_was_written() -> None:
    async with ScenarioClient(0.5, transports=["sse"]) as ann:
        await anyio.wait_all_tasks_blocked()
        (link,) = ann.transports.links
        link.say(None)
        link.say([Received(CONNECT)])
        await ann.wait_open()
        link.posts = "hold"
        sent = list[bool]()

        async def send() -> None:
            sent.append(await ann.send("typing"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            await wait_for(lambda: link.sent)
            link.say(Ended(0, "the network has failed"))
            await wait_for(lambda: sent)
        assert sent == [False]
        assert await ann.send("typing")  # it is queued


@pytest.mark.parametrize("url", ["ftp://x/socket", "/socket", "https://", "x"])
def test_an_address_without_a_host_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="An address is"):
        Client(url)


@pytest.mark.parametrize(
    "transports", [[], ["carrier pigeon"], ["sse", "websocket"], ["websocket", "websocket"]]
)
def test_transports_that_make_no_sense_are_refused(transports: Any) -> None:
    with pytest.raises(ValueError, match="Transports are"):
        Client("https://example.org", transports=transports)


async def test_a_client_is_entered_once(pond: PondSocket) -> None:
    ann = client(pond, "websocket")
    async with ann:
        pass
    with pytest.raises(RuntimeError, match="entered once"):
        await ann.__aenter__()
    gc.collect()
