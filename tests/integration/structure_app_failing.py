"""A pond whose lifespan fails."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pondsocket import PondSocket
from pondsocket_asgi import PondASGIApp


@asynccontextmanager
async def failing(pond: PondSocket) -> AsyncIterator[None]:
    raise OSError("no database")
    yield


app = PondASGIApp(PondSocket(lifespan=failing))
