"""An endpoint: admits connections to one path, and routes their messages."""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, Final, NoReturn, TypeVar, overload

from pondsocket_common import (
    ClientActions,
    CloseCode,
    Codec,
)

from pondsocket._connection.formats import Formats
from pondsocket._connection.session import Session
from pondsocket._contexts import ConnectionContext, EventContext, GatewayContext, JoinContext
from pondsocket._delivery.pushes import encode_push
from pondsocket._delivery.slow_consumers import SlowConsumers
from pondsocket._handlers.admission import ConnectionAdmission, Identify
from pondsocket._handlers.disconnecting import Disconnects, TakesDisconnects
from pondsocket._handlers.events import Events, TakesEvents
from pondsocket._handlers.layers import uses_of
from pondsocket._handlers.parts import include
from pondsocket._handlers.registration import Handler, Middleware, check_middleware
from pondsocket._history.log import History
from pondsocket._log import get_log
from pondsocket._state.lifecycle import Phase
from pondsocket._state.named_event import Event
from pondsocket._state.patterns import Paths, Route, check_text
from pondsocket._state.request import ConnectRequest, Refusal
from pondsocket._state.roster import Roster
from pondsocket._state.user import UserId, as_user_id

from ._environment import Environment
from ._errors import UsageError
from ._lobby import Lobby
from ._options import check_origins
from ._routing import Routing

_log: Final = get_log("pondsocket.endpoint")
# By names of their own: before Python 3.12 reading a member of an enum costs 0.3 us.
_BROADCAST: Final = ClientActions.BROADCAST
_JOIN: Final = ClientActions.JOIN_CHANNEL
_OPEN: Final = Phase.OPEN
_CLOSED: Final = "closed by the application"

F = TypeVar("F", bound=Callable[..., Any])

T = TypeVar("T")


