"""A channel: its roster and its presence, and what is sent to its members.

It does not know handlers. It asks its owner, the lobby, who intercepts an event, and tells it when
a user has left; both through `ChannelOwner`.
"""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final
from weakref import WeakValueDictionary

from pondsocket_common import (
    Evicted,
    Payload,
    Position,
    ServerActions,
    ServerMessage,
    SystemEvents,
    decode_server,
    dump_json,
    fresh_id,
    fresh_ref,
)

from pondsocket._connection.session import Session
from pondsocket._delivery import replies
from pondsocket._delivery.batching import ChannelBatching
from pondsocket._delivery.fanout import Chain, deliver
from pondsocket._delivery.frame import Frame
from pondsocket._delivery.slow_consumers import mark
from pondsocket._environment import Environment
from pondsocket._errors import UsageError
from pondsocket._history.channel_history import ChannelHistory
from pondsocket._history.log import Audience
from pondsocket._presence.channel_presence import ChannelPresence
from pondsocket._runtime.tasks import Work, run_all
from pondsocket._runtime.timers import Spawn, Timers
from pondsocket._state.payloads import as_payload, check_event
from pondsocket._state.roster import Roster
from pondsocket._state.user import LeaveReason

from .member import ChannelOwner, Departure, Intercept, Member, deliver_copies

_tuple: Final = tuple.__new__


