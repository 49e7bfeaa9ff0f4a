"""What the type checker makes of outgoing events. mypy reads it; pytest runs it too.

Each line with an ignored error is one that the checker must refuse: mypy reports an unused ignore.
"""

from dataclasses import dataclass
from typing import Any, assert_type

import pytest
from pondsocket import (
    BoundEvent,
    ChannelHandle,
    ConnectionContext,
    ConnectionHandle,
    DisconnectContext,
    EncodingError,
    Endpoint,
    Event,
    EventContext,
    GatewayContext,
    JoinContext,
    LeaveContext,
    Lobby,
    PondSocket,
    SyncDisconnectContext,
    SyncEventContext,
    SyncGatewayContext,
    SyncJoinContext,
    UsageError,
)
from pydantic import BaseModel
from typing_extensions import TypedDict


class Said(BaseModel):
    id: int


class Other(BaseModel):
    id: int


@dataclass
class Moved:
    x: int
    y: int = 0


class Typing(TypedDict):
    who: str


async def join(ctx: JoinContext) -> None:
    await ctx.accept()


said = Event("said", Said)
moved = Event("moved", Moved)
typing = Event("typing", Typing)
anything = Event("anything", dict[str, Any])
either: Event[Said | Moved] = Event("either", Said | Moved)
lobby = Lobby("/room/:id", join)
news = lobby.event("news", Said)
steps = lobby.event("steps", Moved)
stats = lobby.event("stats", dict[str, Any])
writes = lobby.event("writes", Typing)


def test_an_event_is_one_of_its_payloads() -> None:
    assert_type(said, Event[Said])
    assert_type(moved, Event[Moved])
    assert_type(typing, Event[Typing])
    assert_type(anything, Event[dict[str, Any]])
    assert_type(said.name, str)
    event: Event[Said] = news
    assert event is news
    assert_type(stats, BoundEvent[dict[str, Any], ...])


async def accepted(
    ctx: EventContext,
    joining: JoinContext,
    leaving: LeaveContext,
    plain: SyncEventContext,
    connecting: ConnectionContext,
    handle: ChannelHandle,
    chosen: str | Event[Said],
) -> None:
    await ctx.broadcast(said, Said(id=1))
    await ctx.broadcast(moved, Moved(1), history=False)
    await ctx.broadcast(typing, Typing(who="ann"))
    await ctx.broadcast(anything, {"a": 1})
    await ctx.broadcast(either, Moved(1))
    await ctx.broadcast(chosen, Said(id=1))
    await ctx.broadcast(news, Said(id=1))
    await ctx.broadcast("said", Other(id=1))
    await ctx.broadcast("said")
    await ctx.broadcast_to(said, Said(id=1), "ann", "bob")
    await ctx.broadcast_to("said", {"id": 1, "text": "x"}, "ann")
    await ctx.broadcast_from(said, Said(id=1))
    await ctx.reply(said, Said(id=1))
    await joining.reply(said, Said(id=1))
    await leaving.broadcast(said, Said(id=1))
    await ctx.channel.broadcast_from(said, Said(id=1), "ann")
    connecting.reply(said, Said(id=1))
    handle.broadcast_nowait(said, Said(id=1))
    handle.broadcast_to_nowait(said, Said(id=1), "ann")
    plain.reply(said, Said(id=1))
    plain.broadcast(said, Said(id=1))


async def refused(
    ctx: EventContext,
    joining: JoinContext,
    leaving: LeaveContext,
    plain: SyncEventContext,
    connecting: ConnectionContext,
    handle: ChannelHandle,
) -> None:
    other = Other(id=1)
    await ctx.broadcast(said, other)  # type: ignore[misc]
    await ctx.broadcast(said, {"id": 1})  # type: ignore[misc]
    await ctx.broadcast(said)  # type: ignore[call-overload]
    await ctx.broadcast(news, other)  # type: ignore[misc]
    await ctx.broadcast_to(said, other, "ann")  # type: ignore[misc]
    await ctx.broadcast_from(said, other)  # type: ignore[misc]
    await ctx.reply(said, other)  # type: ignore[misc]
    await joining.reply(said, other)  # type: ignore[misc]
    await leaving.broadcast(said, other)  # type: ignore[misc]
    await leaving.broadcast_to(said, other, "ann")  # type: ignore[misc]
    await ctx.channel.broadcast(said, other)  # type: ignore[misc]
    await ctx.channel.broadcast_from(said, other, "ann")  # type: ignore[misc]
    connecting.reply(said, other)  # type: ignore[misc]
    handle.broadcast_nowait(said, other)  # type: ignore[misc]
    handle.broadcast_from_nowait(said, other, "ann")  # type: ignore[misc]
    plain.reply(said, other)  # type: ignore[misc]
    plain.broadcast(said, other)  # type: ignore[misc]
    plain.broadcast_from(said, other)  # type: ignore[misc]


