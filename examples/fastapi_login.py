"""One login for FastAPI's routes, for WebSockets and for event streams.

Run it with `uvicorn examples.fastapi_login:app`, and log in:

    curl -c cookies -H 'content-type: application/json' \
        -d '{"name": "ann", "password": "correct horse"}' http://127.0.0.1:8000/login
    curl -b cookies http://127.0.0.1:8000/me
    curl -b cookies -N -H 'accept: text/event-stream' http://127.0.0.1:8000/ws/socket
"""

import hashlib
import secrets
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.requests import HTTPConnection
from pondsocket import (
    CloseCode,
    ConnectionContext,
    ConnectRequest,
    EventContext,
    JoinContext,
    PondSocket,
)
from pondsocket_asgi import PondASGIApp
from pydantic import BaseModel
from starlette.middleware.sessions import SessionMiddleware


class Credentials(BaseModel):
    """What a user logs in with."""

    name: str
    password: str


SALT = secrets.token_bytes(16)  # a project has one for each user, beside the hash


def hashed(password: str) -> bytes:
    """Return what is kept of a password."""
    return hashlib.scrypt(password.encode(), salt=SALT, n=2**14, r=8, p=1)


passwords = {"ann": hashed("correct horse"), "bob": hashed("battery staple")}
# Whose session an id is. The cookie holds the id alone, so a copy of it is worth nothing once the
# user has logged out.
sessions: dict[str, str] = {}


async def current_user(connection: HTTPConnection) -> str:
    """Return who is logged in: in FastAPI's routes, and where a connection is opened."""
    user = sessions.get(connection.session.get("id", ""))
    if user is None:
        raise HTTPException(401, "Log in first.")
    return user


User = Annotated[str, Depends(current_user)]


def session_of(request: ConnectRequest) -> str | None:
    """Return whose the event stream is: a POST or DELETE must come with the same session."""
    session_id: str | None = request.scope["session"].get("id")
    return session_id


pond = PondSocket()


@pond.endpoint("/socket", identity=session_of)
async def socket(ctx: ConnectionContext, user: User) -> None:
    """Accept users who are logged in; others are refused by `current_user`."""
    ctx.accept(user_id=user)


@socket.channel("/chat/:room_id")
async def chat(ctx: JoinContext) -> None:
    """Let the user join any room, and show who is there."""
    await ctx.accept()
    await ctx.track({"name": ctx.user.id})


@chat.on_message("say")
async def say(ctx: EventContext, text: str) -> None:
    """Broadcast what a user says, under the name of the login."""
    await ctx.broadcast("said", {"by": ctx.user.id, "text": text})


app = FastAPI(lifespan=pond.lifespan)
app.mount("/ws", PondASGIApp(pond))
# Behind TLS, `https_only=True`. A project keeps the key, or all users are logged out by a restart.
app.add_middleware(SessionMiddleware, secret_key=secrets.token_hex(32))


@app.post("/login", status_code=204)
def log_in(request: Request, credentials: Credentials) -> None:
    """Begin a session. JSON, because a form of another site cannot send that."""
    expected = passwords.get(credentials.name, b"")
    if not secrets.compare_digest(expected, hashed(credentials.password)):
        raise HTTPException(401, "The name or the password is wrong.")
    sessions.pop(request.session.get("id", ""), None)
    request.session["id"] = session_id = secrets.token_urlsafe(32)
    sessions[session_id] = credentials.name


@app.get("/me")
async def me(user: User) -> dict[str, str]:
    """Return the name of the user."""
    return {"name": user}


@app.post("/logout", status_code=204)
async def log_out(request: Request, user: User) -> None:
    """End the session, then the connections: in this order, or a client could come back."""
    del sessions[request.session.pop("id")]
    # Clients connect again with what they have: those of the user's other sessions succeed.
    await pond.disconnect(user_id=user, reason="logged out", code=CloseCode.UNAUTHENTICATED)
