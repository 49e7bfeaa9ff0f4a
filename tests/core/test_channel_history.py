"""A channel that keeps what was said: positions, and joins that recover what they missed."""

from collections.abc import Callable
from functools import partial
from typing import Any

import anyio.lowlevel
import pytest
from pondsocket import (
    CloseCode,
    EventContext,
    History,
    JoinContext,
    Lobby,
    OutgoingContext,
    PondSocket,
    Position,
    ServerMessage,
    SyncEventContext,
    UsageError,
    conflate,
)
from pondsocket.testing import MemoryPeer, connect
from pondsocket_common import Acknowledged

from tests.core.ponds import ROOM, House, admit, let_in, member, relay, settled


def remembering(
    join: Any = let_in, clock: Callable[[], float] | None = None, **options: int
) -> House:
    """A pond whose rooms keep what is said."""
    pond = PondSocket() if clock is None else PondSocket(clock=clock)
    endpoint = pond.create_endpoint("/socket", admit)
    lobby = endpoint.create_channel("/room/:id", join, history=History(**options))
    lobby.on_message("say", relay)
    return House(pond, endpoint, lobby)


async def say(house: House, *numbers: int, **options: Any) -> None:
    for number in numbers:
        await house.pond.channel("/socket", ROOM).broadcast("said", {"n": number}, **options)


def heard(peer: MemoryPeer) -> list[object]:
    """The numbers that were said, or the events' names."""
    return [said(message) for message in peer.drain()]


def said(message: ServerMessage) -> object:
    payload = message.payload
    return payload.get("n", message.event) if isinstance(payload, dict) else message.event


async def position_of(house: House) -> Position:
    """The top."""
    async with connect(house.pond, "/socket?user=nobody") as peer:
        payload = (await peer.join(ROOM)).payload
    assert isinstance(payload, Acknowledged)
    assert payload.epoch is not None
    assert payload.offset is not None
    return Position(payload.epoch, payload.offset)


def back(house: House, user: str = "ann", capacity: int = 100_000) -> Any:
    return connect(house.pond, f"/socket?user={user}", capacity=capacity)


async def rejoin(peer: MemoryPeer, since: Position, **more: Any) -> ServerMessage:
    """Join where one was, and give the acknowledgement; what else has come is unread."""
    peer.drain()
    return await peer.join(ROOM, since=since, **more)


# --- positions ------------------------------------------------------------------------------------


async def test_every_broadcast_has_a_position_and_the_acknowledgement_says_where_they_begin() -> (
    None
):
    house = remembering()
    async with connect(house.pond, "/socket?user=ann") as ann:
        connected = await ann.receive()
        assert connected.payload.supports == ("history",)  # type: ignore[union-attr]
        acknowledged = (await ann.join(ROOM)).payload
        assert (acknowledged.offset, acknowledged.recovered) == (0, None)  # type: ignore[union-attr]
        await say(house, 1, 2)
        positions = [message.position for message in ann.drain()]
    epoch = acknowledged.epoch  # type: ignore[union-attr]
    assert positions == [Position(epoch, 1), Position(epoch, 2)]


async def test_a_channel_without_a_history_says_nothing_of_positions() -> None:
    pond = PondSocket()
    pond.create_endpoint("/socket", admit).create_channel("/room/:id", let_in)
    async with connect(pond, "/socket?user=ann") as ann:
        connected = await ann.receive()
        answer = await rejoin(ann, Position("e1", 1))
        await pond.channel("/socket", ROOM).broadcast("said", {})
        assert (await ann.receive()).position is None
    assert connected.payload.supports is None  # type: ignore[union-attr]
    assert answer.payload.recovered is None  # type: ignore[union-attr]


async def test_a_broadcast_that_is_not_to_be_kept_is_sent_without_a_position() -> None:
    house = remembering()
    since = await position_of(house)
    async with member(house, "ann") as ann:
        await say(house, 1, history=False)
        await say(house, 2)
        assert [message.position and message.position.offset for message in ann.drain()] == [
            None,
            1,
        ]
    async with back(house) as ann:
        await rejoin(ann, since)
        assert heard(ann) == [2]


@pytest.mark.parametrize("policy", ["drop_oldest", conflate("n")])
def test_what_may_drop_messages_cannot_have_a_history(policy: Any) -> None:
    with pytest.raises(UsageError, match="with a history nothing is dropped"):
        Lobby("/room/:id", let_in, slow_consumers=policy, history=History())


