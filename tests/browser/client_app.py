"""A pond whose client pages load from it, those pages, and what a test tells it to do."""

import os
from collections import Counter
from pathlib import Path
from typing import Any, Final

from pondsocket import (
    CloseCode,
    ConnectionContext,
    EventContext,
    History,
    JoinContext,
    LeaveContext,
    Options,
    PondError,
    PondSocket,
)
from pondsocket_asgi import PondASGIApp
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route

PAGE: Final = Path(__file__).with_name("client_page.html")
# A folder with a page and its script.
BUNDLE: Final = os.environ.get("POND_BUNDLE", "")

# A short window, as a drain closes connections over the whole of it.
pond: Final = PondSocket(options=Options(drain_seconds=1))
said: Final[Counter[str]] = Counter()
asked: Final[list[dict[str, Any]]] = []
joins: Final[Counter[str]] = Counter()
leaves: Final[Counter[str]] = Counter()


@pond.endpoint("/socket")
async def socket(ctx: ConnectionContext) -> None:
    token, way = ctx.token, "authorization" if "authorization" in ctx.headers else "subprotocol"
    asked.append(
        {"via": ctx.request.transport, "token": token, "by": way, "query": dict(ctx.query)}
    )
    if "banned" in ctx.query:
        raise PondError("Your account is locked.", 403)
    if "guarded" in ctx.query and not (token or "").startswith("new"):
        raise PondError("The token is too old.", 401)
    ctx.accept(user_id=ctx.query.get("name"))


@socket.channel("/room/:id", history=History())
async def room(ctx: JoinContext) -> None:
    params = ctx.join_params
    await ctx.accept()
    await ctx.track({"name": params.get("name", "?"), "mood": "fine"})


@room.on_message("say")
async def say(ctx: EventContext) -> dict[str, int]:
    said[ctx.channel.name] += 1
    number = said[ctx.channel.name]
    await ctx.broadcast("said", {"text": ctx.get_payload()["text"], "number": number})
    return {"number": number}


@room.on_message("mood")
async def mood(ctx: EventContext) -> None:
    await ctx.update_presence(ctx.get_payload())


@room.on_message("count")
async def count(ctx: EventContext) -> dict[str, int]:
    return {"said": said[ctx.channel.name]}


@socket.channel("/closed/:id")
async def closed(ctx: JoinContext) -> None:
    raise PondError("For members only.", 403)


@socket.channel("/chat/:id")
async def chat(ctx: JoinContext) -> None:
    joins[ctx.channel.name] += 1
    await ctx.accept()
    await ctx.track({"nick": ctx.join_params.get("nick")})


@chat.on_leave
async def gone(ctx: LeaveContext) -> None:
    leaves[ctx.channel.name] += 1


@chat.on_message("say")
async def chat_say(ctx: EventContext) -> None:
    await ctx.broadcast("said", ctx.get_payload())


async def page(request: Request) -> Response:
    return FileResponse(PAGE, headers={"cache-control": "max-age=60"})


async def bundled(request: Request) -> Response:
    return FileResponse(Path(BUNDLE) / request.path_params["name"])


async def tell(request: Request) -> Response:
    """Say something in a room, as another member would."""
    name, text = request.query_params["room"], request.query_params["text"]
    await pond.channel("/socket", name).broadcast("said", {"text": text})
    return Response(status_code=204)


async def disconnect(request: Request) -> Response:
    """Close the connections of a user."""
    code = CloseCode(int(request.query_params.get("code", "4403")))
    name, reason = request.query_params["name"], request.query_params.get("reason", "")
    await pond.disconnect(user_id=name, reason=reason, code=code)
    return Response(status_code=204)


async def token(request: Request) -> Response:
    """Give a token out: an old one, unless the client says that it was refused."""
    return PlainTextResponse("new-1/ü" if "again" in request.query_params else "old-1/ü")


async def state(request: Request) -> Response:
    count = await socket.connection_count()
    return JSONResponse(
        {"asked": asked, "connections": count, "joins": dict(joins), "leaves": dict(leaves)}
    )


app: Final = Starlette(
    routes=[
        Route("/", page),
        Route("/bundled/{name}", bundled),
        Route("/tell", tell, methods=["POST"]),
        Route("/disconnect", disconnect, methods=["POST"]),
        Route("/token", token, methods=["POST"]),
        Route("/state", state),
        Mount("/ws", PondASGIApp(pond)),
    ],
    lifespan=pond.lifespan,
)
