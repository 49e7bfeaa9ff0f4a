"""Presence as the members of a channel see it."""

from typing import Any

import pytest
from pondsocket import (
    EncodingError,
    EventContext,
    JoinContext,
    PresenceEventTypes,
    ServerActions,
    UsageError,
)
from pondsocket_common import PresenceList

from tests.core.members import channel_of, events, member, say, settled
from tests.core.ponds import ROOM, build, join_and_track


async def test_presence_goes_to_every_member_also_those_who_do_not_track() -> None:
    async def some_track(ctx: JoinContext) -> None:
        await ctx.accept()
        if ctx.user.id != "quiet":
            await ctx.track({"who": ctx.user.id})

    setup = build(some_track)
    async with member(setup, "quiet") as quiet:
        async with member(setup, "ann") as ann:
            join = await quiet.receive()
            assert (join.action, join.event, join.channel_name) == (
                ServerActions.PRESENCE,
                PresenceEventTypes.JOIN,
                ROOM,
            )
            assert join.payload == PresenceList(({"who": "ann"},), {"who": "ann"})
            await settled()
            assert events(ann) in ([], ["JOIN"])
        leave = await quiet.receive()
        assert (leave.event, leave.payload) == ("LEAVE", PresenceList((), {"who": "ann"}))


async def test_presence_counts_a_user_once_and_lists_what_was_set_last() -> None:
    async def update(ctx: EventContext) -> None:
        await ctx.update_presence(ctx.get_payload())

    setup = build()
    setup.lobby.on_message("show", update)
    async with member(setup, "bob") as bob, member(setup, "ann") as tab:
        async with member(setup, "ann") as other:
            seen = []
            for peer, number in ((tab, 1), (other, 2), (tab, 3)):
                peer.send("BROADCAST", ROOM, "show", {"n": number})
                message = await bob.receive()
                assert isinstance(message.payload, PresenceList)
                seen.append((message.event, message.payload.presence, message.payload.changed))
            other.send("BROADCAST", ROOM, "show", {"n": 4})
            await bob.receive()
        update_back = await bob.receive()  # the other tab is gone: listed is the first one's again
        assert (update_back.event, update_back.payload) == (
            "UPDATE",
            PresenceList(({"n": 3},), {"n": 3}),
        )
        tab.vanish()
        left = await bob.receive()

    assert seen == [
        ("JOIN", ({"n": 1},), {"n": 1}),
        ("UPDATE", ({"n": 2},), {"n": 2}),
        ("UPDATE", ({"n": 3},), {"n": 3}),
    ]
    assert (left.event, left.payload) == ("LEAVE", PresenceList((), {"n": 3}))


async def test_losing_a_tab_that_is_not_listed_is_not_told() -> None:
    setup = build(join_and_track)
    async with member(setup, "ann") as tab, member(setup, "ann"), member(setup, "bob") as bob:
        await settled()
        bob.drain()
        tab.vanish()
        await settled()
        assert not bob.unread


async def test_presence_objects_are_sent_exactly_as_given() -> None:
    shown: dict[str, Any] = {"user_id": 1, "id": None, "nested": {"on": [True, 1.5, "é"]}}

    async def show(ctx: JoinContext) -> None:
        await ctx.accept()
        await ctx.track(shown)
        shown["changed"] = "afterwards"

    setup = build(show)
    async with member(setup, "ann") as ann:
        await settled()
        channel = await channel_of(setup)
        assert await channel.get_presence() == {
            "ann": {"user_id": 1, "id": None, "nested": {"on": [True, 1.5, "é"]}}
        }
        say(ann, "")
        await settled()
    assert ann.closed is not None


async def test_an_object_that_json_cannot_say_spoils_no_list() -> None:
    setup = build(join_and_track)
    async with member(setup, "ann") as ann:
        channel = await channel_of(setup)
        (entry,) = channel.roster
        with pytest.raises(EncodingError):
            channel.track_member(entry, {"bad": object()})
        with pytest.raises(UsageError, match="A payload is an object"):
            channel.track_member(entry, "online")
        assert await channel.get_presence() == {"ann": {"who": "ann"}}
        async with member(setup, "bob"):
            await settled()
            assert "JOIN" in events(ann)


async def test_tracking_who_has_left_does_nothing() -> None:
    setup = build()
    async with member(setup, "ann") as ann:
        channel = await channel_of(setup)
        (entry,) = channel.roster
        ann.send("LEAVE_CHANNEL", ROOM, "leave")
        await ann.receive()
        channel.track_member(entry, {})
        assert await channel.get_presence() == {}


async def test_untracking_is_a_leave_of_the_list_alone() -> None:
    async def untrack(ctx: EventContext) -> None:
        await ctx.untrack()
        await ctx.untrack()

    setup = build(join_and_track)
    setup.lobby.on_message("hide", untrack)
    async with member(setup, "bob") as bob, member(setup, "ann") as ann:
        await settled()
        bob.drain()
        say(ann, "", event="hide")
        await settled()
        (leave,) = bob.drain()
        assert leave.event == "LEAVE"
        assert await (await channel_of(setup)).has_user("ann")


async def test_an_empty_object_may_be_tracked() -> None:
    async def show(ctx: JoinContext) -> None:
        await ctx.accept()
        await ctx.track(None)

    setup = build(show)
    async with member(setup, "ann"):
        await settled()
        assert await (await channel_of(setup)).get_presence() == {"ann": {}}