# --- recovering -----------------------------------------------------------------------------------


async def test_a_member_that_comes_back_gets_all_it_missed_in_order_before_anything_new() -> None:
    house = remembering()
    async with member(house, "ann") as ann:
        await say(house, 1)
        since = (await ann.receive()).position
        assert since is not None
    await say(house, 2, 3)
    kept = await house.pond.channel("/socket", ROOM).history()
    assert kept is not None
    async with back(house) as ann:
        answer = await rejoin(ann, since)
        assert answer.payload.recovered is True  # type: ignore[union-attr]
        assert answer.payload.offset == since.offset  # type: ignore[union-attr]
        await say(house, 4)
        messages = ann.drain()
    assert [said(message) for message in messages] == [2, 3, 4]
    assert [message.request_id for message in messages[:2]] == [
        each.request_id for each in kept[1:]
    ]


async def test_a_member_that_missed_nothing_is_told_so() -> None:
    house = remembering()
    await say(house, 1)
    since = await position_of(house)
    async with back(house) as ann:
        assert (await rejoin(ann, since)).payload.recovered is True  # type: ignore[union-attr]
        assert heard(ann) == []


async def test_a_member_is_told_where_it_cannot_recover_and_gets_no_part() -> None:
    house = remembering(size=8)
    epoch, _ = await position_of(house)
    await say(house, *range(1, 11))
    for since in (Position(epoch, 1), Position(epoch, 11), Position("other", 9)):
        async with back(house) as ann:
            answer = (await rejoin(ann, since)).payload
            assert answer.recovered is False  # type: ignore[union-attr]
            assert (answer.epoch, answer.offset) == (epoch, 10)  # type: ignore[union-attr]
            assert heard(ann) == []
            await say(house, 0, history=False)
            assert heard(ann) == [0]


async def test_a_channel_ends_with_its_members_and_its_history_does_not() -> None:
    house = remembering()
    since = await position_of(house)
    assert await house.lobby.list_channels() == []
    await say(house, 1)
    async with back(house) as ann:
        assert (await rejoin(ann, since)).payload.recovered is True  # type: ignore[union-attr]
        assert heard(ann) == [1]


async def test_a_history_that_nobody_asked_for_in_a_day_begins_anew() -> None:
    now = 0.0
    house = remembering(clock=lambda: now)
    since = await position_of(house)
    await say(house, 1)
    now = 86_399
    assert (await position_of(house)).epoch == since.epoch
    now += 86_400
    async with back(house) as ann:
        assert (await rejoin(ann, since)).payload.recovered is False  # type: ignore[union-attr]


async def test_whoever_may_not_join_recovers_nothing() -> None:
    async def nobody(ctx: JoinContext) -> None:
        assert not ctx.join_params or await ctx.history() is not None
        await ctx.decline(403, "No.")

    house = remembering(nobody)
    await say(house, 1)
    async with back(house) as ann:
        assert (await rejoin(ann, Position("e", 0))).event == "UNAUTHORIZED"
        assert heard(ann) == []


# --- to some members ------------------------------------------------------------------------------


async def test_what_went_to_some_users_is_replayed_to_them_alone() -> None:
    house = remembering()
    since = await position_of(house)
    channel = house.pond.channel("/socket", ROOM)
    await say(house, 1)
    await channel.broadcast_to("said", {"n": 2}, "ann", "bob")
    await channel.broadcast_from("said", {"n": 3}, "ann")
    channel.broadcast_to_nowait("said", {"n": 4}, "bob")
    channel.broadcast_from_nowait("said", {"n": 5}, "bob")
    for user, expected in (("ann", [1, 2, 5]), ("bob", [1, 2, 3, 4]), ("cem", [1, 3, 5])):
        async with back(house, user) as peer:
            assert (await rejoin(peer, since)).payload.recovered is True  # type: ignore[union-attr]
            assert heard(peer) == expected


async def test_an_id_that_the_server_made_up_does_not_say_what_was_meant_for_it() -> None:
    house = remembering()
    since = await position_of(house)
    await say(house, 1)
    async with connect(house.pond, "/socket") as somebody:
        assert (await rejoin(somebody, since)).payload.recovered is True  # type: ignore[union-attr]
    await house.pond.channel("/socket", ROOM).broadcast_to("said", {"n": 2}, "ann")
    async with connect(house.pond, "/socket") as somebody:
        assert (await rejoin(somebody, since)).payload.recovered is False  # type: ignore[union-attr]
        assert heard(somebody) == []


