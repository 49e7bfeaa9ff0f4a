"""A channel: its roster and its presence, and what is sent to its members.

It does not know that handlers exist. What it must ask (who intercepts this event?) or tell (a
user has left) goes to its owner, the lobby, through `ChannelOwner`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol
from weakref import WeakValueDictionary

from pondsocket_common import (
    RESERVED_EVENTS,
    Evicted,
    Payload,
    PresenceList,
    ServerActions,
    ServerMessage,
    SystemEvents,
    dump_json,
    fresh_id,
    is_name,
)
from pydantic import BaseModel

from . import _answers as answers
from ._delivery import Chain, LateFrame, deliver
from ._errors import UsageError
from ._frames import Frame
from ._session import Session, Work
from ._state.presence import Presence, PresenceChange
from ._state.roster import Roster


class LeaveReason(StrEnum):
    """Why a membership ended."""

    EXPLICIT_LEAVE = "explicit_leave"
    CONNECTION_CLOSED = "connection_closed"
    EVICTED = "evicted"


@dataclass(frozen=True, slots=True)
class User:
    """A member as handlers see it: a snapshot.

    Args:
        id: The public id.
        assigns: Server-only data: the membership's, and behind them the connection's.
        presence: What the user shows in the channel; None if nothing.
    """

    id: str
    assigns: Mapping[str, Any]
    presence: Payload | None


@dataclass(frozen=True, slots=True)
class Departure:
    """A membership that has just ended."""

    channel: "Channel"
    user: User
    reason: LeaveReason


class Intercept(Protocol):
    """The outgoing handlers of one event, bound to one broadcast."""

    is_late: bool

    def make(self, member: "Member") -> Frame | None:
        """This member's copy; None: it is withheld. For handlers that need not wait."""
        ...

    def make_late(self, member: "Member") -> LateFrame:
        """The same for handlers that wait."""
        ...


class ChannelOwner(Protocol):
    """What a channel asks of the lobby that it belongs to."""

    @property
    def chained(self) -> bool:
        """Whether an outgoing handler may wait, so that every member needs a `Chain`."""
        ...

    def intercept(
        self, channel: "Channel", event: str, payload: Payload, frame: Frame
    ) -> Intercept | None:
        """The outgoing handlers of this event, if there are any."""
        ...

    def left(self, departure: Departure) -> Work | None:
        """A user's last connection has left; what is left to do, if anything."""
        ...


class Member:
    """One connection's membership in one channel."""

    __slots__ = (
        "assigns",
        "chain",
        "channel",
        "connection_id",
        "push",
        "ref",
        "session",
        "user_id",
    )

    def __init__(
        self, channel: "Channel", session: Session, assigns: dict[str, Any], chain: Chain | None
    ) -> None:
        self.channel = channel
        self.session = session
        self.connection_id = session.connection_id
        self.user_id = session.user_id
        self.assigns = assigns
        self.ref = fresh_id()
        self.chain = chain
        self.push: Callable[[Frame], bool] = chain.push if chain else session.push

    def send(self, frame: Frame) -> None:
        """Send a frame of this channel, behind those already on their way."""
        if not self.push(frame):
            self.overflow()

    def overflow(self) -> None:
        """It cannot take what it is sent."""
        self.session.overflow()

    @property
    def is_current(self) -> bool:
        """Whether the membership still holds."""
        return self in self.channel.roster

    def all_assigns(self) -> dict[str, Any]:
        """The membership's assigns, and behind them the connection's."""
        return {**self.session.assigns, **self.assigns}

    def as_user(self) -> User:
        """A snapshot for handlers."""
        shown = self.channel.presence.of_user(self.user_id)
        return User(self.user_id, self.all_assigns(), shown)


