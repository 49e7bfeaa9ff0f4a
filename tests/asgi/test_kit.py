"""The test kit: what it says of an app that is not as expected, hosts, clocks and its own cost."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import anyio
import pondsocket.testing
import pytest
from fastapi import FastAPI
from pondsocket import (
    ConnectionContext,
    DisconnectContext,
    EventContext,
    History,
    JoinContext,
    PondSocket,
    UsageError,
)
from pondsocket_asgi import PondASGIApp
from pondsocket_asgi.testing import (
    ASGITestDriver,
    ConnectionRefused,
    Faults,
    JoinRefused,
    PondClient,
    SSESession,
    SyncPondClient,
    clock_of,
    virtual_backend,
)
from pondsocket_asgi.testing._kit.clock import LoopClock
from pondsocket_asgi.testing._kit.matching import contains, fits
from pondsocket_asgi.testing._kit.ponds import ponds_of
from pondsocket_common import Acknowledged, Position, ServerActions, ServerMessage


def make_pond() -> PondSocket:
    pond = PondSocket()

    @pond.endpoint("/socket")
    async def socket(ctx: ConnectionContext, user: str = "ann", age: int = 7) -> None:
        if user == "fails":
            raise LookupError("mine")
        ctx.accept(user_id=user)

    @socket.channel("/chat/:room_id")
    async def chat(ctx: JoinContext) -> None:
        await ctx.accept()

    @chat.on_message("say")
    async def say(ctx: EventContext, text: str) -> dict[str, bool]:
        await ctx.broadcast("said", {"text": text})
        return {"ok": True}

    @socket.on_message("fail")
    async def fail() -> None:
        raise LookupError("the handler's")

    @socket.on_disconnect
    async def gone(ctx: DisconnectContext) -> None:
        if ctx.user.id == "late":
            raise LookupError("at the end")

    return pond


async def connections(pond: PondSocket) -> int:
    endpoint = pond.find_endpoint("/socket")
    assert endpoint is not None
    return await endpoint.connection_count()


def fastapi_app(pond: PondSocket) -> FastAPI:
    app = FastAPI(lifespan=pond.lifespan)
    app.mount("/ws", PondASGIApp(pond))

    @app.post("/news")
    async def news(text: str) -> dict[str, str]:
        await pond.channel("/socket", "/chat/1").broadcast("news", {"text": text})
        return {"sent": text}

    return app


def wrapped(app: Any) -> Any:
    async def wrapper(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)

    return wrapper


# --- the driver below --------------------------------------------------------------------------


async def refuse(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 4402, "reason": "pay"})
    else:
        await send({"type": "http.response.start", "status": 402, "headers": []})
        await send({"type": "http.response.body", "body": b"pay"})


@pytest.mark.parametrize("transport", ["websocket", "sse"])
async def test_a_refused_session_raises_at_the_first_send(transport: str) -> None:
    driver = ASGITestDriver(refuse)
    session = await getattr(driver, f"connect_{transport}")("/socket")
    assert not session.accepted
    with pytest.raises(ConnectionError, match=r"refused .*402.*nothing can be sent"):
        await session.send_client_message(action="BROADCAST", channel_name="/a", event="say")
    assert getattr(session, "posted", []) == []


@pytest.mark.parametrize("transport", ["websocket", "sse"])
async def test_a_session_is_a_block_that_ends_with_its_connection(transport: str) -> None:
    pond = make_pond()
    driver = ASGITestDriver(PondASGIApp(pond))
    async with await getattr(driver, f"connect_{transport}")("/socket") as session:
        assert await connections(pond) == 1
    assert session.closed
    assert await connections(pond) == 0


# --- what a test is told -----------------------------------------------------------------------


async def test_what_fails_where_no_client_waits_is_raised_at_the_end_of_the_block() -> None:
    client = PondClient(make_pond())
    with pytest.raises(LookupError, match="at the end"):
        async with client.connect("/socket?user=late"):
            pass


async def test_a_test_that_fails_itself_is_not_hidden_by_a_handler() -> None:
    async def test(client: PondClient) -> None:
        async with client.connect("/socket") as ann:
            await ann.send("fail")
            await anyio.wait_all_tasks_blocked()
            raise ValueError("the test's")

    with pytest.raises(ValueError, match="the test's"), PondClient(make_pond()) as client:
        await test(client)


async def test_a_connection_handler_that_raises_is_the_tests_error() -> None:
    client = PondClient(fastapi_app(make_pond()))
    with pytest.raises(LookupError, match="mine"):
        async with client.connect("/ws/socket?user=fails"):
            pass
    with client.expect_errors() as errors, pytest.raises(ConnectionRefused, match="500"):
        async with client.connect("/ws/socket?user=fails"):
            pass
    assert [each.kind for each in errors] == ["connect"]


async def test_a_wait_tells_each_frame_that_came() -> None:
    async with PondClient(make_pond()).connect("/socket") as ann:
        room = await ann.join("/chat/1")
        await room.call("say", {"text": "hi"})
        with pytest.raises(AssertionError) as raised:
            await ann.assert_push("notice", match={"text": "x"}, wait=0.01)
    assert str(raised.value).splitlines() == [
        "No push 'notice' that has {'text': 'x'} within 0.01 s; what came: ",
        "  CONNECT 'CONNECTION' {'id': 'ann'}",
        "  SYSTEM 'ACKNOWLEDGE' '/chat/1' {}",
        "  BROADCAST 'said' '/chat/1' {'text': 'hi'}",
        "  SYSTEM 'say' '/chat/1' {'ok': True}",
    ]


async def test_an_app_that_is_no_pond_is_told_and_left() -> None:
    ended: list[bool] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        ended.append(True)

    with pytest.raises(AssertionError, match=r"No greeting within 0\.01 s; what came: nothing"):
        await PondClient(app, wait=0.01).connect("/").__aenter__()
    assert ended == [True]


async def test_the_wrong_error_and_none_are_told() -> None:
    async with PondClient(make_pond()).connect("/socket") as ann:
        room = await ann.join("/chat/1")
        with pytest.raises(AssertionError, match="with no error"):
            await room.assert_error("say", {"text": "hi"})
        with pytest.raises(AssertionError, match="The code is 422, not 404"):
            await room.assert_error("say", {}, code=404)
        with pytest.raises(AssertionError, match="No detail is of"):
            await room.assert_error("say", {}, loc=("name",))
        with pytest.raises(AssertionError, match="presence=True"):
            await room.assert_presence(joined="ann")
        with pytest.raises(AssertionError, match="It is open after"):
            await ann.assert_closed(wait=0.01)


def test_a_client_that_is_not_connected_says_what_to_write() -> None:
    ann = PondClient(make_pond()).connect("/socket")
    with pytest.raises(RuntimeError, match="async with client"):
        _ = ann.session
    with pytest.raises(RuntimeError, match="with SyncPondClient"):
        SyncPondClient(make_pond()).settle()


@pytest.mark.parametrize("kind", [PondClient, SyncPondClient])
def test_what_is_no_app_is_told_before_a_client_connects(kind: Callable[[Any], Any]) -> None:
    with pytest.raises(UsageError, match="not NoneType: return it from `pond_app`"), kind(None):
        pass


async def test_a_position_waits_for_what_was_missed() -> None:
    async with PondClient(make_pond()).connect("/socket") as ann:
        room = await ann.join("/chat/1", since=Position("e", 3))
        for recovered, offset in ((True, 3), (False, 9)):
            told = Acknowledged("e", 9, recovered)
            room._note(ServerMessage(ServerActions.SYSTEM, "ACKNOWLEDGE", room.name, "r", told))
            assert room.position == Position("e", offset)


@pytest.mark.parametrize("user", [None, ""])
async def test_presence_is_that_of_a_user_who_is_named(user: str | None) -> None:
    async with PondClient(make_pond()).connect("/socket") as ann:
        room = await ann.join("/chat/1", presence=True)
        error, told = (UsageError, "say which user") if user is None else (AssertionError, "of ''")
        with pytest.raises(error, match=told):
            await room.assert_presence(joined=user, shown={"status": "busy"}, wait=0.05)


@pytest.mark.parametrize("transport", ["websocket", "sse"])
async def test_a_client_connects_over_the_transport_it_is_told(
    transport: Literal["websocket", "sse"],
) -> None:
    client = PondClient(make_pond(), transport=transport)
    async with client.connect("/socket") as ann, client.connect_sse("/socket") as bob:
        assert isinstance(ann.session, SSESession) == (transport == "sse")
        assert isinstance(bob.session, SSESession)


async def test_a_client_connects_and_joins_in_one_block() -> None:
    pond = make_pond()
    client = PondClient(pond)
    channel = pond.channel("/socket", "/chat/1")
    async with (
        client.connect("/socket?user=ann").joined("/chat/1", presence=True) as room,
        client.connect_sse("/socket?user=bob").joined("/chat/1") as other,
    ):
        await room.call("say", {"text": "hi"})
        await other.assert_broadcast("said", {"text": "hi"})
        assert await channel.user_count() == 2
        assert room.present == {}
    assert await connections(pond) == 0
    with pytest.raises(JoinRefused, match="404"):
        async with client.connect("/socket").joined("/kitchen"):
            pass
    assert await connections(pond) == 0


@pytest.mark.parametrize("transport", ["websocket", "sse"])
async def test_a_refusal_is_expected_and_returned(transport: Literal["websocket", "sse"]) -> None:
    pond = make_pond()
    client = PondClient(pond, transport=transport)
    refused = await client.connect("/socket?age=x").assert_refused(code=422, message="age")
    assert isinstance(refused, pondsocket.testing.ConnectionRefused)
    assert (refused.refusal.error, refused.headers["content-type"]) == (
        "UNAUTHORIZED_CONNECTION",
        "application/json",
    )
    # An error of the handler is the test's, unless it is expected.
    assert (await client.connect("/socket?user=fails").assert_refused(code=500)).code == 500
    with pytest.raises(LookupError, match="mine"):
        await client.connect("/socket?user=fails").assert_refused()
    with pytest.raises(AssertionError, match="The code is 404, not 401"):
        await client.connect("/nowhere").assert_refused(code=401)
    with pytest.raises(AssertionError, match="The client is not told 'pay'"):
        await client.connect("/nowhere").assert_refused(code=404, message="pay")
    with pytest.raises(AssertionError, match="was admitted"):
        await client.connect("/socket").assert_refused()
    assert await connections(pond) == 0


async def test_a_refused_join_is_expected_and_returned() -> None:
    async with PondClient(make_pond()).connect("/socket") as ann:
        refused = await ann.assert_join_refused("/kitchen", code=404, message="no channel /kitchen")
        assert isinstance(refused, JoinRefused)
        with pytest.raises(AssertionError, match="The code is 404, not 403"):
            await ann.assert_join_refused("/kitchen", code=403)
        with pytest.raises(AssertionError, match=r"'/chat/1' was accepted, with None"):
            await ann.assert_join_refused("/chat/1")
        with pytest.raises(AssertionError, match="The client is not told 'pay'"):
            await ann.assert_error("unknown", message="pay")


def test_faults_of_plain_functions() -> None:
    pond = make_pond()
    (endpoint,) = pond.endpoints
    endpoint.create_channel("/kept", lambda ctx: ctx.accept(), history=History(size=10))
    with SyncPondClient(pond) as client, client.connect_sse("/socket") as ann:
        room = ann.join("/kept")

        def say(text: str) -> None:
            client.run(pond.channel("/socket", "/kept").broadcast, "said", {"text": text})
            client.settle()

        with ann.stalled():
            say("one")
            assert ann.unread == []
        room.assert_broadcast("said", {"text": "one"})
        with ann.slow(frames=1):
            say("two")
            say("three")
            assert len(ann.unread) == 1
        room.assert_broadcast("said", {"text": "two"})
        room.assert_broadcast("said", {"text": "three"})
        assert not room.recovered
        with ann.cut_mid_frame():
            say("four")
        assert room.recovered
        room.assert_broadcast("said", {"text": "four"})
        with ann.lost():
            say("five")
        room.assert_broadcast("said", {"text": "five"})


@pytest.mark.parametrize("is_evicted", [False, True])
async def test_a_new_connection_joins_no_channel_again_that_was_left(is_evicted: bool) -> None:
    pond = make_pond()
    async with PondClient(pond).connect("/socket") as ann:
        left, kept = await ann.join("/chat/1"), await ann.join("/chat/2")
        if is_evicted:
            await pond.channel("/socket", "/chat/1").evict_user("ann")
            await left.assert_evicted()
        else:
            await left.leave()
        async with Faults().lost(ann):
            pass
        assert (left.is_joined, kept.is_joined) == (False, True)
        for room, users in ((left, {}), (kept, {"ann"})):
            assert set(await pond.channel("/socket", room.name).get_assigns()) == set(users)


async def test_nothing_is_left_in_any_pond_of_a_host() -> None:
    """A client of one pond, though another client has met the other pond since."""
    first, second = make_pond(), make_pond()
    host = FastAPI()
    host.mount("/one", PondASGIApp(first))
    host.mount("/two", PondASGIApp(second))
    client, is_done = PondClient(host), False
    (endpoint,) = first.endpoints

    @endpoint.on_message("slow")
    async def slow() -> None:
        nonlocal is_done
        await anyio.sleep(0.05)
        is_done = True

    async with client.connect("/one/socket") as ann, client.connect("/two/socket") as bob:
        await ann.send("slow")
        await bob.assert_no_push()
        assert is_done


# --- hosts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [PondASGIApp, fastapi_app, lambda p: wrapped(fastapi_app(p))])
def test_the_pond_of_an_app_is_found(make: Callable[[PondSocket], Any]) -> None:
    pond = make_pond()
    assert ponds_of(make(pond)) == [pond]
    assert PondClient(make(pond)).pond is pond


async def test_the_pond_of_an_app_that_hides_it_is_that_of_the_client() -> None:
    pond, other = make_pond(), PondASGIApp(make_pond())
    apps = {"/": PondASGIApp(pond)}
    globals()["hidden"] = lambda *given: apps["/"](*given)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await globals()["hidden"](scope, receive, send)

    client = PondClient(app)
    with pytest.raises(UsageError, match="connect a client first"):
        _ = client.pond
    async with client.connect("/socket"):
        assert client.pond is pond
    assert other.pond is not pond


async def test_a_host_is_asked_over_http_and_by_its_lifespan() -> None:
    pond = make_pond()
    client = PondClient(fastapi_app(pond))
    async with client.lifespan(), client.connect("/ws/socket") as ann:
        room = await ann.join("/chat/1")
        status, body = await client.request("POST", "/news?text=hi", json={})
        assert (status, body) == (200, b'{"sent":"hi"}')
        await room.assert_broadcast("news", {"text": "hi"})
    assert not pond.is_ready


def test_a_host_is_asked_by_plain_functions() -> None:
    pond = make_pond()
    client = SyncPondClient(fastapi_app(pond))
    with client, client.lifespan(), client.connect("/ws/socket") as ann:
        room = ann.join("/chat/1")
        assert client.request("POST", "/news?text=hi").status == 200
        room.assert_broadcast("news", {"text": "hi"})
        client.run(pond.channel("/socket", "/chat/1").broadcast, "news", {"text": "ho"})
        room.assert_broadcast("news", {"text": "ho"})
        with client.connect("/ws/socket?user=bob").joined("/chat/1") as other:
            assert other.call("say", {"text": "hi"}) == {"ok": True}
        assert client.run(connections, pond) == 1
        assert client.connect("/ws/socket?age=x").assert_refused(code=422).message
        assert ann.assert_join_refused("/kitchen", code=404, message="no channel").code == 404


# --- clocks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_in_virtual_time_a_clock_and_every_sleep_go_together(backend: str) -> None:
    async def main() -> None:
        clock = LoopClock()
        await anyio.sleep(1)  # before the first look
        assert clock() == 0
        await anyio.sleep(10)
        assert clock() == pytest.approx(10)
        before = anyio.current_time()
        clock.advance(300)
        assert anyio.current_time() == pytest.approx(before + 300)
        assert clock() == pytest.approx(310)

    name, options = virtual_backend(backend)
    start = time.perf_counter()
    anyio.run(main, backend=name, backend_options=dict(options))
    assert time.perf_counter() - start < 5


async def test_in_real_time_a_clock_stands_still() -> None:
    clock = LoopClock(5)
    await anyio.sleep(0.01)
    assert clock() == 5
    clock.advance(1)
    assert clock() == 6


def test_a_clock_is_given_back() -> None:
    pond = make_pond()
    before = pond._environment.clock
    with clock_of(fastapi_app(pond)) as clock:
        assert pond._environment.clock is clock
    assert pond._environment.clock is before


async def test_a_clock_comes_before_the_clients() -> None:
    app = fastapi_app(make_pond())
    async with PondClient(app).connect("/ws/socket"):
        with pytest.raises(UsageError, match="before the first client"), clock_of(app):
            pass


# --- payloads ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("match", "is_it"),
    [
        ({}, True),
        ({"a": 1}, True),
        ({"b": {"c": 2}}, True),
        ({"b": {"c": 3}}, False),
        ({"d": [{"e": 1}, 2]}, True),
        ({"d": [{"e": 1}]}, False),
        ({"x": None}, False),
        ({"a": {"c": 1}}, False),
    ],
)
def test_a_payload_has_what_it_must_have(match: Mapping[str, Any], is_it: bool) -> None:
    payload = {"a": 1, "b": {"c": 2, "f": 0}, "d": [{"e": 1, "f": 2}, 2]}
    assert contains(payload, match) is is_it
    assert fits(payload, payload, match) is is_it
    assert not fits(payload, {}, match)


# --- its own cost ------------------------------------------------------------------------------


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_connect_a_join_and_a_call_take_less_than_2_ms() -> None:
    client = PondClient(make_pond())
    seconds = []
    for _ in range(50):
        start = time.process_time()  # of this process alone, on a busy machine
        async with client.connect("/socket") as ann:
            room = await ann.join("/chat/1")
            await room.call("say", {"text": "hi"})
            seconds.append(time.process_time() - start)
    assert min(seconds) < 0.002