async def test_what_one_sent_to_the_others_is_replayed_to_oneself_only_if_one_was_there_twice() -> (
    None
):
    house = remembering()

    @house.lobby.on_message("tell")
    async def tell(ctx: EventContext) -> None:
        await ctx.broadcast_from("said", ctx.get_payload())

    since = await position_of(house)
    async with member(house, "ann") as ann, member(house, "bob") as bob:
        ann.send("BROADCAST", ROOM, "tell", {"n": 1})
        assert said(await bob.receive()) == 1
        async with member(house, "ann") as tab:
            ann.send("BROADCAST", ROOM, "tell", {"n": 2})
            assert [said(await bob.receive()), said(await tab.receive())] == [2, 2]
    for user, expected in (("ann", [2]), ("bob", [1, 2])):
        async with back(house, user) as peer:
            await rejoin(peer, since)
            assert heard(peer) == expected


# --- for those who are new ------------------------------------------------------------------------


async def test_a_newcomer_may_be_given_the_latest_messages() -> None:
    async def join(ctx: JoinContext) -> None:
        await ctx.accept(history=2)

    house = remembering(join)
    await say(house, 1, 2, 3)
    async with back(house) as ann:
        ann.drain()
        answer = await ann.join(ROOM)
        await say(house, 4)
        assert answer.payload.offset == 1
        assert heard(ann) == [2, 3, 4]
    async with back(house) as ann:
        await rejoin(ann, Position(answer.payload.epoch, 4))
        assert heard(ann) == []


async def test_a_channel_of_a_latest_value_gives_it_to_everybody_who_joins() -> None:
    house = remembering(size=1)
    async with back(house) as early:
        early.drain()
        await early.join(ROOM)
        await say(house, 1, 2)
        assert heard(early) == [1, 2]
        async with back(house, "bob") as late:
            late.drain()
            answer = await late.join(ROOM)
            await say(house, 3)
            assert answer.payload.offset == 1
            assert heard(late) == [2, 3]


async def test_handlers_can_read_what_was_said() -> None:
    seen: list[list[object]] = []

    async def join(ctx: JoinContext) -> None:
        found = await ctx.history(limit=2)
        seen.append([said(message) for message in found or ()])
        await ctx.accept()

    house = remembering(join, size=8)

    @house.lobby.on_message("all")
    def everything(ctx: SyncEventContext) -> dict[str, Any]:
        return {"all": [said(message) for message in ctx.history() or ()]}

    await say(house, *range(1, 11))
    async with member(house, "ann") as ann:
        ann.send("BROADCAST", ROOM, "all")
        assert (await ann.receive()).payload == {"all": [*range(3, 11)]}
    assert seen == [[9, 10]]


async def test_an_application_reads_on_from_a_position_or_learns_that_it_cannot() -> None:
    house = remembering(size=8)
    epoch, _ = await position_of(house)
    await say(house, *range(1, 11))
    channel = house.pond.channel("/socket", ROOM)

    async def read(offset: int, **options: int) -> list[object] | None:
        found = await channel.history(Position(epoch, offset), **options)
        return None if found is None else [said(message) for message in found]

    assert await read(2) == [*range(3, 11)]
    assert await read(5, limit=2) == [6, 7]
    assert await read(10) == []
    assert (await read(1), await read(11)) == (None, None)
    assert await channel.history(Position("other", 5)) is None


async def test_to_ask_for_a_history_where_there_is_none_is_an_error() -> None:
    errors: list[UsageError] = []

    async def join(ctx: JoinContext) -> None:
        for ask in (ctx.history, partial(ctx.accept, history=1)):
            try:
                await ask()
            except UsageError as error:
                errors.append(error)
        await ctx.accept()

    pond = PondSocket()
    pond.create_endpoint("/socket", admit).create_channel("/room/:id", join)
    async with connect(pond, "/socket") as ann:
        ann.drain()
        await ann.join(ROOM)
    assert len(errors) == 2


# --- slowly ---------------------------------------------------------------------------------------