class Channel:
    """A named room. It exists while somebody refers to it; its state is who is in it."""

    __slots__ = ("__weakref__", "_chains", "name", "owner", "params", "presence", "roster")

    def __init__(self, name: str, params: Mapping[str, str], owner: ChannelOwner) -> None:
        self.name = name
        self.params = params
        self.owner = owner
        self.roster: Roster[Member] = Roster()
        self.presence = Presence()
        # By connection, as long as a member or a frame on its way holds one: whoever leaves and
        # comes back at once must not be acknowledged before it has been told that it left.
        self._chains: WeakValueDictionary[str, Chain] | None = None

    def __repr__(self) -> str:
        return f"<Channel {self.name} users={self.roster.user_count}>"

    # --- for applications ---------------------------------------------------------------------

    async def broadcast(self, event: str, payload: object = None) -> None:
        """Send an event to every member.

        Raises:
            UsageError: The event's name is empty, too long or reserved, or the payload no object.
            EncodingError: The payload cannot be written as JSON.
        """
        self.publish(event, payload, self.roster.everyone())

    async def broadcast_to(self, event: str, payload: object, *user_ids: str) -> None:
        """Send an event to every connection of these users; errors as `broadcast`."""
        self.publish(event, payload, self.roster.of_users(user_ids))

    async def broadcast_from(self, event: str, payload: object, user_id: str) -> None:
        """Send an event to every member but this user; errors as `broadcast`."""
        others = [member for member in self.roster if member.user_id != user_id]
        self.publish(event, payload, others)

    async def evict_user(self, user_id: str, reason: str = "") -> None:
        """End every membership of a user; the user is told the reason."""
        await self.evict(self.roster.of_user(user_id), reason)

    async def get_presence(self) -> dict[str, Payload]:
        """What each user shows, by user id."""
        return self.presence.listed()

    async def get_assigns(self) -> dict[str, dict[str, Any]]:
        """The assigns of each user, by user id; of several connections, the latest's."""
        return {member.user_id: member.all_assigns() for member in self.roster}

    async def user_count(self) -> int:
        """How many users are in it."""
        return self.roster.user_count

    async def has_user(self, user_id: str) -> bool:
        """Whether a user is in it."""
        return self.roster.has_user(user_id)

    # --- for contexts and lobbies -------------------------------------------------------------

    def publish(self, event: str, payload: object, recipients: Iterable[Member]) -> None:
        """Encode a broadcast once and deliver it."""
        check_event(event)
        shown = as_payload(payload)
        frame = Frame.of(
            ServerMessage(ServerActions.BROADCAST, event, self.name, fresh_id(), shown)
        )
        intercept = self.owner.intercept(self, event, shown, frame)
        if intercept is None:
            deliver(frame, recipients)
        else:
            self._deliver_copies(intercept, list(recipients))

    @staticmethod
    def _deliver_copies(intercept: Intercept, recipients: list[Member]) -> None:
        slow: list[Member] = []
        for member in recipients:
            if intercept.is_late and member.chain is not None:
                taken = member.chain.push_late(intercept.make_late(member))
            else:
                copy = intercept.make(member)
                taken = copy is None or member.push(copy)
            if not taken:
                slow.append(member)
        for member in slow:
            member.overflow()

    def admit(self, session: Session, assigns: dict[str, Any]) -> Member:
        """Make a connection a member, in place of the membership that it may have already."""
        member = Member(self, session, assigns, self._chain_to(session))
        self.roster.add(member)
        session.memberships[self.name] = member
        return member

    def _chain_to(self, session: Session) -> Chain | None:
        if not self.owner.chained:
            return None
        if self._chains is None:
            self._chains = WeakValueDictionary()
        chain = self._chains.get(session.connection_id)
        if chain is None:
            chain = self._chains[session.connection_id] = Chain(session)
        return chain

    def remove(self, member: Member, reason: LeaveReason) -> Work | None:
        """End a membership; what is left to do after it is given back, to be awaited."""
        user = member.as_user()
        if not self.roster.remove(member):
            return None
        # Of an ended connection the record stays: its last events are still being handled.
        if member.session.is_open and member.session.memberships.get(self.name) is member:
            del member.session.memberships[self.name]
        change = self.presence.untrack(member.user_id, member.connection_id)
        if change is not None:
            self._tell(change)
        if self.roster.has_user(member.user_id):
            return None
        return self.owner.left(Departure(self, user, reason))

    async def evict(self, members: Iterable[Member], reason: str) -> None:
        """End memberships against the members' will."""
        farewells: list[Work] = []
        for member in members:
            frame = answers.system(SystemEvents.EVICTED, self.name, Evicted(reason))
            farewell = self.remove(member, LeaveReason.EVICTED)
            member.send(frame)
            if farewell is not None:
                farewells.append(farewell)
        for farewell in farewells:
            await farewell()

    def track(self, member: Member, shown: object) -> None:
        """Show an object for a member, to every member.

        Raises:
            UsageError: It is no object, or the member has left.
            EncodingError: It cannot be written as JSON.
        """
        if not member.is_current:
            if member.session.is_open:
                raise UsageError(f"User {member.user_id} has left {self.name}: nothing to track.")
            return  # the connection ended while its handler ran; that is nobody's mistake
        payload = dict(as_payload(shown))
        dump_json(payload)  # before it is kept, so that one bad object cannot spoil every list
        self._tell(self.presence.track(member.user_id, member.connection_id, payload))

    def untrack(self, member: Member) -> None:
        """Show nothing for a member any more."""
        change = self.presence.untrack(member.user_id, member.connection_id)
        if change is not None:
            self._tell(change)

    def members_of(self, user_ids: Iterable[str]) -> list[Member]:
        """The memberships of these users.

        Raises:
            UsageError: One of them is not a member.
        """
        members: list[Member] = []
        for user_id in user_ids:
            found = self.roster.of_user(user_id)
            if not found:
                raise UsageError(f"User {user_id} is not a member of {self.name}.")
            members += found
        return members

    def _tell(self, change: PresenceChange) -> None:
        payload = PresenceList(tuple(self.presence.listed().values()), change.changed)
        message = ServerMessage(ServerActions.PRESENCE, change.kind, self.name, fresh_id(), payload)
        deliver(Frame.of(message), self.roster.everyone())


def check_event(event: str) -> None:
    """Refuse a name that an application's event cannot have.

    Raises:
        UsageError: It is no name, or the protocol keeps it for itself.
    """
    if not is_name(event):
        raise UsageError(f"An event's name has 1 to 255 characters, no control ones: {event!r}.")
    if event in RESERVED_EVENTS:
        raise UsageError(f"{event} is a name of the protocol's own; choose another.")


def as_payload(payload: object) -> Payload:
    """What an application gave, as an object: a mapping, a pydantic model, or nothing.

    Raises:
        UsageError: It is something else.
    """
    if payload is None:
        return {}
    if isinstance(payload, dict):
        return payload
    if isinstance(payload, BaseModel):
        return payload.model_dump(mode="json", by_alias=True)
    if isinstance(payload, Mapping):
        return dict(payload)
    raise UsageError(
        f"A payload is an object, so a dict or a pydantic model, not {type(payload).__name__};"
        ' wrap it, for instance as {"value": ...}.'
    )
