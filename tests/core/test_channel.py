"""Membership, broadcasts, eviction: what a room does for its members."""

from typing import Any

import anyio
import anyio.lowlevel
import pytest
from pondsocket import (
    EncodingError,
    EventContext,
    JoinContext,
    LeaveContext,
    LeaveReason,
    ServerActions,
    UsageError,
)
from pondsocket_common import Evicted
from pydantic import BaseModel, Field

from tests.core.members import channel_of, events, member, members, say, settled
from tests.core.ponds import ROOM, build, join_and_track

# --- broadcasts -------------------------------------------------------------------------------


async def test_a_broadcast_reaches_every_member_of_this_channel_alone() -> None:
    setup = build()
    async with (
        member(setup, "ann") as ann,
        member(setup, "bob") as bob,
        member(setup, "eve", "/room/2") as eve,
    ):
        await (await channel_of(setup)).broadcast("news", {"n": 1})
        messages = [await peer.receive() for peer in (ann, bob)]
        await settled()
        assert not eve.unread

    for message in messages:
        assert (message.action, message.event, message.channel_name, message.payload) == (
            ServerActions.BROADCAST,
            "news",
            ROOM,
            {"n": 1},
        )
    assert messages[0].request_id == messages[1].request_id


async def test_each_broadcast_has_a_request_id_of_its_own() -> None:
    setup = build()
    async with member(setup, "ann") as ann:
        sent = [say(ann, "1"), say(ann, "2")]
        ids = [(await ann.receive()).request_id for _ in range(2)]

    assert len({*ids, *sent}) == 4


async def test_a_broadcast_to_users_reaches_each_of_their_connections_once() -> None:
    setup = build()
    async with members(setup, "ann", "bob", "bob", "eve") as (ann, tab, other_tab, eve):
        await (await channel_of(setup)).broadcast_to("psst", {}, "bob", "ann", "bob", "zoe")
        await settled()

        assert events(ann) == events(tab) == events(other_tab) == ["psst"]
        assert not eve.unread


async def test_a_broadcast_to_no_user_reaches_no_member() -> None:
    setup = build()
    async with member(setup, "ann") as ann:
        await (await channel_of(setup)).broadcast_to("psst", {})
        await settled()
        assert not ann.unread


async def test_a_channels_broadcast_from_leaves_out_the_user() -> None:
    setup = build()
    async with members(setup, "ann", "bob", "bob") as (ann, tab, other_tab):
        await (await channel_of(setup)).broadcast_from("news", {}, "bob")
        await settled()

        assert events(ann) == ["news"]
        assert not tab.unread
        assert not other_tab.unread


class Said(BaseModel):
    message_id: int = Field(alias="messageId")


@pytest.mark.parametrize(
    ("payload", "sent"),
    [
        (None, {}),
        ({"a": [1, None, {"b": 2.5}]}, {"a": [1, None, {"b": 2.5}]}),
        (Said(messageId=7), {"messageId": 7}),
        ({"said": Said(messageId=7)}, {"said": {"messageId": 7}}),
        ({"big": 2**64 - 1, "small": -(2**63)}, {"big": 2**64 - 1, "small": -(2**63)}),
    ],
)
async def test_payloads_are_objects_models_or_nothing(payload: object, sent: object) -> None:
    setup = build()
    async with member(setup, "ann") as ann:
        await (await channel_of(setup)).broadcast("news", payload)
        assert (await ann.receive()).payload == sent


@pytest.mark.parametrize("payload", ["text", 7, [1], object()])
async def test_a_payload_that_is_no_object_is_a_usage_error(payload: object) -> None:
    setup = build()
    async with member(setup, "ann") as ann:
        with pytest.raises(UsageError, match="A payload is an object"):
            await (await channel_of(setup)).broadcast("news", payload)
        assert not ann.unread


@pytest.mark.parametrize("payload", [{"x": object()}, {"x": 2**64}, {"x": "\ud800"}, {1: 2}])
async def test_a_payload_that_json_cannot_say_is_an_encoding_error(payload: Any) -> None:
    setup = build()
    async with member(setup, "ann") as ann:
        with pytest.raises(EncodingError):
            await (await channel_of(setup)).broadcast("news", payload)
        assert not ann.unread


RESERVED = [
    "CONNECTION",
    "ACKNOWLEDGE",
    "EXIT_ACKNOWLEDGE",
    "UNAUTHORIZED",
    "NOT_FOUND",
    "EVICTED",
    "GOODBYE",
    "PONG",
]


@pytest.mark.parametrize("event", RESERVED)
async def test_reserved_events_are_refused(event: str) -> None:
    setup = build()
    async with member(setup, "ann") as ann:
        channel = await channel_of(setup)
        for call in (
            channel.broadcast(event, {}),
            channel.broadcast_to(event, {}, "ann"),
            channel.broadcast_from(event, {}, "bob"),
        ):
            with pytest.raises(UsageError, match=f"{event} is a name of the protocol's own"):
                await call
        assert not ann.unread


@pytest.mark.parametrize("event", ["", "x" * 256, "two\nlines"])
async def test_an_event_needs_a_name(event: str) -> None:
    setup = build()
    async with member(setup, "ann"):
        with pytest.raises(UsageError, match="1 to 255 characters"):
            await (await channel_of(setup)).broadcast(event)


# --- who is there -----------------------------------------------------------------------------


async def test_users_are_counted_once_however_many_tabs_they_have() -> None:
    setup = build()
    async with member(setup, "ann"), member(setup, "bob") as tab, member(setup, "bob"):
        channel = await channel_of(setup)
        assert await channel.user_count() == 2
        tab.vanish()
        await tab.wait_closed()
        assert await channel.user_count() == 2
        assert await channel.has_user("bob")
        assert not await channel.has_user("eve")


