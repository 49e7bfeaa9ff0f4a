"""Order and lanes over real transports: what waits for what, and what does not."""

import pytest
from pondsocket_common import fresh_id

from tests.integration.clients import Client, Transport, envelope
from tests.integration.engine_clients import EngineClients, events, send_all, told

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


@pytest.fixture
def latch() -> str:
    return fresh_id()


async def began(client: Client, latch: str) -> None:
    """Wait until a handler waits at the latch."""
    assert (await client.receive_event("BROADCAST", "began"))["payload"] == {"latch": latch}


async def test_nothing_of_a_channel_precedes_its_acknowledgement(
    clients: EngineClients, transport: Transport, bob: Client, room: str, latch: str
) -> None:
    ann = await clients.connect(transport, "ann")
    join = envelope("JOIN_CHANNEL", room, "join", {"latch": latch, "show": {"name": "Ann"}})
    await send_all(ann, [join])
    # Answered ahead of it: the join handler waits, and the connection goes on.
    assert (await ann.call("GATEWAY", "add", {"a": 1, "b": 1}))["payload"] == {"result": 2}
    before = events(room, "say", [{"text": f"before {n}"} for n in range(20)])
    after = events(room, "say", [{"text": str(n)} for n in range(100)])
    await send_all(bob, before)
    await bob.answer(before[-1]["requestId"])
    assert not ann.unread
    await send_all(bob, after[:50])
    await clients.open(latch)
    await send_all(bob, after[50:])
    await bob.answer(after[-1]["requestId"])
    await ann.call(room, "count")
    assert ann.unread[0]["event"] == "ACKNOWLEDGE"
    assert ann.unread[0]["requestId"] == join["requestId"]
    # From its acknowledgement on it misses nothing.
    heard = [message["payload"]["text"] for message in told(ann)]
    assert heard == [str(n) for n in range(100)][100 - len(heard) :]
    assert len(heard) >= 50


async def test_a_handler_that_waits_delays_neither_pings_nor_other_channels(
    clients: EngineClients, ann: Client, room: str, latch: str
) -> None:
    waiting = await ann.send("BROADCAST", room, "wait", {"latch": latch})
    await began(ann, latch)
    behind = await ann.send("BROADCAST", room, "count")
    await ann.send_raw(b'{"action": "ping"}')
    assert (await ann.receive())["event"] == "PONG"
    assert (await ann.join(f"{room}-b"))["event"] == "ACKNOWLEDGE"
    assert (await ann.call(f"{room}-b", "count"))["payload"] == {"result": 1}
    assert (await ann.leave(f"{room}-b"))["event"] == "EXIT_ACKNOWLEDGE"
    assert (await ann.call("GATEWAY", "add", {"a": 1, "b": 1}))["payload"] == {"result": 2}
    assert not ann.unread
    await clients.open(latch)
    answers = [await ann.receive() for _ in range(3)]
    assert [each["event"] for each in answers] == ["ended", "wait", "count"]
    assert [each["requestId"] for each in answers[1:]] == [waiting, behind]


async def test_a_handler_that_waits_delays_no_other_member_of_its_channel(
    clients: EngineClients, ann: Client, bob: Client, room: str, latch: str
) -> None:
    await ann.send("BROADCAST", room, "wait", {"latch": latch})
    await began(bob, latch)
    assert (await bob.call(room, "say", {"text": "hi"}))["payload"] == {"length": 2}
    assert (await ann.receive_event("BROADCAST", "said"))["payload"] == {"text": "hi"}
    await clients.open(latch)
    await ann.receive_event("BROADCAST", "ended")


async def test_concurrent_handlers_of_one_member_do_not_wait_for_each_other(
    clients: EngineClients, ann: Client, room: str, latch: str
) -> None:
    other = f"{latch}-2"
    first = await ann.send("BROADCAST", room, "aside", {"latch": latch})
    second = await ann.send("BROADCAST", room, "aside", {"latch": other})
    await began(ann, latch)
    await began(ann, other)
    assert (await ann.call(room, "count"))["payload"] == {"result": 1}
    await clients.open(other)
    assert (await ann.answer(second))["payload"] == {"result": other}
    await clients.open(latch)
    assert (await ann.answer(first))["payload"] == {"result": latch}


async def test_joins_events_and_leaves_of_one_channel_are_handled_in_order(
    clients: EngineClients, transport: Transport, room: str, latch: str
) -> None:
    ann = await clients.connect(transport)
    sent = [
        envelope("JOIN_CHANNEL", room, "join", {"latch": latch}),
        envelope("BROADCAST", room, "count"),
        envelope("LEAVE_CHANNEL", room, "leave"),
        envelope("BROADCAST", room, "count"),
        envelope("JOIN_CHANNEL", room, "join"),
        envelope("BROADCAST", room, "count"),
    ]
    await send_all(ann, sent)
    await ann.call("GATEWAY", "add", {"a": 1, "b": 1})
    assert not ann.unread
    await clients.open(latch)
    answers = [await ann.receive() for _ in sent]
    assert [each["requestId"] for each in answers] == [each["requestId"] for each in sent]
    assert [each["event"] for each in answers] == [
        "ACKNOWLEDGE",
        "count",
        "EXIT_ACKNOWLEDGE",
        "UNAUTHORIZED_BROADCAST",
        "ACKNOWLEDGE",
        "count",
    ]


@pytest.mark.parametrize("how", ["close", "reset", "end of file"])
async def test_a_disconnect_is_noticed_at_once_and_the_handler_that_runs_goes_on(
    clients: EngineClients, ann: Client, bob: Client, room: str, latch: str, how: str
) -> None:
    await ann.send("BROADCAST", room, "wait", {"latch": latch})
    await began(bob, latch)
    # Taken, and not yet begun: handled all the same.
    await ann.send("BROADCAST", room, "say", {"text": "my last words"})
    await ann.call("GATEWAY", "add", {"a": 1, "b": 1})
    if how == "close":
        await ann.close()
    else:
        await ann.abort(reset=how == "reset")
    left = await bob.receive()
    assert (left["event"], left["payload"]["user"]) == ("left", "ann")
    assert (await bob.call(room, "count"))["payload"] == {"result": 1}
    assert not bob.unread
    await clients.open(latch)
    assert (await bob.receive())["payload"] == {"latch": latch}
    assert (await bob.receive())["payload"] == {"text": "my last words"}


async def test_who_vanishes_while_a_join_waits_leaves_nothing_behind(
    clients: EngineClients, transport: Transport, bob: Client, room: str, latch: str
) -> None:
    ann = await clients.connect(transport, "ann")
    await ann.send("JOIN_CHANNEL", room, "join", {"latch": latch, "show": {"name": "Ann"}})
    await ann.call("GATEWAY", "add", {"a": 1, "b": 1})
    await ann.abort(reset=False)
    await clients.open(latch)
    assert (await bob.call(room, "count"))["payload"] == {"result": 1}
    assert (await bob.call(room, "presence"))["payload"] == {}
    assert not bob.unread
