"""A client of a cluster that comes back where it was, and checks all that it is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import anyio
from anyio.abc import TaskGroup, TaskStatus
from pondsocket import Position
from pondsocket.testing import ConnectionRefused, MemoryPeer, connect
from pondsocket_common import (
    Acknowledged,
    PresenceDiff,
    PresenceList,
    PresenceMode,
    ServerActions,
    ServerMessage,
)

from tests.cluster.model_node import PLAIN, ROOM, ModelNode

REFUSED_OR_OUT = ("UNAUTHORIZED", "EVICTED", "EXIT_ACKNOWLEDGE")


@dataclass
class Seen:
    """What all clients have been sent in the room with a history.

    Attributes:
        by_position: The payload of each message.
    """

    by_position: dict[Position, Mapping[str, Any]] = field(default_factory=dict)

    def note(self, position: Position, payload: Mapping[str, Any]) -> None:
        known = self.by_position.setdefault(position, payload)
        assert known == payload, f"{position} is {known} here, and {payload} there"


@dataclass
class Span:
    """What a client was promised without a gap: after `start`, up to `end`."""

    epoch: str
    start: int
    end: int
    got: set[int] = field(default_factory=set)


def must_get(user: str, payload: Mapping[str, Any]) -> bool | None:
    """Return whether a message is for a user; None: that depends on the user's connections."""
    if "to" in payload:
        return user in payload["to"]
    if payload.get("not") == user:
        return None if payload["is_by_connection"] else False
    return True


