"""The in-memory client that applications test themselves with."""

from typing import Any

import anyio
import anyio.lowlevel
import pytest
from pondsocket import CloseCode, ConnectionContext, Options, PondSocket, UsageError
from pondsocket.testing import ConnectionRefused, ConnectionRefusedByPond, FakeClock, connect
from pondsocket_common import POND, Acknowledged, PondCodec

from tests.array_codec import ARRAY
from tests.core.members import member, say, settled
from tests.core.ponds import ROOM, admit, build, timed


async def test_the_example_of_the_module_works() -> None:
    async with connect(build().pond, "/socket?token=secret") as peer:
        await peer.join(ROOM)
        peer.send("BROADCAST", ROOM, "say", {"text": "hi"})
        assert (await peer.receive_event("say")).payload == {"text": "hi"}


async def test_query_headers_address_and_transport_reach_the_handler() -> None:
    seen: list[object] = []

    async def look(ctx: ConnectionContext) -> None:
        seen.extend([ctx.query.getall("a"), ctx.headers.get_all("x"), ctx.address, ctx.port])
        seen.append(ctx.request.transport)
        ctx.accept()

    async with connect(
        build(connect=look).pond,
        "/socket?a=1&a=&a=%20",
        headers=[("X", "1"), ("x", "2")],
        address=None,
        transport="sse",
    ):
        assert seen == [["1", "", " "], ["1", "2"], None, None, "sse"]


async def test_a_refusal_is_an_exception_with_the_refusal() -> None:
    async def no(ctx: ConnectionContext) -> None:
        ctx.decline(402, "pay")

    with pytest.raises(ConnectionRefused, match="402 UNAUTHORIZED_CONNECTION: pay") as caught:
        async with connect(build(connect=no).pond, "/socket"):
            raise AssertionError("not reached")
    assert caught.value.code == 402
    assert ConnectionRefusedByPond is ConnectionRefused  # the old name


async def test_what_the_test_raises_comes_out_as_it_is() -> None:
    setup = build()
    with pytest.raises(LookupError, match="mine"):
        async with member(setup, "ann"), member(setup, "bob"):
            raise LookupError("mine")
    assert await setup.endpoint.connection_count() == 0


async def test_join_and_answer_leave_the_rest_unread() -> None:
    async with connect(build().pond, "/socket") as ann:
        answer = await ann.join(ROOM)
        assert answer.payload == Acknowledged()
        assert [message.event for message in ann.unread] == ["CONNECTION"]


async def test_receive_event_drops_what_comes_before() -> None:
    async with member(build(), "ann") as ann:
        say(ann, "1")
        ann.send_raw('{"action": "ping"}')
        assert (await ann.receive_event("PONG")).event == "PONG"
        assert not ann.unread


async def test_waiting_in_vain_says_what_came_instead() -> None:
    async with member(build(), "ann") as ann:
        with pytest.raises(TimeoutError, match="the connection is open"):
            await ann.receive(wait=0.01)
        say(ann, "1")
        await settled()
        with pytest.raises(TimeoutError, match=r"No PONG; instead came \['BROADCAST/say'\]"):
            await ann.receive_event("PONG", wait=0.01)
        with pytest.raises(TimeoutError, match="No answer to mine"):
            await ann.answer("mine", wait=0.01)
        with pytest.raises(TimeoutError, match="The connection is open"):
            await ann.wait_closed(wait=0.01)
        ann.session.close(CloseCode.NORMAL)
        assert await ann.wait_closed() is CloseCode.NORMAL
        with pytest.raises(TimeoutError, match="the connection was closed with"):
            await ann.receive()


async def test_receive_waits_for_what_is_to_come() -> None:
    async with member(build(), "ann") as ann, anyio.create_task_group() as tasks:

        async def later() -> None:
            await anyio.lowlevel.checkpoint()
            say(ann, "later")

        tasks.start_soon(later)
        assert (await ann.receive()).payload == {"text": "later"}
        assert ann.drain() == []


