"""The app that is fuzzed: each handler of its pond answers once, and a page shows what is left.

`app` has no limit on rates, so that a flood goes on; `limited` has the default ones, and less
patience with slow bodies.
"""

import ctypes
import logging
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
from pondsocket import (
    ConnectionContext,
    Endpoint,
    EventContext,
    GatewayContext,
    JoinContext,
    Lobby,
    Options,
    PondSocket,
)
from pondsocket_asgi import PondASGIApp
from pydantic import BaseModel

from tests.state_route import count_objects, send_json

# Gives what is free back to the system; only glibc has it. Without it the memory shown depends on
# chance: once glibc has freed a block of 16 MiB (what uvicorn lets a bomb be inflated to), it keeps
# up to twice as much free at the heap's end (mallopt(3), M_MMAP_THRESHOLD).
_give_back = getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)
NO_RATES = Options(
    event_rate=None,
    control_rate=None,
    max_refusals=None,
    max_channels=None,
    max_new_histories=None,
    max_presence_bytes=65_536,
)


class Typed(BaseModel):
    text: str


class Errors(logging.Handler):
    """Keeps what our own loggers say at ERROR: nothing that comes in may cause that."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if len(self.said) < 20:
            self.said.append(self.format(record))


class Target:
    """One pond, its endpoint and its lobby."""

    def __init__(self, options: Options) -> None:
        self.pond = PondSocket(options=options)
        self.endpoint: Endpoint = self.pond.create_endpoint("/socket", self._admit)
        self.endpoint.on_message("echo", self._echo)
        self.lobby: Lobby = self.endpoint.create_channel("/room/:id", self._enter)
        self.lobby.on_message("say", self._say)
        self.lobby.on_message("echo", self._echo)
        self.lobby.on_message("show", self._show)
        self.lobby.on_message("typed", self._typed)
        self.lobby.on_message("hang", self._hang)
        self.app = PondASGIApp(self.pond)
        self._said: Counter[str] = Counter()

    async def _admit(self, ctx: ConnectionContext) -> None:
        # Read everything that a client may have filled.
        ctx.set_assign("cookies", dict(ctx.cookies))
        ctx.set_assign("query", dict(ctx.query))
        ctx.accept()

    async def _enter(self, ctx: JoinContext) -> None:
        await ctx.accept()

    async def _say(self, ctx: EventContext) -> None:
        name = ctx.channel.name
        self._said[name] += 1
        # Numbered, so that a listener knows at once that nothing is missing.
        said = {"n": self._said[name], "payload": ctx.get_payload()}
        await ctx.broadcast_from("said", said)
        await ctx.reply("taken", {})

    async def _echo(self, ctx: EventContext | GatewayContext) -> None:
        await ctx.reply("echoed", ctx.get_payload())

    async def _show(self, ctx: EventContext) -> None:
        await ctx.track(ctx.get_payload())
        await ctx.reply("shown", {})

    async def _typed(self, ctx: EventContext, payload: Typed) -> None:
        await ctx.reply("typed", {"length": len(payload.text)})

    async def _hang(self, ctx: EventContext) -> None:
        await anyio.sleep_forever()

    async def state(self) -> dict[str, Any]:
        """Return what there is for the application, the event loop and the garbage collector."""
        return {
            "connections": await self.endpoint.connection_count(),
            "channels": sorted(channel.name for channel in await self.lobby.list_channels()),
            "tasks": len(anyio.get_running_tasks()),
            "objects": count_objects(),
        }


def own_state() -> dict[str, Any]:
    """Return what this process holds: open files, and memory in KiB, without what is free."""
    _give_back(0)
    status = Path("/proc/self/status").read_text()
    rss = next(sock for sock in status.splitlines() if sock.startswith("VmRSS:"))
    return {"files": sum(1 for _ in Path("/proc/self/fd").iterdir()), "rss": int(rss.split()[1])}


class Served:
    """A target for a real server, with `/state` beside it."""

    def __init__(self, options: Options) -> None:
        self._target = Target(options)
        self._errors = Errors()
        logging.getLogger("pondsocket").addHandler(self._errors)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] != "/state":
            await self._target.app(scope, receive, send)
            return
        state = await self._target.state() | own_state()
        state |= {"errors": self._errors.said, "python": sys.version}
        await send_json(send, state)


app = Served(NO_RATES)
limited = Served(Options(post_timeout=1.0))
