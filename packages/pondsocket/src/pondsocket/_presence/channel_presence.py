"""The presence of one channel, and how its members are told of it.

By default a member gets the whole list at every change, as published clients expect. A member that
joined with `presence: "diff"` gets the state with its acknowledgement, and then one diff per tick.
"""

from collections.abc import Callable, Iterable

from pondsocket_common import (
    Payload,
    PresenceDiff,
    PresenceEntry,
    PresenceEventTypes,
    PresenceList,
    ServerActions,
    ServerMessage,
    ServerPayload,
    fresh_ref,
)

from pondsocket._delivery.batching import ChannelBatching
from pondsocket._delivery.frame import Frame
from pondsocket._delivery.sink import Sink
from pondsocket._environment import Environment
from pondsocket._runtime.timers import Timers

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
        self.state = Presence()
        self._name = name
        self._find_watchers = find_watchers
        self._timers = timers
        self._batching = batching
        self._tick = environment.options.presence_tick
        self._ticking = False
        # How many members want diffs; the log is kept only while there are any.
        self._watching = 0
        self.log: PresenceLog | None = None

    def track(self, user_id: str, ref: str, shown: Payload) -> None:
        """Set the presence of a membership, and tell the members."""
        self._batching.flush()
        change = self.state.track(user_id, ref, shown)
        if self.log is not None:
            self.log.show(PresenceEntry(user_id, ref, shown))
        self._tell(change)

    def untrack(self, user_id: str, ref: str) -> None:
        """Remove the presence of a membership, and tell the members."""
        self._batching.flush()
        if not self.state.is_tracked(user_id, ref):
            return
        change = self.state.untrack(user_id, ref)
        if self.log is not None:
            self.log.hide(ref)
        self._tell(change)

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

    def _tell(self, change: PresenceChange | None) -> None:
        if change is not None:
            watchers = self._find_watchers(False)
            if watchers:
                listed = tuple(self.state.listed().values())
                self._deliver(change.kind, PresenceList(listed, change.changed), watchers)
        if self.log and not self._ticking:
            self._ticking = self._timers.after(self._tick, self._tick_over)
            if not self._ticking:
                self.flush()

    async def _tick_over(self) -> None:
        self._ticking = False
        self.flush()

    def _deliver(
        self, kind: PresenceEventTypes, payload: ServerPayload, watchers: Iterable[Sink]
    ) -> None:
        # It answers no request, and every change sends it to all members: a short id will do.
        request_id = fresh_ref()
        message = ServerMessage(ServerActions.PRESENCE, kind, self._name, request_id, payload)
        self._batching.deliver(Frame.of(message), watchers)
