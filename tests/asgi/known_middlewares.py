"""Apps behind the middlewares whose `send` wrappers are known, each as its package makes it.

Hosts have the app below `/rt`.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, TypeAlias

from asgi_correlation_id import CorrelationIdMiddleware
from fastapi import FastAPI
from litestar import Litestar, asgi
from litestar.config.cors import CORSConfig
from litestar.config.csrf import CSRFConfig
from litestar.middleware.logging import LoggingMiddleware, LoggingMiddlewareConfig
from litestar.middleware.rate_limit import RateLimitConfig
from litestar.middleware.session.server_side import ServerSideSessionConfig
from litestar.plugins.prometheus import PrometheusConfig
from litestar.types import Receive as LitestarReceive
from litestar.types import Scope as LitestarScope
from litestar.types import Send as LitestarSend
from sentry_sdk.integrations.asgi import SentryAsgiMiddleware
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.opentelemetry import OpenTelemetryMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import Mount

ASGIApp: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]
Around: TypeAlias = Callable[[ASGIApp], ASGIApp]


class Backend(AuthenticationBackend):
    """A backend that knows everyone as Ann."""

    async def authenticate(self, conn: Any) -> tuple[AuthCredentials, SimpleUser]:
        """Return the user of a request."""
        return AuthCredentials(["signed in"]), SimpleUser("ann")


class Logged(LoggingMiddleware):
    """Litestar's, without what sets up the log of the process."""

    logger = logging.getLogger("tests.litestar")
    is_struct_logger = False


def in_litestar(**options: Any) -> Around:
    """Return what mounts an app in Litestar."""

    def around(app: ASGIApp) -> ASGIApp:
        @asgi("/rt", is_mount=True, copy_scope=True)
        async def serve(scope: LitestarScope, receive: LitestarReceive, send: LitestarSend) -> None:
            await app(scope, receive, send)

        return Litestar([serve], openapi_config=None, logging_config=None, **options)

    return around


def in_litestar_with(*middlewares: Any) -> Around:
    """Return what mounts an app in Litestar, behind middlewares."""
    return in_litestar(middleware=[each.middleware for each in middlewares])


def in_starlette(*middlewares: Middleware) -> Around:
    """Return what mounts an app in Starlette, behind middlewares."""
    return lambda app: Starlette(routes=[Mount("/rt", app)], middleware=middlewares)


def in_fastapi(*middlewares: Middleware) -> Around:
    """Return what mounts an app in FastAPI, behind middlewares."""

    def around(app: ASGIApp) -> ASGIApp:
        host = FastAPI(middleware=middlewares)
        host.mount("/rt", app)
        return host

    return around


def beside_django(app: ASGIApp) -> ASGIApp:
    """Return what a project's `asgi.py` makes of Django and an app."""
    # Not before it is configured: whatever looks at all objects would look at its settings.
    from django.conf import settings
    from django.core.asgi import get_asgi_application

    if not settings.configured:
        settings.configure(ROOT_URLCONF=__name__, SECRET_KEY="a secret")
    django = get_asgi_application()

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"].startswith("/rt/"):
            await app({**scope, "root_path": "/rt"}, receive, send)
        else:
            await django(scope, receive, send)

    return serve


urlpatterns: Final[list[object]] = []
SESSION: Final = Middleware(SessionMiddleware, secret_key="a secret")
CORS: Final = Middleware(CORSMiddleware, allow_origins=["https://a.example"])
MANY: Final = (
    Middleware(CorrelationIdMiddleware),
    Middleware(GZipMiddleware),
    CORS,
    Middleware(TrustedHostMiddleware),
    SESSION,
    Middleware(AuthenticationMiddleware, backend=Backend()),
)
CSRF: Final = CSRFConfig(secret="a secret", safe_methods={"GET", "POST"})
# Of a request, it would read the body.
LOGGING: Final = LoggingMiddlewareConfig(
    middleware_class=Logged, request_log_fields=frozenset[Literal["path"]](["path"])
)
AROUND: Final[dict[str, Around]] = {
    "session": lambda app: SessionMiddleware(app, "a secret"),
    "authentication": lambda app: AuthenticationMiddleware(app, Backend()),
    "cors": lambda app: CORSMiddleware(app, allow_origins=["*"]),
    "gzip": GZipMiddleware,
    "body limit": lambda app: RequestBodyLimitMiddleware(app, 1_000),
    "opentelemetry": OpenTelemetryMiddleware,
    "correlation id": CorrelationIdMiddleware,
    "sentry": SentryAsgiMiddleware,
    "starlette": in_starlette(),
    "starlette, many": in_starlette(*MANY),
    "fastapi": in_fastapi(),
    "fastapi, many": in_fastapi(*MANY),
    "django": beside_django,
    "litestar": in_litestar(),
    "litestar, cors": in_litestar(cors_config=CORSConfig(allow_origins=["https://a.example"])),
    "litestar, csrf": in_litestar(
        csrf_config=CSRFConfig(secret="a secret", safe_methods={"GET", "POST"})
    ),
    "litestar, rate limit": in_litestar_with(RateLimitConfig(rate_limit=("second", 1_000))),
    "litestar, session": in_litestar_with(ServerSideSessionConfig()),
}
HOSTS: Final = ("starlette", "fastapi", "django", "litestar")
# They look at each piece of a response, and only at these.
SOCKETS_ALONE: Final[dict[str, Around]] = {
    "litestar, logging": in_litestar_with(LOGGING),
    "litestar, prometheus": in_litestar_with(PrometheusConfig()),
}
