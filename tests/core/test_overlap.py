"""Whether a pattern matches all that another matches; and what is registered and never reached."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pondsocket import (
    ConnectionContext,
    EventContext,
    JoinContext,
    LeaveContext,
    Lobby,
    OutgoingContext,
    PondSocket,
    UsageError,
)
from pondsocket._state.overlap import covers
from pondsocket._state.patterns import Pattern

from tests.core.ponds import accept_join, admit, build, relay


@pytest.mark.parametrize(
    ("pattern", "other"),
    [
        ("*", "say"),
        ("*", ":any"),
        ("*", "*"),
        ("/*", "/a/b"),
        ("/*", "/:a/:b"),
        ("/:a", "/a"),
        ("/:a", "/v:b"),
        ("/v:a", "/v1"),
        ("/:a/b", "/:c/b"),
        ("/:a/*", "/b/c/*"),
        ("user::*", "user::created"),
        (":any", "user::created"),
    ],
)
def test_a_pattern_covers_another(pattern: str, other: str) -> None:
    assert covers(pattern, other)


@pytest.mark.parametrize(
    ("pattern", "other"),
    [
        ("say", "*"),
        ("/:a", "/*"),
        ("/:a", "/:a/:b"),
        ("/:a/*", "/*"),
        ("/v:a", "/:a"),
        ("/v:a", "/v"),
        ("/:a", "/"),
        ("/a/*", "/a"),
        ("/a/*", "/a/"),
        ("/:a/b", "/:a/c"),
        ("user::*", "user:name"),
    ],
)
def test_a_pattern_does_not_cover_another(pattern: str, other: str) -> None:
    assert not covers(pattern, other)


PARTS = st.lists(
    st.sampled_from(["a", "b", "ab", "::", ":x", "a:x", "b:x", ""]), min_size=1, max_size=3
)
PATTERNS = st.builds(
    lambda parts, end: (
        "/" + "/".join(part.replace("x", f"x{n}") for n, part in enumerate(parts)) + end
    ),
    PARTS,
    st.sampled_from(["", "", "/*"]),
)


def examples(pattern: str) -> list[str]:
    """Return names of a pattern that hold, for what is open, what no pattern holds."""
    names = []
    for rest in ("~", "~/~"):
        text = pattern[:-1] + rest if pattern.endswith("*") else pattern
        segments = [
            segment.replace("::", "\0").partition(":")[0].replace("\0", ":")
            + ("~" if ":" in segment.replace("::", "") else "")
            for segment in text.split("/")
        ]
        names.append("/".join(segments))
    return names


@given(PATTERNS, PATTERNS)
def test_a_pattern_covers_another_if_it_matches_all_that_is_open_in_it(
    pattern: str, other: str
) -> None:
    matched = [Pattern(pattern).match(name) is not None for name in examples(other)]
    assert all(Pattern(other).match(name) for name in examples(other))
    assert covers(pattern, other) is all(matched)


# --- what is never reached --------------------------------------------------------------------


async def numbered(ctx: JoinContext, id: int) -> None: ...  # noqa: A002


async def any_event() -> None: ...


# Any: some do what types forbid.
Register = Callable[[Any], object]
UNREACHABLE: dict[str, Register] = {
    "the same event": lambda to: to.lobby.on_message("say", relay),
    "an event behind a star": lambda to: (
        to.lobby.on_message("*", relay),
        to.lobby.on_message("ask", relay),
    ),
    "an event behind a parameter": lambda to: (
        to.lobby.on_message("item-:id", relay),
        to.lobby.on_message("item-7", relay),
    ),
    "an event of the endpoint": lambda to: (
        to.endpoint.on_message(":any", any_event),
        to.endpoint.on_message("ask", any_event),
    ),
    "the same outgoing event": lambda to: (
        to.lobby.on_outgoing("say", withhold),
        to.lobby.on_outgoing("say", withhold),
    ),
    "an outgoing event behind a star": lambda to: (
        to.lobby.on_outgoing("*", withhold),
        to.lobby.on_outgoing("say", withhold),
    ),
    "a channel behind another": lambda to: to.endpoint.create_channel("/room/vip", accept_join),
    "a lobby behind another": lambda to: to.endpoint.include(Lobby("/room/vip", accept_join)),
    "the same channel by other words": lambda to: to.endpoint.create_channel("/room/:n", numbered),
    "the same endpoint": lambda to: to.pond.create_endpoint("/socket", admit),
    "an endpoint behind another": lambda to: (
        to.pond.create_endpoint("/:tenant/socket", admit),
        to.pond.create_endpoint("/acme/socket", admit),
    ),
}


def any_value(value: Any) -> Any:
    return value


def withhold(ctx: OutgoingContext) -> None:
    ctx.block()


@pytest.mark.parametrize("register", UNREACHABLE.values(), ids=UNREACHABLE)
def test_what_is_never_reached_is_refused_at_registration(register: Register) -> None:
    with pytest.raises(UsageError, match=r"registered already|is never reached"):
        register(build())


def test_what_narrows_its_pattern_leaves_the_other_names_to_the_next() -> None:
    endpoint = PondSocket().create_endpoint("/socket", admit)
    endpoint.create_channel("/room/:id", numbered)
    endpoint.create_channel("/room/:id", accept_join)
    with pytest.raises(UsageError, match="registered already"):
        endpoint.create_channel("/room/:id", accept_join)
    assert endpoint.routing.serves("/room/x")


def test_a_lobby_that_is_refused_may_be_included_elsewhere() -> None:
    setup, lobby = build(), Lobby("/room/vip", accept_join)
    with pytest.raises(UsageError, match="is never reached"):
        setup.endpoint.include(lobby)
    other = setup.pond.create_endpoint("/other", admit)
    other.include(lobby)
    assert other.routing.serves("/room/vip")


# --- what is written in another way -----------------------------------------------------------


async def event(ctx: EventContext) -> None: ...


async def leave(ctx: LeaveContext) -> None: ...


async def connection(ctx: ConnectionContext) -> None: ...


MISWRITTEN: dict[str, tuple[Register, str]] = {
    "on_message": (lambda to: to.lobby.on_message(event), r'@….on_message\("event"\)'),
    "the endpoint's on_message": (lambda to: to.endpoint.on_message(event), "Write `@"),
    "on_outgoing": (lambda to: to.lobby.on_outgoing(withhold), "@lobby.on_outgoing"),
    "channel": (lambda to: to.endpoint.channel(numbered), "@endpoint.channel"),
    "endpoint": (lambda to: to.pond.endpoint(connection), "@pond.endpoint"),
    "create_channel": (lambda to: to.endpoint.create_channel(numbered, "/x"), "Write `@"),
    "create_endpoint": (lambda to: to.pond.create_endpoint(connection, "/x"), "Write `@"),
    "Lobby": (lambda to: Lobby(any_value(numbered), numbered), "Write `@"),
    "on_leave with a name": (lambda to: to.lobby.on_leave("leave"), "a function"),
    "a handler that got lost": (lambda to: to.lobby.on_message("x", None), "not None"),
    "an outgoing one": (lambda to: to.lobby.on_outgoing("x", None), "not None"),
    "a leave handler": (lambda to: to.lobby.on_leave(None), "not None"),
    "braces": (lambda to: to.endpoint.create_channel("/chat/{room_id}", numbered), "':room_id'"),
    "braces with a type": (lambda to: to.lobby.on_message("item-{id:int}", event), "':id'"),
    "angles": (lambda to: to.endpoint.create_channel("/chat/<int:id>", numbered), "write ':id'"),
    "braces of an endpoint": (lambda to: to.pond.create_endpoint("/{tenant}", admit), "':tenant'"),
    "a slash at the end": (lambda to: to.endpoint.create_channel("/chat/", accept_join), "no chan"),
    "an empty segment": (
        lambda to: to.endpoint.create_channel("/a//:id", numbered),
        "no channel's",
    ),
    "an endpoint's slash": (lambda to: to.pond.create_endpoint("/live/", admit), "write '/live'"),
}


@pytest.mark.parametrize(("register", "words"), MISWRITTEN.values(), ids=MISWRITTEN)
def test_what_is_written_in_another_way_is_told_what_to_write(
    register: Register, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        register(build())
