"""A pond that tells its clients what it finds out about the server around it."""

import signal
from typing import Any

from pondsocket import ConnectionContext, EventContext, PondSocket
from pondsocket_asgi import PondASGIApp
from pondsocket_asgi._process.servers import HypercornWorker, find_uvicorn, ping_seconds
from pondsocket_asgi._process.signals import hook


async def tell(ctx: ConnectionContext) -> None:
    worker, uvicorn = HypercornWorker.find(), find_uvicorn()
    found = {
        "ping_seconds": ping_seconds(uvicorn),
        "says_restart": uvicorn is not None,
        "drain_limit": None if worker is None else worker.drain_limit,
        "holds": [
            number.name
            for number in (signal.SIGTERM, signal.SIGINT)
            if getattr(signal.getsignal(number), "__self__", None) is hook
        ],
    }
    ctx.reply("found", found)
    ctx.accept()


async def leave(_ctx: EventContext) -> None:
    """End the server as its own code would, without a signal."""
    seen: Any = hook._replaced[signal.SIGTERM]
    assert seen.__self__.should_exit is False
    seen.__self__.should_exit = True


pond = PondSocket()
endpoint = pond.create_endpoint("/socket", tell)
lobby = endpoint.create_channel("/room/:id", lambda ctx: ctx.accept())
lobby.on_message("leave", leave)
app = PondASGIApp(pond)
