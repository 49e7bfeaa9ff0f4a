"""An endpoint: admits connections to one path, and routes their messages."""

import logging
from collections.abc import Callable, Collection, Coroutine, Hashable, Sequence
from typing import Any, Final, TypeVar, assert_never

from pondsocket_common import (
    GATEWAY,
    ClientActions,
    ClientMessage,
    CloseCode,
    Codec,
    ErrorTypes,
    Left,
    ServerMessage,
    SystemEvents,
    is_channel_name,
    is_name,
)

from pondsocket._channel.channel import Channel
from pondsocket._connection.formats import Formats
from pondsocket._connection.lanes import Handle
from pondsocket._connection.overflow import Overflow
from pondsocket._connection.session import Session
from pondsocket._contexts import ConnectionContext, GatewayContext, JoinContext
from pondsocket._delivery import replies
from pondsocket._delivery.slow_consumers import SlowConsumers
from pondsocket._handlers.admission import ConnectionAdmission, Identify
from pondsocket._handlers.events import Events, TakesEvents
from pondsocket._handlers.registration import Handler, Middleware
from pondsocket._history.log import History
from pondsocket._history.store import HistoryStore
from pondsocket._runtime.tasks import Work
from pondsocket._state.lifecycle import Phase
from pondsocket._state.patterns import Paths, PatternMap, Route, check_text
from pondsocket._state.request import ConnectRequest, Refusal
from pondsocket._state.roster import Roster
from pondsocket._state.user import LeaveReason, UserId, as_user_id
from pondsocket._telemetry import safe_log

from ._environment import Environment
from ._lobby import Lobby
from ._options import check_origins

_log: Final = logging.getLogger("pondsocket.endpoint")
# By names of their own: before Python 3.12 reading a member of an enum costs 0.3 us.
_BROADCAST: Final = ClientActions.BROADCAST
_JOIN: Final = ClientActions.JOIN_CHANNEL
_OPEN: Final = Phase.OPEN

F = TypeVar("F", bound=Callable[..., Any])