async def test_a_history_larger_than_the_outbox_neither_closes_nor_blocks_who_asks_for_it() -> None:
    house = remembering()
    since = await position_of(house)
    await say(house, *range(1, 91))
    async with back(house, capacity=6) as ann:
        ann.drain()
        answer = await ann.join(ROOM, since=since)
        assert answer.payload.recovered is True
        assert 0 < ann.pending <= 3
        await say(house, 91)
        await say(house, 92, history=False)
        ann.send("BROADCAST", ROOM, "say", {"n": 93})
        await settled()
        assert ann.pending <= 3
        assert [said(await ann.receive()) for _ in range(93)] == [*range(1, 94)]
        await say(house, 94)
        assert heard(ann) == [94]
        assert ann.closed is None


async def test_a_member_so_slow_that_the_history_outruns_it_is_closed_and_may_come_back() -> None:
    house = remembering(size=16)
    since = await position_of(house)
    await say(house, *range(1, 11))
    async with back(house, capacity=4) as ann:
        ann.drain()
        await ann.join(ROOM, since=since)
        await say(house, *range(11, 41))
        got = [said(await ann.receive()) for _ in range(ann.pending)]
        assert await ann.wait_closed() is CloseCode.SLOW_CONSUMER
    assert got == [*range(1, len(got) + 1)]


async def test_a_member_that_leaves_while_it_is_behind_is_told_so_and_gets_no_more() -> None:
    house = remembering()
    since = await position_of(house)
    await say(house, *range(1, 51))
    async with back(house, capacity=4) as ann, member(house, "bob") as bob:
        ann.drain()
        await ann.join(ROOM, since=since)
        ann.send("LEAVE_CHANNEL", ROOM, "leave")
        await settled()
        got = heard(ann)
        assert got[-1] == "EXIT_ACKNOWLEDGE"
        assert got[:-1] == [*range(1, len(got))]
        await say(house, 51)
        assert (heard(ann), heard(bob)) == ([], [51])


async def test_a_member_that_is_evicted_while_it_is_behind_is_told_so() -> None:
    house = remembering()
    since = await position_of(house)
    await say(house, *range(1, 51))
    async with back(house, capacity=4) as ann:
        ann.drain()
        await ann.join(ROOM, since=since)
        await house.pond.channel("/socket", ROOM).evict_user("ann", "Enough.")
        assert heard(ann)[-1] == "EVICTED"


async def test_whoever_joins_again_while_it_is_behind_begins_where_it_asks_to() -> None:
    house = remembering()
    since = await position_of(house)
    await say(house, *range(1, 51))
    async with back(house, capacity=6) as ann:
        ann.drain()
        await ann.join(ROOM, since=since)
        again = ann.send("JOIN_CHANNEL", ROOM, "join", since=Position(since.epoch, 48))
        await settled()
        got = []
        while (message := await ann.receive()).request_id != again:
            got.append(said(message))
        assert got == [*range(1, len(got) + 1)]
        assert [said(await ann.receive()) for _ in range(2)] == [49, 50]
        await say(house, 51)
        assert heard(ann) == [51]


# --- outgoing handlers ----------------------------------------------------------------------------


@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize("capacity", [6, 1_000])
async def test_what_is_replayed_passes_the_outgoing_handlers_as_what_is_live(
    is_late: bool, capacity: int
) -> None:
    house = remembering()

    def look(ctx: OutgoingContext) -> None:
        number = ctx.get_payload()["n"]
        if number % 3 == 0:
            ctx.block()
        elif number % 3 == 1:
            ctx.transform({"n": f"{number} for {ctx.get_user().id}"})

    async def look_later(ctx: OutgoingContext) -> None:
        await anyio.lowlevel.checkpoint()
        look(ctx)

    house.lobby.on_outgoing("said", look_later if is_late else look)
    since = await position_of(house)
    await say(house, *range(1, 31))
    async with back(house, capacity=capacity) as ann:
        ann.drain()
        await ann.join(ROOM, since=since)
        await say(house, 31, 32)
        await say(house, 34, history=False)
        await say(house, 35)
        expected = [n if n % 3 == 2 else f"{n} for ann" for n in range(1, 36) if n % 3]
        messages = [await ann.receive() for _ in expected]
        await settled()
        assert ann.pending == 0
    assert [said(message) for message in messages] == expected
    positions = [message.position.offset for message in messages if message.position is not None]
    assert positions == [n for n in range(1, 33) if n % 3] + [33]
