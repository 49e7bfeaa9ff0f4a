"""A channel that keeps what was said: positions, and joins that recover what they missed."""

from functools import partial
from typing import Any

import pytest
from pondsocket import (
    EventContext,
    History,
    JoinContext,
    Lobby,
    PondSocket,
    Position,
    SyncEventContext,
    UsageError,
    conflate,
)
from pondsocket._history.memory import MemoryStore
from pondsocket.testing import FakeClock, connect

from tests.core.histories import (
    build_with_history,
    heard,
    position_of,
    reconnect,
    rejoin,
    said,
    say,
)
from tests.core.members import member
from tests.core.ponds import ROOM, accept_join, admit

# --- positions ------------------------------------------------------------------------------------


async def test_every_broadcast_has_a_position_and_the_acknowledgement_says_where_they_begin() -> (
    None
):
    setup = build_with_history()
    async with connect(setup.pond, "/socket?user=ann") as ann:
        connected = await ann.receive()
        assert connected.payload.supports == ("history",)  # type: ignore[union-attr]
        acknowledged = (await ann.join(ROOM)).payload
        assert (acknowledged.offset, acknowledged.recovered) == (0, None)  # type: ignore[union-attr]
        await say(setup, 1, 2)
        positions = [message.position for message in ann.drain()]
    epoch = acknowledged.epoch  # type: ignore[union-attr]
    assert positions == [Position(epoch, 1), Position(epoch, 2)]


async def test_a_channel_without_a_history_says_nothing_of_positions() -> None:
    pond = PondSocket()
    pond.create_endpoint("/socket", admit).create_channel("/room/:id", accept_join)
    async with connect(pond, "/socket?user=ann") as ann:
        connected = await ann.receive()
        answer = await rejoin(ann, Position("e1", 1))
        await pond.channel("/socket", ROOM).broadcast("said", {})
        assert (await ann.receive()).position is None
    assert connected.payload.supports is None  # type: ignore[union-attr]
    assert answer.payload.recovered is None  # type: ignore[union-attr]


async def test_a_broadcast_that_is_not_to_be_kept_is_sent_without_a_position() -> None:
    setup = build_with_history()
    since = await position_of(setup)
    async with member(setup, "ann") as ann:
        await say(setup, 1, history=False)
        await say(setup, 2)
        assert [message.position and message.position.offset for message in ann.drain()] == [
            None,
            1,
        ]
    async with reconnect(setup) as ann:
        await rejoin(ann, since)
        assert heard(ann) == [2]


@pytest.mark.parametrize("policy", ["drop_oldest", conflate("n")])
def test_what_may_drop_messages_cannot_have_a_history(policy: Any) -> None:
    with pytest.raises(UsageError, match="with a history nothing is dropped"):
        Lobby("/room/:id", accept_join, slow_consumers=policy, history=History())


@pytest.mark.parametrize("history", [100, True, History])
def test_what_is_no_history_is_refused(history: Any) -> None:
    with pytest.raises(UsageError, match="history is a"):
        Lobby("/room/:id", accept_join, history=history)


# --- recovering -----------------------------------------------------------------------------------


async def test_a_member_that_comes_back_gets_all_it_missed_in_order_before_anything_new() -> None:
    setup = build_with_history()
    async with member(setup, "ann") as ann:
        await say(setup, 1)
        since = (await ann.receive()).position
        assert since is not None
    await say(setup, 2, 3)
    kept = await setup.pond.channel("/socket", ROOM).history()
    assert kept is not None
    async with reconnect(setup) as ann:
        answer = await rejoin(ann, since)
        assert answer.payload.recovered is True  # type: ignore[union-attr]
        assert answer.payload.offset == since.offset  # type: ignore[union-attr]
        await say(setup, 4)
        messages = ann.drain()
    assert [said(message) for message in messages] == [2, 3, 4]
    assert [message.request_id for message in messages[:2]] == [
        each.request_id for each in kept[1:]
    ]


async def test_a_client_that_may_join_may_read_what_is_kept_also_from_before_it_came() -> None:
    setup = build_with_history()
    await say(setup, 1, 2)
    await setup.pond.channel("/socket", ROOM).broadcast_to("said", {"n": 3}, "bob")
    async with member(setup, "eve") as eve:
        assert heard(eve) == []
        epoch = (await position_of(setup)).epoch
        await rejoin(eve, Position(epoch, 0))
        assert heard(eve) == [1, 2]


