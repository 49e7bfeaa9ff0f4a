"""Publishing: a broadcast is decided, it gets its position, and it is emitted.

*Decide* checks it and encodes its payload, once. *Emit* sends it to the members. In between, the
history, if there is one, gives it a position. A history in memory does so at once: then publishing
is one step without an await. A store that answers late is awaited by the caller. Others publish
meanwhile, and `Emission` keeps the order of the positions.
"""

from __future__ import annotations

from collections.abc import Awaitable
from functools import lru_cache
from threading import get_ident
from typing import Any, Final, Generic, TypeVar

from pondsocket_common import Payload, Position, dump_json, fresh_id

from pondsocket._delivery.batching import ChannelBatching
from pondsocket._delivery.frame import Frame
from pondsocket._delivery.slow_consumers import mark
from pondsocket._history.channel_history import ChannelHistory, decoded
from pondsocket._history.emission import Emission
from pondsocket._history.slice import Audience, EmittedMessage, KeptMessage
from pondsocket._presence.channel_presence import ChannelPresence
from pondsocket._state.named_event import Event, named
from pondsocket._state.payloads import as_payload, check_event
from pondsocket._state.roster import Roster

from .late import DecidedBroadcast, LateBroadcast, PositionedBroadcast
from .member import Member, MemberChannel
from .owner import ChannelOwner, Intercept, Interception

C = TypeVar("C", bound=MemberChannel)

_check_event: Final = lru_cache(maxsize=1_024)(check_event)


