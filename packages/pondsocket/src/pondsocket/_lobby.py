"""A lobby: the handlers of one channel pattern, and its live channels."""

import logging
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final
from weakref import WeakValueDictionary

import anyio
from pondsocket_common import ClientMessage, ErrorTypes, Left, Payload, SystemEvents

from . import _answers as answers
from ._channel import Channel, Departure, Intercept, LeaveReason, Member
from ._contexts import EventContext, JoinContext, LeaveContext
from ._errors import PondError, UsageError
from ._frames import Frame
from ._handlers import Handler, Middleware, compose
from ._options import Options
from ._outgoing import BoundOutgoing, Outgoing, OutgoingHandler, OutgoingMiddleware
from ._session import Session, Work
from ._state.lifecycle import Admission
from ._state.patterns import PatternMap, Route

_log: Final = logging.getLogger("pondsocket.lobby")


class Lobby:
    """One pattern of channels. Made by `Endpoint.create_channel`.

    Args:
        pattern: What channel names look like, for instance `/chat/:room_id`.
        handler: Decides who may join.
    """

    def __init__(
        self,
        pattern: str,
        handler: Handler[JoinContext],
        middlewares: Sequence[Middleware[JoinContext]],
        options: Options,
    ) -> None:
        self.pattern = pattern
        self._join = compose(f"channel {pattern!r}", handler, middlewares)
        self._options = options
        self._events: PatternMap[Handler[EventContext]] = PatternMap()
        self._outgoing: PatternMap[Outgoing] = PatternMap()
        self._leave: Handler[LeaveContext] | None = None
        self.chained = False
        # Weak: a channel is its members', and of whoever else holds it. So there is one object
        # a name at any time, nobody has to decide when it ends, and a join that races the last
        # leave cannot meet a channel that is about to be dropped.
        self._channels: WeakValueDictionary[str, Channel] = WeakValueDictionary()

    # --- for applications ---------------------------------------------------------------------

    def on_message(
        self,
        event_pattern: str,
        handler: Handler[EventContext],
        *middlewares: Middleware[EventContext],
    ) -> None:
        """Handle events that members send; the first registered pattern that matches does.

        Raises:
            UsageError: The pattern or the handler cannot work.
        """
        what = f"channel {self.pattern!r}, event {event_pattern!r}"
        self._events.add(event_pattern, compose(what, handler, middlewares))

    def on_leave(
        self, handler: Handler[LeaveContext], *middlewares: Middleware[LeaveContext]
    ) -> None:
        """Be told when the last connection of a user has left a channel.

        Raises:
            UsageError: The handler cannot work, or there is one already.
        """
        if self._leave is not None:
            raise UsageError(f"channel {self.pattern!r} has a leave handler already.")
        self._leave = compose(f"channel {self.pattern!r}, leave", handler, middlewares)

    def on_outgoing(
        self, event_pattern: str, handler: OutgoingHandler, *middlewares: OutgoingMiddleware
    ) -> None:
        """Look at, change or withhold a broadcast for each member it goes to.

        Raises:
            UsageError: The pattern or the handler cannot work, or members have joined already.
        """
        what = f"channel {self.pattern!r}, outgoing {event_pattern!r}"
        outgoing = Outgoing(what, handler, middlewares)
        if outgoing.is_late and any(len(channel.roster) for channel in self._channels.values()):
            raise UsageError(f"{what}: register it before the first member joins.")
        self._outgoing.add(event_pattern, outgoing)
        self.chained = self.chained or outgoing.is_late

    async def get_channel(self, name: str) -> Channel | None:
        """A channel that has members, or None."""
        channel = self._channels.get(name)
        return channel if channel is not None and len(channel.roster) else None

    async def list_channels(self) -> list[Channel]:
        """The channels that have members."""
        return [channel for channel in self._channels.values() if len(channel.roster)]

    # --- for the endpoint ---------------------------------------------------------------------

    def channel(self, name: str, params: Mapping[str, str]) -> Channel:
        """The channel of this name."""
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = Channel(name, params, self)
        return channel

    async def join(self, session: Session, message: ClientMessage, route: Route) -> None:
        """Have the join handler decide, and answer the request, once."""
        if not session.is_open:
            return
        timeout = self._options.join_timeout
        with anyio.CancelScope() as limit:
            find_channel = partial(self.channel, message.channel_name, route.params)
            context = JoinContext(session, message, route, find_channel, limit)
            session.scopes.add(limit)
            if timeout is not None:
                limit.deadline = anyio.current_time() + timeout
            try:
                await self._join(context)
            except Exception as error:  # noqa: BLE001 - boundary: a join handler
                self._join_failed(context, error)
            finally:
                session.scopes.discard(limit)
        if context.decision.state is Admission.PENDING and session.is_open:
            if limit.cancelled_caught:
                _log.warning("A join handler took over %s s (%s).", timeout, _where(context))
                context.refuse(408, "The join took too long to decide.")
            else:
                _log.error("A join handler neither accepted nor declined (%s).", _where(context))
                context.refuse(401, "Nobody decided about the join.")
        if context.decision.state is Admission.ACCEPTED:
            _log.info("joined (%s)", _where(context))
        if context.farewell is not None:
            await context.farewell()

    async def leave(self, session: Session, message: ClientMessage) -> None:
        """End a membership, if there is one, and say so."""
        member = session.memberships.get(message.channel_name)
        frame = answers.system(
            SystemEvents.EXIT_ACKNOWLEDGE, message.channel_name, Left(), message.request_id
        )
        if isinstance(member, Member):
            # Also where the connection has ended: what was sent behind a leave is no member's.
            del session.memberships[message.channel_name]
            farewell = member.channel.remove(member, LeaveReason.EXPLICIT_LEAVE)
            member.send(frame)
            if farewell is not None:
                await farewell()
        else:
            session.send(frame)

    async def event(self, member: Member, message: ClientMessage) -> None:
        """Have the first handler that matches deal with an event."""
        found = self._events.match(message.event)
        if found is None:
            text = f"Nobody handles the event {message.event} here."
            member.send(answers.fault(message, ErrorTypes.HANDLER_NOT_FOUND, 404, text))
            return
        handler, route = found
        context = EventContext(member, message, route)
        try:
            await handler(context)
        except PondError as error:
            member.send(answers.fault(message, ErrorTypes.CHANNEL_ERROR, error.code, error.message))
        except Exception:  # noqa: BLE001 - boundary: an event handler
            _log.exception("An event handler failed (event=%s %s).", message.event, _where(context))
            internal = ErrorTypes.INTERNAL_SERVER_ERROR
            member.send(answers.fault(message, internal, 500, answers.INTERNAL))

    # --- for channels (ChannelOwner) ----------------------------------------------------------

    def intercept(
        self, channel: Channel, event: str, payload: Payload, frame: Frame
    ) -> Intercept | None:
        """The outgoing handlers of this event, if there are any."""
        if not self._outgoing:
            return None
        found = self._outgoing.match(event)
        return None if found is None else BoundOutgoing(found[0], channel, event, payload, frame)

    def left(self, departure: Departure) -> Work | None:
        """What is left to do after a user's last connection has left."""
        return None if self._leave is None else partial(self._run_leave, self._leave, departure)

    async def _run_leave(self, handler: Handler[LeaveContext], departure: Departure) -> None:
        timeout = self._options.leave_timeout
        # Shielded: it is run after the fact, often by a connection that is being cancelled.
        with anyio.CancelScope(shield=True) as limit:
            limit.deadline = math.inf if timeout is None else anyio.current_time() + timeout
            try:
                await handler(LeaveContext(departure))
            except Exception:  # noqa: BLE001 - boundary: a leave handler
                _log.exception(
                    "A leave handler failed (channel=%s user=%s).",
                    departure.channel.name,
                    departure.user.id,
                )
        if limit.cancelled_caught:
            _log.error("A leave handler took over %s s (%s).", timeout, departure.channel.name)

    def _join_failed(self, context: JoinContext, error: Exception) -> None:
        # After it has decided, a failure changes nothing: the answer is given.
        undecided = context.decision.state is Admission.PENDING
        if not undecided or not isinstance(error, PondError):
            _log.error("A join handler failed (%s).", _where(context), exc_info=error)
        if undecided and isinstance(error, PondError):
            context.refuse(error.code, error.message)
        elif undecided:
            context.refuse(500, answers.INTERNAL)


def _where(context: JoinContext | EventContext) -> str:
    return (
        f"channel={context.message.channel_name} user={context.session.user_id}"
        f" request={context.request_id}"
    )
