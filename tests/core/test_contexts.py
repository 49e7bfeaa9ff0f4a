"""What event and leave handlers are given, and what it does."""

import pytest
from pondsocket import (
    EventContext,
    Headers,
    JoinContext,
    LeaveContext,
    LeaveReason,
    PondError,
    QueryParams,
    ServerActions,
    UsageError,
    User,
)
from pondsocket._state.payloads import as_payload, check_event
from pondsocket.testing import connect

from tests.core.members import events, member, members, say, say_in_two_rooms, settled
from tests.core.ponds import ROOM, build

# --- assigns ----------------------------------------------------------------------------------


async def join_as_member(ctx: JoinContext) -> None:
    await ctx.accept({"role": "member"})
    await ctx.track({"status": "online"})


async def test_assigns_of_a_membership_and_of_the_connection_do_not_leak() -> None:
    seen: list[dict[str, object]] = []

    async def join(ctx: JoinContext) -> None:
        await ctx.set_assign("early", ctx.route.params["id"])
        await ctx.assign({"given": 1}, named=2)
        assert await ctx.get_assign("early") == ctx.route.params["id"]
        await ctx.accept({"role": "member of " + ctx.route.params["id"]})
        await ctx.set_assign("late", True)

    async def look(ctx: EventContext) -> None:
        assert await ctx.get_assign("role") == ctx.user.assigns["role"]
        assert await ctx.get_assign("nothing") is None
        assert await ctx.get_assign("nothing", 7) == 7
        seen.append(dict(ctx.user.assigns))
        await ctx.set_assign("role", "changed")
        await ctx.assign({"a": 1}, b=2)

    setup = build(join)
    setup.lobby.on_message("look", look)
    async with member(setup, "ann") as ann:
        await say_in_two_rooms(ann, "look")
        await settled()
        assert ann.session.assigns == {"user_id": "ann"}
        ann.send("LEAVE_CHANNEL", ROOM, "leave")
        await ann.join(ROOM)
        say(ann, "", event="look")
        await settled()

    def fresh(number: str) -> dict[str, object]:
        return {
            "user_id": "ann",
            "early": number,
            "given": 1,
            "named": 2,
            "role": f"member of {number}",
            "late": True,
        }

    assert seen == [
        fresh("1"),
        fresh("2"),
        {**fresh("1"), "role": "changed", "a": 1, "b": 2},
        fresh("1"),
    ]


# --- events -----------------------------------------------------------------------------------


async def test_an_event_context_shows_what_was_sent() -> None:
    seen: list[object] = []

    async def look(ctx: EventContext) -> None:
        seen.extend([ctx.event_name, ctx.get_payload(), ctx.request_id, ctx.route.params])
        seen.extend([ctx.channel.name, ctx.channel.params, ctx.user, ctx.get_user()])
        seen.extend([await ctx.get_all_presence(), await ctx.get_all_assigns()])

    setup = build(join_as_member)
    setup.lobby.on_message("look-:what", look)
    async with member(setup, "ann") as ann:
        request_id = say(ann, "hi", event="look-here")
        await settled()

    assigns = {"user_id": "ann", "role": "member"}
    user = User("ann", assigns, {"status": "online"})
    assert seen == [
        "look-here",
        {"text": "hi"},
        request_id,
        {"what": "here"},
        ROOM,
        {"id": "1"},
        user,
        user,
        {"ann": {"status": "online"}},
        {"ann": assigns},
    ]


async def test_a_reply_goes_to_the_asking_connection_alone_under_its_request_id() -> None:
    async def answer(ctx: EventContext) -> None:
        await ctx.reply("answer", {"n": 1})

    setup = build()
    setup.lobby.on_message("ask", answer)
    async with member(setup, "ann") as ann, member(setup, "ann") as tab:
        request_id = say(ann, "", event="ask")
        message = await ann.receive()
        await settled()
        assert not tab.unread
        assert not ann.unread

    assert (message.action, message.channel_name) == (ServerActions.SYSTEM, ROOM)
    assert (message.request_id, message.event) == (request_id, "answer")
    assert message.payload == {"n": 1}


