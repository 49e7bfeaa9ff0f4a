"""The interface of an engine: what a node asks of it, and what it tells the node.

An *engine* is a server that all nodes reach, for instance Redis. A *node* is a process with a pond,
its *link* its connection to the engine. A *topic* is a channel, on whichever nodes its members are.

The engine keeps for each topic an order of messages, the presence of its members, and who holds
them. A node writes by `apply`, reads by `read` and `roster`, and hears by its `Listener`.
"""

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

from pondsocket_common import Position

from pondsocket._errors import UsageError

Topic: TypeAlias = str
"""The endpoint's concrete path, SEPARATOR, and the channel's name.

A topic that begins with SEPARATOR is no channel: the inbox of a node, or the commands to all.
"""

SEPARATOR: Final = "\x1f"
"""What stands between the parts of a topic."""

MAX_OPS: Final = 64
"""How many operations one `apply` takes."""

MAX_BYTES: Final = 262_144
"""How many bytes of data one `apply` takes, unless it is one operation alone."""


Outage: TypeAlias = Literal["refuse", "local"]
"""Without the engine, channels without a history refuse joins, or go on within each node."""


class Keep(NamedTuple):
    """What a topic keeps of its messages; see `History`.

    Args:
        size: How many messages.
        ttl: For how many seconds a message.
        max_bytes: How many bytes of messages.
        position_ttl: For how many seconds the position, after the last message.
    """

    size: int
    ttl: float
    max_bytes: int
    position_ttl: float


# --- operations ---------------------------------------------------------------------------------


class Append(NamedTuple):
    """Give a message the next position, keep it, and send it to all nodes that subscribe.

    Result: its `Position`.

    Args:
        spare: A user that it is not replayed to, unless the user has a second membership.
        once: If not empty: a message with the same value is appended once within an hour. Later
            ones get the position of the first, and are not sent.
    """

    topic: Topic
    data: bytes
    keep: Keep
    spare: str = ""
    once: str = ""


class Emit(NamedTuple):
    """Send a message to all nodes that subscribe; nothing keeps it.

    Result: how many nodes it was sent to.
    """

    topic: Topic
    data: bytes


class Put(NamedTuple):
    """Hold a membership, or change what it shows. It needs a living lease.

    Result: the version of the roster that has it; None: the lease is lost, and nothing is held.

    Args:
        ref: The membership; no other node uses it.
        shown: Its presence, as JSON; None: it shows nothing.
    """

    topic: Topic
    ref: str
    user: str
    shown: bytes | None


class Drop(NamedTuple):
    """End memberships that a node holds. Those that it does not hold are passed over.

    Result: the users whose last membership of the topic this was.

    Args:
        owner: The lease under which they were put; empty: any, for those of the caller's own.
    """

    topic: Topic
    refs: tuple[str, ...]
    owner: str


Op: TypeAlias = Append | Emit | Put | Drop
"""An operation of `Backplane.apply`."""

Result: TypeAlias = Position | int | tuple[str, ...] | None
"""What an operation answers; its docstring says which of these."""

# --- what is read, and heard --------------------------------------------------------------------


class Entry(NamedTuple):
    """A kept message.

    Args:
        spared: The user that it is not replayed to; empty: there is none.
    """

    offset: int
    data: bytes
    spared: str = ""


class Slice(NamedTuple):
    """Messages of a topic, without a gap up to its top.

    Args:
        entries: In order; the last one, if there is any, has the offset `top`.
        is_new: Whether this read has begun the epoch, because the engine had none.
    """

    epoch: str
    top: int
    entries: tuple[Entry, ...] = ()
    is_new: bool = False

    @property
    def begins_after(self) -> int:
        """The offset before the first entry."""
        return self.top - len(self.entries)


class Change(NamedTuple):
    """What a membership shows from now on; None: nothing."""

    ref: str
    user: str
    shown: bytes | None


class Roster(NamedTuple):
    """Who shows what in a topic.

    Args:
        at: The epoch, and the version.
        shown: One `Change` for each membership that shows something.
    """

    at: Position
    shown: tuple[Change, ...] = ()


