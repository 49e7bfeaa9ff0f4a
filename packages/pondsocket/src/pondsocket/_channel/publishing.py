"""Publishing: a broadcast is decided, it gets its position, and it is emitted.

*Decide* checks it and encodes its payload, once. *Emit* sends it to the members. In between, the
history, if there is one, gives it a position. A history in memory does so at once: then publishing
is one step without an await. A store that answers late is awaited by the caller. Others publish
meanwhile, and `Emission` keeps the order of the positions.
"""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Iterable
from functools import lru_cache
from typing import Any, Final, Generic, NamedTuple, TypeVar

import anyio
from pondsocket_common import Payload, Position, dump_json, fresh_id

from pondsocket._delivery.batching import ChannelBatching
from pondsocket._delivery.frame import Frame
from pondsocket._delivery.slow_consumers import mark
from pondsocket._history.channel_history import ChannelHistory
from pondsocket._history.emission import Emission
from pondsocket._history.slice import Audience, HistorySlice, Kept
from pondsocket._presence.channel_presence import ChannelPresence
from pondsocket._state.payloads import as_payload, check_event
from pondsocket._state.roster import Roster

from .member import Member, MemberChannel
from .owner import ChannelOwner, Intercept, Interception

C = TypeVar("C", bound=MemberChannel)

_check_event: Final = lru_cache(maxsize=1_024)(check_event)


class _Decided(NamedTuple):
    """A broadcast that waits for its position."""

    event: str
    request_id: str
    shown: Payload
    payload: bytes
    audience: Audience | None
    but: Member[Any] | None
    interception: Interception[Any] | None


class Publishing(Generic[C]):
    """The broadcasts of one channel.

    Args:
        history: None if the channel keeps none.
    """

    __slots__ = ("_batching", "_history", "_name", "_owner", "_presence", "_roster")

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

    def publish(
        self,
        event: str,
        payload: object,
        members: Iterable[Member[C]] | None = None,
        audience: Audience | None = None,
        *,
        but: Member[C] | None = None,
        keep: bool = True,
    ) -> Coroutine[Any, Any, None] | None:
        """Encode a broadcast once, keep it if there is a history, and deliver it.

        Args:
            members: Those that get it; None: all.
            audience: The users that it is for; None: all.
            but: If all get it, the one member that does not.

        Returns:
            None if that is done. Otherwise the rest, to be awaited: the history answers late.

        Raises:
            PondError: 503: the history answers so late that too many broadcasts wait for it.
        """
        # A name that was checked lately is not checked again.
        _check_event(event) if type(event) is str else check_event(event)
        shown = payload if type(payload) is dict else as_payload(payload)
        # First of all: it may call the application, which may broadcast in this channel itself.
        encoded = dump_json(shown)
        if self._presence.log:
            self._presence.flush()
        owner = self._owner
        interception = owner.interception(event) if owner.has_outgoing else None
        # Before it has a position: a member may be too slow for what waits, and a hook that is told
        # of that may broadcast in this channel, too.
        self._batching.settle(is_for_all=members is None and interception is None)
        request_id = fresh_id()
        history = self._history
        position = None
        if history is not None and keep:
            if history.emission is not None:
                history.emission.check_room()
            log = history.open() if history.log is None else history.log
            found = log.append(event, request_id, encoded, history.clock(), audience)
            if not isinstance(found, Position):
                decided = _Decided(event, request_id, shown, encoded, audience, but, interception)
                return self._emit_late(found, decided, history)
            position = found
            if history.recordings is not None:
                history.record(Kept(position.offset, event, request_id, encoded), audience)
        frame = Frame.broadcast(self._name, event, request_id, encoded, position)
        self._emit(frame, shown, members, but, interception)
        return None

    def _emit(
        self,
        frame: Frame,
        shown: Payload,
        members: Iterable[Member[C]] | None,
        but: Member[C] | None,
        interception: Interception[Member[C]] | None,
    ) -> None:
        policy = self._owner.slow_consumers
        if policy != "close":
            mark(frame, policy, self._name, frame.message.event, shown)
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
        members: Iterable[Member[C]] | None,
        but: Member[C] | None,
    ) -> None:
        everyone = self._roster if members is None else members
        chosen = [each for each in everyone if each is not but]
        self._batching.deliver_copies(lambda each: each.offer_copy(intercept, frame), chosen)

    async def _emit_late(
        self, pending: Awaitable[Position], decided: _Decided, history: ChannelHistory
    ) -> None:
        if history.emission is None:
            history.emission = Emission()
        emission: Emission[tuple[Position, _Decided]] = history.emission
        emission.begin()
        try:
            # Shielded: it may be kept already, and then the other members must get it.
            with anyio.CancelScope(shield=True):
                position = await pending
        except BaseException:
            self._emit_all(emission.fail(), history)
            raise
        self._emit_all(emission.answer(position, (position, decided)), history)

    def _emit_all(
        self, leaving: Iterable[tuple[Position, _Decided]], history: ChannelHistory
    ) -> None:
        for position, (event, request_id, shown, payload, audience, but, interception) in leaving:
            history.record(Kept(position.offset, event, request_id, payload), audience)
            frame = Frame.broadcast(self._name, event, request_id, payload, position)
            members = None
            if audience is not None and but is None:  # those of now, not of when it was decided
                members = [each for each in self._roster if audience.includes(each.user_id)]
            self._emit(frame, shown, members, but, interception)
        for member in list(self._roster):
            if member.catching_up is not None:
                member.catching_up.all_left()


async def read_late(
    history: ChannelHistory,
    pending: Awaitable[HistorySlice],
    since: Position | None,
    latest: int | None,
) -> HistorySlice:
    """Await what a member may recover, and add what has left meanwhile.

    Args:
        pending: What `history.read(since, latest)` has returned.
    """
    while True:
        with history.recording() as recorded:
            found = await pending
        if found.extend(recorded):
            return found
        again = history.read(since, latest)  # one between is missing: an append may have failed
        if isinstance(again, HistorySlice):
            return again
        pending = again
