"""One channel of a client: joined or not, its position, its presence; pure.

It returns what its messages mean, and sends nothing itself.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, Final

from pondsocket_common import (
    Acknowledged,
    ClientActions,
    ClientMessage,
    Payload,
    Position,
    PresenceDiff,
    PresenceEntry,
    PresenceMode,
    ServerMessage,
)

from .values import Effect, Gap, Joined, Message, Tell

# Refusals that say nothing about the user or the channel: a join is tried again.
PASSING: Final = (408, 425, 429)


class ChannelState(StrEnum):
    """What a client is in a channel."""

    JOINING = "joining"
    """Joined as soon as the connection allows it."""
    JOINED = "joined"
    PAUSED = "paused"
    """Left for a while, as the application reads too slowly."""
    REFUSED = "refused"
    EVICTED = "evicted"
    LEFT = "left"


class Channel:
    """A channel that the application has joined.

    Args:
        wants_presence: Whether the server is to send presence.

    Attributes:
        joins: How many joins of the application hold it.
        join_id: The request id of the JOIN that is sent and not answered.
        retry_at: When a join that was refused for the moment is tried again.
        refusals: How many of these in a row.
        was_joined: Whether the application has been told that it is joined.
        response: What the join handler gave.
        people: The presence of all members, by ref.
    """

    def __init__(self, name: str, params: Payload, *, wants_presence: bool) -> None:
        self.name = name
        self.params = params
        self.wants_presence = wants_presence
        self.state: ChannelState = ChannelState.JOINING
        self.joins: int = 0
        self.join_id: str | None = None
        self.retry_at: float | None = None
        self.refusals: int = 0
        self.was_joined: bool = False
        self.position: Position | None = None
        self.response: Any = None
        self.people: dict[str, PresenceEntry] = {}

    def join_message(self, request_id: str) -> ClientMessage:
        """Return the JOIN that has to be sent now."""
        self.join_id = request_id
        self.retry_at = None
        return ClientMessage(
            ClientActions.JOIN_CHANNEL,
            "join",
            self.name,
            request_id,
            self.params,
            since=self.position,
            presence=PresenceMode.DIFF if self.wants_presence else None,
        )

    def lost(self) -> None:
        """Note that the connection has ended."""
        self.join_id = self.retry_at = None
        if self.state is ChannelState.JOINED:
            self.state = ChannelState.JOINING

    def refused_for_now(self, retry_at: float) -> None:
        """Note that the join is to be sent again."""
        self.join_id = None
        self.retry_at = retry_at
        self.refusals += 1

    def pause(self) -> None:
        """Note that it is left until the application has read what has come."""
        self.state = ChannelState.PAUSED
        self.join_id = self.retry_at = None

    def end(self, state: ChannelState) -> None:
        """Note that the membership has ended for good."""
        self.state = state
        self.join_id = self.retry_at = None
        self.people.clear()

    def acknowledged(self, answer: Acknowledged) -> Iterator[Effect]:
        """Take the answer to a join: what the application is told before the queue is sent."""
        self.state = ChannelState.JOINED
        self.join_id = None
        self.refusals = 0
        self.response = answer.response
        self._begin_after(answer)
        if answer.presence is not None:
            yield from self._synchronise(answer.presence)

    def told_joined(self, answer: Acknowledged) -> Iterator[Effect]:
        """Return what the application is told after the queue is sent."""
        if not self.was_joined:
            self.was_joined = True
            yield Joined(self.name)
            return
        recovered = answer.recovered is True
        yield Joined(self.name, recovered)
        if not recovered:
            yield Tell(self.name, Gap(self.name))

    def begun_anew(self, answer: Acknowledged) -> Iterator[Effect]:
        """Take an acknowledgement that answers nothing: the server has lost the history."""
        self._begin_after(answer)
        if answer.recovered is False:
            yield Joined(self.name, recovered=False)
            yield Tell(self.name, Gap(self.name))

    def _begin_after(self, answer: Acknowledged) -> None:
        if answer.epoch is None or answer.offset is None:
            self.position = None
            return
        known = self.position
        # What was received already is not to be taken for new.
        is_behind = known is not None and known.epoch == answer.epoch
        offset = max(known.offset, answer.offset) if known and is_behind else answer.offset
        self.position = Position(answer.epoch, offset)

    def event(self, message: ServerMessage, payload: Mapping[str, Any]) -> Iterator[Effect]:
        """Take an event of the application, unless it has come already."""
        position = message.position
        if position is not None:
            known = self.position
            if known and known.epoch == position.epoch and known.offset >= position.offset:
                return
            self.position = position
        yield Tell(self.name, Message(message.event, payload, self.name, position))

    def changed(self, diff: PresenceDiff) -> Iterator[Effect]:
        """Take the changes of presence of one tick."""
        for entry in (*diff.joins, *diff.updates):
            self.people[entry.ref] = entry
        for entry in diff.leaves:
            self.people.pop(entry.ref, None)
        yield Tell(self.name, diff)

    def _synchronise(self, snapshot: PresenceDiff) -> Iterator[Effect]:
        """Compare what was known with the state in an acknowledgement."""
        now = {entry.ref: entry for entry in snapshot.joins}
        before = self.people
        self.people = now
        diff = PresenceDiff(
            joins=tuple(entry for ref, entry in now.items() if ref not in before),
            updates=tuple(e for ref, e in now.items() if ref in before and before[ref] != e),
            leaves=tuple(entry for ref, entry in before.items() if ref not in now),
        )
        if diff != PresenceDiff():
            yield Tell(self.name, diff)
