"""Channels whose members track that they are online, for each package with this interface."""

from pondsocket import JoinContext
from pondsocket_asgi import PondASGIApp

from tests.benchmarks.apps.pond import build


async def enter(ctx: JoinContext) -> None:
    await ctx.accept()
    await ctx.track({"status": "online"})


pond, _ = build(enter)
app = PondASGIApp(pond)
