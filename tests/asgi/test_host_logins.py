"""A pond's handlers read what middleware of Starlette and Litestar knows of a client."""

from base64 import b64decode
from typing import Any, Final

import pytest
from litestar import Litestar, Request, asgi, post
from litestar.connection import ASGIConnection
from litestar.middleware.session.server_side import ServerSideSessionConfig
from litestar.security.jwt import JWTCookieAuth, Token
from litestar.security.session_auth import SessionAuth
from litestar.types import Receive, Scope, Send
from pondsocket import ConnectionContext, ConnectRequest, Depends, PondError, PondSocket
from pondsocket_asgi import PondASGIApp
from pondsocket_asgi.testing import ASGITestDriver
from starlette.applications import Starlette
from starlette.authentication import (
    AuthCredentials,
    AuthenticationBackend,
    AuthenticationError,
    BaseUser,
    SimpleUser,
    requires,
)
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import HTTPConnection
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

PING: Final = b'{"action": "ping"}'
KEY: Final = "0123456789abcdef0123456789abcdef"


def session_user(scope: Any) -> str | None:
    """Return the user that a session middleware has found."""
    user: str | None = scope["session"].get("user")
    return user


def known_user(scope: Any) -> str | None:
    """Return the user that Starlette's AuthenticationMiddleware has found."""
    return scope["user"].display_name if scope["user"].is_authenticated else None


def any_user(scope: Any) -> str | None:
    """Return the user that Litestar's authentication has found."""
    user: str | None = scope["user"]
    return user


def served(find: Any) -> PondASGIApp:
    """Return a pond whose users are found in the scope, for POSTs of event streams as well."""

    def identity(request: ConnectRequest) -> str | None:
        found: str | None = find(request.scope)
        return found

    async def connect(ctx: ConnectionContext) -> None:
        user = find(ctx.scope)
        if user is None:
            raise PondError("Log in first.", 401)
        ctx.accept(user_id=user)

    pond = PondSocket()
    pond.create_endpoint("/socket", connect, identity=identity)
    return PondASGIApp(pond)


# --- Starlette ------------------------------------------------------------------------------------


async def log_in(request: StarletteRequest) -> PlainTextResponse:
    request.session["user"] = request.query_params["user"]
    return PlainTextResponse("Welcome.")


async def log_out(request: StarletteRequest) -> PlainTextResponse:
    request.session.clear()
    return PlainTextResponse("Bye.")


@requires("member")
async def page(request: StarletteRequest) -> PlainTextResponse:
    return PlainTextResponse(request.user.display_name)


class Passwords(AuthenticationBackend):
    """HTTP Basic, as in Starlette's own documentation."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser] | None:
        if "authorization" not in conn.headers:
            return None
        _, _, given = conn.headers["authorization"].partition(" ")
        name, _, password = b64decode(given).decode().partition(":")
        if password != "secret":
            raise AuthenticationError("Wrong password.")
        return AuthCredentials(["member"]), SimpleUser(name)


def starlette(find: Any, middleware: Middleware, *routes: Route) -> ASGITestDriver:
    app = Starlette(routes=[*routes, Mount("/ws", served(find))], middleware=[middleware])
    return ASGITestDriver(app)


def with_session() -> ASGITestDriver:
    return starlette(
        session_user,
        Middleware(SessionMiddleware, secret_key=KEY),
        Route("/login", log_in, methods=["POST"]),
        Route("/logout", log_out, methods=["POST"]),
    )


def with_passwords() -> ASGITestDriver:
    return starlette(
        known_user, Middleware(AuthenticationMiddleware, Passwords()), Route("/", page)
    )


# --- Litestar -------------------------------------------------------------------------------------


def litestar(find: Any, *handlers: Any, **options: Any) -> ASGITestDriver:
    inner = served(find)

    @asgi("/ws", is_mount=True, copy_scope=True)
    async def mounted(scope: Scope, receive: Receive, send: Send) -> None:
        await inner(scope, receive, send)

    return ASGITestDriver(Litestar([mounted, *handlers], logging_config=None, **options))


@post("/login")
async def begin_session(request: Request[Any, Any, Any]) -> None:
    request.set_session({"user": request.query_params["user"]})


def with_litestar_session() -> ASGITestDriver:
    return litestar(session_user, begin_session, middleware=[ServerSideSessionConfig().middleware])


async def user_of_session(
    session: dict[str, Any], connection: ASGIConnection[Any, Any, Any, Any]
) -> str | None:
    return session.get("user")


def with_litestar_session_auth() -> ASGITestDriver:
    auth = SessionAuth[str, Any](
        retrieve_user_handler=user_of_session,
        session_backend_config=ServerSideSessionConfig(),
        exclude=["/login"],
    )
    return litestar(any_user, begin_session, on_app_init=[auth.on_app_init])


async def user_of_token(token: Token, connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    return token.sub


def with_litestar_tokens() -> ASGITestDriver:
    auth = JWTCookieAuth[str](
        retrieve_user_handler=user_of_token, token_secret=KEY, exclude=["/login"]
    )

    @post("/login")
    async def give_token(request: Request[Any, Any, Any]) -> Any:
        return auth.login(identifier=request.query_params["user"])

    return litestar(any_user, give_token, on_app_init=[auth.on_app_init])


HOSTS: Final = {
    "Starlette, session": with_session,
    "Litestar, session": with_litestar_session,
    "Litestar, session auth": with_litestar_session_auth,
    "Litestar, tokens": with_litestar_tokens,
}


@pytest.fixture(params=HOSTS)
def driver(request: pytest.FixtureRequest) -> ASGITestDriver:
    return HOSTS[request.param]()


async def cookie_of(driver: ASGITestDriver, user: str) -> dict[str, str]:
    answer = await driver.call_http(f"/login?user={user}", method="POST")
    assert answer.status in (200, 201)
    return {"Cookie": answer.headers["set-cookie"].partition(";")[0]}


async def statuses(
    driver: ASGITestDriver, connection_id: str, headers: dict[str, str]
) -> list[int]:
    """POST and DELETE with a connection's id; return how both were answered."""
    given = {"X-Connection-ID": connection_id, "Content-Type": "application/json", **headers}
    return [
        (await driver.call_http("/ws/socket", method=method, headers=given, body=PING)).status
        for method in ("POST", "DELETE")
    ]


