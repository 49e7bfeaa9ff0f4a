"""The engine that runs on Redis."""

from __future__ import annotations

import os
import random
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeAlias, TypeVar

import anyio
from pondsocket_common import Position

from pondsocket._errors import UsageError
from pondsocket._log import get_log
from pondsocket._runtime.loop import failure_of
from pondsocket.backplane._errors import (
    BackplaneError,
    BackplaneUnavailable,
    LinkLost,
    PublishUncertain,
)
from pondsocket.backplane._interface import (
    Append,
    Drop,
    Emit,
    Keep,
    Listener,
    Op,
    Outage,
    Put,
    Result,
    Roster,
    Slice,
    Topic,
)

from ._address import parse
from ._connector import Connector, Credentials, reason_of
from ._handshake import read_info
from ._keys import Keys
from ._link import Argument, Link, ReplyError
from ._messages import tell
from ._reading import Pages
from ._scripts import Scripts, apply_arguments, milliseconds, publish_command
from ._subscriptions import Subscriptions

T = TypeVar("T")

_log: Final = get_log("pondsocket.cluster")
_BEAT_SECONDS: Final = 1.0
_WATCH_SECONDS: Final = 0.25
# The first try comes soon, as most links are lost because one connection was cut.
_FIRST_RETRY: Final = 0.05
_LAST_RETRY: Final = 1.0
# Several beats: then it was the engine that no node could reach.
_LONGEST_SILENCE: Final = 2.5
# Redis has not begun the script.
_REFUSED: Final = ("OOM", "MISCONF", "NOREPLICAS", "BUSY")
_FORBIDDEN: Final = ("WRONGPASS", "NOAUTH", "NOPERM")
_HINT: Final = (
    " A user of Redis needs the keys ~{%s:*, the channels &{%s:* and the commands of scripts,"
    " pub/sub, connections and INFO."
)
_TROUBLE: Final = (
    OSError,  # of sockets and of TLS, and all that takes too long
    BackplaneError,
    BackplaneUnavailable,
    LinkLost,
    ReplyError,
)


Beat: TypeAlias = Callable[[Link, Listener], Awaitable[None]]


async def _ping(link: Link, _listener: Listener) -> None:
    """Show that the link lives, where there is no lease to renew."""
    await link.call("PING")