class Channel:
    """A named group of members. It exists while an object refers to it."""

    __slots__ = (
        "__weakref__",
        "_chains",
        "_delayed_leaves",
        "_refs",
        "_timers",
        "batching",
        "channel_history",
        "name",
        "owner",
        "params",
        "presence",
        "roster",
    )  # fmt: skip

    def __init__(self, name: str, params: Mapping[str, str], owner: ChannelOwner) -> None:
        self.name = name
        self.params = params
        self.owner = owner
        self.roster: Roster[Member] = Roster()
        history_store, clock = owner.history_store, owner.environment.clock
        self.channel_history = (
            None if history_store is None else ChannelHistory(name, history_store, clock)
        )
        self._refs: set[str] = set()
        # With the roster, not with the channel, which would be a reference cycle.
        self._timers = Timers(partial(_find_host, owner.environment, self.roster))
        self.batching = ChannelBatching(self.roster.everyone, owner.environment.loop_turn)
        self.presence = ChannelPresence(
            name, self.roster, self._timers, owner.environment, self.batching
        )
        # Users whose last connection was lost a moment ago, and the leaves that are held back.
        self._delayed_leaves: dict[str, tuple[Member, Departure]] = {}
        # By connection, while a member or a pending frame holds one: a client that leaves and joins
        # again at once must be told of the leave before it gets the acknowledgement.
        self._chains: WeakValueDictionary[str, Chain] | None = None

    def __repr__(self) -> str:
        return f"<Channel {self.name} users={self.roster.user_count}>"

    # --- for applications ---------------------------------------------------------------------

    async def broadcast(self, event: str, payload: object = None, *, history: bool = True) -> None:
        """Send an event to every member.

        Args:
            history: Whether the channel's history, if it has one, keeps the event.

        Raises:
            UsageError: The event's name is empty, too long or reserved, or the payload is not an
                object.
            EncodingError: The payload cannot be written as JSON.
        """
        self.publish(event, payload, keep=history)

    async def broadcast_to(
        self, event: str, payload: object, *user_ids: str, history: bool = True
    ) -> None:
        """Send an event to every connection of these users; see `broadcast`."""
        recipients, audience = self.roster.of_users(user_ids), Audience(user_ids)
        self.publish(event, payload, recipients, audience, keep=history)

    async def broadcast_from(
        self, event: str, payload: object, user_id: str, *, history: bool = True
    ) -> None:
        """Send an event to every member but this user; see `broadcast`."""
        audience = Audience((user_id,), is_exclusion=True)
        self.publish(event, payload, self.all_but_user(user_id), audience, keep=history)

    async def history(
        self, since: Position | None = None, *, limit: int = 100
    ) -> list[ServerMessage] | None:
        """Return the last messages of the history, or the first ones after a position.

        Returns:
            None if some messages after the position are no longer kept.

        Raises:
            UsageError: The lobby keeps no history, or the limit is negative.
        """
        if self.channel_history is None:
            raise UsageError(f"{self.name} has no history: give its lobby history=History().")
        return self.channel_history.read(since, limit)

    async def evict_user(self, user_id: str, reason: str = "") -> None:
        """End every membership of a user. The user's clients are told the reason."""
        await self.evict_members(self.roster.of_user(user_id), reason)
        if user_id in self._delayed_leaves:  # no client to tell, but others still see the user
            member, departure = self._delayed_leaves.pop(user_id)
            leave_work = self._finish_leave(member, replace(departure, reason=LeaveReason.EVICTED))
            if leave_work is not None:
                await leave_work()

    async def get_presence(self) -> dict[str, Payload]:
        """Return the presence of each user, by user id. The objects are copies."""
        return copy.deepcopy(self.presence.state.listed())

    async def get_assigns(self) -> dict[str, dict[str, Any]]:
        """Return the assigns of each user, by user id; of several connections, the latest's."""
        return {member.user_id: member.all_assigns() for member in self.roster}

    async def user_count(self) -> int:
        """Return how many users are in the channel."""
        return self.roster.user_count

    async def has_user(self, user_id: str) -> bool:
        """Return whether a user is in the channel."""
        return self.roster.has_user(user_id)

    # --- for contexts and lobbies -------------------------------------------------------------

    def publish(
        self,
        event: str,
        payload: object,
        recipients: Iterable[Member] | None = None,
        audience: Audience | None = None,
        *,
        but: Member | None = None,
        keep: bool = True,
    ) -> None:
        """Encode a broadcast once, keep it if there is a history, and deliver it.

        Args:
            recipients: The members that get it; None: all.
            audience: The users that it is replayed for; None: all.
            but: If all get it, the one member that does not.
        """
        check_event(event)
        shown = as_payload(payload)
        self.presence.flush()
        batching = self.batching
        # Before the position is fixed: a member may be too slow for what waits, and a hook that is
        # told of that may broadcast in this channel itself.
        if (
            recipients is not None
            or batching.loop_turn.replying not in (None, batching)
            or self.owner.intercepts(event)
        ):
            batching.flush()
        channel_history = self.channel_history if keep else None
        if channel_history is None:
            log = position = None
        else:
            log = channel_history.open() if channel_history.log is None else channel_history.log
            # As `Position(…)`, at half the cost.
            position = _tuple(Position, (log.epoch, log.top + 1))
        message = ServerMessage(
            ServerActions.BROADCAST, event, self.name, fresh_id(), shown, position
        )
        frame = Frame.of(message)
        if channel_history is not None and log is not None and position is not None:
            if position[1] != log.top + 1:
                raise UsageError(f"A payload broadcast to {self.name} while it was encoded.")
            frame.channel, frame.position = self.name, position
            log.append(frame.json, event, channel_history.clock(), audience)
        mark(frame, self.owner.slow_consumers, self.name, event, shown)
        intercept = self.owner.intercept(self, message, frame)
        if intercept is None and recipients is None and batching.add(frame, but):
            return
        if recipients is None:
            recipients = [member for member in self.roster if member is not but]
        if intercept is None:
            deliver(frame, recipients)
        else:
            deliver_copies(intercept, recipients, is_kept=position is not None)

    def intercept_kept(self, frame: Frame) -> Intercept | None:
        """Return the outgoing handlers for a frame of the history. None if there are none."""
        if not self.owner.intercepts(frame.event):
            return None
        return self.owner.intercept(self, decode_server(frame.json, is_own=True), frame)

    def publish_from(self, event: str, payload: object, session: Session, *, keep: bool) -> None:
        """Send an event to every member but this connection."""
        sender, user_id = self.roster.get(session.connection_id), session.user_id
        audience = None
        mine = self.roster.of_user(user_id)
        if keep and self.channel_history is not None and all(each is sender for each in mine):
            # Otherwise the user's other connections here get it, so it is replayed to the user too.
            audience = Audience((user_id,), is_exclusion=True)
        self.publish(event, payload, None, audience, but=sender, keep=keep)

    def all_but_user(self, user_id: str) -> list[Member]:
        """Return every membership of other users."""
        return [member for member in self.roster if member.user_id != user_id]

    def admit(
        self, session: Session, assigns: dict[str, Any], *, wants_diffs: bool = False
    ) -> Member:
        """Make a connection a member, in place of the membership that it may have already.

        A membership that replaces another keeps its ref: its presence stays, and the others see no
        leave. The caller has flushed the batch, which is not for a new member.
        """
        before = replaced = self.roster.get(session.connection_id)
        if replaced is None and session.user_id in self._delayed_leaves:
            replaced, _ = self._delayed_leaves.pop(session.user_id)
        ref = replaced.ref if replaced is not None else self._new_ref()
        chain = self._chain_to(session)
        member = Member(self, session, assigns, chain, ref, wants_diffs=wants_diffs)
        member.is_returning = before is None and replaced is not None
        if self.channel_history is not None and before is None:
            self.channel_history.enter()
        if wants_diffs:
            self.presence.watch()
        self.roster.add(member)
        session.memberships[self.name] = member
        if before is not None and before.wants_diffs:
            self.presence.unwatch()
        if before is not None and before.catching_up is not None:
            before.catching_up.close()
        return member

    def _new_ref(self) -> str:
        while (ref := fresh_ref()) in self._refs:
            pass  # taken: with 24 bits, two refs may be equal in a large channel
        self._refs.add(ref)
        return ref

    def _chain_to(self, session: Session) -> Chain | None:
        if not self.owner.chained:
            return None
        if self._chains is None:
            self._chains = WeakValueDictionary()
        chain = self._chains.get(session.connection_id)
        if chain is None:
            chain = self._chains[session.connection_id] = Chain(
                session, session.options.outbox_bytes
            )
        return chain

    def answer(self, session: Session, frame: Frame) -> None:
        """Send a frame to a client that is not a member, after the frames of a past membership."""
        chain = None if self._chains is None else self._chains.get(session.connection_id)
        self.owner.environment.loop_turn.flush()
        if chain is None:
            session.send(frame)
        elif not chain.offer(frame):
            session.overflow()

    def remove(self, member: Member, reason: LeaveReason) -> Work | None:
        """End a membership. Return what is left to do after the leave, to be awaited."""
        self.batching.flush()  # the member may be too slow for it, which ends the membership
        if not member.is_current:
            return None
        user = member.as_user()
        self.roster.remove(member)
        member.send_by_session()
        if self.channel_history is not None:
            self.channel_history.leave()
        if member.catching_up is not None:
            member.catching_up.close()  # may end the connection, which is no member by now
        if member.wants_diffs:
            self.presence.unwatch()
        # An ended connection keeps its record: its last events are still being handled.
        if member.session.is_open and member.session.memberships.get(self.name) is member:
            member.session.left(self.name)
        environment = self.owner.environment
        if environment.observer is not None:
            environment.observer.left(self.name, user, reason)
        departure = Departure(self, user, reason)
        if not self.roster.has_user(member.user_id) and self._delay_leave(member, departure):
            return None
        return self._finish_leave(member, departure)

    def _delay_leave(self, member: Member, departure: Departure) -> bool:
        """Hold a leave back for a moment if the client may reconnect. False if it is final."""
        delay = self.owner.environment.options.presence_leave_delay
        if (
            delay <= 0
            or departure.reason is not LeaveReason.CONNECTION_CLOSED
            or not member.session.is_user_known
            or not member.session.may_return
        ):
            return False
        delayed = (member, departure)

        async def finish_leave() -> None:
            if self._delayed_leaves.get(member.user_id) is delayed:
                del self._delayed_leaves[member.user_id]
                leave_work = self._finish_leave(member, departure)
                if leave_work is not None:
                    # In a task of its own, so that it does not delay other timers.
                    host = _find_host(self.owner.environment, self.roster)
                    if host is None:
                        await leave_work()
                    else:
                        host(leave_work)

        if not self._timers.after(delay, finish_leave):
            return False
        self._delayed_leaves[member.user_id] = delayed
        return True

    def _finish_leave(self, member: Member, departure: Departure) -> Work | None:
        self.presence.untrack(member.user_id, member.ref)
        self._refs.discard(member.ref)
        if self.roster.has_user(member.user_id):
            return None
        return self.owner.left(departure)

    async def evict_members(self, members: Iterable[Member], reason: str) -> None:
        """End memberships, and tell their clients the reason."""
        works: list[Work] = []
        for member in members:
            if not member.is_current:
                continue  # it has left already; its connection may have a new membership
            frame = replies.system(SystemEvents.EVICTED, self.name, Evicted(reason))
            leave_work = self.remove(member, LeaveReason.EVICTED)
            member.send(frame)
            if leave_work is not None:
                works.append(leave_work)
        await run_all(works)

    def track_member(self, member: Member, shown: object) -> None:
        """Set the presence of a member.

        Raises:
            UsageError: It is not an object, or the member has left.
            EncodingError: It cannot be written as JSON.
        """
        self.batching.flush()  # the member may be too slow for it, which ends the membership
        if not member.is_current:
            if member.session.is_open:
                raise UsageError(f"User {member.user_id} has left {self.name}: nothing to track.")
            return  # the connection ended while its handler ran, which is not an error
        payload = copy.deepcopy(dict(as_payload(shown)))  # it is sent again, later
        dump_json(payload)  # before it is kept, so that one bad object cannot spoil every list
        self.presence.track(member.user_id, member.ref, payload)

    def untrack_member(self, member: Member) -> None:
        """Remove the presence of a member. Does nothing if it is no longer a member."""
        self.batching.flush()
        if not member.is_current:
            return  # a newer membership may have its ref, and another presence
        self.presence.untrack(member.user_id, member.ref)

    def members_of(self, user_ids: Iterable[str]) -> list[Member]:
        """Return the memberships of these users.

        Raises:
            UsageError: One of them is not a member.
        """
        members: list[Member] = []
        for user_id in dict.fromkeys(user_ids):
            found = self.roster.of_user(user_id)
            if not found:
                raise UsageError(f"User {user_id} is not a member of {self.name}.")
            members += found
        return members


def _find_host(environment: Environment, roster: Roster[Member]) -> Spawn | None:
    """Find who runs a channel's timers: the pond, or else a member that is still connected."""
    tasks = environment.background.tasks
    if tasks is not None:
        return tasks.start_soon
    for member in roster:
        if member.session.is_open:
            return member.session.spawn
    return None
