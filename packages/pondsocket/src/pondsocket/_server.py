"""The application object: its endpoints, its start and its end."""

import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, Final, NoReturn, Self, TypeVar, overload

from pondsocket_common import GATEWAY, CloseCode, Codec

from pondsocket._channel.handle import ChannelHandle
from pondsocket._cluster.node import Node
from pondsocket._cluster.shared_channel import PondCluster
from pondsocket._connection.session import Session
from pondsocket._contexts import ConnectionContext
from pondsocket._delivery.batching import EventLoop
from pondsocket._delivery.frame import Frame
from pondsocket._delivery.pushes import Push, encode_push
from pondsocket._handlers.admission import Identify, admit_everyone
from pondsocket._handlers.registration import (
    NOT_GIVEN,
    Handler,
    Middleware,
    check_callable,
    check_is_bound,
)
from pondsocket._log import get_log
from pondsocket._runtime.lifespan import Lifespan
from pondsocket._serving.actions import PondActions
from pondsocket._serving.endpoints import Endpoints
from pondsocket._serving.life import Life
from pondsocket._serving.streams import Streams
from pondsocket._state.lifecycle import Phase
from pondsocket._state.named_event import Event
from pondsocket._state.patterns import check_text
from pondsocket._state.request import ConnectRequest, Refusal
from pondsocket._state.user import UserId, as_user_id
from pondsocket._telemetry.hooks import Hooks, Metrics, Observer
from pondsocket.backplane import Backplane

from ._endpoint import Endpoint
from ._environment import Environment
from ._errors import UsageError, readable_text
from ._options import Options, checked

