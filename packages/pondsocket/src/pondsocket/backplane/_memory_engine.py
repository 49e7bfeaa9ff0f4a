"""What an engine does with operations, in memory. Pure: the caller passes the time.

It keeps to the same rules as the scripts of the Redis engine; one contract tests both.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from pondsocket_common import Position, fresh_epoch

from ._errors import BackplaneError
from ._interface import (
    Append,
    Change,
    Drop,
    Emit,
    Entry,
    Keep,
    Op,
    Put,
    Result,
    Roster,
    Slice,
    Topic,
)

_ONCE_SECONDS = 3_600.0
_LONGEST_SILENCE = 2.5


class Emitted(NamedTuple):
    """A message that nothing keeps, on its way to the nodes."""

    topic: Topic
    data: bytes


class Appended(NamedTuple):
    """A kept message, on its way to the nodes."""

    topic: Topic
    epoch: str
    prev: int
    entry: Entry


class Shown(NamedTuple):
    """A change of a roster, on its way to the nodes."""

    topic: Topic
    at: Position
    changes: tuple[Change, ...]


Push: TypeAlias = Emitted | Appended | Shown


@dataclass
class _Member:
    owner: str
    user: str
    shown: bytes | None


@dataclass
class _Kept:
    entry: Entry
    at: float


@dataclass
class _TopicState:
    epoch: str
    used_at: float
    position_ttl: float = 86_400.0
    top: int = 0
    version: int = 0
    kept: list[_Kept] = field(default_factory=list)
    members: dict[str, _Member] = field(default_factory=dict)

    def count(self, user: str) -> int:
        return sum(each.user == user for each in self.members.values())


class MemoryEngine:
    """The state of an engine.

    Args:
        lease: How many seconds a lease lives without `renew`.

    Attributes:
        application: What the nodes' application has, as the latest one has described it.
    """

    def __init__(self, lease: float) -> None:
        self.lease = lease
        self.application: bytes | None = None
        self._topics: dict[Topic, _TopicState] = {}
        self._leases: dict[str, float] = {}  # by name: when it ends
        self._heard: float | None = None  # when a node was heard last
        self._applied: dict[str, tuple[int, list[Result]]] = {}  # by node: the latest
        self._once: dict[tuple[Topic, str], tuple[float, Position]] = {}

    def forget(self) -> None:
        """Lose everything, as an engine that has no file to read at its start."""
        self.__init__(self.lease)  # type: ignore[misc]

    # --- operations -----------------------------------------------------------------------------

    def apply(
        self, node: str, lease: str, seq: int, ops: Sequence[Op], now: float
    ) -> tuple[list[Result], list[Push]]:
        """Carry out operations; see `Backplane.apply`. Return the results, and what to send.

        `Emit` is counted by the caller, who knows the subscriptions.

        Raises:
            BackplaneError: Later operations of the node were carried out already.
        """
        last, results = self._applied.get(node, (0, []))
        if seq == last:
            return results, []
        if seq < last:
            raise BackplaneError(f"The operations {seq} of node {node} come after {last}.")
        pushes: list[Push] = []
        results = [self._carry_out(op, lease, now, pushes) for op in ops]
        self._applied[node] = seq, results
        return results, pushes

    def _carry_out(self, op: Op, lease: str, now: float, pushes: list[Push]) -> Result:
        match op:
            case Append():
                return self._append(op, now, pushes)
            case Emit(topic, data):
                pushes.append(Emitted(topic, data))
                return 0
            case Put():
                return self._put(op, lease, now, pushes)
            case Drop():
                return self._drop(op, now, pushes)

    def _append(self, op: Append, now: float, pushes: list[Push]) -> Position:
        if op.once:
            sent = self._once.get((op.topic, op.once))
            if sent is not None and sent[0] > now - _ONCE_SECONDS:
                return sent[1]
        state = self._open(op.topic, now)
        state.used_at, state.position_ttl = now, op.keep.position_ttl
        spared = op.spare if state.count(op.spare) < 2 else ""
        state.top += 1
        entry = Entry(state.top, op.data, spared)
        state.kept.append(_Kept(entry, now))
        position = Position(state.epoch, state.top)
        if op.once:
            self._once[op.topic, op.once] = now, position
        self._trim(state, op.keep, now)
        pushes.append(Appended(op.topic, state.epoch, state.top - 1, entry))
        return position

    def _put(self, op: Put, lease: str, now: float, pushes: list[Push]) -> int | None:
        if not self.is_alive(lease, now):
            return None
        state = self._open(op.topic, now)
        state.used_at = now
        before = state.members.get(op.ref)
        state.members[op.ref] = _Member(lease, op.user, op.shown)
        if op.shown != (None if before is None else before.shown):
            self._show(op.topic, state, [Change(op.ref, op.user, op.shown)], pushes)
        return state.version

    def _drop(self, op: Drop, now: float, pushes: list[Push]) -> tuple[str, ...]:
        state = self._topics.get(op.topic)
        if state is None:
            return ()
        state.used_at = now
        dropped = {
            ref: state.members.pop(ref)
            for ref in op.refs
            if ref in state.members and op.owner in ("", state.members[ref].owner)
        }
        hidden = [
            Change(ref, each.user, None) for ref, each in dropped.items() if each.shown is not None
        ]
        if hidden:
            self._show(op.topic, state, hidden, pushes)
        users = dict.fromkeys(each.user for each in dropped.values())
        return tuple(user for user in users if not state.count(user))

    def _show(
        self, topic: Topic, state: _TopicState, changes: list[Change], pushes: list[Push]
    ) -> None:
        state.version += 1
        pushes.append(Shown(topic, Position(state.epoch, state.version), tuple(changes)))

    def _open(self, topic: Topic, now: float) -> _TopicState:
        state = self._topics.get(topic)
        is_over = state is not None and state.used_at + state.position_ttl <= now
        if state is None or (is_over and not state.members):
            state = self._topics[topic] = _TopicState(fresh_epoch(), now)
        return state

    def _trim(self, state: _TopicState, keep: Keep, now: float) -> None:
        kept = state.kept
        size = sum(len(each.entry.data) for each in kept)
        while kept and (
            len(kept) > keep.size or size > keep.max_bytes or kept[0].at <= now - keep.ttl
        ):
            size -= len(kept.pop(0).entry.data)

    # --- what is read ---------------------------------------------------------------------------

    def read(self, topic: Topic, keep: Keep, now: float) -> Slice:
        """Return what is kept of a topic."""
        is_new = topic not in self._topics
        state = self._open(topic, now)
        self._trim(state, keep, now)
        return Slice(state.epoch, state.top, tuple(each.entry for each in state.kept), is_new)

    def roster(self, topic: Topic, now: float) -> Roster:
        """Return who shows what in a topic."""
        state = self._open(topic, now)
        shown = tuple(
            Change(ref, each.user, each.shown)
            for ref, each in state.members.items()
            if each.shown is not None
        )
        return Roster(Position(state.epoch, state.version), shown)

    def count(self, topic: Topic, user: str) -> int:
        """Return how many users are in a topic; of one user, how many memberships."""
        state = self._topics.get(topic)
        if state is None:
            return 0
        return state.count(user) if user else len({each.user for each in state.members.values()})

    # --- leases ---------------------------------------------------------------------------------

    def hear(self, now: float) -> None:
        """Note a sign of life of any node.

        While none was heard, it was the engine that could not be reached, and no lease has run
        down: otherwise the first node to return would take the others for dead.
        """
        heard, self._heard = self._heard, now
        if heard is not None and now - heard > _LONGEST_SILENCE:
            for lease, ends in self._leases.items():
                if ends > heard:
                    self._leases[lease] = ends + now - heard

    def grant(self, lease: str, now: float) -> None:
        """Begin a lease."""
        self._leases[lease] = now + self.lease

    def renew(self, lease: str, now: float) -> bool:
        """Renew a lease. False: it is lost."""
        if not self.is_alive(lease, now):
            return False
        self.grant(lease, now)
        return True

    def is_alive(self, lease: str, now: float) -> bool:
        """Return whether a lease lives."""
        return self._leases.get(lease, 0.0) > now

    def end(self, lease: str) -> None:
        """End a lease that its node gives up, or under which nothing is held any more."""
        self._leases.pop(lease, None)

    def expire(self, lease: str) -> None:
        """Let a lease end, as that of a node that has died long ago."""
        if lease in self._leases:
            self._leases[lease] = 0.0

    def dead(self, now: float) -> list[str]:
        """Return the leases that have ended without being given up."""
        return [lease for lease, ends in self._leases.items() if ends <= now]

    def held_by(self, lease: str) -> Iterator[tuple[Topic, str]]:
        """Yield the memberships that were put under a lease."""
        for topic, state in self._topics.items():
            for ref, each in state.members.items():
                if each.owner == lease:
                    yield topic, ref
