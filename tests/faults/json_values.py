"""Values that JSON has no form for, NaN for instance, given to each call that sends or keeps.

Each is sent in its documented form, or raises where it is given, the same at every call. Nothing is
changed in silence, and nothing said later is lost.
"""

import asyncio
import datetime as dt
import decimal
import enum
import logging
import math
import sys
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from pondsocket import (
    ConnectionContext,
    EncodingError,
    EventContext,
    JoinContext,
    PondSocket,
    UsageError,
)
from pondsocket.testing import connect
from pydantic import BaseModel


class Reading(BaseModel):
    value: float = math.nan


class Colour(enum.Enum):
    RED = "red"


VALUES: dict[str, tuple[Any, str]] = {
    "NaN": (math.nan, "refused"),
    "infinity": (-math.inf, "refused"),
    "a model with NaN": (Reading(), "refused"),
    "a Decimal": (decimal.Decimal("1.10"), "refused"),
    "a set": ({1}, "refused"),
    "bytes": (b"x", "refused"),
    "an int key": ({1: 2}, "refused"),
    "a large integer": (2**70, "refused"),
    "a lone surrogate": ("\ud800", "refused"),
    "an object": (object(), "refused"),
    "a tuple": ((1, 2), "[1, 2]"),
    "a datetime": (
        dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
        "'2026-01-02T00:00:00+00:00'",
    ),
    "a UUID": (uuid.UUID(int=1), "'00000000-0000-0000-0000-000000000001'"),
    "an Enum": (Colour.RED, "'red'"),
    "a str subclass": (type("Text", (str,), {})("s"), "'s'"),
}


async def tried(value: Any) -> dict[str, str]:
    """Return what becomes of a value at each call."""
    outcomes: dict[str, str] = {}
    pond = PondSocket()

    async def attempt(name: str, call: Callable[[], Awaitable[object]]) -> None:
        try:
            await call()
        except (EncodingError, UsageError):
            outcomes[name] = "refused"

    @pond.endpoint("/socket")
    async def endpoint(ctx: ConnectionContext) -> None:
        ctx.accept(user_id="ann")

    @endpoint.channel("/chat")
    async def chat(ctx: JoinContext) -> None:
        await ctx.accept()

    @endpoint.channel("/response")
    async def response(ctx: JoinContext) -> None:
        await attempt("response", lambda: ctx.accept(response={"v": value}))
        await ctx.accept()

    @chat.on_message("go")
    async def go(ctx: EventContext) -> None:
        await attempt("broadcast", lambda: ctx.broadcast("broadcast", {"v": value}))
        await attempt("track", lambda: ctx.track({"v": value}))
        await attempt("reply", lambda: ctx.reply("reply", {"v": value}))

    async with connect(pond, "/socket") as ann:
        await ann.join("/chat")
        ann.send("BROADCAST", "/chat", "go")
        answer: Any = await ann.join("/response")
        if answer.payload.response is not None:
            outcomes["response"] = repr(answer.payload.response["v"])
        await pond.channel("/socket", "/chat").broadcast("later", {})
        for message in ann.drain():
            payload: Any = message.payload
            if message.event in ("broadcast", "reply"):
                outcomes[message.event] = repr(payload["v"])
            elif message.event == "JOIN":
                outcomes["track"] = repr(payload.changed["v"])
            elif message.event == "later":
                outcomes["later"] = "sent"
    return outcomes


async def main() -> list[str]:
    faults = []
    for name, (value, wanted) in VALUES.items():
        expected = dict.fromkeys(("broadcast", "track", "reply", "response"), wanted)
        outcomes = await tried(value)
        if outcomes != {**expected, "later": "sent"}:
            faults.append(f"{name}: {outcomes}, wanted {wanted}")
    return faults


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    found = asyncio.run(main())
    print("FAIL " + "; ".join(found) if found else "ok what JSON has no form for is refused")
    sys.exit(bool(found))
