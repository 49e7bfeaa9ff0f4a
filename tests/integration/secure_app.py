"""A pond with strict admission, behind a server that logs every request."""

import os

from pondsocket import ConnectionContext, ConnectRequest, Options, PondSocket
from pondsocket_asgi import PondASGIApp, RedactSecrets

PAGE = "https://app.example.com"
# Long enough for a busy machine's good clients.
POST_SECONDS = 1.0
POST_BYTES = 100_000


async def user(request: ConnectRequest) -> str | None:
    """Who asks: the cookie of the login."""
    return request.cookies.get("user")


def admit(ctx: ConnectionContext) -> None:
    """Say what was read of the request."""
    everything = {
        "cookies": dict(ctx.cookies),
        "keys": {name: ctx.query.getall(name) for name in ctx.query},
        "odd": ctx.headers.get("x-odd", ""),
    }
    ctx.reply("read", everything)
    ctx.accept()


pond = PondSocket(
    options=Options(
        allowed_origins=(PAGE, *os.environ.get("POND_PAGES", "").split()),
        post_timeout=POST_SECONDS,
        max_post_bytes=POST_BYTES,
    )
)
pond.create_endpoint("/socket", admit, identity=user, subprotocols=["pond.v1"])
app = PondASGIApp(pond)
RedactSecrets.install()
