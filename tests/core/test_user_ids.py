"""User ids: an int stands for its text in every call that takes one; what is no id is refused."""

import enum
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import anyio.to_thread
import pytest
from pondsocket import (
    Channel,
    ChannelHandle,
    ConnectionContext,
    EventContext,
    JoinContext,
    UsageError,
)
from pondsocket.testing import connect

from tests.core.members import channel_of, settled
from tests.core.ponds import ROOM, PondSetup, build

N: Any = 42


class Customer(enum.IntEnum):
    ANN = 42


class Called(NamedTuple):
    """What a call may act for."""

    setup: PondSetup
    ctx: EventContext
    room: ChannelHandle
    channel: Channel


Call = Callable[[Called, Any], Awaitable[object]]
# What the user 42 gets of each; the caller is the user 7.
CALLS: dict[str, tuple[Call, list[str]]] = {
    "ctx.broadcast_to": (lambda at, user: at.ctx.broadcast_to("x", {}, user), ["x"]),
    "ctx.broadcast_to, two": (lambda at, user: at.ctx.broadcast_to("x", {}, "7", user), ["x"]),
    "ctx.evict": (lambda at, user: at.ctx.evict("out", user), ["EVICTED"]),
    "ctx.track": (lambda at, user: at.ctx.track({"a": 1}, user), ["JOIN"]),
    "ctx.update_presence": (lambda at, user: at.ctx.update_presence({"a": 1}, user), ["JOIN"]),
    "channel.broadcast_to": (lambda at, user: at.channel.broadcast_to("x", {}, user), ["x"]),
    "channel.broadcast_from": (lambda at, user: at.channel.broadcast_from("x", {}, user), []),
    "channel.evict_user": (lambda at, user: at.channel.evict_user(user), ["EVICTED"]),
    "room.broadcast_to": (lambda at, user: at.room.broadcast_to("x", {}, user), ["x"]),
    "room.broadcast_from": (lambda at, user: at.room.broadcast_from("x", {}, user), []),
    "room.evict_user": (lambda at, user: at.room.evict_user(user, "out"), ["EVICTED"]),
    "broadcast_to_nowait": (lambda at, user: _nowait(at.room.broadcast_to_nowait, user), ["x"]),
    "broadcast_from_nowait": (lambda at, user: _nowait(at.room.broadcast_from_nowait, user), []),
    "disconnect": (lambda at, user: at.setup.pond.disconnect(user_id=user), ["GOODBYE"]),
    "close_connection": (lambda at, user: at.setup.endpoint.close_connection(user), ["GOODBYE"]),
    "room.has_user": (lambda at, user: at.room.has_user(user), []),
    "ctx.untrack": (lambda at, user: at.ctx.untrack(user), []),
}


async def _nowait(call: Callable[..., None], user: Any) -> None:
    await anyio.to_thread.run_sync(call, "x", {}, user)


async def done_for(call: Call, user: Any) -> tuple[object, list[str]]:
    """Return what a call gives or raises, and what the user 42 gets of it."""
    results: list[object] = []

    async def admit(ctx: ConnectionContext, n: int) -> None:
        ctx.accept(user_id=n)

    async def join(ctx: JoinContext) -> None:
        await ctx.accept()

    setup = build(join, connect=admit)

    @setup.lobby.on_message("go")
    async def go(ctx: EventContext) -> None:
        room = setup.pond.channel("/socket", ROOM)
        try:
            results.append(await call(Called(setup, ctx, room, await channel_of(setup)), user))
        except Exception as error:  # noqa: BLE001 - that is looked at
            results.append(error)

    async with (
        connect(setup.pond, "/socket?n=42") as ann,
        connect(setup.pond, "/socket?n=7") as bob,
    ):
        await ann.join(ROOM)
        await bob.join(ROOM)
        ann.drain()
        bob.send("BROADCAST", ROOM, "go")
        with anyio.fail_after(5):
            while not results:
                await settled()
        await settled()
        return results[0], [message.event for message in ann.drain()]


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("user", [42, "42", Customer.ANN], ids=repr)
async def test_an_int_reaches_the_user_of_this_id(name: str, user: Any) -> None:
    call, heard = CALLS[name]
    result, got = await done_for(call, user)
    assert not isinstance(result, Exception), result
    assert got == heard
    assert result is (True if name == "room.has_user" else None)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    "user", [None, ["42"], ("42", "7"), True, 4.2, "", "\ud800", uuid.UUID(int=1), b"42"], ids=ascii
)
async def test_what_is_no_id_is_a_usage_error_and_nothing_is_done(name: str, user: Any) -> None:
    result, got = await done_for(CALLS[name][0], user)
    assert isinstance(result, UsageError), result
    assert "A user's id is a str" in str(result)
    assert got == []


async def test_what_stands_in_the_place_of_an_id_is_told_by_its_type_alone() -> None:
    channel = build().pond.channel("/socket", ROOM)
    with pytest.raises(UsageError, match="not dict; give several") as raised:
        await channel.broadcast_to("ann", "news", {"text": "secret"})  # type: ignore[arg-type]
    assert "secret" not in str(raised.value)
    with pytest.raises(UsageError, match=r"not 'x{60}'; give"):
        await channel.evict_user("x" * 5_000)


async def test_ids_are_text_wherever_they_are_shown() -> None:
    seen: list[object] = []

    async def join(ctx: JoinContext) -> None:
        await ctx.accept()
        await ctx.track({"a": 1})
        presence, assigns = await ctx.get_all_presence(), await ctx.get_all_assigns()
        seen.extend([ctx.user.id, *presence, *assigns, assigns["42"]["user_id"]])

    setup = build(join, connect=lambda ctx: ctx.accept(user_id=N))
    async with connect(setup.pond, "/socket") as ann:
        await ann.join(ROOM)
    assert seen == ["42", "42", "42", 42]