async def test_a_member_that_missed_nothing_is_told_so() -> None:
    setup = build_with_history()
    await say(setup, 1)
    since = await position_of(setup)
    async with reconnect(setup) as ann:
        assert (await rejoin(ann, since)).payload.recovered is True  # type: ignore[union-attr]
        assert heard(ann) == []


async def test_a_member_is_told_where_it_cannot_recover_and_gets_no_part() -> None:
    setup = build_with_history(size=8)
    epoch, _ = await position_of(setup)
    await say(setup, *range(1, 11))
    for since in (Position(epoch, 1), Position(epoch, 11), Position("other", 9)):
        async with reconnect(setup) as ann:
            answer = (await rejoin(ann, since)).payload
            assert answer.recovered is False  # type: ignore[union-attr]
            assert (answer.epoch, answer.offset) == (epoch, 10)  # type: ignore[union-attr]
            assert heard(ann) == []
            await say(setup, 0, history=False)
            assert heard(ann) == [0]


async def test_a_channel_ends_with_its_members_and_its_history_does_not() -> None:
    setup = build_with_history()
    since = await position_of(setup)
    assert await setup.lobby.list_channels() == []
    await say(setup, 1)
    async with reconnect(setup) as ann:
        assert (await rejoin(ann, since)).payload.recovered is True  # type: ignore[union-attr]
        assert heard(ann) == [1]


async def test_a_history_that_was_not_asked_for_in_a_day_begins_anew() -> None:
    clock = FakeClock()
    setup = build_with_history(clock=clock)
    since = await position_of(setup)
    await say(setup, 1)
    clock.advance(86_399)
    assert (await position_of(setup)).epoch == since.epoch
    clock.advance(86_400)
    async with reconnect(setup) as ann:
        assert (await rejoin(ann, since)).payload.recovered is False  # type: ignore[union-attr]


@pytest.mark.parametrize("comes_by", ["a connection", "a member"])
async def test_histories_that_are_not_asked_for_end_when_any_client_comes(comes_by: str) -> None:
    clock = FakeClock()
    setup = build_with_history(clock=clock)
    histories = setup.lobby.history_store
    assert isinstance(histories, MemoryStore)
    async with member(setup, "ann", "/room/busy"), reconnect(setup, "bob") as bob:
        await say(setup, 1)
        assert len(histories) == 2
        clock.advance(90_000)
        if comes_by == "a member":
            await bob.join("/room/busy")
        else:
            async with reconnect(setup, "cat"):
                pass
        assert len(histories) == 1


async def test_a_client_that_may_not_join_recovers_nothing() -> None:
    async def refuse(ctx: JoinContext) -> None:
        assert not ctx.join_params or await ctx.history() is not None
        await ctx.decline(403, "No.")

    setup = build_with_history(refuse)
    await say(setup, 1)
    async with reconnect(setup) as ann:
        assert (await rejoin(ann, Position("e", 0))).event == "UNAUTHORIZED"
        assert heard(ann) == []


# --- to some members ------------------------------------------------------------------------------


async def test_what_went_to_some_users_is_replayed_to_them_alone() -> None:
    setup = build_with_history()
    since = await position_of(setup)
    channel = setup.pond.channel("/socket", ROOM)
    await say(setup, 1)
    await channel.broadcast_to("said", {"n": 2}, "ann", "bob")
    await channel.broadcast_from("said", {"n": 3}, "ann")
    channel.broadcast_to_nowait("said", {"n": 4}, "bob")
    channel.broadcast_from_nowait("said", {"n": 5}, "bob")
    for user, expected in (("ann", [1, 2, 5]), ("bob", [1, 2, 3, 4]), ("cem", [1, 3, 5])):
        async with reconnect(setup, user) as peer:
            assert (await rejoin(peer, since)).payload.recovered is True  # type: ignore[union-attr]
            assert heard(peer) == expected


async def test_an_id_that_the_server_made_up_does_not_say_what_was_meant_for_it() -> None:
    setup = build_with_history()
    since = await position_of(setup)
    await say(setup, 1)
    async with connect(setup.pond, "/socket") as other:
        assert (await rejoin(other, since)).payload.recovered is True  # type: ignore[union-attr]
    await setup.pond.channel("/socket", ROOM).broadcast_to("said", {"n": 2}, "ann")
    async with connect(setup.pond, "/socket") as other:
        assert (await rejoin(other, since)).payload.recovered is False  # type: ignore[union-attr]
        assert heard(other) == []


