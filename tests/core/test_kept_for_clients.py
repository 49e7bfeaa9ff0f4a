"""What a client can make the server keep has a bound, whatever it is made of."""

from typing import Any

import anyio
import pytest
from pondsocket import EventContext, History, JoinContext, LeaveContext, Options, PondError
from pondsocket._history.log import HistoryLog
from pondsocket._history.slice import _shared
from pondsocket.testing import FakeClock, MemoryPeer, connect
from pondsocket_common import Fault, PresenceList, PresenceMode, Refused, ServerMessage

from tests.core.members import channel_of, events, member, settled
from tests.core.ponds import ROOM, PondSetup, accept_join, build
from tests.virtual_time import jumping_loops

anyio_backend = jumping_loops


def code_of(answer: ServerMessage) -> object:
    """Return the code of a refusal, or the name of any other answer."""
    return answer.payload.code if isinstance(answer.payload, Refused) else answer.event


# --- new histories --------------------------------------------------------------------------------


async def test_a_connection_begins_so_many_histories_a_minute_and_joins_others_all_the_same() -> (
    None
):
    clock = FakeClock()
    setup = build(options=Options(max_new_histories=2), clock=clock)
    setup.endpoint.create_channel("/kept/:id", accept_join, history=History())
    async with connect(setup.pond, "/socket?user=ann") as ann:
        assert [code_of(await ann.join(f"/kept/{n}")) for n in range(2)] == ["ACKNOWLEDGE"] * 2
        answer = await ann.join("/kept/2")
        assert isinstance(answer.payload, Refused)
        assert (answer.payload.code, answer.payload.retry_after_ms) == (429, 30_000)
        await setup.pond.channel("/socket", "/kept/3").broadcast("said", {})
        for name in ("/kept/0", "/kept/3", "/room/1"):  # known, known by now, without a history
            assert code_of(await ann.join(name)) == "ACKNOWLEDGE"
        clock.advance(30)
        assert code_of(await ann.join("/kept/2")) == "ACKNOWLEDGE"
        assert code_of(await ann.join("/kept/4")) == 429
    async with connect(setup.pond, "/socket?user=ann") as ann:
        assert code_of(await ann.join("/kept/4")) == "ACKNOWLEDGE"


async def test_all_channels_of_a_client_can_be_new_after_a_restart() -> None:
    setup = build()
    setup.endpoint.create_channel("/kept/:id", accept_join, history=History())
    async with connect(setup.pond, "/socket?user=ann") as ann:
        answers = {code_of(await ann.join(f"/kept/{n}")) for n in range(128)}
    assert answers == {"ACKNOWLEDGE"}


@pytest.mark.parametrize("limit", [None, 1_000])
async def test_the_bound_on_new_histories_can_be_raised_and_switched_off(limit: int | None) -> None:
    options = Options(max_new_histories=limit, max_channels=None, control_burst=1_000)
    setup = build(options=options)
    setup.endpoint.create_channel("/kept/:id", accept_join, history=History())
    async with connect(setup.pond, "/socket?user=ann", capacity=10_000) as ann:
        answers = {code_of(await ann.join(f"/kept/{n}")) for n in range(300)}
    assert answers == {"ACKNOWLEDGE"}


# --- presence -------------------------------------------------------------------------------------


def showing(options: Options | None = None) -> PondSetup:
    """Return a pond in which members show what they send as `show`."""
    setup = build(options=options)

    @setup.lobby.on_message("show")
    async def show(ctx: EventContext) -> None:
        await ctx.track(ctx.get_payload())

    @setup.lobby.on_message("hide")
    async def hide(ctx: EventContext) -> None:
        await ctx.untrack()

    return setup


async def show(peer: MemoryPeer, shown: dict[str, Any]) -> object:
    """Show an object. Return the code of the answer, or the presence that came instead."""
    peer.send("BROADCAST", ROOM, "show", shown)
    payload = (await peer.receive()).payload
    return payload.code if isinstance(payload, Fault) else payload


@pytest.mark.parametrize(
    "shown",
    [
        pytest.param({"x": "y" * 4_089}, id="a-long-text"),
        pytest.param({"x": [{}] * 2_000}, id="many-objects"),
        pytest.param({f"{n}": n for n in range(1_000)}, id="many-fields"),
        pytest.param({"x": "\u00e9" * 2_045}, id="few-characters-and-many-bytes"),
    ],
)
async def test_an_object_that_is_too_long_is_refused_with_its_size_and_changes_nothing(
    shown: dict[str, Any],
) -> None:
    setup = showing()
    async with member(setup, "bob") as bob, member(setup, "ann") as ann:
        assert await show(ann, {"x": 1}) == PresenceList(({"x": 1},), {"x": 1})
        assert events(bob) == ["JOIN"]
        ann.send("BROADCAST", ROOM, "show", shown)
        fault = (await ann.receive()).payload
        assert isinstance(fault, Fault)
        assert fault.code == 413
        assert fault.message.startswith("A presence may be 4096 bytes long, as JSON; this one is ")
        assert await show(ann, {"x": "y" * 4_088}) != 413
        assert events(bob) == ["UPDATE"]


