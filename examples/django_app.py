"""PondSocket beside Django: chat rooms at `/ws/socket`, and Django for everything else.

Run it with `uvicorn examples.django_app:application`. In a project, the settings and the view
have their usual places, and the rest is its `asgi.py`.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.management.utils import get_random_secret_key
from django.http import HttpRequest, HttpResponse
from django.urls import path
from pondsocket import ConnectionContext, EventContext, JoinContext, PondSocket
from pondsocket_asgi import PondASGIApp

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    ROOT_URLCONF=__name__,
    SECRET_KEY=get_random_secret_key(),  # a project keeps a fixed one
)


def home(request: HttpRequest) -> HttpResponse:
    """Serve a page of the site."""
    return HttpResponse("The rooms are at /ws/socket.")


urlpatterns = [path("", home)]


async def connect(ctx: ConnectionContext) -> None:
    """Accept every client; check `ctx.query`, `ctx.headers` or `ctx.cookies` to refuse some."""
    ctx.accept()


async def join(ctx: JoinContext) -> None:
    """Let the client join any room, and show its presence to the other members."""
    await ctx.accept()
    await ctx.track({"status": "online"})


async def say(ctx: EventContext) -> None:
    """Broadcast a message to every member of the room."""
    await ctx.broadcast("message", ctx.get_payload())


pond = PondSocket()
rooms = pond.create_endpoint("/socket", connect).create_channel("/chat/:room_id", join)
rooms.on_message("message", say)

MOUNT = "/ws"
django_app = get_asgi_application()
pond_app = PondASGIApp(pond)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


async def application(scope: Message, receive: Receive, send: Send) -> None:
    """Route /ws to the pond and the rest to Django, which serves HTTP only."""
    root = scope.get("root_path", "")
    below_root = scope.get("path", "").removeprefix(root)
    if scope["type"] == "lifespan":
        await pond_app(scope, receive, send)
    elif below_root == MOUNT or below_root.startswith(f"{MOUNT}/"):
        await pond_app({**scope, "root_path": root + MOUNT}, receive, send)
    elif scope["type"] == "websocket":
        await send({"type": "websocket.close"})  # before any accept: the client sees a 403
    else:
        await django_app(scope, receive, send)