class Endpoint(TakesEvents[GatewayContext], TakesDisconnects):
    """One path that admits connections. Made by `PondSocket.create_endpoint`.

    `on_message` of an endpoint handles events that are sent to the endpoint itself (channel name
    GATEWAY). They need no join.

    Args:
        path: A pattern, for instance `/socket` or `/tenants/:tenant/socket`.
        handler: Decides who may connect.
        find_phase: Returns the pond's phase: new connections are admitted only while it is open.
        allowed_origins: Which web pages may connect besides those of the host itself; None: those
            of the pond's options.
        identity: Returns who makes a request, for instance the user of a session cookie. If it is
            given, a POST or DELETE for an event stream must have the identity that opened it.
        codecs: The wire formats that it speaks besides the pond format.
        subprotocols: Further WebSocket subprotocols; the first one that a client offers is chosen,
            unless it offers the name of a codec.
        shared_channels: Whether all paths that match the pattern share their channels; else each
            path has its own.
    """

    def __init__(
        self,
        path: str,
        handler: Handler,
        middlewares: Sequence[Middleware[ConnectionContext]],
        environment: Environment,
        find_phase: Callable[[], Phase],
        *,
        allowed_origins: Collection[str] | None = None,
        identity: Identify | None = None,
        codecs: Collection[Codec] = (),
        subprotocols: Collection[str] = (),
        shared_channels: bool = False,
    ) -> None:
        self.paths: Paths = Paths(path, shared=shared_channels)
        if self.paths.pattern.literal is None:
            have = "all its paths share" if shared_channels else "each of its paths has its own"
            _log.info("Endpoint %r: %s channels.", path, have)
        self.admission: ConnectionAdmission = ConnectionAdmission(
            path, handler, middlewares, environment, identity
        )
        self._environment = environment
        if allowed_origins is not None:
            check_origins(f"endpoint {path!r}: allowed_origins", allowed_origins)
        self.allowed_origins: tuple[str, ...] = tuple(
            environment.options.allowed_origins if allowed_origins is None else allowed_origins
        )
        self.formats: Formats = Formats(f"endpoint {path!r}", codecs, subprotocols)
        self.routing: Routing = Routing(self.paths, environment, find_phase)
        self.events: Events[Session] = self.routing.events
        self.disconnects: Disconnects = self.routing.disconnects

    # --- for applications ---------------------------------------------------------------------

    def __call__(self, *_: object) -> NoReturn:
        """Refuse to be served or mounted, with a UsageError that says what to write."""
        raise UsageError(
            "An endpoint is not an application by itself: write `app = PondASGIApp(pond)`, from"
            " the package pondsocket_asgi, and serve or mount that."
        )

    @property
    def path(self) -> str:
        """Its path or pattern, as registered."""
        return self.paths.pattern.text

    def use(self, *middlewares: Middleware[Any]) -> None:
        """Add middleware around the connection handler, inside the existing middleware.

        The context in the middleware's signature may name other handlers instead: `EventContext`
        all events, of the endpoint and of its channels; `GatewayContext` those of the endpoint
        alone; `JoinContext` all joins; a union several of them. It is called before the middleware
        of lobbies and handlers, and counts for handlers that are registered later, too.

        Raises:
            UsageError: One of them has the wrong form, or asks for another context.
        """
        what = self.events.what
        for middleware in middlewares:
            check_middleware(what, middleware)
        others = (GatewayContext, EventContext, JoinContext)
        uses = uses_of(what, middlewares, ConnectionContext, *others)
        self.admission.use([use.middleware for use in uses if use.is_for(ConnectionContext)])
        self.events.layer.add(uses)

    def create_channel(
        self,
        pattern: str,
        handler: Handler,
        *more: Middleware[JoinContext],
        middlewares: Sequence[Middleware[JoinContext]] = (),
        slow_consumers: SlowConsumers = "close",
        history: History | None = None,
    ) -> Lobby:
        """Serve the channels whose names match a pattern; the first registered one wins.

        Args:
            more: Middleware around the handler, inside `middlewares`.
            slow_consumers: The policy for a member whose outbox is full: see `Lobby`.
            history: What each channel keeps for clients that were away; None: nothing.

        Raises:
            UsageError: The pattern, the handler or the policy cannot work.
        """
        chain = [*middlewares, *more]
        lobby = Lobby(pattern, handler, *chain, slow_consumers=slow_consumers, history=history)
        self.include(lobby)
        return lobby

    def channel(
        self,
        pattern: str,
        *,
        middlewares: Sequence[Middleware[JoinContext]] = (),
        slow_consumers: SlowConsumers = "close",
        history: History | None = None,
    ) -> Callable[[Handler], Lobby]:
        """Use `create_channel` as a decorator: the decorated name is the lobby."""
        check_text('@endpoint.channel("/name")', pattern)
        return lambda handler: self.create_channel(
            pattern,
            handler,
            middlewares=middlewares,
            slow_consumers=slow_consumers,
            history=history,
        )

    def include(self, part: object) -> None:
        """Serve what was made elsewhere: a `Router`, an instance of a class, or a `Lobby`.

        Of a router, each endpoint that includes it has lobbies of its own.

        Raises:
            UsageError: It is something else, is included already, or would never be reached.
        """
        if isinstance(part, Lobby):
            self.routing.include(part)
        else:
            include(self.routing, part)

    @overload
    async def broadcast(
        self, event: str, payload: object = None, *, path: str | None = None
    ) -> None: ...
    @overload
    async def broadcast(self, event: Event[T], payload: T, *, path: str | None = None) -> None: ...
    async def broadcast(
        self, event: str | Event[Any], payload: object = None, *, path: str | None = None
    ) -> None:
        """Send an event to every connection of the endpoint, in a channel or not.

        It is encoded once. Outgoing handlers do not see it, and no history keeps it.

        Args:
            path: Only the connections to this path, for instance those of one tenant; None: those
                to all paths of the endpoint.

        Raises:
            UsageError: The event's name is reserved or not valid, the payload is not an object, or
                it is no path of this endpoint.
            EncodingError: The payload cannot be written as JSON.
        """
        self._environment.loop.check("broadcast")
        self._check_path(path)
        await self.routing.broadcast_everywhere(encode_push(event, payload), path)

    @overload
    def broadcast_nowait(
        self, event: str, payload: object = None, *, path: str | None = None
    ) -> None: ...
    @overload
    def broadcast_nowait(self, event: Event[T], payload: T, *, path: str | None = None) -> None: ...
    def broadcast_nowait(
        self, event: str | Event[Any], payload: object = None, *, path: str | None = None
    ) -> None:
        """Call `broadcast` from any thread. Errors in the arguments are raised here."""
        self._check_path(path)
        push, loop = encode_push(event, payload), self._environment.loop
        if loop.is_here:
            self.routing.broadcast_everywhere_nowait(push, path)
        else:
            loop.call_soon(partial(self.routing.broadcast_everywhere_nowait, push, path))

    def _check_path(self, path: str | None) -> None:
        if path is not None:
            self.paths.resolve(path)

    async def connection_count(self) -> int:
        """Return how many connections are open, on all nodes.

        Raises:
            BackplaneUnavailable: With a backplane: not all nodes answer within 2 seconds.
        """
        self._environment.loop.check("connection_count")
        cluster = self._environment.cluster
        if cluster is not None:
            return await cluster.connection_count(self.path)
        return len(self.routing.sessions)

    async def close_connection(self, user_id: UserId, *, path: str | None = None) -> None:
        """Close every connection of a user, with code 4403: clients do not reconnect.

        Args:
            path: Only those to this path; None: to all paths of the endpoint.

        Raises:
            UsageError: It is no path of this endpoint, or the id is neither a text nor an int.
        """
        self._environment.loop.check("close_connection")
        self._check_path(path)
        known = as_user_id(user_id)
        self.drop_user(known, _CLOSED, CloseCode.DISCONNECTED, path)
        cluster = self._environment.cluster
        if cluster is not None:
            await cluster.command(
                "disconnect",
                user=known,
                reason=_CLOSED,
                code=CloseCode.DISCONNECTED,
                path=path,
                endpoint=self.path,
            )

    # --- for the pond -------------------------------------------------------------------------

    def drop_user(
        self,
        user_id: str,
        reason: str,
        code: CloseCode,
        path: str | None = None,
        older_than: float | None = None,
    ) -> None:
        """Close every connection of a user; with a path, only those to that path.

        Args:
            older_than: Only those that were open at this time, by the pond's clock.
        """
        for session in self.routing.of_user(user_id, path):
            if older_than is None or session.opened_at <= older_than:
                session.close(code, reason)

    @property
    def sessions(self) -> Roster[Session]:
        """Its open connections."""
        return self.routing.sessions

    def fits(self, route: Route) -> bool:
        """Return whether the parameters have the types that the connection handler asks for."""
        return self.admission.fits(route.params)

    async def admit(self, request: ConnectRequest, route: Route) -> Session | Refusal:
        """Call the connection handler. Return a Session, or a Refusal."""
        if self.routing.is_full():
            return Refusal(503, "NO_CAPACITY", "There are too many connections.", retry_after=5)
        chosen = self.formats.choose(request)
        if isinstance(chosen, Refusal):
            return chosen
        context = ConnectionContext(request, route, self._environment)
        identity: object = None
        try:
            refusal = await self.admission.decide(context)
            if refusal is not None:
                return refusal
            if request.transport == "sse":
                identity = await self.admission.identify(request)
                if isinstance(identity, Refusal):
                    return identity.with_headers(context.answer_headers)
        finally:
            context.end()
        return Session(
            self.routing,
            request,
            self._environment,
            params=route.params,
            user_id=context.user_id,
            is_user_known=context.is_user_known,
            assigns=context.assigns,
            greeting=context.replies,
            identity=identity,
            subprotocol=chosen.subprotocol,
            answer_headers=context.answer_headers,
            codec=chosen.codec,
        )
