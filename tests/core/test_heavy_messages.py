"""Messages that cost as much as several count as several."""

import json
from collections.abc import Callable

import pytest
from pondsocket import Options
from pondsocket._connection.limits import CONTAINERS_PER_MESSAGE, extra_messages
from pondsocket._state.request import Transport
from pondsocket.testing import FakeClock, MemoryPeer, connect
from pondsocket_common import ClientActions, ClientMessage, encode_client

from tests.core.ponds import ROOM, UNLIMITED, build

OBJECTS: list[object] = [{}] * (4 * CONTAINERS_PER_MESSAGE)
ROWS = [{"id": n, "tags": []} for n in range(2 * CONTAINERS_PER_MESSAGE)]
DEEP: list[object] = [[[[[]]]]] * CONTAINERS_PER_MESSAGE


@pytest.mark.parametrize(
    ("payload", "extra"),
    [
        ({}, 0),
        ({"text": "x" * 60_000}, 0),
        ({"numbers": [1] * 20_000}, 0),
        ({"rows": ROWS[: CONTAINERS_PER_MESSAGE // 4]}, 0),
        ({"rows": ROWS}, 4),
        ({"a": OBJECTS}, 4),
        ({"a": DEEP}, 4),
    ],
)
def test_objects_and_lists_make_a_message_heavy(payload: object, extra: int) -> None:
    text = json.dumps(payload)
    assert extra_messages(text) == extra_messages(text.encode()) == extra


def sent(peer: MemoryPeer, payload: object) -> None:
    message = ClientMessage(ClientActions.BROADCAST, "say", ROOM, "heavy", {"a": payload})
    peer.send_raw(encode_client(message).decode())


def posted(peer: MemoryPeer, payload: object) -> None:
    message = ClientMessage(ClientActions.BROADCAST, "say", ROOM, "heavy", {"a": payload})
    assert peer.session.post(b"[%b]" % encode_client(message)) is None


@pytest.mark.parametrize("send", [sent, posted])
async def test_a_heavy_event_delays_those_behind_it(
    send: Callable[[MemoryPeer, object], None],
) -> None:
    clock = FakeClock()
    options = Options(event_rate=10, event_burst=2, max_message_bytes=None)
    setup = build(options=options, clock=clock)
    async with connect(setup.pond, "/socket", transport="sse") as ann:
        await ann.join(ROOM)
        send(ann, OBJECTS)
        await ann.receive_event("say")
        for now, event in [(0.0, "RATE_LIMITED"), (0.35, "RATE_LIMITED"), (0.45, "say")]:
            clock.advance(now - clock())
            ann.send("BROADCAST", ROOM, "say")
            assert (await ann.receive()).event == event
        assert (await ann.join("/room/2")).event == "ACKNOWLEDGE"  # joins have a rate of their own


async def test_a_heavy_join_delays_joins_and_no_events() -> None:
    clock = FakeClock()
    options = Options(control_rate=10, control_burst=2, max_message_bytes=None)
    setup = build(options=options, clock=clock)
    async with connect(setup.pond, "/socket") as ann:
        assert (await ann.join(ROOM, {"a": OBJECTS})).event == "ACKNOWLEDGE"
        assert (await ann.join("/room/2")).event == "UNAUTHORIZED"
        ann.send("BROADCAST", ROOM, "say", {"text": "hi"})
        assert (await ann.receive_event("say")).payload == {"text": "hi"}
        clock.advance(0.5)
        assert (await ann.join("/room/2")).event == "ACKNOWLEDGE"


async def test_without_rates_a_heavy_message_costs_nothing_more() -> None:
    setup = build(options=UNLIMITED)
    async with connect(setup.pond, "/socket") as ann:
        await ann.join(ROOM)
        for _ in range(3):
            sent(ann, OBJECTS)
            assert (await ann.receive_event("say")).payload == {"a": OBJECTS}


@pytest.mark.parametrize("transport", ["websocket", "sse"])
async def test_a_heavy_ping_delays_pings(transport: Transport) -> None:
    setup = build(options=Options(control_rate=10, control_burst=2), clock=FakeClock())
    ping = json.dumps({"action": "ping", "requestId": "p", "x": OBJECTS})
    async with connect(setup.pond, "/socket", transport=transport) as ann:
        await ann.receive_event("CONNECTION")
        if transport == "sse":
            assert ann.session.post(ping.encode()) is None
        else:
            ann.send_raw(ping)
        await ann.receive_event("PONG")
        ann.send_raw(ping)
        assert (await ann.receive()).event == "RATE_LIMITED"


async def test_an_array_counts_as_events_whatever_comes_first_in_it() -> None:
    options = Options(event_rate=10, event_burst=2, control_rate=None, max_message_bytes=None)
    setup = build(options=options, clock=FakeClock())
    event = ClientMessage(ClientActions.BROADCAST, "say", ROOM, "heavy", {"a": OBJECTS})
    body = b'[{"action":"ping"},%b]' % encode_client(event)
    async with connect(setup.pond, "/socket", transport="sse") as ann:
        await ann.join(ROOM)
        assert ann.session.post(body) is None
        refusal = ann.session.post(body)
        assert refusal is not None
        assert refusal.status == 429
