"""The presence of one channel, and how its members are told of it.

By default a member gets the whole list at every change, as published clients expect. A member that
joined with `presence: "diff"` gets the state with its acknowledgement, and then one diff per tick.

A list is encoded anew for each change, and sent to each member. So an object has a bound, a list
may not grow beyond what an outbox holds, and the client that causes it is charged for its size.
"""

from collections.abc import Callable, Iterable
from typing import cast

from pondsocket_common import (
    Payload,
    PresenceDiff,
    PresenceEntry,
    PresenceEventTypes,
    PresenceList,
    ServerActions,
    ServerMessage,
    ServerPayload,
    dump_json,
    fresh_ref,
    load_json,
)

from pondsocket._delivery.batching import ChannelBatching
from pondsocket._delivery.frame import SharedFrame
from pondsocket._delivery.sink import Sink
from pondsocket._environment import Environment
from pondsocket._errors import PondError
from pondsocket._runtime.timers import Timers
from pondsocket._state.payloads import as_payload

from .diffs import PresenceLog
from .state import Presence, PresenceChange


class ChannelPresence:
    """The presence of one channel's members.

    Waiting broadcasts are delivered before anything changes. A member may be too slow for them, and
    then it leaves: it must not be in a list that was made before, and that arrives after the others
    were told that it left.

    Args:
        find_watchers: Returns the members that want diffs, or those that do not.
        batching: The channel's waiting broadcasts.
    """

    __slots__ = (
        "_batching",
        "_find_watchers",
        "_most_bytes",
        "_most_object_bytes",
        "_name",
        "_tick",
        "_ticking",
        "_timers",
        "_watching",
        "log",
        "state",
    )

    def __init__(
        self,
        name: str,
        find_watchers: Callable[[bool], Iterable[Sink]],
        timers: Timers,
        environment: Environment,
        batching: ChannelBatching,
    ) -> None:
        self.state: Presence = Presence()
        self._name = name
        self._find_watchers = find_watchers
        self._timers = timers
        self._batching = batching
        options = environment.options
        self._most_object_bytes = options.max_presence_bytes
        self._most_bytes = options.outbox_bytes  # a longer list would fit no outbox
        self._tick = options.presence_tick
        self._ticking = False
        # How many members want diffs; the log is kept only while there are any.
        self._watching = 0
        self.log: PresenceLog | None = None

    def encode(self, shown: object, ref: str | None) -> bytes:
        """Check and encode an object of the membership `ref`; None: it has no object yet.

        Raises:
            UsageError: It is not an object.
            EncodingError: It cannot be written as JSON.
            PondError: 413: it is too long, or the list would be.
        """
        encoded = dump_json(as_payload(shown))
        limit = self._most_object_bytes
        if limit is not None and len(encoded) > limit:
            text = f"A presence may be {limit} bytes long, as JSON; this one is {len(encoded)}."
            raise PondError(text, 413)
        growth = self.state.growth(ref or "", _size(encoded))
        is_too_long = growth > 0 and self.state.byte_count + growth > self._most_bytes
        if is_too_long and self._find_watchers(False):
            raise self.list_fault()
        return encoded

    def list_fault(self) -> PondError:
        """Return the error where the list is, or would be, too long to be sent whole."""
        return PondError(
            f"The presence of {self._name} may not be longer than {self._most_bytes} bytes where"
            ' members get whole lists; with `presence: "diff"` they get what changes.',
            413,
        )

    def track(self, user_id: str, ref: str, encoded: bytes) -> int:
        """Set the presence of a membership, and tell the members.

        Args:
            encoded: From `encode`. It is decoded: so the caller's object may change, and decoding
                costs a half to a tenth of a deep copy.

        Returns:
            How many bytes the whole list has that was sent; 0: none was sent.
        """
        self._batching.flush()
        shown = cast(Payload, load_json(encoded))
        change = self.state.track(user_id, ref, shown, _size(encoded))
        if self.log is not None:
            self.log.show(PresenceEntry(user_id, ref, shown))
        return self._tell(change)

    def untrack(self, user_id: str, ref: str) -> int:
        """Remove the presence of a membership, and tell the members. Return as `track`."""
        self._batching.flush()
        if not self.state.is_tracked(user_id, ref):
            return 0
        change = self.state.untrack(user_id, ref)
        if self.log is not None:
            self.log.hide(ref)
        return self._tell(change)

    def copy(self) -> dict[str, Payload]:
        """Return a copy of the presence of each user, by user id."""
        return cast(dict[str, Payload], load_json(dump_json(self.state.listed())))

    def send_list(self, watcher: Sink, user_id: str) -> None:
        """Send the list to one member, which came back before the others were told of its leave."""
        self._batching.flush()
        shown = self.state.of_user(user_id)
        if shown is not None:
            listed = tuple(self.state.listed().values())
            self._deliver(PresenceEventTypes.UPDATE, PresenceList(listed, shown), [watcher])

    def state_for_diffs(self) -> PresenceDiff:
        """Return the state for a new member that wants diffs; its first diff continues from it."""
        log = self._new_log() if self.log is None else self.log
        return log.state()

    def watch(self) -> None:
        """Count one more member that wants diffs."""
        self._watching += 1
        if self.log is None:
            self.log = self._new_log()

    def _new_log(self) -> PresenceLog:
        return PresenceLog(
            [PresenceEntry(user, ref, shown) for user, ref, shown in self.state.entries()]
        )

    def unwatch(self) -> None:
        """Count one member less that wants diffs. Without any, no log of changes is kept."""
        self._watching -= 1
        if not self._watching:
            self.log = None

    def flush(self) -> None:
        """Send the diff now. Called before any other frame of the channel is sent."""
        if self.log:
            # First: a member too slow for what waits leaves now, and that is in the diff, or in one
            # that is sent before this one is made.
            self._batching.flush()
        if self.log:
            diff = self.log.take()
            if diff.joins or diff.updates or diff.leaves:
                self._deliver(PresenceEventTypes.DIFF, diff, self._find_watchers(True))

    def _tell(self, change: PresenceChange | None) -> int:
        size = 0
        if change is not None:
            watchers = self._find_watchers(False)
            if watchers:
                listed = tuple(self.state.listed().values())
                shown = PresenceList(listed, change.changed)
                size = self._deliver(change.kind, shown, watchers)
        if self.log and not self._ticking:
            self._ticking = self._timers.after(self._tick, self._tick_over)
            if not self._ticking:
                self.flush()
        return size

    async def _tick_over(self) -> None:
        self._ticking = False
        self.flush()

    def _deliver(
        self, kind: PresenceEventTypes, payload: ServerPayload, watchers: Iterable[Sink]
    ) -> int:
        # It answers no request, and every change sends it to all members: a short id will do.
        request_id = fresh_ref()
        message = ServerMessage(ServerActions.PRESENCE, kind, self._name, request_id, payload)
        frame = SharedFrame.of(message)
        self._batching.deliver(frame, watchers)
        return frame.size


def _size(encoded: bytes) -> int:
    """Return how many bytes of a list an object takes: itself and a comma."""
    return len(encoded) + 1