class Listener(Protocol):
    """Hears what the engine tells a node. Its methods are called in order, and never wait."""

    def up(self) -> None:
        """Note that a link has begun: all topics are subscribed, and may have gaps."""
        ...

    def down(self, reason: str) -> None:
        """Note that the link has ended."""
        ...

    def lease_lost(self, lease: str) -> None:
        """Note that what this node had put is held no more; `lease` is the name of its new lease.

        It is called once for the first lease, too.
        """
        ...

    def dead(self, lease: str) -> None:
        """Note that the node of this lease has ended without giving it up."""
        ...

    def emitted(self, topic: Topic, data: bytes) -> None:
        """Take a message that nothing keeps."""
        ...

    def appended(self, topic: Topic, epoch: str, prev: int, entry: Entry) -> None:
        """Take a kept message.

        Args:
            prev: The offset before it; 0: unknown.
        """
        ...

    def shown(self, topic: Topic, at: Position, changes: Sequence[Change]) -> None:
        """Take a change of a topic's presence, which leads to the version `at`."""
        ...


class Backplane(Protocol):
    """An engine, as one node reaches it. One object serves one pond.

    Every method but `run` raises `BackplaneUnavailable` if there is no link.
    """

    @property
    def lease_seconds(self) -> float:
        """After how many seconds without a sign of life a node counts as dead."""
        ...

    @property
    def doubt_seconds(self) -> float:
        """How long a living node may take to return once the engine has; a lease, or more.

        For so long presence is kept that the engine has forgotten.
        """
        ...

    @property
    def publish_seconds(self) -> float:
        """How long a broadcast may wait for the engine."""
        ...

    @property
    def queue_bytes(self) -> int:
        """How many bytes of broadcasts may wait for the engine."""
        ...

    @property
    def max_payload(self) -> int:
        """How many bytes the payload of a broadcast may have."""
        ...

    @property
    def outage(self) -> Outage:
        """What channels without a history do while the engine cannot be reached."""
        ...

    @property
    def key(self) -> bytes:
        """The secret of all nodes, at least 16 bytes. To be read once `Listener.up` was called."""
        ...

    async def run(self, listener: Listener, node: str, *, holds: bool = True) -> None:
        """Keep a link to the engine, and a lease, until cancelled.

        Args:
            node: A name that no other node has.
            holds: Whether it holds memberships. A publisher does not, and has no lease: nothing
                takes it for a node.

        Raises:
            BackplaneError: No link is possible, however often it is tried, for instance because of
                a wrong password.
        """
        ...

    async def leave(self) -> None:
        """Give the lease up: what is still held under it ends at once."""
        ...

    async def apply(self, seq: int, ops: Sequence[Op]) -> list[Result]:
        """Carry out operations, in order, as one step. Return one result for each.

        Args:
            seq: Counts up. The same operations with the same number are carried out once.

        Raises:
            BackplaneUnavailable: Nothing was carried out.
            LinkLost: They may have been carried out. The same call on the next link tells.
            PublishUncertain: All are of the kind `Emit`, and may have been carried out. Nothing
                tells: the same call on the next link would send them twice.
        """
        ...

    async def subscribe(self, topics: Sequence[Topic]) -> None:
        """Hear of these topics. It returns once the engine has confirmed it.

        A new link subscribes to them before `Listener.up` is called.
        """
        ...

    async def unsubscribe(self, topics: Sequence[Topic]) -> None:
        """Hear of these topics no more."""
        ...

    async def read(self, topic: Topic, since: Position | None, keep: Keep, latest: int) -> Slice:
        """Return the messages after a position, or at least the `latest` last ones.

        If those after the position are not all kept, or the epoch is another one: what is kept. A
        topic without any message has an epoch, and the top 0.
        """
        ...

    async def roster(self, topic: Topic) -> Roster:
        """Return who shows what."""
        ...

    async def count(self, topic: Topic, user: str = "") -> int:
        """Return how many users hold memberships; of one user, how many memberships."""
        ...

    async def held_by(self, lease: str, limit: int) -> Sequence[tuple[Topic, str]]:
        """Return up to `limit` memberships, topic and ref, that were put under a lease."""
        ...

    async def describe(self, application: bytes) -> None:
        """Keep what this node's application has, for publishers. The latest one wins."""
        ...

    async def described(self) -> bytes | None:
        """Return the latest description; None: no node has written one."""
        ...


def check_backplane(backplane: object) -> None:
    """Refuse what is no backplane: a URL, a class, a hub.

    Raises:
        UsageError: It says what to write.
    """
    if isinstance(backplane, type) or not callable(getattr(backplane, "apply", None)):
        # Not its text: a URL may have a password.
        kind = backplane if isinstance(backplane, type) else type(backplane)
        what = "the class" if kind is backplane else "of type"
        raise UsageError(
            'A backplane is `RedisBackplane("redis://…")`, or in a test `MemoryHub().backplane()`;'
            f" not {what} {kind.__name__}."
        )
