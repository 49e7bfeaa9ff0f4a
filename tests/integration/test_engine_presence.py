"""Presence over real transports: diffs beside lists, several tabs of a user, held-back leaves."""

import pytest
from pondsocket_common import fresh_id

from tests.integration.clients import Client, Message, Transport, frame, until
from tests.integration.engine_clients import OTHER, EngineClients, told

pytestmark = [pytest.mark.servers, pytest.mark.timeout(60)]


async def join_for_diffs(client: Client, room: str, params: Message | None = None) -> Message:
    """Join with `presence: "diff"`; gives the payload of the acknowledgement."""
    request_id = await client.send("JOIN_CHANNEL", room, "join", params, presence="diff")
    answer = await client.answer(request_id)
    assert answer["event"] == "ACKNOWLEDGE"
    payload: Message = answer["payload"]
    return payload


def shown(entries: list[Message]) -> dict[str, str]:
    """Which user shows which name."""
    assert all(entry.keys() == {"user", "ref", "presence"} for entry in entries)
    return {entry["user"]: entry["presence"]["name"] for entry in entries}


def listed(message: Message) -> list[str]:
    """Return the names in a full list."""
    assert message["payload"].keys() == {"presence", "changed"}
    return [each["name"] for each in message["payload"]["presence"]]


# --- diffs ------------------------------------------------------------------------------------


async def test_diffs_tell_the_state_once_and_then_a_burst_in_one_frame(
    clients: EngineClients, transport: Transport, room: str
) -> None:
    other = OTHER[transport]
    bob = await clients.member(other, "bob", room, {"show": {"name": "Bob"}})
    await bob.receive_event("PRESENCE", "JOIN")
    ann = await clients.connect(transport, "ann")
    acknowledged = await join_for_diffs(ann, room)
    assert acknowledged["presence"].keys() == {"joins", "updates", "leaves"}
    assert shown(acknowledged["presence"]["joins"]) == {"bob": "Bob"}
    crowd = [f"user-{number}" for number in range(5)]
    for number, user in enumerate(crowd):
        await clients.member(OTHER[transport] if number % 2 else transport, user, room)

    await bob.send("BROADCAST", room, "parade", {"users": crowd, "turn": 1})
    diff = await ann.receive()
    joins = diff["payload"]["joins"]
    payload = {"joins": joins, "updates": [], "leaves": []}
    assert diff == frame("PRESENCE", "DIFF", room, diff["requestId"], payload)
    assert shown(joins) == {user: user for user in crowd}
    assert len({entry["ref"] for entry in joins}) == len(crowd)
    # Bob asked for nothing: a list at every change.
    lists = [await bob.receive_event("PRESENCE", "JOIN") for _ in crowd]
    assert [listed(each) for each in lists] == [["Bob", *crowd[: n + 1]] for n in range(5)]

    await bob.send("BROADCAST", room, "parade", {"users": crowd[:2], "turn": 2})
    updates = (await ann.receive())["payload"]
    assert [entry["presence"]["turn"] for entry in updates["updates"]] == [2, 2]
    assert [entry["ref"] for entry in updates["updates"]] == [each["ref"] for each in joins[:2]]
    assert updates["joins"] == updates["leaves"] == []
    assert (await bob.receive_event("PRESENCE", "UPDATE"))["payload"]["changed"]["turn"] == 2


async def test_who_leaves_is_in_the_next_diff_and_in_the_next_list(
    clients: EngineClients, transport: Transport, room: str
) -> None:
    ann = await clients.connect(transport, "ann")
    assert (await join_for_diffs(ann, room))["presence"]["joins"] == []
    bob = await clients.member(OTHER[transport], "bob", room)
    cleo = await clients.member(transport, "cleo", room, {"show": {"name": "Cleo"}})
    (joined,) = (await ann.receive_event("PRESENCE", "DIFF"))["payload"]["joins"]
    assert listed(await bob.receive_event("PRESENCE", "JOIN")) == ["Cleo"]
    await cleo.abort(reset=False)
    assert (await ann.receive_event("PRESENCE", "DIFF"))["payload"]["leaves"] == [joined]
    assert listed(await bob.receive_event("PRESENCE", "LEAVE")) == []


async def test_a_diff_precedes_the_broadcasts_after_its_changes(
    clients: EngineClients, transport: Transport, room: str
) -> None:
    ann = await clients.connect(transport, "ann")
    await join_for_diffs(ann, room)
    bob = await clients.member(OTHER[transport], "bob", room, {"show": {"name": "Bob"}})
    await bob.call(room, "say", {"text": "hi"})
    diff, said = await ann.receive(), await ann.receive()
    assert (diff["event"], shown(diff["payload"]["joins"])) == ("DIFF", {"bob": "Bob"})
    assert (said["event"], said["payload"]) == ("said", {"text": "hi"})