async def test_a_second_reply_is_logged_and_the_first_one_stands(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def answer(ctx: EventContext) -> None:
        await ctx.reply("answer", {"n": 1})
        await ctx.reply("and")

    setup = build()
    setup.lobby.on_message("ask", answer)
    async with member(setup, "ann") as ann:
        say(ann, "", event="ask")
        await settled()
        assert events(ann) == ["answer"]
    assert "A handler replied twice to the event 'ask'" in caplog.text


@pytest.mark.parametrize("event", ["ACKNOWLEDGE", "GOODBYE", ""])
async def test_a_reply_cannot_have_a_reserved_name(
    event: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def answer(ctx: EventContext) -> None:
        await ctx.reply(event, {})

    setup = build()
    setup.lobby.on_message("ask", answer)
    async with member(setup, "ann") as ann:
        say(ann, "", event="ask")
        assert (await ann.receive()).event == "INTERNAL_SERVER_ERROR"
    assert "UsageError" in caplog.text


async def test_replies_and_broadcasts_arrive_in_the_order_in_which_they_were_sent() -> None:
    async def handler(ctx: EventContext) -> None:
        await ctx.broadcast("all", {})
        await ctx.reply("reply", {})
        for number in range(2):
            await ctx.broadcast("all", {"n": number})
            await ctx.track({"n": number})
            await ctx.broadcast_to("you", {}, ctx.user.id)

    setup = build()
    setup.lobby.on_message("go", handler)
    async with member(setup, "ann") as ann:
        say(ann, "", event="go")
        await settled()
        assert events(ann) == [
            *("all", "reply"),
            *("all", "JOIN", "you"),
            *("all", "UPDATE", "you"),
        ]


async def test_broadcast_from_leaves_out_this_connection_not_the_users_others() -> None:
    async def others(ctx: EventContext) -> None:
        await ctx.broadcast_from("others", {})

    setup = build()
    setup.lobby.on_message("go", others)
    async with member(setup, "ann") as ann, member(setup, "ann") as tab:
        say(ann, "", event="go")
        assert (await tab.receive()).event == "others"
        await settled()
        assert not ann.unread


async def test_track_update_and_untrack_reach_the_users_named() -> None:
    async def handler(ctx: EventContext) -> None:
        await ctx.track({"set by": ctx.user.id}, "bob", "eve")
        await ctx.update_presence({"again": True}, "bob")
        await ctx.untrack("eve")

    setup = build()
    setup.lobby.on_message("go", handler)
    async with (
        member(setup, "ann") as ann,
        member(setup, "bob"),
        member(setup, "bob"),
        member(setup, "eve"),
    ):
        say(ann, "", event="go")
        await settled()
        channel = await setup.lobby.get_channel(ROOM)
        assert channel is not None
        assert await channel.get_presence() == {"bob": {"again": True}}
        # Bob's second tab shows the same, then another object; the first one follows unseen.
        assert events(ann) == ["JOIN", "JOIN", "UPDATE", "LEAVE"]


@pytest.mark.parametrize(
    "attempt",
    [
        lambda ctx: ctx.track({}, "bob", "zoe"),
        lambda ctx: ctx.update_presence({}, "zoe"),
        lambda ctx: ctx.untrack("zoe"),
        lambda ctx: ctx.evict("out", "zoe"),
    ],
)
async def test_naming_a_user_who_is_no_member_is_a_usage_error(attempt: object) -> None:
    failures: list[str] = []

    async def handler(ctx: EventContext) -> None:
        try:
            await attempt(ctx)  # type: ignore[operator]
        except UsageError as error:
            failures.append(str(error))

    setup = build()
    setup.lobby.on_message("go", handler)
    async with member(setup, "ann") as ann, member(setup, "bob"):
        say(ann, "", event="go")
        await settled()
        assert not ann.unread  # no user was tracked, not even bob

    assert failures == ["User zoe is not a member of /room/1."]


async def test_evict_without_ids_is_of_this_connection_with_ids_of_the_users() -> None:
    async def out(ctx: EventContext) -> None:
        await ctx.evict("all of bob", *(["bob"] if ctx.get_payload()["text"] else []))

    setup = build()
    setup.lobby.on_message("out", out)
    async with members(setup, "ann", "ann", "bob", "bob") as (ann, tab, bob, bob_tab):
        say(ann, "bob", event="out")
        await settled()
        assert events(bob) == events(bob_tab) == ["EVICTED"]
        say(ann, "", event="out")
        await settled()
        assert events(ann) == ["EVICTED"]
        assert not tab.unread


async def test_a_context_kept_beyond_its_handler_still_broadcasts() -> None:
    kept: list[EventContext] = []

    async def keep(ctx: EventContext) -> None:
        kept.append(ctx)

    setup = build()
    setup.lobby.on_message("keep", keep)
    async with member(setup, "bob") as bob:
        async with member(setup, "ann") as ann:
            say(ann, "", event="keep")
            await settled()
        await kept[0].reply("too late", {})
        await kept[0].broadcast("later", {})
        assert (await bob.receive()).event == "later"


# --- leaves -----------------------------------------------------------------------------------


async def test_a_leave_context_shows_who_was_there() -> None:
    seen: list[object] = []

    async def leave(ctx: LeaveContext) -> None:
        seen.extend([ctx.user, ctx.channel.name, await ctx.remaining_user_count()])
        await ctx.broadcast("left", {})
        await ctx.broadcast_from("left again", {})
        await ctx.broadcast_to("psst", {}, "bob", "ann")
        assert (ctx.get_user(), ctx.get_reason()) == (ctx.user, ctx.reason)
        assert ctx.get_reason() is LeaveReason.CONNECTION_CLOSED
        assert ctx.get_assign("role") == "member"
        assert ctx.get_assign("user_id") == ctx.user.id
        assert ctx.get_assign("nothing") is None
        assert ctx.get_assign("nothing", 7) == 7
        seen.extend([await ctx.get_all_presence(), await ctx.get_all_assigns()])

    setup = build(join_as_member)
    setup.lobby.on_leave(leave)
    async with member(setup, "bob") as bob:
        async with member(setup, "ann"):
            pass
        await settled()
        assert events(bob)[-4:] == ["LEAVE", "left", "left again", "psst"]

    user = User("ann", {"user_id": "ann", "role": "member"}, {"status": "online"})
    bobs = {"user_id": "bob", "role": "member"}
    assert seen[:5] == [user, ROOM, 1, {"bob": {"status": "online"}}, {"bob": bobs}]


# --- what was done so far ---------------------------------------------------------------------


async def test_a_join_context_says_what_was_decided() -> None:
    seen: list[tuple[bool, bool, bool]] = []

    async def join(ctx: JoinContext) -> None:
        def look() -> None:
            seen.append((ctx.is_accepted, ctx.has_responded, ctx.has_replied()))

        look()
        if ctx.join_params:
            await ctx.accept()
            look()
            await ctx.reply("welcome")
        else:
            await ctx.decline()
        look()

    setup = build(join)
    async with connect(setup.pond, "/socket") as ann:
        await ann.join(ROOM, {"wanted": True})
        await ann.join("/room/2")
    before, accepted, declined = (False, False, False), (True, True, False), (False, True, False)
    assert seen == [before, accepted, (True, True, True), before, declined]


async def test_an_event_context_says_whether_it_has_its_reply_and_its_sender() -> None:
    seen: list[tuple[bool, bool, bool]] = []

    async def ask(ctx: EventContext) -> None:
        def look() -> None:
            seen.append((ctx.is_accepted, ctx.has_responded, ctx.has_replied()))

        look()
        await ctx.reply("answer")
        look()
        await ctx.evict()
        look()

    setup = build()
    setup.lobby.on_message("ask", ask)
    async with member(setup, "ann") as ann:
        say(ann, "", event="ask")
        await ann.receive_event("EVICTED")
        await settled()
    assert seen == [(True, False, False), (True, True, True), (False, True, True)]


async def test_an_event_of_the_endpoint_has_a_sender_while_that_is_connected() -> None:
    seen: list[tuple[bool, bool, bool]] = []
    kept: list[EventContext] = []

    async def ask(ctx: EventContext) -> None:
        kept.append(ctx)
        await ctx.reply("answer")
        seen.append((ctx.is_accepted, ctx.has_responded, ctx.has_replied()))

    setup = build()
    setup.endpoint.on_message("ask", ask)
    async with connect(setup.pond, "/socket") as ann:
        await ann.answer(ann.send("BROADCAST", "GATEWAY", "ask"))
        await settled()
    assert seen == [(True, True, True)]
    assert not kept[0].is_accepted


# --- the pieces -------------------------------------------------------------------------------


def test_a_payload_of_nothing_is_an_empty_object() -> None:
    assert as_payload(None) == {}
    assert as_payload(QueryParams([("a", "1")])) == {"a": "1"}
    assert as_payload(Headers([("A", "1")])) == {"a": "1"}


def test_internal_error_is_a_name_that_applications_may_use() -> None:
    check_event("INTERNAL_ERROR")


def test_a_pond_error_has_a_code_and_a_message() -> None:
    error = PondError("No.", 403)

    assert (error.message, error.code, str(error)) == ("No.", 403, "No.")
    assert PondError("No.").code == 400