async def test_name_and_params_are_the_names_own() -> None:
    setup = build()
    async with member(setup, "ann", "/room/a%20b?c"):
        channel = await channel_of(setup, "/room/a%20b?c")

    assert channel.name == "/room/a%20b?c"
    assert channel.params == {"id": "a%20b?c"}


async def test_assigns_are_listed_by_user_with_the_latest_connection_before_others() -> None:
    count = 0

    async def join(ctx: JoinContext) -> None:
        nonlocal count
        count += 1
        await ctx.accept({"number": count})

    setup = build(join)
    async with member(setup, "ann"), member(setup, "bob"), member(setup, "ann"):
        assigns = await (await channel_of(setup)).get_assigns()

    assert {user: values["number"] for user, values in assigns.items()} == {"ann": 3, "bob": 2}


# --- leaving ----------------------------------------------------------------------------------


class LeaveLog:
    def __init__(self) -> None:
        self.seen: list[tuple[str, str, int]] = []

    async def __call__(self, ctx: LeaveContext) -> None:
        self.seen.append((ctx.user.id, ctx.reason, await ctx.remaining_user_count()))
        await ctx.broadcast("left", {"who": ctx.user.id})


async def test_leave_handlers_run_once_for_the_last_connection_of_a_user() -> None:
    setup, leaves = build(), LeaveLog()
    setup.lobby.on_leave(leaves)
    async with member(setup, "bob") as bob, member(setup, "ann") as first:
        async with member(setup, "ann") as second:
            second.send("LEAVE_CHANNEL", ROOM, "leave")
            assert (await second.receive()).event == "EXIT_ACKNOWLEDGE"
            await settled()
            assert leaves.seen == []
        first.send("LEAVE_CHANNEL", ROOM, "leave")
        assert (await first.receive()).event == "EXIT_ACKNOWLEDGE"
        assert (await bob.receive()).payload == {"who": "ann"}
        assert leaves.seen == [("ann", "explicit_leave", 1)]
        await settled()
        assert not first.unread


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("leave", LeaveReason.EXPLICIT_LEAVE),
        ("vanish", LeaveReason.CONNECTION_CLOSED),
        ("evict", LeaveReason.EVICTED),
    ],
)
async def test_the_reason_of_a_leave_is_told(how: str, reason: LeaveReason) -> None:
    setup, leaves = build(), LeaveLog()
    setup.lobby.on_leave(leaves)
    async with member(setup, "bob"), member(setup, "ann") as ann:
        if how == "leave":
            ann.send("LEAVE_CHANNEL", ROOM, "leave")
        elif how == "vanish":
            ann.vanish()
        else:
            await (await channel_of(setup)).evict_user("ann", "out")
        await settled()

        assert leaves.seen == [("ann", reason, 1)]
        assert reason == {"leave": "explicit_leave", "vanish": "connection_closed"}.get(
            how, "evicted"
        )


# --- eviction ---------------------------------------------------------------------------------


async def test_an_evicted_user_is_told_on_every_connection_and_stays_connected() -> None:
    setup, leaves = build(join_and_track), LeaveLog()
    setup.lobby.on_leave(leaves)
    async with members(setup, "ann", "bob", "bob") as (ann, tab, other_tab):
        await settled()
        for peer in (ann, tab, other_tab):
            peer.drain()
        await (await channel_of(setup)).evict_user("bob", "enough")
        await settled()

        for peer in (tab, other_tab):
            evicted = peer.unread[-1]
            assert (evicted.action, evicted.event, evicted.channel_name) == (
                ServerActions.SYSTEM,
                "EVICTED",
                ROOM,
            )
            assert evicted.payload == Evicted("enough")
            assert peer.closed is None
            peer.drain()
        assert leaves.seen == [("bob", "evicted", 1)]
        assert events(ann)[-2:] == ["LEAVE", "left"]
        say(tab, "still here?")
        assert (await tab.receive()).event == "UNAUTHORIZED_BROADCAST"
        assert (await tab.join(ROOM)).event == "ACKNOWLEDGE"


async def test_an_eviction_whose_reason_is_no_text_evicts_no_member() -> None:
    setup, leaves = build(), LeaveLog()
    setup.lobby.on_leave(leaves)
    async with members(setup, "bob", "bob") as tabs:
        channel = await channel_of(setup)
        reason: Any = {"no": "text"}
        with pytest.raises(UsageError):
            await channel.evict_user("bob", reason)
        await settled()
        assert not leaves.seen
        assert [peer.drain() for peer in tabs] == [[], []]
        for peer in tabs:
            say(peer, "still here")
        assert [(await peer.receive()).event for peer in tabs] == ["say", "say"]


async def test_evicting_who_is_not_there_does_nothing() -> None:
    setup = build()
    async with member(setup, "ann") as ann:
        await (await channel_of(setup)).evict_user("bob")
        await settled()
        assert not ann.unread


async def test_an_event_behind_an_eviction_is_a_non_members() -> None:
    async def evict(ctx: EventContext) -> None:
        await ctx.evict("out")
        await anyio.lowlevel.checkpoint()

    setup = build()
    setup.lobby.on_message("evict me", evict)
    async with member(setup, "ann") as ann:
        say(ann, "", event="evict me")
        say(ann, "too late")
        await settled()
        assert events(ann) == ["EVICTED", "UNAUTHORIZED_BROADCAST"]
