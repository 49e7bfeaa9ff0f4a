"""An endpoint: admits connections to one path, and routes their messages."""

import logging
import math
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, assert_never

import anyio
from pondsocket_common import (
    GATEWAY,
    ClientActions,
    ClientMessage,
    CloseCode,
    ErrorTypes,
    Left,
    SystemEvents,
)

from . import _answers as answers
from ._channel import LeaveReason, Member
from ._contexts import ConnectionContext, JoinContext
from ._errors import PondError
from ._handlers import Handler, Middleware, compose
from ._lobby import Lobby
from ._options import Options
from ._request import ConnectRequest, Refusal, refuse_connection
from ._session import Session, Work
from ._state.lifecycle import Admission
from ._state.patterns import PatternMap, Route
from ._state.roster import Roster

_log: Final = logging.getLogger("pondsocket.endpoint")


class Endpoint:
    """One path that admits connections. Made by `PondSocket.create_endpoint`.

    Args:
        path: A pattern, for instance `/socket` or `/tenants/:tenant/socket`.
        handler: Decides who may connect.
        is_closed: Whether nobody may come in any more.
    """

    def __init__(
        self,
        path: str,
        handler: Handler[ConnectionContext],
        middlewares: Sequence[Middleware[ConnectionContext]],
        options: Options,
        is_closed: Callable[[], bool],
    ) -> None:
        self.path = path
        self._handler = handler
        self._middlewares = list(middlewares)
        self._connect = self._compose(self._middlewares)
        self._options = options
        self._is_closed = is_closed
        self._slow: dict[Session, None] = {}
        self._lobbies: PatternMap[Lobby] = PatternMap()
        self.sessions: Roster[Session] = Roster()

    def _compose(
        self, middlewares: Sequence[Middleware[ConnectionContext]]
    ) -> Handler[ConnectionContext]:
        return compose(f"endpoint {self.path!r}", self._handler, middlewares)

    # --- for applications ---------------------------------------------------------------------

    def use(self, *middlewares: Middleware[ConnectionContext]) -> None:
        """Add middleware around the connection handler, inside of what is there already.

        Raises:
            UsageError: One of them has the wrong form.
        """
        self._connect = self._compose([*self._middlewares, *middlewares])
        self._middlewares += middlewares

    def create_channel(
        self,
        pattern: str,
        handler: Handler[JoinContext],
        *middlewares: Middleware[JoinContext],
    ) -> Lobby:
        """Serve the channels whose names match a pattern; the first registered one wins.

        Raises:
            UsageError: The pattern or the handler cannot work.
        """
        lobby = Lobby(pattern, handler, middlewares, self._options)
        self._lobbies.add(pattern, lobby)
        return lobby

    async def connection_count(self) -> int:
        """How many connections are open."""
        return len(self.sessions)

    async def close_connection(self, user_id: str) -> None:
        """Close every connection of a user, with code 4403: clients do not come back by it."""
        for session in self.sessions.of_user(user_id):
            session.close(CloseCode.DISCONNECTED, "closed by the application")

    # --- for the pond -------------------------------------------------------------------------

    async def admit(self, request: ConnectRequest, route: Route) -> Session | Refusal:
        """Have the connection handler decide."""
        context = ConnectionContext(request, route)
        timeout = self._options.connect_timeout
        refusal: Refusal | None = None
        with anyio.CancelScope() as limit:
            limit.deadline = math.inf if timeout is None else anyio.current_time() + timeout
            try:
                await self._connect(context)
            except PondError as error:
                refusal = refuse_connection(error.code, error.message)
            except Exception:  # noqa: BLE001 - boundary: a connection handler
                _log.exception("A connection handler failed (path=%s).", request.path)
                refusal = Refusal(500, ErrorTypes.INTERNAL_SERVER_ERROR, answers.INTERNAL)
        if limit.cancelled_caught:
            _log.error("A connection handler took over %s s (path=%s).", timeout, request.path)
            return Refusal(
                504, ErrorTypes.ENDPOINT_ERROR, "The connection took too long to decide."
            )
        if context.declined is not None:
            return refuse_connection(*context.declined)
        if refusal is not None:
            return refusal
        if context.decision.state is not Admission.ACCEPTED:
            _log.error("A connection handler neither accepted nor declined (%s).", request.path)
            return refuse_connection(401, "Nobody decided about the connection.")
        return Session(
            self,
            request,
            self._options,
            user_id=context.user_id,
            assigns=context.assigns,
            greeting=context.replies,
        )

    # --- for sessions (SessionOwner) ----------------------------------------------------------

    def opened(self, session: Session) -> None:
        """The session is being served."""
        self.sessions.add(session)
        _log.info(
            "connected (path=%s user=%s transport=%s)",
            session.path,
            session.user_id,
            session.request.transport,
        )
        if self._is_closed():  # since it was admitted, so that nobody has told it
            session.close(CloseCode.GOING_AWAY, "the server is closing")

    def overflowed(self, session: Session) -> None:
        """Close a slow consumer, but never from within the closing of another.

        The others are told that one has gone, which may be one frame too many for the next. In a
        room of stalled peers that goes on and on: nested, it would exhaust the stack.
        """
        if session in self._slow:
            return
        _log.warning("A slow consumer is closed (user=%s).", session.user_id)
        self._slow[session] = None
        if len(self._slow) > 1:
            return  # whoever closes the first will come to it
        while self._slow:
            first = next(iter(self._slow))
            first.close(CloseCode.SLOW_CONSUMER, "slow consumer")
            del self._slow[first]

    def over(self, session: Session) -> list[Work]:
        """End the session's memberships."""
        self.sessions.remove(session)
        farewells: list[Work] = []
        for member in list(session.memberships.values()):
            if isinstance(member, Member):
                farewell = member.channel.remove(member, LeaveReason.CONNECTION_CLOSED)
                if farewell is not None:
                    farewells.append(farewell)
        _log.info("disconnected (path=%s user=%s)", session.path, session.user_id)
        return farewells

    def handle(self, session: Session, message: ClientMessage) -> Coroutine[Any, Any, None]:
        """Handle one message, in its lane."""
        match message.action:
            case ClientActions.BROADCAST:
                member = session.memberships.get(message.channel_name)
                if isinstance(member, Member) and isinstance(member.channel.owner, Lobby):
                    return member.channel.owner.event(member, message)
                return self._refuse_event(session, message)
            case ClientActions.JOIN_CHANNEL:
                return self._join(session, message)
            case ClientActions.LEAVE_CHANNEL:
                return self._leave(session, message)
            case _ as unreachable:
                assert_never(unreachable)

    async def _join(self, session: Session, message: ClientMessage) -> None:
        found = self._lobbies.match(message.channel_name)
        if found is None:
            session.send(answers.not_found(message))
            return
        lobby, route = found
        await lobby.join(session, message, route)

    async def _leave(self, session: Session, message: ClientMessage) -> None:
        found = self._lobbies.match(message.channel_name)
        if found is not None:
            await found[0].leave(session, message)
            return
        name, request_id = message.channel_name, message.request_id
        session.send(answers.system(SystemEvents.EXIT_ACKNOWLEDGE, name, Left(), request_id))

    async def _refuse_event(self, session: Session, message: ClientMessage) -> None:
        if message.channel_name == GATEWAY:
            text = f"This endpoint does not handle the event {message.event}."
            answer = answers.fault(message, ErrorTypes.HANDLER_NOT_FOUND, 404, text)
        elif self._lobbies.match(message.channel_name) is None:
            answer = answers.not_found(message)
        else:
            text = f"Join {message.channel_name} before sending events to it."
            answer = answers.fault(message, ErrorTypes.UNAUTHORIZED_BROADCAST, 403, text)
        session.send(answer)