class Endpoint(TakesEvents):
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
        self.paths = Paths(path, shared=shared_channels)
        if self.paths.pattern.literal is None:
            have = "all its paths share" if shared_channels else "each of its paths has its own"
            _log.info("Endpoint %r: %s channels.", path, have)
        self.admission = ConnectionAdmission(path, handler, middlewares, environment, identity)
        self._environment = environment
        self._find_phase = find_phase
        if allowed_origins is not None:
            check_origins(f"endpoint {path!r}", allowed_origins)
        self.allowed_origins = tuple(
            environment.options.allowed_origins if allowed_origins is None else allowed_origins
        )
        self.formats = Formats(f"endpoint {path!r}", codecs, subprotocols)
        self.overflow = Overflow(environment)
        self._is_full_logged = False
        self._lobbies: PatternMap[Lobby] = PatternMap()
        self._history_stores: list[HistoryStore] = []  # of the lobbies that have a history
        self.events: Events[Session] = Events(
            f"endpoint {path!r}",
            self.paths.pattern.names,
            ErrorTypes.ENDPOINT_ERROR,
            GatewayContext,
        )
        # One object for all sessions: each would keep a bound method of its own.
        self.handle: Handle[Session] = self._handle
        self.find_lane: Callable[[Session, ClientMessage], Hashable] | None = None
        self.events.watch(self._expect_concurrent)
        self.sessions: Roster[Session] = Roster()

    # --- for applications ---------------------------------------------------------------------

    @property
    def path(self) -> str:
        """Its path or pattern, as registered."""
        return self.paths.pattern.text

    def use(self, *middlewares: Middleware[ConnectionContext]) -> None:
        """Add middleware around the connection handler, inside the existing middleware.

        Raises:
            UsageError: One of them has the wrong form.
        """
        self.admission.use(middlewares)

    def create_channel(
        self,
        pattern: str,
        handler: Handler,
        *middlewares: Middleware[JoinContext],
        slow_consumers: SlowConsumers = "close",
        history: History | None = None,
    ) -> Lobby:
        """Serve the channels whose names match a pattern; the first registered one wins.

        Args:
            slow_consumers: The policy for a member whose outbox is full: see `Lobby`.
            history: What each channel keeps for clients that were away; None: nothing.

        Raises:
            UsageError: The pattern, the handler or the policy cannot work.
        """
        lobby = Lobby(
            pattern, handler, *middlewares, slow_consumers=slow_consumers, history=history
        )
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
            pattern, handler, *middlewares, slow_consumers=slow_consumers, history=history
        )

    def include(self, lobby: Lobby) -> None:
        """Serve the channels of a lobby that was made elsewhere.

        Raises:
            UsageError: It is part of an endpoint already, or no channel would ever reach it.
        """
        if not lobby.is_attached:  # else that is the error to be told
            self._lobbies.check_reachable(f"channel {lobby.pattern!r}", lobby.pattern)
        lobby.attach(self._environment, self._expect_concurrent, self.paths)
        self._lobbies.add(lobby.pattern, lobby, is_final=not lobby.is_selective)
        if lobby.history_store is not None:
            self._history_stores.append(lobby.history_store)

    async def connection_count(self) -> int:
        """Return how many connections are open."""
        self._environment.loop.check("connection_count")
        return len(self.sessions)

    async def close_connection(self, user_id: UserId, *, path: str | None = None) -> None:
        """Close every connection of a user, with code 4403: clients do not reconnect.

        Args:
            path: Only those to this path; None: to all paths of the endpoint.

        Raises:
            UsageError: It is no path of this endpoint, or the id is neither a text nor an int.
        """
        self._environment.loop.check("close_connection")
        if path is not None:
            self.paths.resolve(path)
        self.drop_user(
            as_user_id(user_id), "closed by the application", CloseCode.DISCONNECTED, path
        )

    # --- for the pond -------------------------------------------------------------------------

    def drop_user(
        self, user_id: str, reason: str, code: CloseCode, path: str | None = None
    ) -> None:
        """Close every connection of a user; with a path, only those to that path."""
        for session in self.sessions.of_user(user_id):
            if path in (None, session.path, self.path):
                session.close(code, reason)

    def serves(self, name: str) -> bool:
        """Return whether a lobby serves channels of this name."""
        return is_name(name) and is_channel_name(name) and self._find_lobby(name) is not None

    def find_channel(self, name: str, path: str = "") -> Channel | None:
        """Return the channel of a name at one of the endpoint's paths; None if no lobby serves it.

        Args:
            path: Of no account if `paths.only` stands for all.
        """
        found = self._find_lobby(name)
        return None if found is None else found[0].open_channel(name, found[1].params, path)

    def explain(self, name: str) -> str:
        """Return what the peer should know where no lobby serves a name; mostly nothing."""
        sentences = (lobby.explain(route) for lobby, route in self._lobbies.matches(name))
        return next(filter(None, sentences), "")

    def fits(self, route: Route) -> bool:
        """Return whether the parameters have the types that the connection handler asks for."""
        return self.admission.fits(route.params)

    async def admit(self, request: ConnectRequest, route: Route) -> Session | Refusal:
        """Call the connection handler. Return a Session, or a Refusal."""
        if self._is_full():
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
            self,
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

    def _is_full(self, extra: int = 0) -> bool:
        limit = self._environment.options.max_connections
        if limit is None or len(self.sessions) < limit + extra:
            self._is_full_logged = False
            return False
        if not self._is_full_logged:  # once, or many refused clients would fill the log
            self._is_full_logged = True
            _log.warning("%s is full: see Options.max_connections (%s).", self.path, limit)
        return True

    # --- for sessions (Router) ----------------------------------------------------------------

    def can_resume(self, channel_name: str, others: int) -> bool:
        """Return whether a reconnecting client may resume a channel, besides `others` channels."""
        limit = self._environment.options.max_channels
        found = self._find_lobby(channel_name)
        return (
            found is not None and found[0].history is not None and (limit is None or others < limit)
        )

    def opened(
        self,
        session: Session,
        greeting: Sequence[ServerMessage],
        resumed: tuple[str, ...] | None,
        others: tuple[str, ...] | None,
    ) -> None:
        """Greet a client and register its session; close the session if it came too late."""
        supports = ("history",) if self._history_stores else None
        user_id, connection_id = session.user_id, session.connection_id
        session.send(replies.connected(user_id, connection_id, resumed, others, supports))
        for message in greeting:
            session.send(message)
        if not session.is_open:  # the greeting was too much for it
            return
        self.sessions.add(session)
        self.tidy()
        text = "connected (path=%r user=%r transport=%r)"
        path, transport = session.path, session.request.transport
        safe_log.write(_log, logging.INFO, text, path, session.user_id, transport)
        if self._environment.observer is not None:
            self._environment.observer.connected(session.user_id, session.request)
        phase = self._find_phase()
        if phase is _OPEN and not self._is_full(1):
            return
        if phase is Phase.CLOSED:  # after its admission, so `close` has not closed it
            session.close(CloseCode.GOING_AWAY, "the server is closing")
        elif phase is Phase.DRAINING:
            session.close(CloseCode.RESTART, "the server restarts")
        else:  # full after its admission: several clients were admitted before one was counted
            session.close(CloseCode.NO_CAPACITY, "there are too many connections")

    def ended(self, session: Session) -> list[Work]:
        """End the session's memberships. Return what is left to do, to be awaited.

        It is called once, so a part that fails does not keep the others from being done.
        """
        was_open = self.sessions.remove(session)
        self.tidy()
        self.overflow.caught_up(session)
        works: list[Work] = []
        for member in list(session.memberships.values()):
            try:
                leave_work = member.leave(LeaveReason.CONNECTION_CLOSED)
            except Exception as error:  # noqa: BLE001 - boundary: one channel
                text = "A leave failed (user=%r)."
                safe_log.write(_log, logging.ERROR, text, session.user_id, failure=error)
                continue
            if leave_work is not None:
                works.append(leave_work)
        if was_open:
            text = "disconnected (path=%r user=%r)"
            safe_log.write(_log, logging.INFO, text, session.path, session.user_id)
            if self._environment.observer is not None:
                seconds = self._environment.clock() - session.opened_at
                self._environment.observer.disconnected(
                    session.user_id, session.request, session.close_code, seconds
                )
        return works

    def tidy(self) -> None:
        """Drop history entries that are too old, also of channels that are not used any more."""
        if self._history_stores:
            now = self._environment.clock()
            for store in self._history_stores:
                try:
                    store.tidy(now)
                except Exception as error:  # noqa: BLE001 - boundary: one history
                    text = "A history was not tidied."
                    safe_log.write(_log, logging.ERROR, text, failure=error)

    def _expect_concurrent(self) -> None:
        self.find_lane = self._find_lane

    def _find_lane(self, session: Session, message: ClientMessage) -> Hashable:
        """Return the lane of a message: its channel, or its own lane for a concurrent handler."""
        name = message.channel_name
        if message.action is not _BROADCAST:
            return name
        if name == GATEWAY:
            is_concurrent = self.events.is_concurrent(message.event, session.params)
        else:
            member = session.memberships.get(name)
            is_concurrent = member is not None and member.is_concurrent(message)
        return object() if is_concurrent else name

    def _handle(self, session: Session, message: ClientMessage) -> Coroutine[Any, Any, None] | None:
        """Handle one message as far as possible without waiting. Return the rest, if any."""
        match message.action:
            case ClientActions.JOIN_CHANNEL:
                return self._join(session, message)
            case ClientActions.BROADCAST:
                return self._handle_without_membership(session, message)
            case ClientActions.LEAVE_CHANNEL:
                return self._acknowledge_leave(session, message)
            case _ as unreachable:
                assert_never(unreachable)

    def _find_lobby(self, name: str) -> tuple[Lobby, Route] | None:
        found = self._lobbies.match(name)
        if found is None or not found[0].is_selective or found[0].fits(found[1]):
            return found
        first = found[0]  # which has been asked, and may have logged why it does not fit
        return next(
            (
                each
                for each in self._lobbies.matches(name)
                if each[0] is not first and each[0].fits(each[1])
            ),
            None,
        )

    async def _join(self, session: Session, message: ClientMessage) -> None:
        found = self._find_lobby(message.channel_name)
        held = session.memberships.get(message.channel_name)
        if held is not None and not held.is_of(None if found is None else found[0]):
            # A validator has changed its mind. One name must not be two memberships, and none must
            # outlive a refusal.
            leave_work = held.leave(LeaveReason.EVICTED)
            if leave_work is not None:
                await leave_work()
        if found is None:
            session.send(replies.not_found(message, self.explain(message.channel_name)))
            return
        lobby, route = found
        limit = self._environment.options.max_channels
        if limit is not None and len(session.memberships) + len(session.scopes) >= limit:
            channels = {*session.memberships, *session.scopes.values()}
            if len(channels - {message.channel_name, None}) >= limit:
                answer = replies.too_many_channels(message, limit)
                lobby.answer(session, message.channel_name, answer)
                return
        await lobby.handle_join(session, message, route)

    async def _acknowledge_leave(self, session: Session, message: ClientMessage) -> None:
        name, request_id = message.channel_name, message.request_id
        answer = replies.system(SystemEvents.EXIT_ACKNOWLEDGE, name, Left(), request_id)
        found = self._find_lobby(name)
        if found is None:
            session.send(answer)
        else:
            found[0].answer(session, name, answer)

    def _handle_without_membership(
        self, session: Session, message: ClientMessage
    ) -> Coroutine[Any, Any, None] | None:
        if message.channel_name == GATEWAY:
            return self.events.handle(session, message, session.params, self._environment)
        if (found := self._find_lobby(message.channel_name)) is None:
            session.send(replies.not_found(message, self.explain(message.channel_name)))
        else:
            text = f"Join {message.channel_name} before sending events to it."
            answer = replies.fault(message, ErrorTypes.UNAUTHORIZED_BROADCAST, 403, text)
            found[0].answer(session, message.channel_name, answer)
        return None
