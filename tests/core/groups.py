"""What the tests of routers, classes and `use` share: a client that asks and is answered."""

from collections.abc import Mapping
from typing import Any

from pondsocket import EventContext, JoinContext, Middleware, Next, PondSocket
from pondsocket.testing import connect


async def accept(ctx: JoinContext) -> None:
    await ctx.accept()


async def ask(
    pond: PondSocket,
    event: str,
    name: str = "GATEWAY",
    payload: Mapping[str, Any] | None = None,
    path: str = "/socket",
) -> Any:
    """Connect, join a channel, send an event, and return what the answer says."""
    async with connect(pond, path) as peer:
        if name != "GATEWAY":
            assert (await peer.join(name)).event == "ACKNOWLEDGE"
        answer = await peer.answer(peer.send("BROADCAST", name, event, payload))
    if isinstance(answer.payload, Mapping):
        return answer.payload.get("result", dict(answer.payload))
    return getattr(answer.payload, "message", answer.payload)


def noting(log: list[str], name: str) -> Middleware[EventContext]:
    """Middleware around events that adds its name to a log."""

    async def middleware(ctx: EventContext, next: Next) -> object:  # noqa: A002
        log.append(name)
        return await next()

    return middleware


def noting_joins(log: list[str], name: str) -> Middleware[JoinContext]:
    """Middleware around joins that adds its name to a log."""

    async def middleware(ctx: JoinContext, next: Next) -> object:  # noqa: A002
        log.append(name)
        return await next()

    return middleware
