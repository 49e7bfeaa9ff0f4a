"""The application object: its endpoints, and its beginning and end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

import anyio
from pondsocket_common import CloseCode

from ._contexts import ConnectionContext
from ._endpoint import Endpoint
from ._handlers import Handler, Middleware
from ._options import Options
from ._request import ConnectRequest, Refusal
from ._session import Session
from ._state.patterns import PatternMap


class PondSocket:
    """A channel server. Give it endpoints, and serve it through an adapter.

    It needs no start: mounted in an application that passes on no lifespan, it just works.
    `async with pond` (or `pond.lifespan`) ends it in order: every connection is told.

    Args:
        options: Its limits.
    """

    def __init__(self, *, options: Options | None = None) -> None:
        self.options = options or Options()
        self._endpoints: PatternMap[Endpoint] = PatternMap()
        self._closed = False
        self._entered = 0

    def create_endpoint(
        self,
        path: str,
        handler: Handler[ConnectionContext],
        *middlewares: Middleware[ConnectionContext],
    ) -> Endpoint:
        """Admit connections to a path; the first registered path that matches wins.

        Raises:
            UsageError: The path or the handler cannot work.
        """
        endpoint = Endpoint(path, handler, middlewares, self.options, lambda: self._closed)
        self._endpoints.add(path, endpoint)
        return endpoint

    async def close(self) -> None:
        """Close every connection, with code 1001: clients reconnect. New ones are refused."""
        self._closed = True
        sessions = [session for endpoint in self._endpoints for session in endpoint.sessions]
        for session in sessions:
            session.close(CloseCode.GOING_AWAY, "the server is closing")
        # A handler that closes the pond is itself one of those waited for: hence the limit.
        with anyio.move_on_after(self.options.handler_grace + 1):
            for session in sessions:
                await session.wait_ended()

    async def __aenter__(self) -> Self:
        self._entered += 1
        self._closed = False
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Entered by the host's lifespan and by the adapter's: the last one out closes.
        self._entered -= 1
        if self._entered == 0:
            await self.close()

    @asynccontextmanager
    async def lifespan(self, _app: object = None) -> AsyncIterator[None]:
        """`async with pond`, in the form in which Starlette, FastAPI and Litestar want it."""
        async with self:
            yield

    # --- for adapters -------------------------------------------------------------------------

    def find_endpoint(self, path: str) -> Endpoint | None:
        """The endpoint that serves a path."""
        found = self._endpoints.match(path)
        return None if found is None else found[0]

    async def connect(self, request: ConnectRequest) -> Session | Refusal:
        """Have the endpoint of the request's path decide about it."""
        found = self._endpoints.match(request.path)
        if found is None:
            return Refusal(404, "NOT_FOUND", f"Endpoint not found: {request.path}")
        endpoint, route = found
        if not self._closed:
            outcome = await endpoint.admit(request, route)
            if not self._closed or isinstance(outcome, Refusal):
                return outcome
        return Refusal(503, "UNAVAILABLE", "The server is closing.", retry_after=1)

    def find_session(self, connection_id: str, path: str) -> Session | None:
        """The open connection with this secret id, if it was opened at this very path."""
        endpoint = self.find_endpoint(path)
        session = endpoint.sessions.get(connection_id) if endpoint is not None else None
        return session if session is not None and session.path == path else None
