"""A room whose members show that they are online, by each package that has this interface."""

from pondsocket import JoinContext
from pondsocket_asgi import PondASGIApp

from tests.benchmarks.apps.pond import build


async def enter(ctx: JoinContext) -> None:
    await ctx.accept()
    await ctx.track({"status": "online"})


pond, _ = build(enter)
app = PondASGIApp(pond)