async def test_a_handler_can_catch_the_refusal_and_the_bound_can_be_another() -> None:
    async def join(ctx: JoinContext) -> None:
        await ctx.accept()
        try:
            await ctx.track({"about": "x" * 30})
        except PondError as error:
            await ctx.track({"about": error.code})

    for limit, about in ((20, 413), (41, 413), (42, "x" * 30), (None, "x" * 30)):
        setup = build(join, options=Options(max_presence_bytes=limit))
        async with member(setup, "ann"):
            await settled()
            assert await (await channel_of(setup)).get_presence() == {"ann": {"about": about}}


async def test_what_a_caller_changes_later_is_not_shown_at_any_depth() -> None:
    mine: dict[str, Any] = {"deep": {"list": [1]}}

    async def join(ctx: JoinContext) -> None:
        await ctx.accept()
        await ctx.track(mine)
        mine["deep"]["list"].append(2)

    setup = build(join)
    async with member(setup, "ann"):
        await settled()
        channel = await channel_of(setup)
        read = await channel.get_presence()
        read["ann"]["deep"]["list"].append(3)
        assert await channel.get_presence() == {"ann": {"deep": {"list": [1]}}}


async def test_a_list_that_is_sent_whole_does_not_outgrow_an_outbox() -> None:
    setup = showing(Options(outbox_bytes=1_000))
    async with member(setup, "ann") as ann, member(setup, "bob") as bob:
        assert await show(ann, {"x": "y" * 600}) != 413
        bob.drain()
        bob.send("BROADCAST", ROOM, "show", {"x": "y" * 600})
        fault = (await bob.receive()).payload
        assert isinstance(fault, Fault)
        assert fault.code == 413
        assert 'with `presence: "diff"`' in fault.message
        assert await show(bob, {"x": "y" * 200}) != 413
        ann.drain()
        assert await show(ann, {"x": "y" * 500}) != 413  # smaller is always possible
        channel = await channel_of(setup)
        ann.send("BROADCAST", ROOM, "hide")
        bob.send("BROADCAST", ROOM, "hide")
        await settled()
        assert channel.presence.state.byte_count == 0


async def test_members_that_get_differences_have_no_such_bound_and_others_cannot_join_then() -> (
    None
):
    setup = showing(Options(outbox_bytes=1_000))
    async with (
        connect(setup.pond, "/socket?user=ann", capacity=100) as ann,
        connect(setup.pond, "/socket?user=bob", capacity=100) as bob,
        connect(setup.pond, "/socket?user=old", capacity=100) as old,
    ):
        for peer in (ann, bob):
            await peer.join(ROOM, presence=PresenceMode.DIFF)
            peer.send("BROADCAST", ROOM, "show", {"x": "y" * 600})
            await settled()
        answer = await old.join(ROOM)
        assert code_of(answer) == 413
        assert 'with `presence: "diff"`' in answer.payload.message  # type: ignore[union-attr]
        ann.send("BROADCAST", ROOM, "hide")
        await settled()
        assert code_of(await old.join(ROOM)) == "ACKNOWLEDGE"


async def test_a_change_of_a_long_list_counts_as_the_messages_that_are_as_long() -> None:
    options = Options(max_message_bytes=1_000, event_rate=0.001, event_burst=10)
    setup = showing(options)
    async with member(setup, "ann") as ann:
        # Each list has the object twice, so some 1,900 bytes: one message more than itself.
        answers = [await show(ann, {"x": letter * 900}) for letter in "abcdef"]
    assert [answer == 429 for answer in answers] == [False] * 5 + [True]


async def test_joins_and_leaves_that_change_a_long_list_count_as_well() -> None:
    async def join(ctx: JoinContext) -> None:
        await ctx.accept()
        await ctx.track({"x": "y" * 900})

    options = Options(max_message_bytes=1_000, control_rate=0.001, control_burst=10)
    setup = build(join, options=options)
    async with connect(setup.pond, "/socket?user=ann") as ann, member(setup, "bob"):
        answers: list[object] = []
        for _ in range(3):
            answers.append(code_of(await ann.join(ROOM)))
            ann.send("LEAVE_CHANNEL", ROOM, "leave")
            await settled()
            ann.drain()
    # A join, and the list of both twice: 1 + 2. The leave of one: 1 + 1.
    assert answers == ["ACKNOWLEDGE", "ACKNOWLEDGE", 429]


