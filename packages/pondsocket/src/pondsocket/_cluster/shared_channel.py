"""A channel whose members may be on any node."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Iterable, Mapping
from typing import Any, Final

from pondsocket_common import Payload, Position, load_json

from pondsocket._channel.channel import Channel, ChannelMember
from pondsocket._channel.delayed_leaves import Leave
from pondsocket._channel.owner import ChannelOwner
from pondsocket._connection.session import Session
from pondsocket._delivery.replies import TOO_MANY_NEW
from pondsocket._errors import PondError, UsageError, readable_text
from pondsocket._history.channel_history import ChannelHistory
from pondsocket._history.log import History
from pondsocket._replica.connection_ids import new_id, node_of
from pondsocket._runtime.tasks import Work
from pondsocket._state.user import LeaveReason, UserId, as_user_id, as_user_ids
from pondsocket.backplane import SEPARATOR

from .node import Node
from .requests import NodeGone
from .shared_log import SharedHistory, SharedStore, keep_of
from .shared_publishing import SharedPublishing
from .shared_topic import SharedTopic

# As long as a client of an event stream waits before it posts again.
_ANSWER_SECONDS: Final = 5.0


class SharedChannel(Channel):
    """A channel of a cluster: the engine orders its broadcasts and its presence."""

    __slots__ = ("_is_used", "_node", "_topic")

    def __init__(
        self,
        node: Node,
        name: str,
        params: Mapping[str, str],
        owner: ChannelOwner[Channel, ChannelMember],
        path: str,
    ) -> None:
        self._node = node
        self._is_used = False  # whether the node knows that there are members here
        topic = f"{path}{SEPARATOR}{name}"
        super().__init__(name, params, owner, path, topic)
        store = owner.history_store
        publishing, history = self.publishing, self.channel_history
        assert isinstance(publishing, SharedPublishing)  # noqa: S101 - made below
        assert history is None or isinstance(history, SharedHistory)  # noqa: S101
        self._topic = SharedTopic(
            topic,
            name,
            node,
            None if store is None else keep_of(store.options),
            publishing,
            self.presence,
            history,
            self.roster,
        )

    def _new_history(self, key: str) -> ChannelHistory | None:
        store, node = self.owner.history_store, self._node
        if store is None:
            return None
        keep, clock = keep_of(store.options), self.owner.environment.clock

        return SharedHistory(
            self.name,
            store.options,
            clock,
            lambda: node.backplane.read(key, None, keep, keep.size),
        )

    def _new_publishing(self) -> SharedPublishing:
        return SharedPublishing(
            self.name,
            self.owner,
            self.roster,
            self.batching,
            self.presence,
            self.channel_history,
        )

    # --- members --------------------------------------------------------------------------------

    def prepare(self, session: Session, since: Position | None) -> Coroutine[Any, Any, None] | None:
        """Return what must be awaited before a connection is made a member; see `Channel`."""
        node, topic = self._node, self._topic
        if topic.lacks(since):
            topic.suspect_messages()
        elif node.batches.is_up and node.is_current(topic):
            return None
        return self._prepare(session)

    async def _prepare(self, session: Session) -> None:
        await self._node.prepare(self._topic)
        if self._topic.take_is_new() and (wait := session.take_new_history()):
            raise PondError(TOO_MANY_NEW, 429, retry_after=wait)

    def admit(
        self, session: Session, assigns: dict[str, Any], *, wants_diffs: bool = False
    ) -> ChannelMember:
        """Make a connection a member; see `Channel.admit`."""
        if not self._is_used:
            self._is_used = True
            self._node.use(self._topic)
        member = super().admit(session, assigns, wants_diffs=wants_diffs)
        if member.ref is None:
            member.ref = self._node.new_ref()
            self._topic.presence.join(member)
        return member

    def remove(self, member: ChannelMember, reason: LeaveReason) -> Work | None:
        """End a membership; see `Channel.remove`."""
        leave_work = super().remove(member, reason)
        if self._is_used and not len(self.roster):
            self._is_used = False
            self._node.release(self._topic)
        return leave_work

    def _finish_leave(self, leave: Leave[Channel]) -> Work | None:
        member = leave.member
        if member.ref is None:
            return None
        work = self.owner.left(self, leave.user, leave.reason)
        return self._topic.presence.leave(member.ref, member.user_id, work)

    def _new_ref(self) -> str:
        return self._node.new_ref()

    def members_of(self, user_ids: Iterable[UserId]) -> list[ChannelMember]:
        """Return the memberships of these users that are on this node.

        Raises:
            UsageError: One of them has none here, or is not an id.
        """
        known = as_user_ids(user_ids)
        for user_id in known:
            if not self.roster.of_user(user_id):
                raise UsageError(
                    f"User {user_id} is not a member of {self.name} on this server. What others"
                    " show is set where their connections are."
                )
        return super().members_of(known)

    # --- presence -------------------------------------------------------------------------------

    def track_member(self, member: ChannelMember, shown: object) -> int | Awaitable[int]:
        """Set the presence of a member; see `Channel.track_member`."""
        self.owner.environment.loop.check("track")
        self.batching.flush()
        if not member.is_current:
            return 0
        return self._topic.presence.show(member, self.presence.encode(shown, member.ref))

    def untrack_member(self, member: ChannelMember) -> int | Awaitable[int]:
        """Remove the presence of a member; see `Channel.untrack_member`."""
        self.owner.environment.loop.check("untrack")
        self.batching.flush()
        return self._topic.presence.show(member, None) if member.is_current else 0

    # --- questions, which the whole cluster answers -------------------------------------------

    async def get_presence(self) -> dict[str, Payload]:
        """Return the presence of each user, by user id."""
        self.owner.environment.loop.check("get_presence")
        if self._node.is_current(self._topic):
            return self.presence.copy()
        found = await self._node.backplane.roster(self._topic.topic)
        shown: dict[str, Payload] = {}
        for each in found.shown:
            value = load_json(each.shown or b"{}")
            if isinstance(value, dict):
                shown[each.user] = value
        return shown

    async def get_assigns(self) -> dict[str, dict[str, Any]]:
        """Return the assigns of each user, by user id; those of other nodes as JSON gives them."""
        here = await super().get_assigns()
        elsewhere = await self._node.requests.assigns(self._topic.topic)
        return {**elsewhere, **here}

    async def user_count(self) -> int:
        """Return how many users are in the channel, on all nodes."""
        self.owner.environment.loop.check("user_count")
        return await self._node.count(self._topic.topic)

    async def has_user(self, user_id: UserId) -> bool:
        """Return whether a user is in the channel, on any node."""
        self.owner.environment.loop.check("has_user")
        return await self._node.count(self._topic.topic, as_user_id(user_id)) > 0

    async def evict_user(self, user_id: UserId, reason: str = "") -> None:
        """End every membership of a user, on all nodes. The user's clients are told the reason."""
        known, told = as_user_id(user_id), readable_text("evict: the reason", reason)
        await super().evict_user(known, told)
        await self._node.commands.tell("evict", topic=self._topic.topic, user=known, reason=told)

    async def evict_users(self, user_ids: Iterable[UserId], reason: str) -> None:
        """End every membership of these users, on all nodes; see `Channel.evict_users`."""
        known = as_user_ids(user_ids)
        for user_id in known:
            if not await self.has_user(user_id):
                raise UsageError(f"User {user_id} is not a member of {self.name}.")
        for user_id in known:
            await self.evict_user(user_id, reason)

    async def evict_here(self, user_id: str, reason: str, older_than: float | None) -> None:
        """End the memberships of a user that are on this node; see `Actions.execute`."""
        members = [
            each
            for each in self.roster.of_user(user_id)
            if older_than is None or each.session.opened_at <= older_than
        ]
        await self.evict_members(members, reason)

    async def assigns_here(self) -> dict[str, dict[str, Any]]:
        """Return the assigns of each user on this node."""
        return await super().get_assigns()