class Publishing(Generic[C]):
    """The broadcasts of one channel.

    Args:
        history: None if the channel keeps none.
    """

    __slots__ = (
        "_batching",
        "_history",
        "_is_emitting",
        "_name",
        "_owner",
        "_presence",
        "_roster",
    )

    def __init__(
        self,
        name: str,
        owner: ChannelOwner[C, Member[C]],
        roster: Roster[Member[C]],
        batching: ChannelBatching,
        presence: ChannelPresence,
        history: ChannelHistory | None,
    ) -> None:
        self._name = name
        self._owner = owner
        self._roster = roster
        self._batching = batching
        self._presence = presence
        self._history = history
        self._is_emitting = False

    def publish(
        self,
        event: str | Event[Any],
        payload: object,
        audience: Audience | None = None,
        *,
        but: Member[C] | None = None,
        keep: bool = True,
    ) -> LateBroadcast | None:
        """Encode a broadcast once, keep it if there is a history, and deliver it.

        Args:
            audience: The users that it is for; None: all.
            but: The one member that does not get it. All others do, and the audience is for those
                who read it later.

        Returns:
            None if that is done. Otherwise the rest, to be awaited: the history answers late.

        Raises:
            PondError: 503: the history answers so late that too many broadcasts wait for it.
        """
        loop = self._owner.environment.loop
        if get_ident() not in loop.threads:  # as `Loop.check`, without the call
            loop.refuse("broadcast")
        # A name that was checked lately is not checked again.
        if type(event) is str:
            _check_event(event)
        else:
            event, payload = named(event, payload)
        shown = payload if type(payload) is dict else as_payload(payload)
        # First of all: encoding may call the application, which may broadcast in this channel.
        encoded = dump_json(shown)
        if self._presence.log:
            self._presence.flush()
        owner = self._owner
        interception = owner.interception(event) if owner.has_outgoing else None
        # Before it has a position: a member may be too slow for the frames that wait, and the hook
        # that is told of it may broadcast in this channel, too.
        is_for_all = interception is None and (audience is None or but is not None)
        self._batching.settle(is_for_all=is_for_all)
        request_id = fresh_id()
        history = self._history
        position = None
        if history is not None and keep:
            emission = history.emission
            if emission is not None:
                emission.check_room()
            log = history.open() if history.log is None else history.log
            found = log.append(event, request_id, encoded, history.clock(), audience)
            if emission is not None or not isinstance(found, Position):
                if interception is not None:  # the caller may change its object before it is shown
                    shown = decoded(encoded)
                connection = None if but is None else but.connection_id
                decided = DecidedBroadcast(
                    event, request_id, shown, encoded, audience, connection, interception
                )
                return self._emit_in_order(found, decided, history)
            position = found
            if history.recordings is not None:
                kept = KeptMessage(position.offset, event, request_id, encoded)
                history.record(EmittedMessage(position.epoch, kept, audience))
        frame = Frame.broadcast(self._name, event, request_id, encoded, position)
        self._emit(frame, shown, audience, but, interception)
        return None

    def _emit(
        self,
        frame: Frame,
        shown: Payload,
        audience: Audience | None,
        but: Member[C] | None,
        interception: Interception[Member[C]] | None,
    ) -> None:
        policy = self._owner.slow_consumers
        if policy != "close":
            mark(frame, policy, self._name, frame.message.event, shown)
        members: list[Member[C]] | None = None
        if audience is not None and but is None:
            users = audience.users
            if audience.is_exclusion:
                members = [each for each in self._roster if each.user_id not in users]
            else:
                members = self._roster.of_users(users)
        if interception is not None:
            self._emit_copies(frame, interception.bind(shown, frame), members, but)
        elif members is None:
            self._batching.broadcast(frame, but)
        else:
            self._batching.deliver(frame, members)

    # Apart from `_emit`: a variable that an inner function shares takes a cell at every call.
    def _emit_copies(
        self,
        frame: Frame,
        intercept: Intercept[Member[C]],
        members: list[Member[C]] | None,
        but: Member[C] | None,
    ) -> None:
        everyone = self._roster if members is None else members
        chosen = [each for each in everyone if each is not but]
        self._batching.deliver_copies(lambda each: each.offer_copy(intercept, frame), chosen)

    # --- while the store answers late ---------------------------------------------------------

    def _emit_in_order(
        self,
        found: Position | Awaitable[Position],
        decided: DecidedBroadcast,
        history: ChannelHistory,
    ) -> LateBroadcast | None:
        """Emit a broadcast when those before it are emitted."""
        emission: Emission[PositionedBroadcast] | None = history.emission
        if emission is None:
            emission = history.emission = Emission()
        # In the same step as `append`: the tickets have the order in which the appends begin.
        ticket = emission.begin()

        def answer(position: Position) -> None:
            emission.answer(ticket, position, PositionedBroadcast(position, decided))
            self._emit_ready(emission, history)

        def fail() -> None:
            emission.fail(ticket)
            self._emit_ready(emission, history)

        if not isinstance(found, Position):
            return LateBroadcast(found, answer, fail)
        answer(found)
        return None

    def _emit_ready(self, emission: Emission[PositionedBroadcast], history: ChannelHistory) -> None:
        if self._is_emitting:
            return  # called from within the loop below, by an outgoing handler that broadcasts
        self._is_emitting = True
        try:
            while (broadcast := emission.take()) is not None:
                self._emit_positioned(broadcast, history)
        finally:
            self._is_emitting = False

    def _emit_positioned(self, broadcast: PositionedBroadcast, history: ChannelHistory) -> None:
        position, decided = broadcast
        event, request_id, shown, payload, audience, connection, interception = decided
        # Presence that changed while the append was under way goes before it.
        if self._presence.log:
            self._presence.flush()
        # It is for those who are members now, not when it was decided: they expect it at this
        # position. So the sender is looked up again.
        but = None if connection is None else self._roster.get(connection)
        is_for_all = interception is None and (audience is None or but is not None)
        self._batching.settle(is_for_all=is_for_all)
        if history.recordings is not None:
            kept = KeptMessage(position.offset, event, request_id, payload)
            history.record(EmittedMessage(position.epoch, kept, audience))
        frame = Frame.broadcast(self._name, event, request_id, payload, position)
        self._emit(frame, shown, audience, but, interception)
