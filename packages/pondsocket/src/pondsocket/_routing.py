"""Routing: where the messages of an endpoint's connections go, and which connections are open."""

import logging
from collections.abc import Callable, Coroutine, Hashable, Mapping, Sequence
from typing import Any, Final, assert_never

from pondsocket_common import (
    GATEWAY,
    ClientActions,
    ClientMessage,
    CloseCode,
    ErrorTypes,
    Left,
    ServerMessage,
    SystemEvents,
    is_channel_name,
    is_name,
)

from pondsocket._channel.channel import Channel
from pondsocket._connection.overflow import Overflow
from pondsocket._connection.session import Session
from pondsocket._contexts import DisconnectContext, GatewayContext, JoinContext
from pondsocket._delivery import replies
from pondsocket._delivery.batching import ChannelBatching
from pondsocket._delivery.fanout import deliver
from pondsocket._delivery.frame import Frame
from pondsocket._delivery.pushes import Push, encode_push
from pondsocket._handlers.disconnecting import Disconnects
from pondsocket._handlers.events import Events
from pondsocket._handlers.kinds import GATEWAY_EVENT
from pondsocket._handlers.layers import Layer
from pondsocket._handlers.registration import Handler, Middleware
from pondsocket._history.store import HistoryStore
from pondsocket._log import about, get_log
from pondsocket._runtime.tasks import Work
from pondsocket._state.lifecycle import Phase
from pondsocket._state.patterns import Paths, PatternMap, Route
from pondsocket._state.roster import Copied, Roster
from pondsocket._state.user import LeaveReason
from pondsocket._telemetry import safe_log

from ._environment import Environment
from ._lobby import Lobby

_log: Final = get_log("pondsocket.endpoint")
# By names of their own: before Python 3.12 reading a member of an enum costs 0.3 us.
_BROADCAST: Final = ClientActions.BROADCAST
_JOIN: Final = ClientActions.JOIN_CHANNEL
_LEAVE: Final = ClientActions.LEAVE_CHANNEL
_OPEN: Final = Phase.OPEN


