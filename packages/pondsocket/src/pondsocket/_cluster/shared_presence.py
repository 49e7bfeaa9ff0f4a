"""The memberships of one channel: those here, as the engine holds them, and what all of them show.

A membership ends here at once, and in the engine by a `Drop`. What it shows is shown to the members
here when the engine has ordered it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import anyio
from pondsocket_common import InvalidMessage, Position

from pondsocket._channel.channel import ChannelMember
from pondsocket._log import get_log
from pondsocket._presence.channel_presence import ChannelPresence
from pondsocket._replica.holdings import Holdings
from pondsocket._replica.replica import Replica
from pondsocket._runtime.tasks import Work
from pondsocket.backplane import (
    Backplane,
    BackplaneUnavailable,
    Change,
    Drop,
    Put,
    Result,
    Topic,
)

from .batches import Batches

_log: Final = get_log("pondsocket.cluster")


class Holder(Protocol):
    """This node, as far as its memberships use it."""

    backplane: Backplane
    batches: Batches
    holdings: Holdings

    def start(self, work: Work) -> None:
        """Run work in a task of this node's own."""
        ...


def _ignore(_: object) -> None:
    return


class SharedPresence:
    """The memberships of one channel.

    Args:
        presence: What the members here are told.
    """

    __slots__ = (
        "_node",
        "_presence",
        "_replica",
        "_sent_bytes",
        "_topic",
        "_unlisted",
        "_unseen",
    )

    def __init__(self, topic: Topic, node: Holder, presence: ChannelPresence) -> None:
        self._topic = topic
        self._node = node
        self._presence = presence
        self._replica = Replica(node.backplane.doubt_seconds)
        self._sent_bytes = 0  # of the latest list of presences
        # By ref: members that want lists, and have not shown anything yet.
        self._unlisted: dict[str, ChannelMember] = {}
        # Versions that are waited for until they are known here.
        self._unseen: list[tuple[Position, anyio.Event]] = []

    # --- what is sent ---------------------------------------------------------------------------

    def join(self, member: ChannelMember) -> None:
        """Hold a membership that has begun."""
        if not member.wants_diffs:
            self._unlisted[member.ref or ""] = member
        self._put(Put(self._topic, member.ref or "", member.user_id, None), _ignore)

    def show(self, member: ChannelMember, shown: bytes | None) -> Awaitable[int]:
        """Change what a membership shows. Await it to know that it is shown here.

        Without a link it waits for no longer than a broadcast, and is shown later. It gives the
        bytes of the list that the members here were sent; 0: none was sent.
        """
        done = anyio.Event()

        def end(result: Result | Exception) -> None:
            known = self._replica.numbered.position
            if isinstance(result, int) and known is not None and result > known.offset:
                self._unseen.append((Position(known.epoch, result), done))
            else:
                done.set()

        self._put(Put(self._topic, member.ref or "", member.user_id, shown), end)

        async def wait() -> int:
            self._sent_bytes = 0
            with anyio.move_on_after(self._node.backplane.publish_seconds):
                await done.wait()
            return self._sent_bytes

        return wait()

    def _put(self, put: Put, on_result: Callable[[Result | Exception], None]) -> None:
        self._node.holdings.put(put)
        self._node.batches.add(put, on_result)

    def leave(self, ref: str, user_id: str, work: Work | None) -> Work | None:
        """End a membership. Return what is left to do after the leave, to be awaited.

        Args:
            work: What is to be done if it was the user's last one, on any node.
        """
        node = self._node
        node.holdings.drop(self._topic, (ref,))
        self._unlisted.pop(ref, None)
        if work is None:
            self._drop(ref, user_id, _ignore)
            return None
        done = anyio.Event()
        was_last = is_late = False

        def end(is_last: bool) -> None:
            nonlocal was_last
            was_last = is_last
            done.set()
            if is_late and was_last:
                node.start(work)

        async def wait() -> None:
            nonlocal is_late
            try:
                with anyio.move_on_after(node.backplane.publish_seconds):
                    await done.wait()
            finally:
                # The engine cannot be reached: the connection must not wait for it.
                is_late = not done.is_set()
            if was_last:
                await work()

        self._drop(ref, user_id, end)
        return wait

    def _drop(self, ref: str, user_id: str, on_end: Callable[[bool], None]) -> None:
        """End a membership in the engine. Call `on_end` with whether it was the user's last one."""
        node = self._node
        links, known = node.batches.links, self._replica.numbered.position

        def end(result: Result | Exception) -> None:
            was_last = isinstance(result, tuple) and user_id in result
            if was_last or links == node.batches.links or isinstance(result, Exception):
                on_end(was_last)
            else:
                node.start(lambda: self._drop_again(ref, user_id, known, on_end))

        # Under whichever lease it was put: its `Put` may wait for a link as well, and is carried
        # out under the lease that the link brings.
        node.batches.add(Drop(self._topic, (ref,), ""), end)

    async def _drop_again(
        self,
        ref: str,
        user_id: str,
        known: Position | None,
        on_end: Callable[[bool], None],
    ) -> None:
        """End a membership that the engine did not know on a new link."""
        node = self._node
        try:
            at = (await node.backplane.roster(self._topic)).at
        except BackplaneUnavailable:
            self._drop(ref, user_id, on_end)  # it is carried out on the next link
            return
        if known is not None and at.epoch != known.epoch:
            # The engine has forgotten it. It is put again, and dropped when the other nodes have
            # put theirs: whichever is dropped last was the user's last one.
            node.batches.add(Put(self._topic, ref, user_id, None))
            await anyio.sleep(node.backplane.doubt_seconds)
            self._drop(ref, user_id, on_end)
        else:
            on_end(False)

    # --- what is heard --------------------------------------------------------------------------

    @property
    def is_behind(self) -> bool:
        """Whether `read` is needed."""
        return self._replica.is_behind

    @property
    def is_in_doubt(self) -> bool:
        """Whether `expire` has something to do."""
        return self._replica.is_in_doubt

    @property
    def is_waiting(self) -> bool:
        """Whether the engine has carried something out that is not known here."""
        return bool(self._unseen)

    def suspect(self) -> None:
        """Note that changes may be missing."""
        self._replica.numbered.suspect()

    def shown(self, at: Position, changes: Sequence[Change]) -> None:
        """Take a change."""
        self._tell(self._replica.take(at, changes))
        if self._unseen:
            self._end_seen()

    def expire(self, now: float) -> None:
        """Tell the ends of those that the engine has forgotten, and no node has put again."""
        self._tell(self._replica.expire(now, is_up=self._node.batches.is_up))

    async def read(self) -> None:
        """Read the whole roster.

        Raises:
            BackplaneUnavailable: The engine cannot be reached.
        """
        node, replica = self._node, self._replica
        replica.numbered.begin_read()
        found = await node.backplane.roster(self._topic)
        known = replica.numbered.position
        self._tell(replica.fill(found, anyio.current_time()))
        if known is not None and known.epoch != found.at.epoch:
            for put in node.holdings.of(self._topic):  # the engine has forgotten them
                node.batches.add(put)
        self._end_seen()

    def _end_seen(self) -> None:
        """Let those go on who wait for a version that is known here now."""
        known = self._replica.numbered.position
        unseen, self._unseen = self._unseen, []
        for at, done in unseen:
            if known is None or known.epoch != at.epoch or known.offset >= at.offset:
                done.set()
            else:
                self._unseen.append((at, done))

    def _tell(self, changes: Sequence[Change]) -> None:
        for ref, user, shown in changes:
            if shown is None:
                self._sent_bytes += self._presence.untrack(user, ref)
                continue
            try:
                sent_bytes = self._presence.track(user, ref, shown)
            except InvalidMessage:
                _log.error("A presence of another version was left out (topic=%r).", self._topic)
                continue
            self._sent_bytes += sent_bytes
            member = self._unlisted.pop(ref, None)
            if member is not None and not sent_bytes:
                # The user shows the same by another membership, for instance by one on the node
                # that the client has left a moment ago. So no change brings it the list.
                self._presence.send_list(member, user)

    def end(self) -> None:
        """Forget what is known: nothing of the channel is heard any more."""
        self._replica = Replica(self._node.backplane.doubt_seconds)
        state = self._presence.state
        for ref, user in [(ref, user) for user, ref, _ in state.entries()]:
            state.untrack(user, ref)
        self._end_seen()