async def test_a_peer_with_a_capacity_is_a_slow_consumer_over_it() -> None:
    async with connect(build().pond, "/socket", capacity=2) as ann:
        await settled()
        for _ in range(2):
            ann.send_raw('{"action": "ping"}')
        assert await ann.wait_closed() is CloseCode.SLOW_CONSUMER
        assert [message.event for message in ann.drain()] == ["CONNECTION", "PONG", "GOODBYE"]


async def test_frames_reach_the_peer_as_they_are_on_the_wire() -> None:
    setup = build()
    async with member(setup, "ann") as ann:
        ann.send_raw(
            b'{"action": "BROADCAST", "event": "say", "channelName": "/room/1",'
            b' "requestId": "1", "payload": {"n": 18446744073709551615}}'
        )
        assert (await ann.receive()).payload == {"n": 2**64 - 1}


# --- wire formats -----------------------------------------------------------------------------


class ServerSide:
    """A codec without its client's side."""

    name = "server"
    decode = staticmethod(PondCodec.decode)
    decode_batch = staticmethod(PondCodec.decode_batch)
    encode = staticmethod(PondCodec.encode)


def setup_with_codecs() -> PondSocket:
    pond = PondSocket()
    pond.create_endpoint("/socket", admit, codecs=[ARRAY, ServerSide()])
    return pond


@pytest.mark.parametrize("transport", ["websocket", "sse"])
async def test_a_peer_asks_for_a_format_and_speaks_it(transport: Any) -> None:
    async with connect(
        setup_with_codecs(), "/socket?user=ann", transport=transport, codec=ARRAY
    ) as ann:
        assert ann.session.codec is ARRAY
        assert ann.session.subprotocol == ("array" if transport == "websocket" else None)
        assert (await ann.receive()).event == "CONNECTION"
        assert (await ann.join("/nowhere")).event == "NOT_FOUND"
        ann.send_raw("[0]")
        assert (await ann.receive()).event == "PONG"


async def test_a_peer_speaks_the_format_that_its_url_asks_for() -> None:
    async with connect(setup_with_codecs(), "/socket?codec=array") as ann:
        assert (await ann.join("/nowhere")).event == "NOT_FOUND"
        assert ann.session.codec is ARRAY
    async with connect(setup_with_codecs(), "/socket", codec=POND) as ann:
        assert ann.session.subprotocol == "pond"


async def test_a_format_that_the_endpoint_does_not_speak_is_an_error_of_the_test() -> None:
    with pytest.raises(UsageError, match="/socket does not speak 'array'"):
        async with connect(build().pond, "/socket", codec=ARRAY):
            pass
    with pytest.raises(ConnectionRefused, match="400 UNKNOWN_CODEC"):
        async with connect(build().pond, "/socket", transport="sse", codec=ARRAY):
            pass


async def test_a_peer_needs_the_clients_side_of_a_format() -> None:
    with pytest.raises(UsageError, match="needs encode_client and decode_server: codec 'server'"):
        async with connect(setup_with_codecs(), "/socket?codec=server"):
            pass


# --- the clock --------------------------------------------------------------------------------


def test_a_fake_clock_stands_still_until_it_is_advanced() -> None:
    clock = FakeClock()
    assert [clock(), clock()] == [0.0, 0.0]
    clock.advance(1.5)
    clock.advance(0)
    clock.advance(2)
    assert clock() == 3.5


def test_a_fake_clock_starts_where_it_is_told() -> None:
    clock = FakeClock(1_000.0)
    clock.advance(0.5)
    assert clock() == 1_000.5


@pytest.mark.parametrize("seconds", [-1, -0.001, float("-inf"), float("nan")])
def test_a_fake_clock_does_not_go_back(seconds: float) -> None:
    clock = FakeClock(10.0)
    with pytest.raises(UsageError, match="advance by 0 s or more"):
        clock.advance(seconds)
    assert clock() == 10.0


async def test_a_pond_goes_by_its_fake_clock() -> None:
    setup, clock = timed(Options(event_rate=1.0, event_burst=1))
    async with member(setup, "ann") as ann:
        events = []
        for seconds in (0.0, 0.5, 0.5):
            clock.advance(seconds)
            say(ann, "hi")
            events.append((await ann.receive()).event)
        assert events == ["say", "RATE_LIMITED", "say"]