class RedisBackplane:
    """Redis 7 or newer, or Valkey, as the engine of several nodes.

    Give each pond one of its own: `PondSocket(backplane=RedisBackplane("redis://host"))`.

    Args:
        url: `redis://`, `rediss://` (TLS), `unix://` or `redis+sentinel://`; see the page "Many
            nodes".
        prefix: What all its keys and channels begin with. Two applications on one Redis need two:
            pub/sub knows no databases.
        ssl_context: For `rediss://`; by default certificates are verified.
        credentials: Returns the user and the password, instead of those in the URL; it is asked
            for each link.
        lease: After how many seconds without a sign of life a node counts as dead.
        publish_timeout: How many seconds a broadcast may wait for Redis.
        silence: After how many seconds without a word from Redis the link counts as dead.
        queue_bytes: How many bytes of broadcasts may wait for Redis.
        max_payload: How many bytes a broadcast may have; a larger one is refused.
        outage: What channels without a history do while Redis cannot be reached: "refuse" joins,
            or go on within each node, "local". Those with a history always refuse.

    Raises:
        UsageError: The URL or an option cannot work.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "pond",
        ssl_context: ssl.SSLContext | None = None,
        credentials: Credentials | None = None,
        lease: float = 10.0,
        publish_timeout: float = 2.0,
        silence: float = 3.0,
        queue_bytes: int = 16_777_216,
        max_payload: int = 1_048_576,
        outage: Outage = "refuse",
    ) -> None:
        if not prefix or set(prefix) & set("{}:\n "):
            raise UsageError(f"prefix is a name without braces, colons or blanks: {prefix!r}.")
        for name, value in (
            ("lease", lease),
            ("publish_timeout", publish_timeout),
            ("silence", silence),
            ("queue_bytes", queue_bytes),
            ("max_payload", max_payload),
        ):
            if not value > 0:
                raise UsageError(f"{name} is above 0, not {value!r}.")
        if silence <= _BEAT_SECONDS or lease <= silence:
            raise UsageError("silence is above 1 second, and lease above silence.")
        if outage not in ("refuse", "local"):
            raise UsageError(f'outage is "refuse" or "local", not {outage!r}.')
        address = parse(url)
        tls = (ssl_context or ssl.create_default_context()) if address.is_secure else None
        self._connector = Connector(address, tls, credentials, silence)
        self.lease_seconds = lease
        self.publish_seconds = publish_timeout
        self.queue_bytes = queue_bytes
        self.max_payload = max_payload
        self.outage: Outage = outage
        self._keys = Keys(prefix)
        self._scripts = Scripts()
        self._subscriptions = Subscriptions(self._keys)
        self._pages = Pages(self._keys, self._ask)
        self._link: Link | None = None  # while it is up
        self._node = ""
        self._lease_number = 0  # the latest lease's
        self._key = b""
        self._said: set[str] = set()  # what was logged, and need not be at each try

    def __repr__(self) -> str:
        return f"<RedisBackplane {self._connector.address}>"

    @property
    def _lease(self) -> str:
        return f"{self._node}.{self._lease_number}"

    @property
    def doubt_seconds(self) -> float:
        """How long a living node may take to return; see `Backplane`."""
        # The old link may be half-open, and so may the first one that is tried.
        return max(self.lease_seconds, 2 * (self._connector.seconds + _LAST_RETRY))

    @property
    def key(self) -> bytes:
        """The secret of all nodes."""
        return self._key

    # --- its link -------------------------------------------------------------------------------

    async def run(self, listener: Listener, node: str, *, holds: bool = True) -> None:
        """Keep a link to Redis until cancelled; see `Backplane.run`.

        Raises:
            UsageError: Another pond runs it.
        """
        if self._node:
            raise UsageError("Each pond needs a RedisBackplane of its own.")
        self._node = node
        beat = self._beat if holds else _ping
        retry = _FIRST_RETRY
        try:
            while True:
                began = anyio.current_time()
                await self._serve(listener, beat)
                if anyio.current_time() - began > _LAST_RETRY:
                    retry = _FIRST_RETRY
                await anyio.sleep(retry * random.uniform(0.5, 1.0))  # noqa: S311
                retry = min(retry * 2, _LAST_RETRY)
        finally:
            self._node = ""

    async def _serve(self, listener: Listener, beat: Beat) -> None:
        """Run one link, until it ends."""
        link: Link | None = None
        fault = ""
        try:
            async with await self._connector.open() as stream:
                link = Link(stream, lambda push: self._take_push(listener, push))
                await self._run_link(link, listener, beat)
        except* _TROUBLE as group:
            fault = reason_of(group)
        finally:
            was_up = self._link is not None
            self._link = None
            if link is not None:
                link.end()
        if link is not None:
            fault = link.fault or fault
        if was_up:
            listener.down(fault)
        elif fault not in self._said:
            self._said.add(fault)
            fault, hint = fault.removesuffix("."), ""
            if fault.startswith(_FORBIDDEN):
                hint = _HINT % ((self._keys.prefix,) * 2)
            _log.error("Redis cannot be used (%s): %s.%s", self._connector.address, fault, hint)

    async def _run_link(self, link: Link, listener: Listener, beat: Beat) -> None:
        async with anyio.create_task_group() as tasks:
            link.scope = tasks.cancel_scope
            tasks.start_soon(link.read)
            tasks.start_soon(link.write)
            tasks.start_soon(self._watch, link)
            warning = await self._begin(link, listener, beat)
            self._link, self._said = link, {warning}
            listener.up()
            while True:
                await anyio.sleep(_BEAT_SECONDS)
                await beat(link, listener)

    async def _begin(self, link: Link, listener: Listener, beat: Beat) -> str:
        """Begin a link. Return what was warned of."""
        # The order is part of the guarantees: the fence first, then what depends on it; and all
        # that is subscribed before anything is read.
        await self._connector.greet(link)
        info = await read_info(link)
        if info.warning and info.warning not in self._said:
            _log.warning("%s", info.warning)
        await link.call("SET", self._keys.run, info.fence)
        for name, text in self._scripts.texts.items():
            if await link.call("SCRIPT", "LOAD", text) != self._scripts.digests[name].encode():
                raise BackplaneError("Redis names a script by another digest")
        await link.call("SET", self._keys.secret, os.urandom(32), "NX")
        self._key = bytes(await link.call("GET", self._keys.secret))
        await beat(link, listener)
        await self._subscriptions.begin(link)
        return info.warning

    async def _watch(self, link: Link) -> None:
        """End a link from which nothing was read for too long."""
        while True:
            await anyio.sleep(_WATCH_SECONDS)
            if anyio.current_time() - link.read_at > self._connector.seconds:
                link.cut(f"nothing was read for {self._connector.seconds} s")

    async def _beat(self, link: Link, listener: Listener) -> None:
        following = f"{self._node}.{self._lease_number + 1}"
        keys = self._keys.nodes, self._keys.heard
        lease, longest = milliseconds(self.lease_seconds), milliseconds(_LONGEST_SILENCE)
        found = await self._run(link, "beat", keys, self._lease, following, lease, longest)
        is_alive, dead = found
        if not is_alive:
            self._lease_number += 1
            listener.lease_lost(following)
        for each in dead:
            if (ended := each.decode()) != self._lease:
                listener.dead(ended)

    async def _run(self, link: Link, script: str, keys: Sequence[str], *arguments: Argument) -> Any:
        """Run a script; see `_reply`."""
        digest = self._scripts.digests[script]
        return await self._reply(link, link.call("EVALSHA", digest, len(keys), *keys, *arguments))

    @staticmethod
    async def _reply(link: Link, call: Awaitable[T]) -> T:
        """Return the reply of a call. A link that answers with an error ends.

        It may have lost its scripts, its keys or its role, or be full; all begin anew then.

        Raises:
            LinkLost: The link has ended.
            BackplaneUnavailable: Redis has refused the call whole.
        """
        try:
            return await call
        except ReplyError as error:
            text = str(error)
            link.cut(text)
            if text.startswith(_REFUSED):
                raise BackplaneUnavailable from error
            raise LinkLost(text) from error

    async def _ask(self, script: str, keys: Sequence[str], *arguments: Argument) -> Any:
        """Run a script that may be run again.

        Raises:
            BackplaneUnavailable: There is no link, or it has ended.
        """
        try:
            return await self._run(self._reachable(), script, keys, *arguments)
        except LinkLost as lost:
            raise BackplaneUnavailable from lost

    def _reachable(self) -> Link:
        if self._link is None:
            raise BackplaneUnavailable
        return self._link

    # --- what is pushed -------------------------------------------------------------------------

    def _take_push(self, listener: Listener, push: Sequence[Any]) -> None:
        kind = push[0]
        if kind == b"message":
            topic = self._keys.topic(push[1].decode())
            try:
                tell(listener, topic, push[2])
            except Exception as error:  # noqa: BLE001 - boundary: one message of the engine
                text = "A message from Redis was not taken (topic=%r)."
                _log.error(text, topic, exc_info=failure_of(error))

    async def subscribe(self, topics: Sequence[Topic]) -> None:
        """Hear of these topics; see `Backplane.subscribe`."""
        link = self._reachable()
        try:
            await self._subscriptions.add(link, topics)
        except ReplyError as error:
            link.cut(str(error))
            raise BackplaneUnavailable from error
        except LinkLost as lost:
            raise BackplaneUnavailable from lost

    async def unsubscribe(self, topics: Sequence[Topic]) -> None:
        """Hear of these topics no more."""
        channels = self._subscriptions.remove(topics)
        if channels:
            self._reachable().unsubscribe(channels)

    # --- as a Backplane -------------------------------------------------------------------------

    async def apply(self, seq: int, ops: Sequence[Op]) -> list[Result]:
        """Carry out operations; see `Backplane.apply`."""
        link = self._reachable()
        if all(isinstance(op, Emit) for op in ops):
            return await self._publish(link, ops)
        count, *rest = apply_arguments(self._keys, self._node, self._lease, seq, ops)
        size = int(count)
        results = await self._run(link, "apply", list(map(str, rest[:size])), *rest[size:])
        return [_result_of(op, result) for op, result in zip(ops, results, strict=True)]

    async def _publish(self, link: Link, ops: Sequence[Op]) -> list[Result]:
        """Send what nothing keeps, without a script, which costs Redis three times as much."""
        call = link.call_all([publish_command(self._keys, op) for op in ops])
        try:
            return await self._reply(link, call)
        except LinkLost as lost:
            raise PublishUncertain from lost

    async def read(self, topic: Topic, since: Position | None, keep: Keep, latest: int) -> Slice:
        """Return messages of a topic; see `Backplane.read`."""
        return await self._pages.read(topic, since, keep, latest)

    async def roster(self, topic: Topic) -> Roster:
        """Return who shows what."""
        return await self._pages.roster(topic)

    async def count(self, topic: Topic, user: str = "") -> int:
        """Return how many users hold memberships; of one user, how many memberships."""
        keys = self._keys.of(topic)
        return int(await self._ask("count", (self._keys.run, keys.meta, keys.users), user))

    async def held_by(self, lease: str, limit: int) -> Sequence[tuple[Topic, str]]:
        """Return up to `limit` memberships that were put under a lease."""
        keys = self._keys.nodes, self._keys.held(lease)
        pairs = [
            each.decode().rpartition("\n") for each in await self._ask("held", keys, lease, limit)
        ]
        return [(topic, ref) for topic, _, ref in pairs]

    async def describe(self, application: bytes) -> None:
        """Keep what this node's application has, for publishers."""
        await self._plain("SET", self._keys.application, application)

    async def described(self) -> bytes | None:
        """Return the latest description; None: no node has written one."""
        found = await self._plain("GET", self._keys.application)
        return None if found is None else bytes(found)

    async def _plain(self, *arguments: Argument) -> Any:
        try:
            return await self._reachable().call(*arguments)
        except (LinkLost, ReplyError) as error:
            raise BackplaneUnavailable from error

    async def leave(self) -> None:
        """Give the lease up; see `Backplane.leave`."""
        await self._ask("leave", (self._keys.nodes, self._keys.held(self._lease)), self._lease)


def _result_of(op: Op, result: Any) -> Result:
    if isinstance(op, Append):
        epoch, offset = result
        return Position(epoch.decode(), offset)
    if isinstance(op, Drop):
        return tuple(each.decode() for each in result)
    if isinstance(op, Put):
        return None if result < 0 else int(result)
    return int(result)
