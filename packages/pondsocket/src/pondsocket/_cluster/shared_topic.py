"""A channel's part in the cluster: what the engine tells of it, and what is sent to the engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import anyio
from pondsocket_common import (
    Acknowledged,
    Position,
    ServerActions,
    ServerMessage,
    SystemEvents,
    fresh_id,
)

from pondsocket._channel.channel import ChannelMember
from pondsocket._delivery.frame import SharedFrame
from pondsocket._errors import PondError
from pondsocket._log import get_log
from pondsocket._presence.channel_presence import ChannelPresence
from pondsocket._replica.envelope import Envelope, pack, unpack
from pondsocket._replica.ordering import Ordering
from pondsocket._runtime.loop import failure_of
from pondsocket._state.roster import Roster
from pondsocket.backplane import (
    Append,
    BackplaneUnavailable,
    Change,
    Emit,
    Entry,
    Keep,
    Result,
    Topic,
)

from .shared_log import SharedHistory, SharedLog, audience_of
from .shared_presence import Holder, SharedPresence
from .shared_publishing import SharedBroadcast, SharedPublishing

_log: Final = get_log("pondsocket.cluster")
# From the engine's result to its delivery here, which takes milliseconds while there is a link.
_RETURN_SECONDS: Final = 0.5
# What a channel without a history keeps: nothing is ever appended to it.
_NOTHING: Final = Keep(1, 1.0, 1, 1.0)


class Cluster(Holder, Protocol):
    """This node, as far as its topics use it."""

    name: str

    def next_number(self) -> int:
        """Return the number of the next broadcast of this node."""
        ...

    def check_running(self) -> None:
        """Refuse what no task would ever send; see `Node.check_running`."""
        ...

    def read_later(self, topic: SharedTopic) -> None:
        """Read what a topic misses, in a task of its own."""
        ...


class SharedTopic:
    """What the engine tells of one channel, brought to the members here.

    It refers to the parts of the channel and not to the channel, which ends with its last member.

    Args:
        keep: What the engine keeps of the channel; None: nothing.

    Attributes:
        subscribing: Set when the subscription that is under way has been confirmed, or has failed.
    """

    __slots__ = (
        "_emitted",
        "_history",
        "_is_new",
        "_name",
        "_node",
        "_ordering",
        "_publishing",
        "_reading",
        "_roster",
        "_waiting",
        "_was_waiting",
        "keep",
        "presence",
        "subscribing",
        "topic",
    )

    def __init__(
        self,
        topic: Topic,
        name: str,
        node: Cluster,
        keep: Keep | None,
        publishing: SharedPublishing,
        presence: ChannelPresence,
        history: SharedHistory | None,
        roster: Roster[ChannelMember],
    ) -> None:
        self.topic = topic
        self.keep = keep
        self.subscribing: anyio.Event | None = None
        self._name = name
        self._node = node
        self._publishing = publishing
        self.presence = SharedPresence(topic, node, presence)
        self._history = history
        self._roster = roster
        self._waiting: dict[int, SharedBroadcast] = {}  # by number
        self._was_waiting = False  # at the latest tick
        self._is_new = False
        self._emitted: dict[str, int] = {}  # the number of the latest one of each node
        self._reading: anyio.Event | None = None
        self._ordering = Ordering()
        publishing.share(self)

    # --- what is sent ---------------------------------------------------------------------------

    def append(self, broadcast: SharedBroadcast) -> None:
        """Send a broadcast to the engine, which orders and keeps it.

        Raises:
            BackplaneUnavailable: Too much waits for the engine.
            PondError: 413: its payload is too long.
        """
        node, decided = self._node, broadcast.decided
        node.check_running()
        self.check_payload(decided.payload)
        number = node.next_number()
        envelope = Envelope(
            node.name,
            number,
            decided.event,
            decided.request_id,
            decided.audience,
            decided.payload,
        )

        def end(result: Result | Exception) -> None:
            self._take_result(number, broadcast, result)

        keep = _NOTHING if self.keep is None else self.keep
        op = Append(self.topic, pack(envelope), keep, broadcast.spare)
        node.batches.add(op, end, seconds=node.backplane.publish_seconds)
        broadcast.seconds = node.backplane.publish_seconds + _RETURN_SECONDS
        self._waiting[number] = broadcast

    def check_payload(self, payload: bytes) -> None:
        """Refuse a payload that is too long for the engine: it would hold up all other messages.

        Raises:
            PondError: 413: it is.
        """
        limit = self._node.backplane.max_payload
        if len(payload) > limit:
            text = f"A broadcast of {len(payload)} bytes is over the limit of {limit} bytes."
            raise PondError(text, 413)

    def _take_result(
        self, number: int, broadcast: SharedBroadcast, result: Result | Exception
    ) -> None:
        broadcast.result = result
        if isinstance(result, Exception):
            # It may come all the same; its members get it then as that of another node.
            self._waiting.pop(number, None)
            broadcast.end(result)
        elif self._is_settled(result):
            self._waiting.pop(number, None)
            broadcast.end()
        elif self._is_of_other_epoch(result):
            self._ordering.suspect()
            self._node.read_later(self)

    def _is_settled(self, result: Result | Exception, *, after_read: bool = False) -> bool:
        """Return whether a position is delivered, or will not be delivered here."""
        if not isinstance(result, Position):
            return False
        known = self._ordering.position
        if known is None or not len(self._roster):
            return True  # there is no member here
        if known.epoch != result.epoch:
            return after_read and not self._ordering.is_behind
        return result.offset <= known.offset

    def _is_of_other_epoch(self, result: Result | Exception) -> bool:
        known = self._ordering.position
        return isinstance(result, Position) and known is not None and known.epoch != result.epoch

    def _end_settled(self, *, after_read: bool = False) -> None:
        """Let those go on whose broadcasts were part of what is lost to the members here."""
        for number, broadcast in [*self._waiting.items()]:
            if self._is_settled(broadcast.result, after_read=after_read):
                del self._waiting[number]
                broadcast.end()

    def emit(self, envelope: Envelope) -> None:
        """Send a broadcast that nothing keeps to the other nodes."""
        node = self._node
        node.check_running()
        own = envelope._replace(origin=node.name, number=node.next_number())
        try:
            node.batches.add(Emit(self.topic, pack(own)), seconds=node.backplane.publish_seconds)
        except BackplaneUnavailable:
            node.batches.count_lost()

    # --- what is heard --------------------------------------------------------------------------

    @property
    def is_live(self) -> bool:
        """Whether all that the engine has told is known here."""
        is_known = self._history is None or not self._ordering.is_behind
        return is_known and not self.presence.is_behind

    def take_is_new(self) -> bool:
        """Return, once, whether this node has begun the history."""
        is_new, self._is_new = self._is_new, False
        return is_new

    @property
    def is_reading(self) -> bool:
        """Whether a read is under way."""
        return self._reading is not None

    @property
    def is_waiting(self) -> bool:
        """Whether `tick` has something to do."""
        presence = self.presence
        is_waiting = presence.is_waiting or presence.is_in_doubt
        return is_waiting or self._was_waiting or bool(self._waiting)

    def lacks(self, since: Position | None) -> bool:
        """Return whether a client has been told of a position that is not known here yet."""
        known = self._ordering.position
        if since is None or known is None or self._history is None:
            return False
        return since.epoch != known.epoch or since.offset > known.offset

    def suspect_messages(self) -> None:
        """Note that messages may be missing."""
        self._ordering.suspect()

    def suspect(self) -> None:
        """Note that something may be missing, because a link has begun."""
        self._ordering.suspect()
        self.presence.suspect()

    def appended(self, epoch: str, prev: int, entry: Entry) -> None:
        """Take a kept message."""
        if self._ordering.take(epoch, prev, entry.offset, entry):
            self._deliver(Position(epoch, entry.offset), entry)
            if self._waiting:
                self._end_settled()
        elif self._ordering.is_behind:
            self._node.read_later(self)

    def emitted(self, envelope: Envelope) -> None:
        """Take a message that nothing keeps."""
        origin, number = envelope.origin, envelope.number
        if origin == self._node.name:
            return
        if origin:  # else it comes from a publisher, which counts nothing
            if number <= self._emitted.get(origin, 0):
                return  # an engine that has forgotten what it has carried out does it again
            self._emitted[origin] = number
        self._publishing.deliver_unkept(envelope)

    def shown(self, at: Position, changes: Sequence[Change]) -> None:
        """Take a change of the presence."""
        self.presence.shown(at, changes)
        if self.presence.is_behind:
            self._node.read_later(self)

    def tick(self, now: float) -> None:
        """Do what is due. To be called several times a second."""
        self.presence.expire(now)
        is_waiting = self.presence.is_waiting or any(
            isinstance(each.result, Position) for each in self._waiting.values()
        )
        if is_waiting and self._was_waiting:
            # The engine has carried it out, but has not told it: that was lost on the way.
            self.suspect()
            self._node.read_later(self)
        self._was_waiting = is_waiting

    async def read(self) -> None:
        """Read what is missing, until nothing is.

        Raises:
            BackplaneUnavailable: The engine cannot be reached.
        """
        while not self.is_live:
            if self._reading is not None:
                await self._reading.wait()
                continue
            self._reading = anyio.Event()
            try:
                if self._history is not None and self._ordering.is_behind:
                    await self._read_messages(self._history)
                if self.presence.is_behind:
                    await self.presence.read()
            finally:
                self._reading.set()
                self._reading = None

    async def _read_messages(self, history: SharedHistory) -> None:
        node, ordering = self._node, self._ordering
        ordering.begin_read()
        known, keep = ordering.position, self.keep or _NOTHING
        found = await node.backplane.read(self.topic, known, keep, 0 if known else keep.size)
        filled = ordering.fill(found)
        if known is None:
            history.begin(found)
            self._is_new = found.is_new
        elif filled.anew is not None:
            self._begin_anew(history, filled.anew)
        for position, entry in filled.entries:
            self._deliver(position, entry)
        self._end_settled(after_read=True)

    def _deliver(self, position: Position, entry: Entry) -> None:
        history = self._history
        if history is None or history.copy is None:
            return
        envelope = unpack(entry.data)
        if envelope is None:
            _log.error("A message of another version was left out (channel=%r).", self._name)
            self._begin_anew(history, position)
            return
        try:
            self._deliver_known(history, history.copy, position, entry, envelope)
        except Exception as error:  # noqa: BLE001 - boundary: one message of the engine
            text = "A message could not be delivered (channel=%r)."
            _log.error(text, self._name, exc_info=failure_of(error))
            self._begin_anew(history, position)

    def _deliver_known(
        self,
        history: SharedHistory,
        copy: SharedLog,
        position: Position,
        entry: Entry,
        envelope: Envelope,
    ) -> None:
        own = None
        if envelope.origin == self._node.name:
            own = self._waiting.pop(envelope.number, None)
        copy.deliver(
            envelope.event,
            envelope.request_id,
            envelope.payload,
            history.clock(),
            audience_of(envelope, entry.spared),
        )
        self._publishing.deliver(position, envelope, entry, own)
        if own is not None:
            own.end()

    def _begin_anew(self, history: SharedHistory, position: Position) -> None:
        """Tell the members that messages before a position are lost to them."""
        _log.warning(
            "A history begins anew: messages are lost to its members (channel=%r).", self._name
        )
        history.begin_after(position)
        members = [*self._roster]
        for member in members:
            if member.history_sink is not None:
                member.overflow()  # it was catching up with what is lost
        payload = Acknowledged(epoch=position.epoch, offset=position.offset, recovered=False)
        message = ServerMessage(
            ServerActions.SYSTEM, SystemEvents.ACKNOWLEDGE, self._name, fresh_id(), payload
        )
        frame = SharedFrame.of(message)
        frame.channel, frame.position = self._name, position
        self._publishing.deliver_to(frame, [each for each in members if each.is_current])

    def end(self) -> None:
        """Forget what is known: nothing of the topic is heard any more."""
        self._ordering = Ordering()
        self._emitted.clear()
        self.presence.end()
        if self._history is not None:
            self._history.end()
        self._end_settled()
