"""The presence of one channel, and telling its members of it.

Members that asked for nothing get the whole list at every change, as published clients expect.
Members that joined with `presence: "diff"` got the state with their acknowledgement, and then get
what has changed, gathered over a tick.
"""

from collections.abc import Iterable
from typing import Protocol

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

from ._delivery import Recipient, deliver
from ._environment import Environment
from ._frames import Frame
from ._gathering import Gathering
from ._state.presence import Presence, PresenceChange
from ._state.presence_log import PresenceLog
from ._timers import Timers


class Watcher(Recipient, Protocol):
    """A member, as far as presence is concerned."""

    @property
    def wants_diffs(self) -> bool: ...


class ChannelPresence:
    """What the members of a channel show.

    What waits for them is handed out before anything changes: somebody may be too slow for it, and
    must not be in a list that was made before, and arrives after everybody was told of the end.

    Args:
        watchers: The members, as they are at the moment of the call.
        gathering: What waits to be sent to them.
    """

    __slots__ = (
        "_gathering",
        "_name",
        "_tick",
        "_ticking",
        "_timers",
        "_watchers",
        "_watching",
        "log",
        "state",
    )

    def __init__(
        self,
        name: str,
        watchers: Iterable[Watcher],
        timers: Timers,
        environment: Environment,
        gathering: Gathering,
    ) -> None:
        self.state = Presence()
        self._name = name
        self._watchers = watchers
        self._timers = timers
        self._gathering = gathering
        self._tick = environment.options.presence_tick
        self._ticking = False
        # Kept only as long as a member wants diffs, and so many do.
        self._watching = 0
        self.log: PresenceLog | None = None

    def track(self, user_id: str, ref: str, shown: Payload) -> None:
        """A membership shows an object."""
        self._gathering.flush()
        change = self.state.track(user_id, ref, shown)
        if self.log is not None:
            self.log.show(PresenceEntry(user_id, ref, shown))
        self._tell(change)

    def untrack(self, user_id: str, ref: str) -> None:
        """A membership shows nothing any more."""
        self._gathering.flush()
        if not self.state.is_tracked(user_id, ref):
            return
        change = self.state.untrack(user_id, ref)
        if self.log is not None:
            self.log.hide(ref)
        self._tell(change)

    def show_again(self, watcher: Recipient, user_id: str) -> None:
        """Tell one member who is here, who comes back before anybody saw that it was away."""
        self._gathering.flush()
        shown = self.state.of_user(user_id)
        if shown is not None:
            listed = tuple(self.state.listed().values())
            self._deliver(PresenceEventTypes.UPDATE, PresenceList(listed, shown), [watcher])

    def told(self) -> PresenceDiff:
        """The state for a new member that wants diffs, from which its diffs go on."""
        log = self._new_log() if self.log is None else self.log
        return log.state()

    def watch(self) -> None:
        """One member more wants diffs."""
        self._watching += 1
        if self.log is None:
            self.log = self._new_log()

    def _new_log(self) -> PresenceLog:
        return PresenceLog(
            [PresenceEntry(user, ref, shown) for user, ref, shown in self.state.entries()]
        )

    def unwatch(self) -> None:
        """One member less wants diffs; with the last one, nobody keeps track of them."""
        self._watching -= 1
        if not self._watching:
            self.log = None

    def flush(self) -> None:
        """Tell of the changes now; due before any other frame of the channel."""
        if self.log:
            diff = self.log.take()
            if diff.joins or diff.updates or diff.leaves:
                watchers = [each for each in self._watchers if each.wants_diffs]
                self._deliver(PresenceEventTypes.DIFF, diff, watchers)

    def _tell(self, change: PresenceChange | None) -> None:
        if change is not None:
            watchers = [each for each in self._watchers if not each.wants_diffs]
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
        self, kind: PresenceEventTypes, payload: ServerPayload, watchers: Iterable[Recipient]
    ) -> None:
        # It answers no request, and goes to everybody at every change: a short id will do.
        request_id = fresh_ref()
        message = ServerMessage(ServerActions.PRESENCE, kind, self._name, request_id, payload)
        deliver(Frame.of(message), watchers)
