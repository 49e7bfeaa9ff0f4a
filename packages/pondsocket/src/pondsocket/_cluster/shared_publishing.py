"""The broadcasts of a shared channel: the engine gives their order.

With a history a broadcast goes to the engine first, and to the members here when it comes back, in
the engine's order. Without one it goes to the members here at once.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Generator, Sequence
from typing import Any, Protocol

import anyio
from pondsocket_common import Payload, Position

from pondsocket._channel.channel import Channel, ChannelMember
from pondsocket._channel.late import DecidedBroadcast, PositionedBroadcast
from pondsocket._channel.owner import Interception
from pondsocket._channel.publishing import Publishing
from pondsocket._delivery.frame import Frame
from pondsocket._history.channel_history import ChannelHistory, decoded
from pondsocket._history.slice import Audience
from pondsocket._replica.envelope import Envelope
from pondsocket.backplane import Entry, PublishUncertain, Result

from .shared_log import audience_of


class Broadcasts(Protocol):
    """The channel, as far as its publishing uses it."""

    def append(self, broadcast: SharedBroadcast) -> None:
        """Send a broadcast to the engine, which orders and keeps it."""
        ...

    def emit(self, envelope: Envelope) -> None:
        """Send a broadcast that nothing keeps to the other nodes."""
        ...

    def check_payload(self, payload: bytes) -> None:
        """Refuse a payload that is too long for the engine."""
        ...


class SharedBroadcast:
    """A broadcast that the engine was asked to keep: await it, and it is delivered here.

    Attributes:
        result: The position, or why there is none; None as long as neither is known.
        seconds: How long its caller waits at most. The engine may have it, and the link may end
            before it comes back.
    """

    __slots__ = ("_done", "decided", "is_over", "result", "seconds", "spare")

    def __init__(self, decided: DecidedBroadcast, spare: str) -> None:
        self.decided = decided
        self.spare = spare
        self.result: Result | Exception = None
        self.is_over = False
        self.seconds = math.inf
        self._done: anyio.Event | None = None

    def end(self, failure: Exception | None = None) -> None:
        """Let the caller go on."""
        if failure is not None:
            self.result = failure
        self.is_over = True
        if self._done is not None:
            self._done.set()

    def __await__(self) -> Generator[Any, Any, None]:
        return self._wait().__await__()

    async def _wait(self) -> None:
        if not self.is_over:
            self._done = anyio.Event()
            with anyio.move_on_after(self.seconds):
                await self._done.wait()
        if isinstance(self.result, Exception):
            raise self.result
        if not self.is_over:
            raise PublishUncertain

    def give_up(self) -> None:
        """Let it go: no task can wait for it. It is sent all the same."""


class SharedPublishing(Publishing[Channel]):
    """The broadcasts of one shared channel."""

    __slots__ = ("_broadcasts",)

    def share(self, broadcasts: Broadcasts) -> None:
        """Set where they go. To be called once, before the first."""
        self._broadcasts = broadcasts

    def _emit_in_order(
        self,
        found: Position | Awaitable[Position],  # noqa: ARG002 - UNPLACED
        decided: DecidedBroadcast,
        history: ChannelHistory,  # noqa: ARG002 - the copy, which gets it later
    ) -> Any:
        # `but`: the sender's connection alone gets nothing. Whether the sender's user has others,
        # anywhere, is known to the engine.
        spare = ""
        if decided.but is not None:
            member = self._roster.get(decided.but)
            spare = "" if member is None else member.user_id
            decided = decided._replace(audience=None)
        broadcast = SharedBroadcast(decided, spare)
        self._broadcasts.append(broadcast)
        return broadcast

    def _emit(
        self,
        frame: Frame,
        shown: Payload,
        audience: Audience | None,
        but: ChannelMember | None,
        interception: Interception[ChannelMember] | None,
    ) -> None:
        _, event, _, request_id, payload, _ = frame.message
        is_unkept = frame.position is None
        if is_unkept and isinstance(payload, bytes):  # as in every broadcast
            self._broadcasts.check_payload(payload)
        super()._emit(frame, shown, audience, but, interception)
        if is_unkept and isinstance(payload, bytes):
            users = audience if but is None else None
            self._broadcasts.emit(Envelope("", 0, event, request_id, users, payload))

    # --- from the engine --------------------------------------------------------------------------

    def deliver(
        self, position: Position, envelope: Envelope, entry: Entry, own: SharedBroadcast | None
    ) -> None:
        """Deliver a broadcast that the engine has ordered.

        Args:
            own: If it was decided here: what is waited for.
        """
        history = self._history
        if history is None:
            return
        audience = audience_of(envelope, entry.spared)
        event, request_id, payload = envelope.event, envelope.request_id, envelope.payload
        if own is None:
            owner = self._owner
            interception = owner.interception(event) if owner.has_outgoing else None
            needs_payload = interception is not None or owner.slow_consumers != "close"
            shown: Payload = decoded(payload) if needs_payload else {}
            # All members here get what is only not replayed to its sender.
            live = None if entry.spared else audience
            decided = DecidedBroadcast(event, request_id, shown, payload, live, None, interception)
        else:
            decided = own.decided
        self._emit_positioned(PositionedBroadcast(position, decided), history)

    def deliver_to(self, frame: Frame, members: Sequence[ChannelMember]) -> None:
        """Send a frame of the server's own to some members, behind what waits."""
        if self._presence.log:
            self._presence.flush()
        self._batching.deliver(frame, members)

    def deliver_unkept(self, envelope: Envelope) -> None:
        """Deliver a broadcast of another node that nothing keeps."""
        owner, event = self._owner, envelope.event
        interception = owner.interception(event) if owner.has_outgoing else None
        needs_payload = interception is not None or owner.slow_consumers != "close"
        shown: Payload = decoded(envelope.payload) if needs_payload else {}
        if self._presence.log:
            self._presence.flush()
        self._batching.settle(is_for_all=interception is None and envelope.audience is None)
        frame = Frame.broadcast(self._name, event, envelope.request_id, envelope.payload, None)
        super()._emit(frame, shown, envelope.audience, None, interception)