class PondCluster:
    """The other nodes, as the parts of a pond use them; see `Cluster` in `_environment`."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def new_store(self, history: History) -> SharedStore:
        """Return the store of a lobby's histories."""
        return SharedStore(history)

    def new_channel(
        self,
        name: str,
        params: Mapping[str, str],
        owner: ChannelOwner[Channel, ChannelMember],
        path: str,
        _key: str,
    ) -> SharedChannel:
        """Return a channel whose members may be on any node."""
        return SharedChannel(self._node, name, params, owner, path)

    def new_connection_id(self) -> str:
        """Return a secret id of a connection here, which other nodes know to be one."""
        return new_id(self._node.name, self._node.backplane.key)

    def node_of(self, connection_id: str) -> str | None:
        """Return the node that has made an id; None: none has."""
        return node_of(connection_id, self._node.backplane.key)

    async def command(self, do: str, /, **arguments: object) -> None:
        """Tell all other nodes what to do; see `Node.command`."""
        await self._node.commands.tell(do, **arguments)

    def command_nowait(self, do: str, /, **arguments: object) -> None:
        """Tell all other nodes what to do; see `Node.command_nowait`."""
        self._node.commands.tell_nowait(do, **arguments)

    async def connection_count(self, endpoint: str) -> int:
        """Return how many connections an endpoint has, on all nodes."""
        self._node.check_running()
        return await self._node.requests.connection_count(endpoint)

    async def ask(self, node: str, question: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Ask another node. None: it is gone."""
        try:
            return await self._node.requests.ask(node, question, seconds=_ANSWER_SECONDS)
        except NodeGone:
            return None
