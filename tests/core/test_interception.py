"""Outgoing handlers: a last look at a broadcast, for each member it goes to."""

import contextvars
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from pondsocket import EventContext, Next, OutgoingContext, ServerActions, UsageError

from tests.core.members import events, member, members, say, settled
from tests.core.ponds import ROOM, PondSetup, build

Handle = Callable[[OutgoingContext], Any]


def plain(handler: Handle) -> Handle:
    return handler


def late(handler: Handle) -> Handle:
    """Do the same after a wait."""

    async def waiting(ctx: OutgoingContext) -> None:
        await anyio.lowlevel.checkpoint()
        handler(ctx)

    return waiting


KINDS = pytest.mark.parametrize("kind", [plain, late])


@KINDS
async def test_it_may_leave_an_event_alone(kind: Callable[[Handle], Handle]) -> None:
    seen: list[tuple[str, str, object]] = []
    setup = build()
    setup.lobby.on_outgoing(
        "say",
        kind(lambda ctx: seen.append((ctx.get_user().id, ctx.get_event(), ctx.get_payload()))),
    )
    async with member(setup, "ann") as ann, member(setup, "bob") as bob:
        say(ann, "hi")
        messages = [await peer.receive() for peer in (ann, bob)]

    assert [message.payload for message in messages] == [{"text": "hi"}] * 2
    assert messages[0].request_id == messages[1].request_id
    assert sorted(seen) == [("ann", "say", {"text": "hi"}), ("bob", "say", {"text": "hi"})]


@KINDS
async def test_it_may_withhold_an_event_from_a_member(kind: Callable[[Handle], Handle]) -> None:
    setup = build()
    setup.lobby.on_outgoing(
        "say", kind(lambda ctx: ctx.block() if ctx.get_user().id == "bob" else None)
    )
    async with member(setup, "ann") as ann, member(setup, "bob") as bob:
        say(ann, "hi")
        assert (await ann.receive()).event == "say"
        await settled()
        assert not bob.unread


@KINDS
async def test_it_may_take_that_back(kind: Callable[[Handle], Handle]) -> None:
    setup = build()
    seen: list[bool] = []

    def look(ctx: OutgoingContext) -> None:
        seen.append(ctx.is_blocked())
        ctx.block()
        seen.append(ctx.is_blocked())
        ctx.unblock()
        seen.append(ctx.is_blocked())

    setup.lobby.on_outgoing("say", kind(look))
    async with member(setup, "ann") as ann:
        say(ann, "hi")
        assert (await ann.receive()).payload == {"text": "hi"}
    assert seen == [False, True, False]


@KINDS
async def test_it_may_change_the_payload_for_a_member(kind: Callable[[Handle], Handle]) -> None:
    def personal(ctx: OutgoingContext) -> None:
        if ctx.get_user().id == "bob":
            ctx.transform({**ctx.get_payload(), "for": "bob"})

    setup = build()
    setup.lobby.on_outgoing("say", kind(personal))
    async with members(setup, "ann", "bob", "eve") as (ann, bob, eve):
        say(ann, "hi")
        payloads = {
            name: (await peer.receive()) for name, peer in (("a", ann), ("b", bob), ("e", eve))
        }

    assert payloads["a"].payload == payloads["e"].payload == {"text": "hi"}
    assert payloads["b"].payload == {"text": "hi", "for": "bob"}
    assert payloads["b"].action is ServerActions.BROADCAST
    assert (payloads["b"].event, payloads["b"].channel_name) == ("say", ROOM)


@KINDS
async def test_what_it_fails_to_filter_is_withheld_and_logged_and_nothing_else_changes(
    kind: Callable[[Handle], Handle], caplog: pytest.LogCaptureFixture
) -> None:
    def fail_for_bob(ctx: OutgoingContext) -> None:
        if ctx.get_user().id == "bob":
            raise LookupError("the secret")

    setup = build()
    setup.lobby.on_outgoing("say", kind(fail_for_bob))
    async with member(setup, "ann") as ann, member(setup, "bob") as bob:
        say(ann, "hi")
        assert (await ann.receive()).payload == {"text": "hi"}
        await settled()
        assert not bob.unread
        assert not ann.unread

    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.exc_info is not None
    assert "channel='/room/1'" in record.getMessage()
    assert "user='bob'" in record.getMessage()


@KINDS
async def test_a_payload_that_json_cannot_say_is_withheld(
    kind: Callable[[Handle], Handle], caplog: pytest.LogCaptureFixture
) -> None:
    setup = build()
    setup.lobby.on_outgoing("say", kind(lambda ctx: ctx.transform({"bad": object()})))
    async with member(setup, "ann") as ann:
        say(ann, "hi")
        await settled()
        assert not ann.unread
        assert ann.closed is None
    assert "outgoing handler failed" in caplog.text


