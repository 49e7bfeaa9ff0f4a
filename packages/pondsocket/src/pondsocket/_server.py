"""The application object: its endpoints, and its beginning and end."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Self

import anyio
import anyio.abc
from pondsocket_common import CloseCode

from ._channel import Channel
from ._channel_handle import ChannelHandle
from ._contexts import ConnectionContext
from ._endpoint import Endpoint
from ._environment import Environment
from ._errors import UsageError
from ._handlers import Handler, Middleware
from ._hooks import Hooks, Metrics, Observer
from ._options import Options
from ._request import ConnectRequest, Refusal
from ._session import Session
from ._state.patterns import PatternMap, Route


class PondSocket:
    """A channel server. Give it endpoints, and serve it through an adapter.

    It needs no start: mounted in an application that passes on no lifespan, it just works.
    `async with pond` (or `pond.lifespan`) ends it in order: every connection is told.

    Args:
        options: Its limits.
        hooks: Whom to tell what happens.
        metrics: Where to count it.
        clock: Seconds, from any start; for rates and durations. Tests pass their own.
    """

    def __init__(
        self,
        *,
        options: Options | None = None,
        hooks: Hooks | None = None,
        metrics: Metrics | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.options = options or Options()
        observed = hooks is not None or metrics is not None
        observer = Observer(hooks, metrics) if observed else None
        self._environment = Environment(self.options, clock, observer)
        self._endpoints: PatternMap[Endpoint] = PatternMap()
        self._by_path: dict[str, Endpoint] = {}
        self._closed = False
        self._entries: list[int] = []  # by task
        self._tasks: anyio.abc.TaskGroup | None = None
        self._tasks_owner = 0

    def create_endpoint(
        self, path: str, handler: Handler, *middlewares: Middleware[ConnectionContext]
    ) -> Endpoint:
        """Admit connections to a path; the first registered path that matches wins.

        Raises:
            UsageError: The path or the handler cannot work.
        """
        endpoint = Endpoint(path, handler, middlewares, self._environment, lambda: self._closed)
        self._endpoints.add(path, endpoint)
        self._by_path.setdefault(path, endpoint)
        return endpoint

    def endpoint(
        self, path: str, *, middlewares: Sequence[Middleware[ConnectionContext]] = ()
    ) -> Callable[[Handler], Endpoint]:
        """`create_endpoint` as a decorator: the decorated name is the endpoint."""
        return lambda handler: self.create_endpoint(path, handler, *middlewares)

    def channel(self, endpoint_path: str, name: str) -> ChannelHandle:
        """A channel, to be sent to from outside of its handlers.

        Args:
            endpoint_path: The endpoint's path, as it was registered.

        Raises:
            UsageError: There is no such endpoint, or none of its lobbies serves the name.
        """
        endpoint = self._by_path.get(endpoint_path)
        if endpoint is None:
            known = ", ".join(self._by_path) or "none"
            raise UsageError(f"There is no endpoint {endpoint_path!r}; registered: {known}.")
        if not endpoint.serves(name):
            raise UsageError(f"No channel pattern of {endpoint_path!r} matches {name!r}.")
        return ChannelHandle(name, partial(_channel_of, endpoint, name), self._environment.loop)

    async def disconnect(
        self, *, user_id: str, reason: str = "", code: CloseCode = CloseCode.DISCONNECTED
    ) -> None:
        """Close every connection of a user, at every endpoint.

        Args:
            reason: What the user is told.
            code: With 4403, the default, clients do not come back by themselves.
        """
        for endpoint in self._endpoints:
            endpoint.drop_user(str(user_id), reason, code)

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
        self._closed = False
        self._environment.loop.enter()
        self._entries.append(anyio.get_current_task().id)
        if self._tasks is None:
            self._tasks = anyio.create_task_group()
            self._tasks_owner = self._entries[-1]
            self._environment.background.tasks = await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Entered by the host's lifespan and by the adapter's: the last one out closes.
        here = anyio.get_current_task().id
        self._entries.remove(here)
        try:
            if not self._entries:
                await self.close()
        finally:
            # A task group ends in the task that began it, with the last of that task's entries.
            tasks = self._tasks
            if tasks is not None and self._tasks_owner == here and here not in self._entries:
                self._tasks = self._environment.background.tasks = None
                tasks.cancel_scope.cancel()
                await tasks.__aexit__(None, None, None)

    @asynccontextmanager
    async def lifespan(self, _app: object = None) -> AsyncIterator[None]:
        """`async with pond`, in the form in which Starlette, FastAPI and Litestar want it."""
        async with self:
            yield

    # --- for adapters -------------------------------------------------------------------------

    def find_endpoint(self, path: str) -> Endpoint | None:
        """The endpoint that serves a path."""
        found = self._find(path)
        return None if found is None else found[0]

    def _find(self, path: str) -> tuple[Endpoint, Route] | None:
        return next((each for each in self._endpoints.matches(path) if each[0].fits(each[1])), None)

    async def connect(self, request: ConnectRequest) -> Session | Refusal:
        """Have the endpoint of the request's path decide about it."""
        self._environment.loop.enter()
        found = self._find(request.path)
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


def _channel_of(endpoint: Endpoint, name: str) -> Channel:
    channel = endpoint.find_channel(name)
    if channel is None:
        raise UsageError(f"No channel pattern of {endpoint.path!r} matches {name!r}.")
    return channel