class Client:
    """A client that joins again where it was, and checks what it is sent."""

    def __init__(self, name: str, user: str, seen: Seen, *, diffs: bool, sse: bool) -> None:
        self.name = name
        self.user = user
        self.sse = sse
        self.diffs = diffs
        self.node: ModelNode | None = None
        self.peer: MemoryPeer | None = None
        self.connections = 0
        self.is_member = False
        self.spans: list[Span] = []
        self.unkept: dict[str, int] = {}  # the latest number, by sender
        self.got: list[Any] = []
        self.said = 0
        self.presence: dict[str, str] = {}  # user by ref; without refs, user by user
        self._seen = seen
        self._closing: anyio.Event | None = None
        self._closed: anyio.Event | None = None
        self._join = ""

    @property
    def at(self) -> Position | None:
        """The position that it would come back at."""
        return Position(self.spans[-1].epoch, self.spans[-1].end) if self.spans else None

    # --- its connection -------------------------------------------------------------------------

    async def connect(self, tasks: TaskGroup, node: ModelNode) -> None:
        """Connect to a node, and join both rooms."""
        await self.close()
        await tasks.start(self._serve, node)
        if self.peer is not None:
            self.join()
            self.peer.send("JOIN_CHANNEL", PLAIN, "join", {})

    async def _serve(self, node: ModelNode, *, task_status: TaskStatus[None]) -> None:
        # A task for each connection: on trio its block must end in the task that began it.
        closing, closed = self._closing, self._closed = anyio.Event(), anyio.Event()
        transport: Literal["sse", "websocket"] = "sse" if self.sse else "websocket"
        try:
            async with connect(node.pond, f"/socket?user={self.user}", transport=transport) as peer:
                self.node, self.peer, self.connections = node, peer, self.connections + 1
                self.unkept = {}  # the node may hear later of what the former one had heard
                task_status.started()
                await closing.wait()
        except ConnectionRefused:
            task_status.started()
        finally:
            closed.set()

    async def close(self) -> None:
        """Disconnect."""
        self.read()
        if self._closing is not None and self._closed is not None:
            self._closing.set()
            await self._closed.wait()
        self.peer, self.is_member, self._join = None, False, ""

    def join(self) -> None:
        """Ask to join the room with a history, at the position that was reached."""
        if self.peer is not None and not self.is_member and not self._join:
            mode = PresenceMode.DIFF if self.diffs else None
            self._join = self.peer.send(
                "JOIN_CHANNEL", ROOM, "join", {}, since=self.at, presence=mode
            )

    def leave(self) -> None:
        """Leave the room with a history."""
        if self.peer is not None:
            self.peer.send("LEAVE_CHANNEL", ROOM, "leave", {})

    def say(self, event: str, what: object) -> None:
        """Send an event to both rooms."""
        if self.peer is None:
            return
        self.said += 1
        sender = f"{self.name}.{self.connections}"
        payload = {"id": what, "sender": sender, "number": self.said}
        self.peer.send("BROADCAST", ROOM, event, payload)
        self.peer.send("BROADCAST", PLAIN, "say", payload)

    # --- what it is sent ------------------------------------------------------------------------

    def read(self) -> None:
        """Check all that has come."""
        for message in [] if self.peer is None else self.peer.drain():
            if message.channel_name == ROOM:
                self._take(message)
            elif message.action is ServerActions.BROADCAST:
                self._take_unkept(message)

    def _take(self, message: ServerMessage) -> None:
        payload = message.payload
        if message.event in REFUSED_OR_OUT:
            self.is_member = False
            if message.request_id == self._join:
                self._join = ""
        elif isinstance(payload, Acknowledged):
            self._take_position(message.request_id, payload)
        elif isinstance(payload, PresenceDiff):
            self._take_diff(payload)
        elif isinstance(payload, PresenceList):
            self.presence = {str(each["user"]): str(each["user"]) for each in payload.presence}
        elif message.action is ServerActions.BROADCAST and message.position is None:
            self._take_unkept(message)
        elif message.action is ServerActions.BROADCAST:
            self._take_kept(message)

    def _take_position(self, request_id: str, payload: Acknowledged) -> None:
        assert payload.epoch is not None
        assert payload.offset is not None
        at = Position(payload.epoch, payload.offset)
        is_join, known = request_id == self._join, self.at
        if is_join:
            self.is_member, self._join, self.presence = True, "", {}
            if payload.presence is not None:
                self._take_diff(payload.presence)
        else:
            assert payload.recovered is False
        if is_join and payload.recovered is not False and known is not None:
            assert at == self.at, f"{self.name}: {at} after {self.at}"
        else:
            self.spans.append(Span(at.epoch, at.offset, at.offset))

    def _take_diff(self, diff: PresenceDiff) -> None:
        for each in (*diff.joins, *diff.updates):
            self.presence[each.ref] = each.user
        for each in diff.leaves:
            self.presence.pop(each.ref, None)

    def _take_kept(self, message: ServerMessage) -> None:
        position, payload = message.position, message.payload
        assert position is not None
        assert isinstance(payload, Mapping)
        self._seen.note(position, payload)
        span = self.spans[-1]
        assert position.epoch == span.epoch, f"{self.name}: {position} after {self.at}"
        assert position.offset > span.end, f"{self.name}: {position} after {self.at}"
        assert must_get(self.user, payload) is not False, f"{self.name}: {payload}"
        span.end = position.offset
        span.got.add(position.offset)
        self.got.append((position.epoch, payload["id"]))

    def _take_unkept(self, message: ServerMessage) -> None:
        payload = message.payload
        assert isinstance(payload, Mapping)
        place = f"{message.channel_name} {message.event} {payload['sender']}"
        before = self.unkept.get(place, 0)
        assert payload["number"] > before, (
            f"{self.name}: {place} {payload['number']} after {before}"
        )
        self.unkept[place] = payload["number"]

    def check(self) -> None:
        """Check that no message is missing in what was promised without a gap."""
        for position, payload in self._seen.by_position.items():
            if must_get(self.user, payload) is not True:
                continue
            for span in self.spans:
                if span.epoch == position.epoch and span.start < position.offset <= span.end:
                    assert position.offset in span.got, f"{self.name}: no {position} {payload}"
        # Within an epoch: an engine that forgets also forgets what it has carried out.
        assert len(set(self.got)) == len(self.got), self.name
