"""`await` before what does not wait, none before what does, and `next()` called twice.

`await ctx.accept()` works in a connection handler as in a join handler; the others are told.
"""

import asyncio
import logging
import sys
import warnings
from typing import Any

from pondsocket import ConnectionContext, EventContext, JoinContext, Next, PondSocket
from pondsocket.testing import ConnectionRefused, connect


class Kept(logging.Handler):
    """The lines of the log, with the text of their exceptions."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else ""
        self.lines.append(f"{record.getMessage()} {error}")


def build(ran: list[str]) -> PondSocket:
    pond = PondSocket()

    @pond.endpoint("/declined")
    async def declined(ctx: ConnectionContext) -> None:
        await ctx.decline(403, "no")

    @pond.endpoint("/socket")
    async def endpoint(ctx: ConnectionContext) -> None:
        await ctx.accept()

    @endpoint.channel("/unawaited")
    async def unawaited(ctx: JoinContext) -> None:
        unused: Any = ctx.accept()
        ran.append(type(unused).__name__)

    @endpoint.channel("/chat")
    async def chat(ctx: JoinContext) -> None:
        await ctx.accept()

    async def twice(ctx: EventContext, next: Next) -> None:  # noqa: A002
        await next()
        await next()

    async def never(ctx: EventContext, next: Next) -> None:  # noqa: A002
        unused: Any = next()
        ran.append(type(unused).__name__)

    async def go(ctx: EventContext) -> None:
        ran.append(ctx.event_name)

    chat.on_message("twice", go, twice)
    chat.on_message("never", go, never)
    return pond


async def main(kept: Kept) -> list[str]:
    ran: list[str] = []
    faults = []
    pond = build(ran)
    try:
        async with connect(pond, "/declined"):
            faults.append("await ctx.decline() admits")
    except ConnectionRefused as refused:
        if refused.code != 403:
            faults.append(f"await ctx.decline(403): {refused}")
    async with connect(pond, "/socket") as ann:
        await ann.join("/unawaited")
        await ann.join("/chat")
        for event in ("twice", "never"):
            answer = await ann.answer(ann.send("BROADCAST", "/chat", event))
            if answer.event != "INTERNAL_SERVER_ERROR":
                faults.append(f"{event}: answered {answer.event}")
    if ran.count("twice") != 1:
        faults.append(f"next() twice runs the handler {ran.count('twice')} times")
    said = " ".join(kept.lines)
    wanted = ["Without `await`", "has called `next()` twice", "called `next()` without `await`"]
    return faults + [f"the log does not say {text!r}" for text in wanted if text not in said]


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    log = Kept()
    logging.getLogger("pondsocket").addHandler(log)
    logging.getLogger("pondsocket").propagate = False
    found = asyncio.run(main(log))
    print("FAIL " + "; ".join(found) if found else "ok a forgotten await is told")
    sys.exit(bool(found))
