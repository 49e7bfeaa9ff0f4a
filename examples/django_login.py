"""One login for Django's views, for WebSockets and for event streams.

Make the database, and a user in it:

    python -m examples.django_login migrate
    python -m examples.django_login createsuperuser

Run it with `uvicorn examples.django_login:application`, and log in:

    curl -c cookies http://127.0.0.1:8000/login
    curl -b cookies -c cookies -d name=ann -d password=… \
        -H "x-csrftoken: $(awk '/csrftoken/ {print $7}' cookies)" http://127.0.0.1:8000/login
    curl -b cookies -N -H 'accept: text/event-stream' http://127.0.0.1:8000/ws/socket

In a project, the settings and the views have their usual places, and the rest is its `asgi.py`.
"""

import os
from collections.abc import Awaitable, Callable, MutableMapping
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import aauthenticate, alogin, alogout, get_user
from django.core.asgi import get_asgi_application
from django.core.management import execute_from_command_line
from django.core.management.utils import get_random_secret_key
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_POST
from pondsocket import (
    CloseCode,
    ConnectionContext,
    ConnectRequest,
    Depends,
    EventContext,
    JoinContext,
    PondError,
    PondSocket,
)
from pondsocket_asgi import PondASGIApp

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ.get("DATABASE", "db.sqlite3"),
        }
    },
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    ROOT_URLCONF=__name__,
    SECRET_KEY=get_random_secret_key(),  # a project keeps a fixed one
    # Behind TLS, also SESSION_COOKIE_SECURE and CSRF_COOKIE_SECURE.
)
django_app = get_asgi_application()


def current_user(ctx: ConnectionContext) -> Any:
    """Return the user of Django's session. A plain function, so that it may ask the database."""
    request = HttpRequest()
    sessions = import_module(settings.SESSION_ENGINE)
    request.session = sessions.SessionStore(ctx.cookies.get(settings.SESSION_COOKIE_NAME))
    user = get_user(request)
    if not user.is_authenticated:
        raise PondError("Log in first.", 401)
    return user


def session_of(request: ConnectRequest) -> str | None:
    """Return whose the event stream is: a POST or DELETE must come with the same session."""
    return request.cookies.get(settings.SESSION_COOKIE_NAME)


pond = PondSocket()


@pond.endpoint("/socket", identity=session_of)
async def socket(ctx: ConnectionContext, user: Any = Depends(current_user)) -> None:
    """Accept users who are logged in; others are refused by `current_user`."""
    ctx.accept(user_id=user.get_username())


@socket.channel("/chat/:room_id")
async def chat(ctx: JoinContext) -> None:
    """Let the user join any room, and show who is there."""
    await ctx.accept()
    await ctx.track({"name": ctx.user.id})


@chat.on_message("say")
async def say(ctx: EventContext, text: str) -> None:
    """Broadcast what a user says, under the name of the login."""
    await ctx.broadcast("said", {"by": ctx.user.id, "text": text})


async def log_in(request: HttpRequest) -> HttpResponse:
    """Give the CSRF token to a GET, and begin a session with a POST that has it."""
    if request.method != "POST":
        return HttpResponse("POST name and password, with the header X-CSRFToken.")
    name, password = request.POST.get("name", ""), request.POST.get("password", "")
    user = await aauthenticate(request, username=name, password=password)
    if user is None:
        return HttpResponse("The name or the password is wrong.", status=401)
    await alogin(request, user)
    return HttpResponse(status=204)


async def me(request: HttpRequest) -> HttpResponse:
    """Return the name of the user."""
    user = await request.auser()
    if not user.is_authenticated:
        return HttpResponse("Log in first.", status=401)
    return JsonResponse({"name": user.get_username()})


async def log_out(request: HttpRequest) -> HttpResponse:
    """End the session, then the connections: in this order, or a client could come back."""
    user = await request.auser()
    await alogout(request)
    if user.is_authenticated:
        # Clients connect again with what they have: those of the user's other sessions succeed.
        await pond.disconnect(
            user_id=user.get_username(), reason="logged out", code=CloseCode.UNAUTHENTICATED
        )
    return HttpResponse(status=204)


urlpatterns = [
    path("login", ensure_csrf_cookie(log_in)),
    path("me", me),
    path("logout", require_POST(log_out)),
]

MOUNT = "/ws"
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


if __name__ == "__main__":
    execute_from_command_line()
