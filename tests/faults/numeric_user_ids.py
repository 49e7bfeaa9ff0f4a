"""User ids that are numbers, as databases give them: let in with `user_id=42`, addressed with 42.

Every call that takes an id reaches the user, or raises; none does nothing.
"""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from pondsocket import (
    ChannelHandle,
    ConnectionContext,
    Endpoint,
    EventContext,
    JoinContext,
    PondSocket,
    UsageError,
)
from pondsocket.testing import connect


class Called(NamedTuple):
    """What a call acts for."""

    pond: PondSocket
    endpoint: Endpoint
    room: ChannelHandle
    ctx: EventContext


Call = Callable[[Called, Any], Awaitable[object]]
CALLS: dict[str, tuple[Call, str | None]] = {
    "ctx.broadcast_to": (lambda at, user: at.ctx.broadcast_to("x", {}, user), "x"),
    "ctx.evict": (lambda at, user: at.ctx.evict("out", user), "EVICTED"),
    "ctx.track": (lambda at, user: at.ctx.track({"a": 1}, user), "JOIN"),
    "room.broadcast_to": (lambda at, user: at.room.broadcast_to("x", {}, user), "x"),
    "room.broadcast_from": (lambda at, user: at.room.broadcast_from("x", {}, user), None),
    "room.evict_user": (lambda at, user: at.room.evict_user(user), "EVICTED"),
    "pond.disconnect": (lambda at, user: at.pond.disconnect(user_id=user), "GOODBYE"),
    "close_connection": (lambda at, user: at.endpoint.close_connection(user), "GOODBYE"),
}


async def tried(call: Call, user: Any) -> list[str] | UsageError:
    """Return what the user 42 hears of a call, or the error."""
    results: list[UsageError] = []
    pond = PondSocket()

    @pond.endpoint("/socket")
    async def endpoint(ctx: ConnectionContext, n: int) -> None:
        ctx.accept(user_id=n)

    @endpoint.channel("/chat")
    async def chat(ctx: JoinContext) -> None:
        await ctx.accept()

    @chat.on_message("go")
    async def go(ctx: EventContext) -> str:
        try:
            await call(Called(pond, endpoint, pond.channel("/socket", "/chat"), ctx), user)
        except UsageError as error:
            results.append(error)
        return "done"

    async with connect(pond, "/socket?n=42") as ann, connect(pond, "/socket?n=7") as bob:
        for client in (ann, bob):
            await client.join("/chat")
            client.drain()
        await bob.answer(bob.send("BROADCAST", "/chat", "go"))
        for _ in range(10):
            await asyncio.sleep(0)
        return results[0] if results else [message.event for message in ann.drain()]


async def main() -> list[str]:
    faults = []
    for name, (call, wanted) in CALLS.items():
        heard = await tried(call, 42)
        if heard != ([] if wanted is None else [wanted]):
            faults.append(f"{name} with 42: {heard}")
        for wrong in (None, [42], True, ""):
            outcome = await tried(call, wrong)
            if not isinstance(outcome, UsageError):
                faults.append(f"{name} with {wrong!r}: {outcome}")
    return faults


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    found = asyncio.run(main())
    print("FAIL " + "; ".join(found) if found else "ok user ids that are numbers")
    sys.exit(bool(found))
