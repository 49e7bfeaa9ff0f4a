"""The engine that runs on Redis."""

from __future__ import annotations

import logging
import os
import random
import ssl
from collections.abc import Sequence
from typing import Any, Final

import anyio
from anyio.abc import ByteStream
from pondsocket_common import Position, fresh_epoch

from pondsocket._errors import UsageError
from pondsocket._runtime.loop import failure_of
from pondsocket.backplane._errors import BackplaneError, BackplaneUnavailable, LinkLost
from pondsocket.backplane._interface import (
    Append,
    Change,
    Drop,
    Entry,
    Keep,
    Listener,
    Op,
    Put,
    Result,
    Roster,
    Slice,
    Topic,
)

from ._address import Address, parse
from ._handshake import find_master, greet, read_info
from ._keys import Keys
from ._link import Argument, Link, ReplyError, connect
from ._messages import tell
from ._scripts import Scripts, apply_arguments, milliseconds
from ._subscriptions import Subscriptions

_log: Final = logging.getLogger("pondsocket.cluster")
_BEAT_SECONDS: Final = 1.0
_WATCH_SECONDS: Final = 0.25
# The first try comes soon, as most links are lost because one connection was cut.
_FIRST_RETRY: Final = 0.05
_LAST_RETRY: Final = 1.0
# What is known of a topic without members and messages.
_KEPT_SECONDS: Final = 86_400.0
# Redis has not begun the script.
_REFUSED: Final = ("OOM", "MISCONF", "NOREPLICAS", "BUSY")
# What no retry mends; it is said once, and tried again all the same.
_WRONG: Final = ("WRONGPASS", "NOAUTH", "NOPERM", "ERR unknown command")