async def test_the_first_registered_pattern_that_matches_wins() -> None:
    setup = build()
    setup.lobby.on_outgoing("sa:rest", lambda ctx: ctx.transform({"by": "first"}))
    setup.lobby.on_outgoing("*", lambda ctx: ctx.transform({"by": "second"}))
    setup.lobby.on_message("other", relay_other)
    async with member(setup, "ann") as ann:
        say(ann, "")
        say(ann, "", event="other")
        assert (await ann.receive()).payload == {"by": "first"}
        assert (await ann.receive()).payload == {"by": "second"}


async def relay_other(ctx: EventContext) -> None:
    await ctx.broadcast("other", {})


async def test_replies_and_presence_are_none_of_its_business() -> None:
    async def handler(ctx: EventContext) -> None:
        await ctx.reply("answer", {})
        await ctx.track({})

    setup = build()
    setup.lobby.on_outgoing("*", lambda ctx: ctx.block())
    setup.lobby.on_message("go", handler)
    async with member(setup, "ann") as ann:
        say(ann, "", event="go")
        await settled()
        assert events(ann) == ["answer", "JOIN"]


# --- order ------------------------------------------------------------------------------------


class Waiting:
    """An asynchronous outgoing handler that lets events through when told."""

    def __init__(self) -> None:
        self.opened = anyio.Event()

    async def __call__(self, ctx: OutgoingContext) -> None:
        await self.opened.wait()


async def test_everything_of_a_channel_keeps_its_order_where_a_handler_waits() -> None:
    async def all_kinds(ctx: EventContext) -> None:
        await ctx.broadcast_to("before", {}, ctx.user.id)
        await ctx.broadcast("slow", {})
        await ctx.reply("after", {})
        await ctx.broadcast("quick", {})
        await ctx.track({"n": 1})
        await ctx.broadcast("slow", {})

    setup, waiting = build(), Waiting()
    setup.lobby.on_outgoing("slow", waiting)
    setup.lobby.on_message("go", all_kinds)
    async with member(setup, "ann") as ann, member(setup, "bob") as bob:
        say(ann, "", event="go")
        ann.send("LEAVE_CHANNEL", ROOM, "leave")
        await settled()
        assert events(ann) == ["before"]
        assert events(bob) == []

        waiting.opened.set()
        await settled()
        assert events(ann) == ["slow", "after", "quick", "JOIN", "slow", "EXIT_ACKNOWLEDGE"]
        assert events(bob) == ["slow", "quick", "JOIN", "slow", "LEAVE"]


async def test_other_channels_are_not_delayed() -> None:
    setup, waiting = build(), Waiting()

    async def stall_one(ctx: OutgoingContext) -> None:
        if ctx.channel.name == ROOM:
            await waiting(ctx)

    setup.lobby.on_outgoing("say", stall_one)
    async with member(setup, "ann") as ann:
        await ann.join("/room/2")
        say(ann, "1")
        say(ann, "2", "/room/2")
        assert (await ann.receive()).payload == {"text": "2"}
        waiting.opened.set()
        assert (await ann.receive()).payload == {"text": "1"}


@pytest.mark.parametrize("leaves", [True, False])
async def test_who_joins_again_is_told_after_what_is_on_its_way(leaves: bool) -> None:
    setup, waiting = build(), Waiting()
    setup.lobby.on_outgoing("say", waiting)
    async with member(setup, "ann") as ann:
        say(ann, "1")
        if leaves:
            ann.send("LEAVE_CHANNEL", ROOM, "leave")
        ann.send("JOIN_CHANNEL", ROOM, "join")
        say(ann, "2")
        await settled()
        assert not ann.unread

        waiting.opened.set()
        await settled()
        expected = ["say", "EXIT_ACKNOWLEDGE", "ACKNOWLEDGE", "say"]
        assert events(ann) == [event for event in expected if leaves or event[0] != "E"]


async def test_a_refusal_comes_after_what_is_on_its_way() -> None:
    joins = 0

    async def once(ctx: Any) -> None:
        nonlocal joins
        joins += 1
        await (ctx.accept() if joins == 1 else ctx.decline(403, "once only"))

    setup, waiting = build(once), Waiting()
    setup.lobby.on_outgoing("say", waiting)
    async with member(setup, "ann") as ann:
        say(ann, "1")
        ann.send("JOIN_CHANNEL", ROOM, "join")
        await settled()
        waiting.opened.set()
        await settled()
        assert events(ann) == ["say", "UNAUTHORIZED"]