async def test_members_that_ask_for_nothing_get_no_diff(
    clients: EngineClients, transport: Transport, room: str
) -> None:
    ann = await clients.member(transport, "ann", room, {"show": {"name": "Ann"}})
    bob = await clients.connect(OTHER[transport], "bob")
    await join_for_diffs(bob, room, {"show": {"name": "Bob"}})
    await bob.receive_event("PRESENCE", "DIFF")
    await ann.call(room, "count")
    assert [message["event"] for message in told(ann, "PRESENCE")] == ["JOIN", "JOIN"]
    assert not told(bob, "PRESENCE")


# --- several tabs of one user -----------------------------------------------------------------


async def test_the_tabs_of_a_user_are_one_user_over_any_transport(
    clients: EngineClients, transport: Transport, room: str
) -> None:
    bob = await clients.member(transport, "bob", room)
    eve = await clients.connect(transport, "eve")
    await join_for_diffs(eve, room)
    tabs = [
        await clients.member(each, "ann", room, {"show": {"name": f"Ann ({each})"}})
        for each in (transport, OTHER[transport], transport)
    ]
    assert len({tab.hello["payload"]["connectionId"] for tab in tabs}) == 3
    assert {tab.hello["payload"]["id"] for tab in tabs} == {"ann"}
    assert (await bob.call(room, "count"))["payload"] == {"result": 3}  # ann, bob and eve
    assert (await bob.call(room, "presence"))["payload"].keys() == {"ann"}

    # To lists she is one, the one set last; in diffs there is one entry a tab.
    assert len(listed(await bob.receive_event("PRESENCE", "JOIN"))) == 1
    for _ in tabs[1:]:
        assert len(listed(await bob.receive_event("PRESENCE", "UPDATE"))) == 1
    refs: set[str] = set()
    while len(refs) < 3:
        joins = (await eve.receive_event("PRESENCE", "DIFF"))["payload"]["joins"]
        refs |= {entry["ref"] for entry in joins if entry["user"] == "ann"}

    await bob.send("BROADCAST", room, "tell", {"users": ["ann"], "text": "to you alone"})
    for tab in tabs:
        said = await tab.receive_event("BROADCAST", "said")
        assert said["payload"] == {"text": "to you alone"}

    await tabs[0].close()
    await tabs[1].leave(room)
    gone: set[str] = set()
    while len(gone) < 2:
        leaves = (await eve.receive_event("PRESENCE", "DIFF"))["payload"]["leaves"]
        gone |= {entry["ref"] for entry in leaves}
    assert gone < refs
    assert (await bob.call(room, "count"))["payload"] == {"result": 3}
    assert not told(bob)
    await tabs[2].leave(room)
    left = await bob.receive_event("BROADCAST", "left")
    assert left["payload"] == {"user": "ann", "reason": "explicit_leave"}
    assert listed(await bob.receive_event("PRESENCE", "LEAVE")) == []


# --- leaves that are held back ----------------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_reconnect_in_time_is_seen_by_no_member(
    clients: EngineClients, transport: Transport, room: str, how: str
) -> None:
    show = {"show": {"name": "Ann"}}
    bob = await clients.member(OTHER[transport], "bob", room, path="/held")
    eve = await clients.connect(transport, "eve", path="/held")
    await join_for_diffs(eve, room)
    ann = await clients.member(transport, "ann", room, show, path="/held")
    await bob.receive_event("PRESENCE", "JOIN")
    await eve.receive_event("PRESENCE", "DIFF")
    if how == "close":
        await ann.close()
    else:
        await ann.abort(reset=how == "reset")

    async def is_gone() -> bool:
        return bool((await bob.call(room, "count"))["payload"] == {"result": 2})

    await until(is_gone, "the server noticed the disconnect")
    assert (await bob.call(room, "presence"))["payload"] == {"ann": {"name": "Ann"}}
    again = await clients.member(OTHER[transport], "ann", room, show, path="/held")
    assert (await bob.call(room, "count"))["payload"] == {"result": 3}
    # Whatever was held back would have come by the time another's leave has.
    cleo = fresh_id()
    await (await clients.member(transport, cleo, room, path="/held")).close()
    left = await bob.receive()
    assert (left["event"], left["payload"]["user"]) == ("left", cleo)
    assert (await eve.receive()) == left
    # And who does not come back has left.
    await again.close()
    assert listed(await bob.receive()) == []
    left = await bob.receive()
    assert left["payload"] == {"user": "ann", "reason": "connection_closed"}


async def test_held_leaves_are_told_though_others_leave_meanwhile(
    clients: EngineClients, transport: Transport, room: str
) -> None:
    names = ["ann", "bob", "cleo"]
    lost = [
        await clients.member(each, name, room, {"show": {"name": name}}, path="/held")
        for each, name in zip([transport, OTHER[transport], transport], names, strict=True)
    ]
    eve = await clients.member(OTHER[transport], "eve", room, path="/held")
    # Each was there before eve, so that each may be who waits for the one before.
    for client in reversed(lost):
        await client.abort(reset=False)
    left = [(await eve.receive_event("BROADCAST", "left"))["payload"]["user"] for _ in names]
    assert sorted(left) == names
    assert [listed(each) for each in told(eve, "PRESENCE")][-1] == []
    assert (await eve.call(room, "presence"))["payload"] == {}
