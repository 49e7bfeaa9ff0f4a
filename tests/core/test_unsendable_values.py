"""Values that JSON has no form for: every call that sends or keeps refuses them, and loses nothing.

They are an `EncodingError` that names the place, or a `UsageError`, where the value is given.
"""

import dataclasses
import decimal
import math
import threading
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any

import anyio.to_thread
import pytest
from pondsocket import (
    ChannelHandle,
    ConnectionContext,
    EncodingError,
    EventContext,
    History,
    JoinContext,
    OutgoingContext,
    UsageError,
)
from pondsocket.testing import connect
from pondsocket_common import Acknowledged, Connected, Fault
from pydantic import BaseModel, RootModel

from tests.core.members import events, member, say, settled
from tests.core.ponds import ROOM, build


class Reading(BaseModel):
    at: float = math.nan


class Row(BaseModel):
    cells: dict[str, Any]


@dataclasses.dataclass
class Point:
    x: float


UNSENDABLE: dict[str, Any] = {
    "NaN": math.nan,
    "infinity": -math.inf,
    "NaN in a model": [Reading()],
    "NaN of no known type in a model": Row(cells={"a": [math.nan]}),
    "NaN in a dataclass": Point(math.nan),
    "NaN in a mapping": MappingProxyType({"a": math.inf}),
    "an int key": {1: 2},
    "a set": {1},
    "bytes": b"x",
    "a Decimal": decimal.Decimal("1.10"),
    "a lone surrogate": "\ud800",
    "an integer of 65 bits": 2**64,
    "what a model cannot write": Row(cells={"a": object()}),
    "what cannot be copied": threading.Lock(),
}

Call = Callable[[EventContext, Any], Awaitable[object]]
CALLS: dict[str, Call] = {
    "reply": lambda ctx, value: ctx.reply("x", value),
    "broadcast": lambda ctx, value: ctx.broadcast("x", value),
    "broadcast_to": lambda ctx, value: ctx.broadcast_to("x", value, "ann"),
    "broadcast_from": lambda ctx, value: ctx.broadcast_from("x", value),
    "track": lambda ctx, value: ctx.track(value),
    "update_presence": lambda ctx, value: ctx.update_presence(value),
    "broadcast_nowait": lambda ctx, value: anyio.to_thread.run_sync(_nowait(ctx), "x", value),
}


def _nowait(ctx: EventContext) -> Callable[[str, Any], None]:
    channel = ctx.channel
    loop = ctx.session.environment.loop
    return ChannelHandle(ROOM, "/socket", lambda: channel, loop).broadcast_nowait


@pytest.mark.parametrize("value", UNSENDABLE.values(), ids=UNSENDABLE)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_every_call_of_an_event_refuses_it_where_it_is_given(call: Call, value: Any) -> None:
    raised: list[Exception] = []
    setup = build()

    @setup.lobby.on_message("go")
    async def go(ctx: EventContext) -> str:
        for payload in ({"none": None, "v": value}, value):
            try:
                await call(ctx, payload)
            except (EncodingError, UsageError) as error:
                raised.append(error)
        return "done"

    async with member(setup, "ann") as ann:
        say(ann, "", event="go")
        say(ann, "later")
        assert (await ann.receive()).payload == {"result": "done"}
        assert (await ann.receive()).payload == {"text": "later"}
    assert len(raised) == 2
    first, second = raised
    assert isinstance(first, EncodingError)
    if not isinstance(value, BaseModel):
        assert "v" in str(first)
    assert isinstance(second, EncodingError | UsageError)


@pytest.mark.parametrize("value", UNSENDABLE.values(), ids=UNSENDABLE)
async def test_what_a_join_responds_and_a_connection_replies_refuses_it(value: Any) -> None:
    raised: list[str] = []

    async def admit(ctx: ConnectionContext) -> None:
        try:
            ctx.reply("x", {"v": value})
        except EncodingError:
            raised.append("reply")
        ctx.accept()

    async def join(ctx: JoinContext) -> None:
        try:
            await ctx.accept(response={"v": value})
        except EncodingError:
            raised.append("accept")
            await ctx.accept(response={"v": None})

    setup = build(join, connect=admit)
    async with connect(setup.pond, "/socket") as ann:
        assert isinstance((await ann.receive()).payload, Connected)
        assert (await ann.join(ROOM)).payload == Acknowledged(response={"v": None})
    assert raised == ["reply", "accept"]


@pytest.mark.parametrize("value", UNSENDABLE.values(), ids=UNSENDABLE)
async def test_what_a_handler_returns_or_transforms_to_is_logged_and_answered(
    value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    setup = build()

    @setup.lobby.on_message("return")
    async def returned(ctx: EventContext) -> object:
        return {"v": value}

    @setup.lobby.on_outgoing("say")
    def transform(ctx: OutgoingContext) -> None:
        if ctx.get_user().id == "bob":
            ctx.transform({"v": value})

    async with member(setup, "ann") as ann, member(setup, "bob") as bob:
        answer = await ann.answer(say(ann, "", event="return"))
        assert isinstance(answer.payload, Fault)
        assert answer.payload.code == 500
        say(ann, "hi")
        await settled()
        assert (events(ann), events(bob)) == (["say"], [])
    assert caplog.text.count("EncodingError") == 2


async def test_a_history_keeps_nothing_of_what_cannot_be_sent() -> None:
    setup = build()

    async def join(ctx: JoinContext) -> None:
        await ctx.accept(history=9)

    setup.endpoint.create_channel("/news", join, history=History(size=9))
    room = setup.pond.channel("/socket", "/news")
    for value in UNSENDABLE.values():
        with pytest.raises(EncodingError):
            await room.broadcast("news", {"v": value})
        with pytest.raises(EncodingError):
            room.broadcast_nowait("news", {"v": value})
    await room.broadcast("news", {"v": 1.5})
    async with connect(setup.pond, "/socket") as ann:
        await ann.join("/news")
        message = await ann.receive_event("news")
        assert (message.payload, message.position and message.position.offset) == ({"v": 1.5}, 1)


SENT: dict[str, tuple[Any, object]] = {
    "a tuple": ((1, 2), [1, 2]),
    "a str subclass": (type("Text", (str,), {})("s"), "s"),
    "None in a model": (Row(cells={"a": None}), {"cells": {"a": None}}),
    "the text null": ("null", "null"),
    "a root model": (RootModel[list[int]]([1]), [1]),
}


@pytest.mark.parametrize(("value", "told"), SENT.values(), ids=SENT)
async def test_what_has_a_form_is_sent_in_it(value: Any, told: object) -> None:
    setup = build()
    async with member(setup, "ann") as ann:
        await setup.pond.channel("/socket", ROOM).broadcast("x", {"v": value})
        payload = (await ann.receive_event("x")).payload
        assert isinstance(payload, Mapping)
        assert payload["v"] == told