async def test_the_state_that_a_join_with_differences_brings_counts_as_well() -> None:
    options = Options(max_message_bytes=1_000, control_rate=0.001, control_burst=10)
    setup = showing(options)
    async with member(setup, "bob") as bob, connect(setup.pond, "/socket?user=ann") as ann:
        await show(bob, {"x": "y" * 3_000})
        answers = [code_of(await ann.join(ROOM, presence=PresenceMode.DIFF)) for _ in range(4)]
    assert answers == ["ACKNOWLEDGE"] * 3 + [429]  # 1 + 3 for each, of ten


# --- what is kept of a join and of a leave --------------------------------------------------------


@pytest.mark.parametrize(
    ("transport", "params", "kept"),
    [
        ("sse", {"tab": "x" * 500}, {"tab": "x" * 500}),
        ("sse", {"tab": "x" * 2_000}, None),
        ("sse", {"tab": [{}] * 1_000}, None),
        ("websocket", {"tab": "x"}, {}),
    ],
)
async def test_parameters_of_a_join_are_kept_only_where_they_can_be_joined_with_again(
    transport: Any, params: dict[str, Any], kept: object
) -> None:
    setup = build()
    lobby = setup.endpoint.create_channel("/kept/:id", accept_join, history=History())
    async with connect(setup.pond, "/socket?user=ann", transport=transport) as ann:
        await ann.join("/kept/1", params)
        (entry,) = (await lobby.list_channels())[0].roster
        assert entry.join_params == kept


async def test_a_user_that_comes_and_goes_has_one_timer_and_one_leave_by_user() -> None:
    left: list[str] = []
    setup = build(options=Options(presence_leave_delay=60.0))

    @setup.lobby.on_leave
    async def leave(ctx: LeaveContext) -> None:
        left.append(ctx.user.id)

    async with setup.pond, member(setup, "bob"):
        channel = await channel_of(setup)
        for _ in range(20):
            async with member(setup, "ann"):
                pass
            await settled()
        leaves = channel._delayed_leaves
        assert [*leaves.by_user] == ["ann"]
        assert len(leaves._timers._due) == 1
        assert left == []


async def test_a_leave_is_by_user_from_the_last_time_that_the_user_went() -> None:
    left: list[str] = []
    setup = build(options=Options(presence_leave_delay=10.0))

    @setup.lobby.on_leave
    async def leave(ctx: LeaveContext) -> None:
        left.append(ctx.user.id)

    async with setup.pond, member(setup, "bob"):
        for _ in range(3):
            async with member(setup, "ann"):
                pass
            await anyio.sleep(6)
        assert left == []
        await anyio.sleep(4.5)
        assert left == ["ann"]


@pytest.mark.parametrize("presence", [None, PresenceMode.DIFF])
@pytest.mark.parametrize("leaves", ["at once", "held back"])
async def test_of_clients_that_have_gone_a_channel_keeps_nothing(
    presence: PresenceMode | None, leaves: str
) -> None:
    delay = 5.0 if leaves == "held back" else 0.0
    setup = showing(Options(presence_leave_delay=delay))
    async with setup.pond, member(setup, "bob"):
        channel = await channel_of(setup)
        for number in range(40):
            async with connect(setup.pond, f"/socket?user=user{number % 20}") as peer:
                await peer.join(ROOM, {"long": "x" * 2_000}, presence=presence)
                for value in range(3):
                    peer.send("BROADCAST", ROOM, "show", {f"field{number}": value})
                await settled()
        await anyio.sleep(20)
        state = channel.presence.state
        assert (state.byte_count, state._sizes, state._users) == (0, {}, {})
        assert channel._refs == set()
        assert (channel._delayed_leaves.by_user, channel._delayed_leaves._due) == ({}, {})
        assert channel.presence.log is None
        assert channel._delayed_leaves._timers._due == []


def test_names_of_events_that_clients_chose_are_not_kept_for_ever() -> None:
    log = HistoryLog(History(size=10), "e1", 0.0)
    for number in range(5_000):
        log.append(f"event-{number}", "", b"{}", 0.0)
    assert _shared.cache_info().currsize <= 1_024
    assert [kept.event for kept in log.after(4_998)] == ["event-4998", "event-4999"]