async def test_a_login_of_the_host_is_for_both_transports(driver: ASGITestDriver) -> None:
    ann = await cookie_of(driver, "ann")
    for session in (
        await driver.connect_websocket("/ws/socket", headers=ann),
        await driver.connect_sse("/ws/socket", headers=ann),
    ):
        assert (await session.receive_event_named("CONNECTION"))["payload"]["id"] == "ann"
        await session.disconnect()


async def test_without_a_login_of_the_host_both_transports_are_refused(
    driver: ASGITestDriver,
) -> None:
    session = await driver.connect_websocket("/ws/socket")
    assert not session.accepted
    stream = await driver.connect_sse("/ws/socket")
    assert stream.status == 401
    for each in (session, stream):
        await each.disconnect()


async def test_posts_of_a_stream_come_with_the_login_that_opened_it(
    driver: ASGITestDriver,
) -> None:
    ann, bob = await cookie_of(driver, "ann"), await cookie_of(driver, "bob")
    stream = await driver.connect_sse("/ws/socket", headers=ann)
    assert await statuses(driver, stream.connection_id, bob) == [404, 404]
    # Some hosts refuse strangers by themselves.
    stranger = await statuses(driver, stream.connection_id, {})
    assert stranger in ([404, 404], [401, 401])
    assert await statuses(driver, stream.connection_id, ann) == [204, 204]
    await stream.wait_ended()


async def test_a_session_of_starlette_that_was_changed_or_ended_is_none() -> None:
    driver = with_session()
    ann = await cookie_of(driver, "ann")
    answer = await driver.call_http("/logout", method="POST", headers=ann)
    ended = {"Cookie": answer.headers["set-cookie"].partition(";")[0]}
    for cookie in (ended, {"Cookie": ann["Cookie"][:-1]}, {"Cookie": "session=null"}):
        stream = await driver.connect_sse("/ws/socket", headers=cookie)
        assert stream.status == 401
        await stream.disconnect()


async def test_the_user_of_starlettes_authentication_is_read() -> None:
    driver = with_passwords()
    ann = {"Authorization": "Basic YW5uOnNlY3JldA=="}  # ann:secret
    assert await driver.call_http("/", headers=ann) == (200, b"ann")
    stream = await driver.connect_sse("/ws/socket", headers=ann)
    session = await driver.connect_websocket("/ws/socket", headers=ann)
    for each in (session, stream):
        assert (await each.receive_event_named("CONNECTION"))["payload"]["id"] == "ann"
    bob = {"Authorization": "Basic Ym9iOnNlY3JldA=="}  # bob:secret
    assert await statuses(driver, stream.connection_id, bob) == [404, 404]
    assert await statuses(driver, stream.connection_id, ann) == [204, 204]
    await session.disconnect()
    await stream.disconnect()


async def test_a_client_that_starlettes_authentication_does_not_know_is_refused() -> None:
    driver = with_passwords()
    wrong = {"Authorization": "Basic YW5uOndyb25n"}  # ann:wrong
    for headers, status in (({}, 401), (wrong, 400)):
        stream = await driver.connect_sse("/ws/socket", headers=headers)
        assert stream.status == status
        session = await driver.connect_websocket("/ws/socket", headers=headers)
        assert not session.accepted
        for each in (session, stream):
            await each.disconnect()


async def test_a_dependency_may_have_starlettes_connection_with_session_and_user() -> None:
    def whose(connection: HTTPConnection) -> str:
        return f"{connection.session['user']} {connection.user.display_name}"

    async def connect(ctx: ConnectionContext, user: str = Depends(whose)) -> None:
        ctx.accept(user_id=user)

    pond = PondSocket()
    pond.create_endpoint("/socket", connect)
    app = Starlette(
        routes=[Route("/login", log_in, methods=["POST"]), Mount("/ws", PondASGIApp(pond))],
        middleware=[
            Middleware(SessionMiddleware, secret_key=KEY),
            Middleware(AuthenticationMiddleware, Passwords()),
        ],
    )
    driver = ASGITestDriver(app)
    ann = await cookie_of(driver, "ann")
    both = {**ann, "Authorization": "Basic Ym9iOnNlY3JldA=="}  # bob:secret
    session = await driver.connect_websocket("/ws/socket", headers=both)
    assert (await session.receive_event_named("CONNECTION"))["payload"]["id"] == "ann bob"
    await session.disconnect()
