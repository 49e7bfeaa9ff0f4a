"""An app to be run by several workers, which find each other out sooner than elsewhere."""

import os

from pondsocket import ConnectionContext, PondSocket
from pondsocket.backplane.redis import RedisBackplane
from pondsocket_asgi import PondASGIApp
from pondsocket_asgi._process import alone

alone.PATIENCE = 1.5  # type: ignore[misc]

url = os.environ.get("BACKPLANE")
pond = PondSocket(backplane=RedisBackplane(url) if url else None)


@pond.endpoint("/socket")
async def socket(ctx: ConnectionContext) -> None:
    ctx.accept()


app = PondASGIApp(pond)