async def test_what_one_sent_to_the_others_is_replayed_to_oneself_only_if_one_was_there_twice() -> (
    None
):
    setup = build_with_history()

    @setup.lobby.on_message("tell")
    async def tell(ctx: EventContext) -> None:
        await ctx.broadcast_from("said", ctx.get_payload())

    since = await position_of(setup)
    async with member(setup, "ann") as ann, member(setup, "bob") as bob:
        ann.send("BROADCAST", ROOM, "tell", {"n": 1})
        assert said(await bob.receive()) == 1
        async with member(setup, "ann") as tab:
            ann.send("BROADCAST", ROOM, "tell", {"n": 2})
            assert [said(await bob.receive()), said(await tab.receive())] == [2, 2]
    for user, expected in (("ann", [2]), ("bob", [1, 2])):
        async with reconnect(setup, user) as peer:
            await rejoin(peer, since)
            assert heard(peer) == expected


# --- for those who are new ------------------------------------------------------------------------


async def test_a_newcomer_may_be_given_the_latest_messages() -> None:
    async def join(ctx: JoinContext) -> None:
        await ctx.accept(history=2)

    setup = build_with_history(join)
    await say(setup, 1, 2, 3)
    async with reconnect(setup) as ann:
        ann.drain()
        answer = await ann.join(ROOM)
        await say(setup, 4)
        assert answer.payload.offset == 1
        assert heard(ann) == [2, 3, 4]
    async with reconnect(setup) as ann:
        await rejoin(ann, Position(answer.payload.epoch, 4))
        assert heard(ann) == []


async def test_a_channel_of_a_latest_value_gives_it_to_every_client_that_joins() -> None:
    setup = build_with_history(size=1)
    async with reconnect(setup) as early:
        early.drain()
        await early.join(ROOM)
        await say(setup, 1, 2)
        assert heard(early) == [1, 2]
        async with reconnect(setup, "bob") as late:
            late.drain()
            answer = await late.join(ROOM)
            await say(setup, 3)
            assert answer.payload.offset == 1
            assert heard(late) == [2, 3]


async def test_handlers_can_read_what_was_said() -> None:
    seen: list[list[object]] = []

    async def join(ctx: JoinContext) -> None:
        found = await ctx.history(limit=2)
        seen.append([said(message) for message in found or ()])
        await ctx.accept()

    setup = build_with_history(join, size=8)

    @setup.lobby.on_message("all")
    def everything(ctx: SyncEventContext) -> dict[str, Any]:
        return {"all": [said(message) for message in ctx.history() or ()]}

    await say(setup, *range(1, 11))
    async with member(setup, "ann") as ann:
        ann.send("BROADCAST", ROOM, "all")
        assert (await ann.receive()).payload == {"all": [*range(3, 11)]}
    assert seen == [[9, 10]]


async def test_to_read_where_nothing_was_said_leaves_nothing_behind() -> None:
    setup = build_with_history()
    channel = setup.pond.channel("/socket", ROOM)
    assert await channel.history() == []
    assert await channel.history(Position("e1", 0)) is None
    assert isinstance(setup.lobby.history_store, MemoryStore)
    assert len(setup.lobby.history_store) == 0


async def test_an_application_reads_on_from_a_position_or_learns_that_it_cannot() -> None:
    setup = build_with_history(size=8)
    epoch, _ = await position_of(setup)
    await say(setup, *range(1, 11))
    channel = setup.pond.channel("/socket", ROOM)

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


async def test_a_negative_number_of_messages_is_an_error_and_admits_no_member() -> None:
    errors: list[str] = []

    async def join(ctx: JoinContext) -> None:
        for ask in (partial(ctx.history, limit=-1), partial(ctx.accept, history=-1)):
            with pytest.raises(UsageError) as caught:
                await ask()
            errors.append(str(caught.value))
        await ctx.accept(history=0)

    setup = build_with_history(join)
    await say(setup, 1)
    async with reconnect(setup) as ann:
        ann.drain()
        await ann.join(ROOM)
        assert heard(ann) == []
    assert errors == [
        "history: limit is a number of messages, and not -1.",
        "accept: history is a number of messages, and not -1.",
    ]