async def pushed(
    ctx: EventContext,
    joining: JoinContext,
    gateway: GatewayContext,
    gone: DisconnectContext,
    pond: PondSocket,
    endpoint: Endpoint,
    connection: ConnectionHandle,
    chosen: str | Event[Said],
) -> None:
    await ctx.push(said, Said(id=1))
    await ctx.push(news, Said(id=1), channel="GATEWAY")
    await ctx.push("said", {"id": 1, "text": "x"})
    await ctx.push(chosen, Said(id=1))
    await joining.push(moved, Moved(1))
    await gateway.push(typing, Typing(who="ann"))
    await gone.broadcast(said, Said(id=1))
    assert_type(await pond.push("ann", said, Said(id=1), path="/socket"), int)
    assert_type(await pond.push(7, "said"), int)
    pond.push_nowait("ann", said, Said(id=1))
    await endpoint.broadcast(said, Said(id=1), path="/socket")
    endpoint.broadcast_nowait(anything, {"a": 1})
    assert_type(connection.push(said, Said(id=1), channel="/room/1"), bool)
    assert_type(ctx.connection.push("said"), bool)
    assert_type(news.push(connection)(id=1), bool)
    assert_type(steps.push(connection, channel="/room/1")(Moved(1)), bool)


def pushed_by_plain_functions(
    ctx: SyncEventContext,
    joining: SyncJoinContext,
    gateway: SyncGatewayContext,
    gone: SyncDisconnectContext,
) -> None:
    ctx.push(said, Said(id=1))
    joining.push(said, Said(id=1))
    gateway.push(said, Said(id=1), channel="GATEWAY")
    gone.broadcast(said, Said(id=1))
    assert_type(news.push(ctx.connection)(Said(id=1)), bool)


async def push_refused(
    ctx: EventContext,
    gone: DisconnectContext,
    plain: SyncEventContext,
    pond: PondSocket,
    endpoint: Endpoint,
    connection: ConnectionHandle,
) -> None:
    other = Other(id=1)
    await ctx.push(said, other)  # type: ignore[misc]
    await ctx.push(said)  # type: ignore[call-overload]
    await gone.broadcast(said, other)  # type: ignore[misc]
    plain.push(said, other)  # type: ignore[misc]
    await pond.push("ann", said, other)  # type: ignore[misc]
    pond.push_nowait("ann", said, {"id": 1})  # type: ignore[misc]
    await endpoint.broadcast(said, other)  # type: ignore[misc]
    endpoint.broadcast_nowait(said, other)  # type: ignore[misc]
    connection.push(said, other)  # type: ignore[misc]
    news.push(connection)(idd=1)  # type: ignore[call-overload]
    news.push(connection)(other)  # type: ignore[call-overload]


async def test_a_bound_event_takes_a_payload_or_its_fields() -> None:
    with pytest.raises(UsageError, match="no endpoint"):
        await news("/room/1", id=1)
    with pytest.raises(UsageError, match="no endpoint"):
        await news("/room/1", Said(id=1), path="/socket", history=False)
    with pytest.raises(UsageError, match="no endpoint"):
        await news("/room/1", id=1, path="/socket")
    with pytest.raises(UsageError, match="no endpoint"):
        await steps("/room/1", x=1, history=False)
    with pytest.raises(UsageError, match="no endpoint"):
        await stats("/room/1", a=1, b="x")
    with pytest.raises(UsageError, match="no endpoint"):
        await writes("/room/1", {"who": "ann"})
    with pytest.raises(UsageError, match="no endpoint"):
        await news.to("ann")("/room/1", id=1)
    wrong: Any = "x"
    with pytest.raises(EncodingError):
        await news("/room/1", id="x")  # type: ignore[call-overload]
    with pytest.raises(EncodingError):
        await news("/room/1", idd=1)  # type: ignore[call-overload]
    with pytest.raises(EncodingError):
        await news("/room/1", Other(id=1))  # type: ignore[call-overload]
    with pytest.raises(EncodingError):
        await news.to("ann")("/room/1", idd=1)  # type: ignore[call-overload]
    with pytest.raises(EncodingError):
        await steps("/room/1", x=wrong, history=False)
    with pytest.raises(EncodingError):
        await writes("/room/1", w=1)  # type: ignore[call-overload]
