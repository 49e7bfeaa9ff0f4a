"""A channel: its roster and its presence, and what is sent to its members.

It does not know handlers. It asks its owner, the lobby, who intercepts an event, and tells it when
a user has left; both through `ChannelOwner`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Coroutine, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias, TypeVar, overload
from weakref import WeakValueDictionary

from pondsocket_common import (
    Evicted,
    Payload,
    Position,
    ServerMessage,
    SystemEvents,
    fresh_ref,
)

from pondsocket._connection.session import Session
from pondsocket._delivery import replies
from pondsocket._delivery.batching import ChannelBatching
from pondsocket._delivery.frame import Frame
from pondsocket._delivery.ordered import OrderedDelivery
from pondsocket._environment import Environment
from pondsocket._errors import UsageError, readable_text
from pondsocket._history.channel_history import ChannelHistory
from pondsocket._history.slice import Audience, HistorySlice
from pondsocket._presence.channel_presence import ChannelPresence
from pondsocket._runtime.tasks import Work, run_all
from pondsocket._runtime.timers import Spawn, Timers
from pondsocket._state.named_event import Event
from pondsocket._state.roster import Copied, Roster
from pondsocket._state.user import LeaveReason, UserId, as_user_id, as_user_ids

from .delayed_leaves import DelayedLeaves, Leave
from .late import LateBroadcast
from .member import Member
from .owner import ChannelOwner, Interception
from .publishing import Publishing

T = TypeVar("T")


class Channel:
    """A named group of members. It exists while an object refers to it.

    Args:
        path: The path of the endpoint that its members have connected to. If all paths of an
            endpoint share their channels, its pattern.
        key: What no other channel of its lobby is known by.
    """

    __slots__ = (
        "__weakref__",
        "_delayed_leaves",
        "_ordered_deliveries",
        "_refs",
        "batching",
        "channel_history",
        "name",
        "owner",
        "params",
        "path",
        "presence",
        "publishing",
        "roster",
    )

    def __init__(
        self,
        name: str,
        params: Mapping[str, str],
        owner: ChannelOwner[Channel, ChannelMember],
        path: str,
        key: str,
    ) -> None:
        self.name: str = name
        self.path: str = path
        self.params: Mapping[str, str] = params
        self.owner: ChannelOwner[Channel, ChannelMember] = owner
        self.roster: Roster[ChannelMember] = Roster()
        self.channel_history: ChannelHistory | None = self._new_history(key)
        self._refs: set[str] = set()
        environment = owner.environment
        # With the roster, not with the channel, which would be a reference cycle.
        find_own_host = partial(find_host, environment, self.roster)
        timers = Timers(find_own_host)
        everyone: Collection[ChannelMember] = self.roster.everyone()
        if environment.observer is not None:
            # An offer may call the application's metrics, which may close a member.
            everyone = Copied(everyone)
        self.batching: ChannelBatching = ChannelBatching(everyone, environment.loop_turn)
        self.presence: ChannelPresence = ChannelPresence(
            name, partial(_watchers, self.roster), timers, environment, self.batching
        )
        self.publishing: Publishing[Channel] = self._new_publishing()
        # Users whose last connection was lost a moment ago.
        self._delayed_leaves: DelayedLeaves[Channel] = DelayedLeaves(
            environment, timers, find_own_host
        )
        # By connection, while a member or a pending frame holds one: a client that leaves and joins
        # again at once must be told of the leave before it gets the acknowledgement.
        self._ordered_deliveries: WeakValueDictionary[str, OrderedDelivery] | None = None

    def _new_history(self, key: str) -> ChannelHistory | None:
        store, clock = self.owner.history_store, self.owner.environment.clock
        return None if store is None else ChannelHistory(self.name, key, store, clock)

    def _new_publishing(self) -> Publishing[Channel]:
        return Publishing(
            self.name,
            self.owner,
            self.roster,
            self.batching,
            self.presence,
            self.channel_history,
        )

    def __repr__(self) -> str:
        return f"<Channel {self.name} users={self.roster.user_count}>"

    # --- for applications ---------------------------------------------------------------------

    @overload
    async def broadcast(
        self, event: str, payload: object = None, *, history: bool = True
    ) -> None: ...
    @overload
    async def broadcast(self, event: Event[T], payload: T, *, history: bool = True) -> None: ...
    async def broadcast(
        self, event: str | Event[Any], payload: object = None, *, history: bool = True
    ) -> None:
        """Send an event to every member.

        Args:
            event: Its name, or an `Event`, which says what its payload looks like.
            history: Whether the channel's history, if it has one, keeps the event.

        Raises:
            UsageError: The event's name is empty, too long or reserved, or the payload is not an
                object.
            EncodingError: The payload cannot be written as JSON, or does not fit the event.
        """
        rest = self.publishing.publish(event, payload, keep=history)
        if rest is not None:  # the history answers late
            await rest

    async def broadcast_to(
        self, event: str | Event[T], payload: T, *user_ids: UserId, history: bool = True
    ) -> None:
        """Send an event to every connection of these users; see `broadcast`."""
        rest = self.publishing.publish(
            event, payload, Audience(as_user_ids(user_ids)), keep=history
        )
        if rest is not None:
            await rest

    async def broadcast_from(
        self, event: str | Event[T], payload: T, user_id: UserId, *, history: bool = True
    ) -> None:
        """Send an event to every member but this user; see `broadcast`."""
        audience = Audience((as_user_id(user_id),), is_exclusion=True)
        rest = self.publishing.publish(event, payload, audience, keep=history)
        if rest is not None:
            await rest

    async def history(
        self, since: Position | None = None, *, limit: int = 100
    ) -> list[ServerMessage] | None:
        """Return the last messages of the history, or the first ones after a position.

        Returns:
            None if some messages after the position are no longer kept.

        Raises:
            UsageError: The lobby keeps no history, or the limit is negative.
        """
        self.owner.environment.loop.check("history")
        if self.channel_history is None:
            raise UsageError(f"{self.name} has no history: give its lobby history=History().")
        found = self.channel_history.find(since, limit)
        if found is None:
            return [] if since is None else None
        known = found if isinstance(found, HistorySlice) else await found
        return self.channel_history.messages(known, since, limit)

    async def evict_user(self, user_id: UserId, reason: str = "") -> None:
        """End every membership of a user. The user's clients are told the reason."""
        known = as_user_id(user_id)
        await self.evict_members(self.roster.of_user(known), reason)
        leave = self._delayed_leaves.take(known)
        if leave is not None:  # no client to tell, but others still see the user
            leave_work = self._finish_leave(replace(leave, reason=LeaveReason.EVICTED))
            if leave_work is not None:
                await leave_work()

    async def get_presence(self) -> dict[str, Payload]:
        """Return the presence of each user, by user id. The objects are copies."""
        self.owner.environment.loop.check("get_presence")
        return self.presence.copy()

    async def get_assigns(self) -> dict[str, dict[str, Any]]:
        """Return the assigns of each user, by user id; of several connections, the latest's."""
        self.owner.environment.loop.check("get_assigns")
        return {member.user_id: member.all_assigns() for member in self.roster}

    async def user_count(self) -> int:
        """Return how many users are in the channel."""
        self.owner.environment.loop.check("user_count")
        return self.roster.user_count

    async def has_user(self, user_id: UserId) -> bool:
        """Return whether a user is in the channel."""
        self.owner.environment.loop.check("has_user")
        return self.roster.has_user(as_user_id(user_id))

    # --- for contexts and lobbies -------------------------------------------------------------

    def interception(self, event: str) -> Interception[ChannelMember] | None:
        """Return the outgoing handlers of an event; None if there are none."""
        return self.owner.interception(event)

    def prepare(
        self,
        session: Session,  # noqa: ARG002 - for channels whose members are on other nodes, too
        since: Position | None,  # noqa: ARG002
    ) -> Coroutine[Any, Any, None] | None:
        """Return what must be awaited before a connection is made a member; None if nothing.

        Args:
            since: The position that the client has been told last.
        """
        return None

    def publish_from(
        self, event: str | Event[Any], payload: object, session: Session, *, keep: bool
    ) -> LateBroadcast | None:
        """Send an event to every member but this connection; see `Publishing.publish`."""
        sender, user_id = self.roster.get(session.connection_id), session.user_id
        audience = None
        mine = self.roster.of_user(user_id)
        if keep and self.channel_history is not None and all(each is sender for each in mine):
            # Otherwise the user's other connections here get it, so it is replayed to the user too.
            audience = Audience((user_id,), is_exclusion=True)
        return self.publishing.publish(event, payload, audience, but=sender, keep=keep)

    def admit(
        self, session: Session, assigns: dict[str, Any], *, wants_diffs: bool = False
    ) -> ChannelMember:
        """Make a connection a member, in place of the membership that it may have already.

        A membership that replaces another keeps its ref: its presence stays, and the others see no
        leave. The caller has flushed the batch, which is not for a new member.
        """
        before = replaced = self.roster.get(session.connection_id)
        delayed_leaves = self._delayed_leaves
        if (
            replaced is None
            and delayed_leaves.by_user
            and (leave := delayed_leaves.take(session.user_id)) is not None
        ):
            replaced = leave.member
        ref = None if replaced is None else replaced.ref
        ordered = self._ordered_delivery_to(session)
        member: ChannelMember = Member(
            self, session, assigns, ordered, ref, wants_diffs=wants_diffs
        )
        member.is_returning = before is None and replaced is not None
        if self.channel_history is not None and before is None:
            self.channel_history.enter()
        if wants_diffs:
            self.presence.watch()
        self.roster.add(member)
        session.memberships[self.name] = member
        if before is not None and before.wants_diffs:
            self.presence.unwatch()
        if before is not None:
            before.end()
        return member

    def _new_ref(self) -> str:
        while (ref := fresh_ref()) in self._refs:
            pass  # taken: with 24 bits, two refs may be equal in a large channel
        self._refs.add(ref)
        return ref

    def _ordered_delivery_to(self, session: Session) -> OrderedDelivery | None:
        if not self.owner.has_async_outgoing:
            return None
        if self._ordered_deliveries is None:
            self._ordered_deliveries = WeakValueDictionary()
        ordered = self._ordered_deliveries.get(session.connection_id)
        if ordered is None:
            ordered = self._ordered_deliveries[session.connection_id] = OrderedDelivery(
                session, session.options.outbox_bytes
            )
        return ordered

    def answer(self, session: Session, frame: Frame) -> None:
        """Send a frame to a client that is not a member, after the frames of a past membership."""
        deliveries = self._ordered_deliveries
        ordered = None if deliveries is None else deliveries.get(session.connection_id)
        if ordered is None:
            session.send_frame(frame)
        else:
            self.owner.environment.loop_turn.send(frame, ordered)

    def remove(self, member: ChannelMember, reason: LeaveReason) -> Work | None:
        """End a membership. Return what is left to do after the leave, to be awaited."""
        self.batching.flush()  # the member may be too slow for it, which ends the membership
        if not member.is_current:
            return None
        user = member.as_user()
        self.roster.remove(member)
        if self.channel_history is not None:
            self.channel_history.leave()
        member.end()
        if member.wants_diffs:
            self.presence.unwatch()
        # An ended connection keeps its record: its last events are still being handled.
        if member.session.is_open and member.session.memberships.get(self.name) is member:
            member.session.remove_membership(self.name)
        environment = self.owner.environment
        if environment.observer is not None:
            environment.observer.left(self.name, user, reason, self.path)
        leave = Leave(member, user, reason)
        is_last = not self.roster.has_user(member.user_id)
        if is_last and self._delayed_leaves.delay(leave, self._finish_leave):
            return None
        return self._finish_leave(leave)

    def _finish_leave(self, leave: Leave[Channel]) -> Work | None:
        member = leave.member
        if member.ref is not None:
            member.session.charge_bytes(self.presence.untrack(member.user_id, member.ref))
            self._refs.discard(member.ref)
        if self.roster.has_user(member.user_id):
            return None
        return self.owner.left(self, leave.user, leave.reason)

    async def evict_users(self, user_ids: Iterable[UserId], reason: str) -> None:
        """End every membership of these users; see `evict_members`.

        Raises:
            UsageError: One of them is not a member.
        """
        await self.evict_members(self.members_of(user_ids), reason)

    async def evict_members(self, members: Iterable[ChannelMember], reason: str) -> None:
        """End memberships, and tell their clients the reason.

        Raises:
            UsageError: The reason is not a text; then none ends.
        """
        self.owner.environment.loop.check("evict")
        evicted = Evicted(readable_text("evict: the reason", reason))
        works: list[Work] = []
        for member in members:
            if not member.is_current:
                continue  # it has left already; its connection may have a new membership
            # Encoded before anything changes: the reason may be no text that JSON can hold.
            frame = Frame.of(replies.system(SystemEvents.EVICTED, self.name, evicted))
            leave_work = self.remove(member, LeaveReason.EVICTED)
            member.send_frame(frame)
            if leave_work is not None:
                works.append(leave_work)
        await run_all(works)

    def track_member(self, member: ChannelMember, shown: object) -> int | Awaitable[int]:
        """Set the presence of a member. Does nothing if it is no longer a member.

        Returns:
            How many bytes the whole list has that was sent to the members; 0: none was sent. If
            other nodes have members, too: the same, to be awaited.

        Raises:
            UsageError: It is not an object.
            EncodingError: It cannot be written as JSON.
            PondError: 413: it is too long, or the list would be.
        """
        self.owner.environment.loop.check("track")
        self.batching.flush()  # the member may be too slow for it, which ends the membership
        if not member.is_current:
            return (
                0  # it left while its handler ran: no error of the handler, as for all late calls
            )
        # Before it is kept, so that one bad object cannot spoil every list.
        encoded = self.presence.encode(shown, member.ref)
        if member.ref is None:
            member.ref = self._new_ref()
        return self.presence.track(member.user_id, member.ref, encoded)

    def untrack_member(self, member: ChannelMember) -> int | Awaitable[int]:
        """Remove the presence of a member, if it still is one. Return as `track_member`."""
        self.owner.environment.loop.check("untrack")
        self.batching.flush()
        # A newer membership may have its ref, and another presence.
        if member.is_current and member.ref is not None:
            return self.presence.untrack(member.user_id, member.ref)
        return 0

    def members_of(self, user_ids: Iterable[UserId]) -> list[ChannelMember]:
        """Return the memberships of these users.

        Raises:
            UsageError: One of them is not a member, or not an id.
        """
        members: list[ChannelMember] = []
        for user_id in dict.fromkeys(as_user_ids(user_ids)):
            found = self.roster.of_user(user_id)
            if not found:
                raise UsageError(f"User {user_id} is not a member of {self.name}.")
            members += found
        return members


ChannelMember: TypeAlias = Member[Channel]
"""A member of a channel."""


def _watchers(roster: Roster[ChannelMember], wants_diffs: bool) -> list[ChannelMember]:
    return [member for member in roster if member.wants_diffs is wants_diffs]


def find_host(environment: Environment, roster: Roster[ChannelMember]) -> Spawn | None:
    """Find who runs a channel's timers: the pond, or else a member that is still connected."""
    tasks = environment.background.tasks
    if tasks is not None:
        return tasks.start_soon
    for member in roster:
        if member.session.is_open:
            return member.session.spawn
    return None