class RedisBackplane:
    """Redis 7 or newer, or Valkey, as the engine of several nodes.

    Give each pond one of its own: `PondSocket(backplane=RedisBackplane("redis://host"))`.

    Args:
        url: `redis://`, `rediss://` (TLS), `unix://` or `redis+sentinel://`; see the page "Many
            nodes".
        prefix: What all its keys and channels begin with. Two applications on one Redis need two:
            pub/sub knows no databases.
        ssl_context: For `rediss://`; by default certificates are verified.
        lease: After how many seconds without a sign of life a node counts as dead.
        publish_timeout: How many seconds a broadcast may wait for Redis.
        silence: After how many seconds without a word from Redis the link counts as dead.
        queue_bytes: How many bytes of broadcasts may wait for Redis.

    Raises:
        UsageError: The URL or an option cannot work.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "pond",
        ssl_context: ssl.SSLContext | None = None,
        lease: float = 10.0,
        publish_timeout: float = 2.0,
        silence: float = 3.0,
        queue_bytes: int = 16_777_216,
    ) -> None:
        if not prefix or set(prefix) & set("{}:\n "):
            raise UsageError(f"prefix is a name without braces, colons or blanks: {prefix!r}.")
        for name, value in (
            ("lease", lease),
            ("publish_timeout", publish_timeout),
            ("silence", silence),
            ("queue_bytes", queue_bytes),
        ):
            if not value > 0:
                raise UsageError(f"{name} is above 0, not {value!r}.")
        if silence <= _BEAT_SECONDS or lease <= silence:
            raise UsageError("silence is above 1 second, and lease above silence.")
        self._address: Address = parse(url)
        self._tls = (ssl_context or ssl.create_default_context()) if self._is_secure else None
        self.lease_seconds = lease
        self.publish_seconds = publish_timeout
        self.queue_bytes = queue_bytes
        self._silence = silence
        self._keys = Keys(prefix)
        self._scripts = Scripts()
        self._subscriptions = Subscriptions(self._keys)
        self._link: Link | None = None  # while it is up
        self._node = ""
        self._lease = ""
        self._lease_number = 0
        self._key = b""
        self._said = ""  # the latest trouble that was logged

    @property
    def _is_secure(self) -> bool:
        return self._address.is_secure

    def __repr__(self) -> str:
        return f"<RedisBackplane {self._address}>"

    @property
    def key(self) -> bytes:
        """The secret of all nodes."""
        return self._key

    # --- its link -------------------------------------------------------------------------------

    async def run(self, listener: Listener, node: str) -> None:
        """Keep a link to Redis until cancelled; see `Backplane.run`.

        Raises:
            UsageError: Another pond runs it.
        """
        if self._node:
            raise UsageError("Each pond needs a RedisBackplane of its own.")
        self._node = node
        retry = _FIRST_RETRY
        try:
            while True:
                began = anyio.current_time()
                try:
                    await self._serve(listener)
                except* (OSError, LinkLost, BackplaneError, ReplyError, ssl.SSLError) as group:
                    self._say(group.exceptions[0])
                if anyio.current_time() - began > _LAST_RETRY:
                    retry = _FIRST_RETRY
                await anyio.sleep(retry * random.uniform(0.5, 1.0))  # noqa: S311
                retry = min(retry * 2, _LAST_RETRY)
        finally:
            self._node = ""
            self._link = None

    def _say(self, error: BaseException) -> None:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        text = str(error) or type(error).__name__
        if any(text.startswith(each) for each in _WRONG):
            text += (
                ". A user of Redis needs the keys ~{%s}:* and the channels &{%s}:*, and the"
                " commands of scripts, pub/sub and connections" % ((self._keys.prefix,) * 2)
            )
        if text != self._said:  # once, not at each try
            self._said = text
            _log.error("Redis cannot be used (%s): %s.", self._address, text)

    async def _serve(self, listener: Listener) -> None:
        """Run one link, until it ends.

        Raises:
            LinkLost, BackplaneError, OSError: Why it has ended, if that is known.
        """
        async with await self._connect() as stream:
            link = Link(stream, lambda push: self._take_push(listener, push))
            is_up = False
            try:
                async with anyio.create_task_group() as tasks:
                    link.scope = tasks.cancel_scope
                    tasks.start_soon(link.read)
                    tasks.start_soon(link.write)
                    tasks.start_soon(self._watch, link)
                    await self._begin(link, listener)
                    self._link, is_up, self._said = link, True, ""
                    listener.up()
                    while True:
                        await anyio.sleep(_BEAT_SECONDS)
                        await self._beat(link, listener)
            finally:
                self._link = None
                link.end()
                self._subscriptions.end()
                if is_up:
                    listener.down("the connection to Redis has ended")

    async def _connect(self) -> ByteStream:
        address = self._address
        if address.path:
            return await connect("", 0, address.path, None, self._silence)
        host, port = address.hosts[0]
        if address.master:
            host, port = await find_master(address, self._tls, self._silence)
        return await connect(host, port, "", self._tls, self._silence)

    async def _begin(self, link: Link, listener: Listener) -> None:
        # The order is part of the guarantees: the fence first, then what depends on it; and all
        # that is subscribed before anything is read.
        await greet(link, self._address)
        info = await read_info(link)
        await link.call("SET", self._keys.run, info.fence)
        for name, text in self._scripts.texts.items():
            if await link.call("SCRIPT", "LOAD", text) != self._scripts.digests[name].encode():
                raise BackplaneError("Redis names a script by another digest")
        await link.call("SET", self._keys.secret, os.urandom(32), "NX")
        self._key = bytes(await link.call("GET", self._keys.secret))
        await self._beat(link, listener)
        await self._subscriptions.begin(link)

    async def _watch(self, link: Link) -> None:
        """End a link from which nothing was read for too long."""
        while True:
            await anyio.sleep(_WATCH_SECONDS)
            if anyio.current_time() - link.read_at > self._silence:
                raise LinkLost(f"nothing was read for {self._silence} s")

    async def _beat(self, link: Link, listener: Listener) -> None:
        following = f"{self._node}.{self._lease_number + 1}"
        milliseconds = round(self.lease_seconds * 1_000)
        is_alive, dead = await self._run(
            link, "beat", (self._keys.nodes,), self._lease, following, milliseconds
        )
        if not is_alive:
            self._lease = following
            self._lease_number += 1
            listener.lease_lost(following)
        for each in dead:
            if (lease := each.decode()) != self._lease:
                listener.dead(lease)

    async def _run(self, link: Link, script: str, keys: Sequence[str], *arguments: Argument) -> Any:
        """Run a script.

        Raises:
            LinkLost: The link has ended, or ends because of the answer.
            BackplaneUnavailable: Redis has refused it whole.
        """
        digest = self._scripts.digests[script]
        try:
            return await link.call("EVALSHA", digest, len(keys), *keys, *arguments)
        except ReplyError as error:
            text = str(error)
            if text.startswith(_REFUSED):
                self._say(error)
                raise BackplaneUnavailable from error
            # It is not what this link began with: it has lost its scripts, its keys or its role.
            self._say(error)
            link.cut()
            raise LinkLost(text) from error

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
        elif kind == b"subscribe":
            self._subscriptions.confirm(push[1])

    async def subscribe(self, topics: Sequence[Topic]) -> None:
        """Hear of these topics; see `Backplane.subscribe`."""
        link = self._reachable()
        await self._subscriptions.add(link, topics)
        if self._link is not link:
            raise BackplaneUnavailable

    async def unsubscribe(self, topics: Sequence[Topic]) -> None:
        """Hear of these topics no more."""
        channels = self._subscriptions.remove(topics)
        self._reachable().send("UNSUBSCRIBE", *channels)

    # --- as a Backplane -------------------------------------------------------------------------

    async def apply(self, seq: int, ops: Sequence[Op]) -> list[Result]:
        """Carry out operations; see `Backplane.apply`."""
        link = self._reachable()
        count, *rest = apply_arguments(self._keys, self._node, self._lease, seq, ops)
        size = int(count)
        results = await self._run(link, "apply", list(map(str, rest[:size])), *rest[size:])
        return [_result_of(op, result) for op, result in zip(ops, results, strict=True)]

    async def read(self, topic: Topic, since: Position | None, keep: Keep, latest: int) -> Slice:
        """Return messages of a topic; see `Backplane.read`."""
        epoch, offset = since or ("", 0)
        times = milliseconds(keep.ttl), milliseconds(keep.position_ttl)
        fresh = fresh_epoch()
        epoch, top, found = await self._ask(
            "read", topic, epoch, offset, latest, keep.size, *times, fresh
        )
        entries = [Entry(offset, data, spared.decode()) for offset, data, spared in found]
        name = epoch.decode()
        return Slice(name, top, tuple(entries), is_new=name == fresh)

    async def roster(self, topic: Topic) -> Roster:
        """Return who shows what."""
        epoch, version, found = await self._ask(
            "roster", topic, fresh_epoch(), milliseconds(_KEPT_SECONDS)
        )
        shown = [Change(ref.decode(), user.decode(), shown) for ref, user, shown in found]
        return Roster(Position(epoch.decode(), version), tuple(shown))

    async def _ask(self, script: str, topic: Topic, *arguments: Argument) -> Any:
        link = self._reachable()
        keys = self._keys.of(topic)
        try:
            return await self._run(link, script, (self._keys.run, *keys), *arguments)
        except LinkLost as lost:
            raise BackplaneUnavailable from lost

    async def count(self, topic: Topic, user: str = "") -> int:
        """Return how many users hold memberships; of one user, how many memberships."""
        keys = self._keys.of(topic)
        try:
            found = await self._run(
                self._reachable(), "count", (self._keys.run, keys.meta, keys.users), user
            )
        except LinkLost as lost:
            raise BackplaneUnavailable from lost
        return int(found)

    async def held_by(self, lease: str, limit: int) -> Sequence[tuple[Topic, str]]:
        """Return up to `limit` memberships that were put under a lease."""
        keys = self._keys.nodes, self._keys.held(lease)
        try:
            found = await self._run(self._reachable(), "held", keys, lease, limit)
        except LinkLost as lost:
            raise BackplaneUnavailable from lost
        pairs = [each.decode().rpartition("\n") for each in found]
        return [(topic, ref) for topic, _, ref in pairs]

    async def leave(self) -> None:
        """Give the lease up; see `Backplane.leave`."""
        keys = self._keys.nodes, self._keys.held(self._lease)
        try:
            await self._run(self._reachable(), "leave", keys, self._lease)
        except LinkLost as lost:
            raise BackplaneUnavailable from lost


def _result_of(op: Op, result: Any) -> Result:
    if isinstance(op, Append):
        epoch, offset = result
        return Position(epoch.decode(), offset)
    if isinstance(op, Drop):
        return tuple(each.decode() for each in result)
    if isinstance(op, Put):
        return None if result < 0 else int(result)
    return int(result)
