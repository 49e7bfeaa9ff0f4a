"""A pond in FastAPI, Starlette and Litestar: a handler reads the scope, and sets headers."""

from collections.abc import Callable
from typing import Any

import fastapi
import litestar
import litestar.exceptions
import starlette.exceptions
from litestar.types import Receive, Scope, Send
from pondsocket import ConnectionContext, Depends, PondError, PondSocket
from pondsocket_asgi import PondASGIApp
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.routing import Mount

pond = PondSocket()
BASIC = {"WWW-Authenticate": "Basic"}
WAYS: dict[str, Callable[[], Exception]] = {
    "pond": lambda: PondError("Sign in.", 401, headers=BASIC),
    "starlette": lambda: starlette.exceptions.HTTPException(401, "Sign in.", BASIC),
    "fastapi": lambda: fastapi.HTTPException(401, "Sign in.", BASIC),
    "litestar": lambda: litestar.exceptions.NotAuthorizedException("Sign in.", headers=BASIC),
}


def found_by(connection: HTTPConnection) -> str:
    """Return what the host's middleware has found out."""
    return str(connection.scope["session"]["user"])


@pond.endpoint("/socket", subprotocols=["bearer"])
async def socket(ctx: ConnectionContext, user: str = Depends(found_by)) -> None:
    ctx.set_header("X-Node", "a")
    ctx.set_cookie("a", "1")
    ctx.set_cookie("b", "2")
    if (way := ctx.query.get("refuse")) is not None:
        raise WAYS[way]()
    offered = [part.strip() for part in ctx.headers.get("sec-websocket-protocol", "").split(",")]
    ctx.accept(user_id=user)
    ctx.reply("offer", {"subprotocols": list(ctx.subprotocols), "header": offered})


realtime = PondASGIApp(pond)


@litestar.asgi("/li", is_mount=True, copy_scope=True)
async def mounted(scope: Scope, receive: Receive, send: Send) -> None:
    await realtime(scope, receive, send)


fastapi_app = fastapi.FastAPI()
fastapi_app.mount("/fa", realtime)
hosts: dict[str, Any] = {
    "fa": fastapi_app,
    "st": Starlette(routes=[Mount("/st", app=realtime)]),
    "li": litestar.Litestar([mounted], logging_config=None),
}


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Stand for a server's host and its middleware, which has found a session."""
    inner = hosts.get(scope.get("path", "").strip("/").partition("/")[0], realtime)
    await inner({**scope, "session": {"user": "ann"}}, receive, send)
