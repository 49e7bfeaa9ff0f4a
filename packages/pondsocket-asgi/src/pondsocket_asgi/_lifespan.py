"""The lifespan scope: the pond is open between the server's startup and its shutdown."""

from pondsocket import PondSocket
from pondsocket.adapter import get_log

from ._scope import Receive, Send

logger = get_log("pondsocket.asgi.lifespan")


async def serve_lifespan(pond: PondSocket, receive: Receive, send: Send) -> None:
    """Open the pond at startup and close it at shutdown. Report a failure of either as such."""
    await receive()
    started = False
    try:
        async with pond:
            started = True
            await send({"type": "lifespan.startup.complete"})
            await receive()
    except Exception as error:
        phase = "shutdown" if started else "startup"
        logger.exception("The pond's %s failed", phase)
        await send({"type": f"lifespan.{phase}.failed", "message": _sentence(error)})
    else:
        await send({"type": "lifespan.shutdown.complete"})


def _sentence(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