class Routing:
    """The open connections of an endpoint, its lobbies, and which messages go where.

    Args:
        paths: Those of the endpoint.
        find_phase: Returns the pond's phase: a connection that opens later is closed at once.
    """

    def __init__(
        self, paths: Paths, environment: Environment, find_phase: Callable[[], Phase]
    ) -> None:
        self._paths = paths
        self._environment = environment
        self._find_phase = find_phase
        self._is_full_logged = False
        self.overflow: Overflow = Overflow(environment)
        self.lobbies: PatternMap[Lobby] = PatternMap()
        self._history_stores: list[HistoryStore] = []  # of the lobbies that have a history
        self.events: Events[Session] = Events(
            f"endpoint {paths.pattern.text!r}",
            paths.pattern.names,
            ErrorTypes.ENDPOINT_ERROR,
            GatewayContext,
            GATEWAY_EVENT,
        )
        self.disconnects: Disconnects = Disconnects(paths.pattern.text, paths.pattern.names)
        # One object for all sessions: each would keep a bound method of its own.
        self.handle: Callable[[Session, ClientMessage], Coroutine[Any, Any, None] | None]
        self.handle = self._handle
        self.find_lane: Callable[[Session, ClientMessage], Hashable] | None = None
        self.events.watch(self._expect_concurrent)
        self.sessions: Roster[Session] = Roster()
        # An offer may call the application's metrics, which may close a connection.
        everyone = Copied(self.sessions.everyone())
        self._batching = ChannelBatching(everyone, environment.loop_turn)

    # --- for the endpoint ---------------------------------------------------------------------

    def include(self, lobby: Lobby, layers: Sequence[Layer] = ()) -> None:
        """Serve the channels of a lobby; see `Endpoint.include`.

        Args:
            layers: The middleware of the routers that it comes from, the outermost first.

        Raises:
            UsageError: It is part of an endpoint already, or no channel would ever reach it.
        """
        if not lobby.is_attached:  # else that is the error to be told
            self.lobbies.check_reachable(f"channel {lobby.pattern!r}", lobby.pattern)
        outer = (self.events.layer, *layers)
        lobby.attach(
            self._environment, self._expect_concurrent, self._paths, self.find_channel, outer
        )
        self.lobbies.add(lobby.pattern, lobby, is_final=not lobby.is_selective)
        if lobby.history_store is not None:
            self._history_stores.append(lobby.history_store)

    def open_lobby(
        self,
        pattern: str,
        handler: Handler,
        middlewares: Sequence[Middleware[JoinContext]],
        options: Mapping[str, Any],
        layers: Sequence[Layer],
    ) -> Lobby:
        """Serve the channels of a pattern that comes from a router or a class."""
        lobby = Lobby(pattern, handler, *middlewares, **options)
        self.include(lobby, layers)
        return lobby

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
        sentences = (lobby.explain(route) for lobby, route in self.lobbies.matches(name))
        return next(filter(None, sentences), "")

    def is_full(self, extra: int = 0) -> bool:
        """Return whether no more connections are admitted, with `extra` more than the limit."""
        limit = self._environment.options.max_connections
        if limit is None or len(self.sessions) < limit + extra:
            self._is_full_logged = False
            return False
        if not self._is_full_logged:  # once, or many refused clients would fill the log
            self._is_full_logged = True
            _log.warning(
                "%s is full: see Options.max_connections (%s).", self._paths.pattern.text, limit
            )
        return True

    def of_user(self, user_id: str, path: str | None) -> list[Session]:
        """Return the connections of a user; with a path, only those to that path."""
        return [each for each in self.sessions.of_user(user_id) if self._is_at(path, each)]

    def _is_at(self, path: str | None, session: Session) -> bool:
        return path in (None, session.path, self._paths.pattern.text)

    def push(
        self, frame: Frame, user_id: str, path: str | None, older_than: float | None = None
    ) -> int:
        """Send a frame to the connections of a user. Return how many could take it."""
        sessions = self.of_user(user_id, path)
        if older_than is not None:
            sessions = [each for each in sessions if each.opened_at <= older_than]
        loop_turn = self._environment.loop_turn
        if sessions and loop_turn.waiting:
            loop_turn.flush()
        deliver(frame, sessions)
        return sum(session.is_open for session in sessions)

    def broadcast(self, frame: Frame, path: str | None, older_than: float | None = None) -> None:
        """Send a frame to all connections; with a path, only to those to that path.

        Args:
            older_than: Only to those that were open at this time, by the pond's clock.
        """
        batching, loop_turn = self._batching, self._environment.loop_turn
        if any(each is not batching for each in loop_turn.waiting):
            # In channels: these are delivered one after the other, and it must overtake none.
            loop_turn.flush()
        if older_than is None and path in (None, self._paths.only, self._paths.pattern.text):
            batching.broadcast(frame)
        else:
            some = [each for each in self.sessions if self._is_at(path, each)]
            if older_than is not None:
                some = [each for each in some if each.opened_at <= older_than]
            batching.deliver(frame, some)

    async def broadcast_from_handler(self, event: object, payload: object, path: str) -> None:
        """Send an event to the connections that have the same channels as those to a path."""
        self._environment.loop.check("broadcast")
        await self.broadcast_everywhere(encode_push(event, payload), self._paths.of(path))

    async def broadcast_everywhere(self, push: Push, path: str | None) -> None:
        """Send an event to all connections, here at once, then on the other nodes."""
        self.broadcast(push.frame(GATEWAY), path)
        cluster = self._environment.cluster
        if cluster is not None:
            pattern = self._paths.pattern.text
            await cluster.command("broadcast", endpoint=pattern, path=path, **push.arguments())

    def broadcast_everywhere_nowait(self, push: Push, path: str | None) -> None:
        """Do the same without waiting for the engine."""
        self.broadcast(push.frame(GATEWAY), path)
        cluster = self._environment.cluster
        if cluster is not None:
            pattern = self._paths.pattern.text
            cluster.command_nowait("broadcast", endpoint=pattern, path=path, **push.arguments())

    # --- for sessions (Router) ----------------------------------------------------------------

    def can_resume(self, channel_name: str, others: int) -> bool:
        """Return whether a reconnecting client may resume a channel, besides `others` channels."""
        limit = self._environment.options.max_channels
        found = None if channel_name == GATEWAY else self._find_lobby(channel_name)
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
        if self._history_stores:
            self.tidy()
        if _log.logger.isEnabledFor(logging.INFO):  # as `_log`, without a call between
            text = "connected (path=%r user=%r transport=%r)"
            path, transport = session.path, session.request.transport
            extra = about(session)
            safe_log.write(_log, logging.INFO, text, path, session.user_id, transport, extra=extra)
        if self._environment.observer is not None:
            self._environment.observer.connected(session.user_id, session.request)
        phase = self._find_phase()
        if phase is _OPEN and not self.is_full(1):
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
                extra = about(session)
                safe_log.write(
                    _log, logging.ERROR, text, session.user_id, failure=error, extra=extra
                )
                continue
            if leave_work is not None:
                works.append(leave_work)
        if was_open:
            if self.disconnects.registration is not None:
                context = DisconnectContext(session, self.broadcast_from_handler)
                works = [self.disconnects.after(works, context)]
            if _log.isEnabledFor(logging.INFO):
                text, extra = "disconnected (path=%r user=%r)", about(session)
                arguments = session.path, session.user_id
                safe_log.write(_log, logging.INFO, text, *arguments, extra=extra)
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
        action = message.action
        if action is _BROADCAST:
            return self._handle_without_membership(session, message)
        if message.channel_name == GATEWAY:
            # No membership, so that nothing changes. Published clients send to a channel only
            # after they have joined it.
            session.send(replies.joined_or_left(message))
            return None
        if action is _JOIN:
            return self._join(session, message)
        if action is _LEAVE:
            return self._acknowledge_leave(session, message)
        assert_never(action)

    def _find_lobby(self, name: str) -> tuple[Lobby, Route] | None:
        found = self.lobbies.match(name)
        if found is None or not found[0].is_selective or found[0].fits(found[1]):
            return found
        first = found[0]  # which has been asked, and may have logged why it does not fit
        return next(
            (
                each
                for each in self.lobbies.matches(name)
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