async def test_an_eviction_comes_after_what_is_on_its_way() -> None:
    async def evict(ctx: EventContext) -> None:
        await ctx.evict("out")

    setup, waiting = build(), Waiting()
    setup.lobby.on_outgoing("say", waiting)
    setup.lobby.on_message("evict", evict)
    async with member(setup, "ann") as ann:
        say(ann, "1")
        say(ann, "", event="evict")
        await settled()
        waiting.opened.set()
        await settled()
        assert events(ann) == ["say", "EVICTED"]


VAR: contextvars.ContextVar[str] = contextvars.ContextVar("VAR", default="clean")


async def test_it_does_not_see_the_context_of_the_broadcaster() -> None:
    seen: list[str] = []

    async def look(ctx: OutgoingContext) -> None:
        await anyio.lowlevel.checkpoint()
        seen.append(VAR.get())

    async def soil(ctx: EventContext) -> None:
        VAR.set("soiled")
        await ctx.broadcast("seen", {})

    setup = build()
    setup.lobby.on_outgoing("seen", look)
    setup.lobby.on_message("soil", soil)
    async with member(setup, "ann") as ann, member(setup, "bob"):
        say(ann, "", event="soil")
        await settled()

    assert seen == ["clean", "clean"]


# --- middleware -------------------------------------------------------------------------------


def recording(setup: PondSetup, order: list[str], kinds: str, handler_kind: str) -> None:
    def plain_step(name: str) -> Any:
        def step(ctx: OutgoingContext, next: Callable[[], Any]) -> None:  # noqa: A002
            order.append(name)
            next()

        return step

    def async_step(name: str) -> Any:
        async def step(ctx: OutgoingContext, next: Next) -> None:  # noqa: A002
            await anyio.lowlevel.checkpoint()
            order.append(name)
            await next()

        return step

    def handler(ctx: OutgoingContext) -> None:
        order.append("handler")
        ctx.transform({"seen": "by the handler"})

    async def async_handler(ctx: OutgoingContext) -> None:
        handler(ctx)

    steps = [
        (async_step if kind == "a" else plain_step)(f"{number}")
        for number, kind in enumerate(kinds)
    ]
    setup.lobby.on_outgoing("say", async_handler if handler_kind == "a" else handler, *steps)


@pytest.mark.parametrize(("kinds", "handler"), [("pp", "p"), ("aa", "a"), ("aa", "p"), ("ap", "p")])
async def test_middleware_runs_in_the_order_of_registration(kinds: str, handler: str) -> None:
    setup, order = build(), list[str]()
    recording(setup, order, kinds, handler)
    async with member(setup, "ann") as ann:
        say(ann, "")
        assert (await ann.receive()).payload == {"seen": "by the handler"}

    assert order == ["0", "1", "handler"]


@pytest.mark.parametrize(("kinds", "handler"), [("p", "a"), ("pa", "p"), ("ap", "a")])
def test_plain_middleware_around_what_must_be_awaited_fails_at_registration(
    kinds: str, handler: str
) -> None:
    with pytest.raises(UsageError, match="must be `async def` itself"):
        recording(build(), [], kinds, handler)


async def test_middleware_that_does_not_go_on_stops_the_handler() -> None:
    setup, order = build(), list[str]()

    def stop(ctx: OutgoingContext, next: Callable[[], Any]) -> None:  # noqa: A002
        order.append("stop")

    setup.lobby.on_outgoing("say", lambda ctx: ctx.block(), stop)
    async with member(setup, "ann") as ann:
        say(ann, "")
        assert (await ann.receive()).event == "say"
    assert order == ["stop"]


async def test_a_handler_that_waits_must_be_there_before_the_first_member() -> None:
    setup = build()
    async with member(setup, "ann") as ann:
        with pytest.raises(UsageError, match="before the first member joins"):
            setup.lobby.on_outgoing("say", Waiting())
        setup.lobby.on_outgoing("say", lambda ctx: ctx.transform({"plain": "may"}))
        say(ann, "")
        assert (await ann.receive()).payload == {"plain": "may"}


@pytest.mark.parametrize(
    ("handler", "middleware", "words"),
    [
        (lambda: None, None, "a handler is called with"),
        ("not a function", None, "a function .* is needed"),
        (lambda ctx: None, lambda ctx: None, "middleware is called with"),
    ],
)
def test_a_wrong_form_fails_at_registration(handler: Any, middleware: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words) as failure:
        build().lobby.on_outgoing("say", handler, *([middleware] if middleware else []))
    assert "channel '/room/:id', outgoing 'say'" in str(failure.value)
