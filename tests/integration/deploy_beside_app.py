"""Ponds that live beside others: mounted, twice in a process, and hidden behind a middleware."""

import signal
from collections.abc import AsyncIterator

import anyio
from pondsocket_asgi import PondASGIApp
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Mount, Route

from tests.integration.deploy_app import make_pond

first, second, third = make_pond(), make_pond(), make_pond()


async def ready(_request: Request) -> Response:
    return Response(status_code=200 if first.is_ready else 503)


async def foreign_stream(_request: Request) -> Response:
    """Return an event stream that ends as those of sse-starlette do."""

    async def events() -> AsyncIterator[str]:
        yield ": begun\n\n"
        while True:
            handler = signal.getsignal(signal.SIGTERM)
            if getattr(getattr(handler, "__self__", None), "should_exit", False):
                break
            await anyio.sleep(0.02)
        yield "data: ended\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


beside = Starlette(
    routes=[
        Route("/ready", ready),
        Route("/stream", foreign_stream),
        Mount("/first", PondASGIApp(first)),
        Mount("/second", PondASGIApp(second)),
    ]
)


async def pass_on(request: Request, call_next: RequestResponseEndpoint) -> Response:
    return await call_next(request)


hidden = Starlette(
    routes=[Mount("/", PondASGIApp(third))],
    middleware=[Middleware(BaseHTTPMiddleware, dispatch=pass_on)],
)