_log: Final = get_log("pondsocket.server")
# By a name of its own: before Python 3.12 reading a member of an enum costs 0.3 us.
_OPEN: Final = Phase.OPEN

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class PondSocket:
    """A channel server. Give it endpoints, and serve it through an adapter.

    It needs no start: it also works when it is mounted in an application that passes on no
    lifespan. `async with pond` (or `pond.lifespan`) closes it at the end, and tells every client.

    Args:
        options: Its limits.
        hooks: Called when something happens, for instance when a client connects.
        metrics: Counts what happens.
        lifespan: Makes an async context manager, of the pond: what the application opens before
            its first client, and closes after the last one. What it yields is `state`.
        clock: Seconds, from any start; for rates and durations. Tests pass their own.
        backplane: The engine that it shares with other processes; None: it is alone.
        debug: Tell clients what handlers raise, and where: while you develop.
    """

    def __init__(
        self,
        *,
        options: Options | None = None,
        hooks: Hooks | None = None,
        metrics: Metrics | None = None,
        lifespan: Callable[[Any], AbstractAsyncContextManager[Any]] | None = None,
        clock: Callable[[], float] = time.monotonic,
        backplane: Backplane | None = None,
        debug: bool = False,
    ) -> None:
        observer = Observer(hooks, metrics) if hooks is not None or metrics is not None else None
        self._node = None if backplane is None else Node(backplane)
        cluster = None if self._node is None else PondCluster(self._node)
        self._environment = Environment(checked(options), clock, observer, debug, cluster=cluster)
        self.options: Options = self._environment.options
        self.endpoints: Endpoints = Endpoints(self._environment)
        self.streams: Streams = Streams(self.endpoints, self._environment)
        if self._node is not None:
            self._node.serve(PondActions(self.endpoints, self.streams, self._environment))
        opened = None if lifespan is None else Lifespan(lifespan, self)
        self._life = Life(self._environment, self.endpoints, opened, self._node)

    def create_endpoint(
        self,
        path: str,
        handler: Handler = NOT_GIVEN,
        *more: Middleware[ConnectionContext],
        middlewares: Sequence[Middleware[ConnectionContext]] = (),
        allowed_origins: Collection[str] | None = None,
        identity: Identify | None = None,
        codecs: Collection[Codec] = (),
        subprotocols: Collection[str] = (),
        shared_channels: bool = False,
    ) -> Endpoint:
        """Admit connections to a path; the first registered path that matches wins.

        Args:
            handler: Decides who may connect. Without one, every client may whose web page may, and
                that no middleware refuses: allowed origins and limits apply as ever.
            more: Middleware around the handler, inside `middlewares`.
            allowed_origins: Which web pages may connect besides those of the host itself; by
                default those that `Options` names.
            identity: Returns who makes a request, for instance the user of a session cookie. If
                it is given, a POST or DELETE for an event stream must have the identity that
                opened it.
            codecs: The wire formats that it speaks besides the pond format. A client chooses one by
                offering its name as a subprotocol, or by `?codec=`.
            subprotocols: Further WebSocket subprotocols of this endpoint.
            shared_channels: Whether all paths that match a pattern with parameters share their
                channels. By default each path has channels of its own, as tenants should.

        Raises:
            UsageError: The path, the handler or an option cannot work.
        """
        check_text('@pond.endpoint("/path")', path)
        self.endpoints.check_reachable(path)
        if handler is NOT_GIVEN:
            handler = admit_everyone
            _log.info("Endpoint %r has no handler: it admits every client.", path)
        endpoint = Endpoint(
            path,
            handler,
            [*middlewares, *more],
            self._environment,
            self._life.find_phase,
            allowed_origins=allowed_origins,
            identity=identity,
            codecs=codecs,
            subprotocols=subprotocols,
            shared_channels=shared_channels,
        )
        self.endpoints.add(endpoint)
        return endpoint

    def endpoint(
        self,
        path: str,
        *,
        middlewares: Sequence[Middleware[ConnectionContext]] = (),
        allowed_origins: Collection[str] | None = None,
        identity: Identify | None = None,
        codecs: Collection[Codec] = (),
        subprotocols: Collection[str] = (),
        shared_channels: bool = False,
    ) -> Callable[[Handler], Endpoint]:
        """Use `create_endpoint` as a decorator: the decorated name is the endpoint."""
        check_text('@pond.endpoint("/path")', path)
        return lambda handler: self.create_endpoint(
            path,
            handler,
            middlewares=middlewares,
            allowed_origins=allowed_origins,
            identity=identity,
            codecs=codecs,
            subprotocols=subprotocols,
            shared_channels=shared_channels,
        )

    def channel(self, endpoint_path: str, name: str) -> ChannelHandle:
        """Return a channel, to send to it from outside its handlers.

        Args:
            endpoint_path: The path that the channel's members connect to; for an endpoint with
                `shared_channels` its pattern.

        Raises:
            UsageError: There is no such endpoint, or it is the pattern of several paths, or none of
                the endpoint's lobbies serves the name.
        """
        return self.endpoints.channel(endpoint_path, name)

    @property
    def dependency_overrides(self) -> dict[Callable[..., Any], Callable[..., Any]]:
        """Other functions in the place of dependencies, for tests: `[get_db] = fake`.

        What is set or removed here holds from the next message on.
        """
        return self._environment.overrides

    @property
    def state(self) -> dict[str, Any]:
        """What the lifespan has yielded; empty while it is not open, or if there is none."""
        return self._life.state

    @overload
    def on_error(self, handler: F) -> F: ...
    @overload
    def on_error(self) -> Callable[[F], F]: ...
    def on_error(self, handler: Any = NOT_GIVEN) -> Any:
        """Call a function for each failure of a handler, for instance to report it.

        Use it as a call, or as a decorator. The function is called with an `ErrorContext`, in a
        task of its own; a plain one in a worker thread. It changes neither the answer nor the log,
        and delays neither. A `PondError` that answers a client is no failure. There may be several.

        Raises:
            UsageError: It cannot be called with one argument.
        """
        if handler is NOT_GIVEN:
            return self.on_error
        check_is_bound("on_error", handler)
        check_callable("on_error", handler, arguments=1)
        self._environment.failures.add(handler)
        return handler

    @overload
    async def push(
        self, user_id: UserId, event: str, payload: object = None, *, path: str | None = None
    ) -> int: ...
    @overload
    async def push(
        self, user_id: UserId, event: Event[T], payload: T, *, path: str | None = None
    ) -> int: ...
    async def push(
        self,
        user_id: UserId,
        event: str | Event[Any],
        payload: object = None,
        *,
        path: str | None = None,
    ) -> int:
        """Send an event to every connection of a user, at every endpoint.

        Clients get it on the endpoint itself (GATEWAY), in a channel or not. It is encoded once.

        Args:
            path: Only the connections to this path, for instance those of one tenant; None: all
                connections, to all paths of all endpoints.

        Returns:
            How many connections it was sent to; with a backplane, how many of this process.

        Raises:
            UsageError: The event's name is reserved or not valid, the payload is not an object, no
                endpoint has this path, it is the pattern of several paths, or the id is neither a
                valid text nor an int.
            EncodingError: The payload cannot be written as JSON.
        """
        self._environment.loop.check("push")
        known, encoded, endpoints = self._prepare_push(user_id, event, payload, path)
        frame = encoded.frame(GATEWAY)
        sent = sum(each.routing.push(frame, known, path) for each in endpoints)
        if self._node is not None:
            await self._node.commands.tell("push", user=known, path=path, **encoded.arguments())
        return sent

    @overload
    def push_nowait(
        self, user_id: UserId, event: str, payload: object = None, *, path: str | None = None
    ) -> None: ...
    @overload
    def push_nowait(
        self, user_id: UserId, event: Event[T], payload: T, *, path: str | None = None
    ) -> None: ...
    def push_nowait(
        self,
        user_id: UserId,
        event: str | Event[Any],
        payload: object = None,
        *,
        path: str | None = None,
    ) -> None:
        """Call `push` from any thread. Errors in the arguments are raised here."""
        known, encoded, endpoints = self._prepare_push(user_id, event, payload, path)

        def push() -> None:
            frame = encoded.frame(GATEWAY)
            for each in endpoints:
                each.routing.push(frame, known, path)
            if self._node is not None:
                self._node.commands.tell_nowait(
                    "push", user=known, path=path, **encoded.arguments()
                )

        loop = self._environment.loop
        if loop.is_here:
            push()
        else:
            loop.call_soon(push)

    def _prepare_push(
        self, user_id: UserId, event: object, payload: object, path: str | None
    ) -> tuple[str, Push, list[Endpoint]]:
        return as_user_id(user_id), encode_push(event, payload), self.endpoints.chosen(path)

    async def disconnect(
        self,
        *,
        user_id: UserId,
        reason: str = "",
        code: CloseCode = CloseCode.DISCONNECTED,
        path: str | None = None,
    ) -> None:
        """Close every connection of a user, at every endpoint.

        Args:
            reason: The reason that the user's clients are told.
            code: With 4403, the default, clients do not reconnect by themselves.
            path: Only the connections to this path, for instance those of one tenant; None: all
                connections, to all paths of all endpoints.

        Raises:
            UsageError: No endpoint has this path, it is the pattern of several paths, or the id is
                neither a valid text nor an int.
        """
        self._environment.loop.check("disconnect")
        known, told = as_user_id(user_id), readable_text("disconnect: the reason", reason)
        close_code = CloseCode(code)
        for endpoint in self.endpoints.chosen(path):
            endpoint.drop_user(known, told, close_code, path)
        if self._node is not None:
            await self._node.commands.tell(
                "disconnect", user=known, reason=told, code=close_code, path=path
            )

    @property
    def is_ready(self) -> bool:
        """Whether new connections are admitted; for the readiness probe of a load balancer."""
        return self._life.phase is _OPEN and (self._node is None or self._node.is_ready)

    @property
    def is_draining(self) -> bool:
        """Whether a drain has begun, and the pond is not closed yet."""
        return self._life.phase is Phase.DRAINING

    def begin_drain(self, seconds: float | None = None) -> None:
        """Admit no more connections, and end the open ones one by one. Idempotent.

        Each client is told in the beginning, by a GOODBYE, when its connection will be closed, with
        code 1012, and is served until then. The window grows with the number of connections, so
        that they do not all reconnect elsewhere at the same moment. Many connections are told and
        closed in pieces: no turn of the event loop takes long.

        To be called in a task of the pond's event loop: a callback of asyncio is not a task.

        Args:
            seconds: The longest window, instead of `Options.drain_seconds`.
        """
        self._life.begin_drain(seconds)

    async def drain(self, seconds: float | None = None) -> None:
        """Call `begin_drain`, and wait until the last connection has ended.

        In a handler, it does not wait for the handler's own connection.
        """
        await self._life.drain(seconds)

    async def close(self) -> None:
        """Close every connection, with code 1001: clients reconnect. New ones are refused.

        It returns when they have ended. In a handler, it does not wait for the handler's own.
        """
        await self._life.close()

    async def __aenter__(self) -> Self:
        await self._life.enter()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._life.leave()

    @asynccontextmanager
    async def lifespan(self, _app: object = None) -> AsyncIterator[None]:
        """Run `async with pond`, in the form that Starlette, FastAPI and Litestar take."""
        async with self:
            yield

    def __call__(self, *_: object) -> NoReturn:
        """Refuse to be served or mounted, with a UsageError that says what to write."""
        raise UsageError(
            "A PondSocket is not an application by itself: write `app = PondASGIApp(pond)`, from"
            " the package pondsocket_asgi, and serve or mount that."
        )

    @property
    def has_backplane(self) -> bool:
        """Whether other processes share its channels."""
        return self._node is not None

    @property
    def cluster_key(self) -> bytes | None:
        """The secret of all nodes; None: it is alone, or there was no link to the engine yet."""
        return self._node.backplane.key if self._node is not None and self._node.is_ready else None

    # --- for adapters -------------------------------------------------------------------------

    def tidy(self) -> None:
        """Drop history entries that are too old. To be called now and then; it is cheap.

        Connects, joins, events and disconnects do it as well, but some ponds are idle for long.
        """
        for endpoint in self.endpoints:
            endpoint.routing.tidy()

    def enable_batching(self, find_loop: Callable[[], EventLoop | None]) -> None:
        """Batch broadcasts: what one turn of an event loop has written leaves together.

        Args:
            find_loop: Returns the running loop if it calls back before it waits; else None.
        """
        self._environment.loop_turn.enable(find_loop)

    def find_endpoint(self, path: str) -> Endpoint | None:
        """Return the endpoint that serves a path; None if there is none."""
        return self.endpoints.find(path)

    async def connect(self, request: ConnectRequest) -> Session | Refusal:
        """Ask the endpoint of the request's path. Return a Session, or a Refusal."""
        self._environment.loop.enter()
        found = self.endpoints.match(request.path)
        if found is None:
            return self.endpoints.not_found(request.path)
        endpoint, route = found
        life = self._life
        if not life.is_open and self.is_ready and not await life.open_for_client(request.path):
            return Refusal(503, "UNAVAILABLE", "The server is not ready.", retry_after=5)
        if self.is_ready:
            if life.gc_freeze is not None:
                life.gc_freeze.connecting()
            outcome = await endpoint.admit(request, route)
            if self.is_ready or isinstance(outcome, Refusal):
                return outcome
        if self._node is not None and self._life.phase is Phase.OPEN:
            return self._node.refusal()
        return Refusal.draining()

    def goodbye(self, request: ConnectRequest) -> Frame:
        """Return what a client is told whose event stream is refused because the pond drains."""
        return self._life.goodbye(request)
