"""The client's messages on their way to the lanes: each is accepted, or refused with an answer."""

import math
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from pondsocket_common import (
    ClientActions,
    ClientMessage,
    CloseCode,
    ErrorTypes,
    InvalidMessage,
    Ping,
    ServerMessage,
    message_bytes,
)

from pondsocket._delivery import replies
from pondsocket._environment import Environment
from pondsocket._state.request import Refusal
from pondsocket._state.user import LeaveReason

from .lanes import Lanes, PendingMessage
from .limits import (
    ERRORS_PER_MESSAGE,
    MIN_COUNTED_BYTES,
    MessageLimits,
    extra_messages,
    is_event,
    pending_bytes,
)
from .router import Connection, Router

_BROADCAST: Final = ClientActions.BROADCAST


S = TypeVar("S", bound=Connection)


class Inbound(Generic[S]):
    """Accepts or refuses the messages of one connection."""

    __slots__ = ("_codec", "_decode", "_limits", "_router", "_session", "lanes")

    def __init__(self, session: S, router: Router[S], environment: Environment) -> None:
        options = environment.options
        self._session = session
        self._codec = session.codec
        # By a name of its own, and `take` reads what it calls before it calls it: an attribute
        # that is no method costs twice as much to call.
        self._decode = session.codec.decode
        self._router = router
        self._limits = MessageLimits(environment)
        limits = options.max_pending_messages, options.max_pending_bytes
        self.lanes = Lanes(router.handle, session, *limits)

    def take(self, data: str | bytes) -> PendingMessage | None:
        """Accept one message, or refuse it with an answer.

        Returns:
            What is left to do, for `Lanes.finish`; None if nothing.
        """
        # Runs for every message of a client, so it makes no avoidable call
        # (tests/benchmarks/microbench.py, "event, the handler does nothing; core").
        limits = self._limits
        # Both rate checks use the same time. An event that the first check refuses is decoded
        # without the checks of depth and integers, so the second check must refuse it, too.
        clock, decode, events = limits.clock, self._decode, limits.events
        now = clock()
        try:
            if events is not None and events.tokens < 1 and events.is_empty(now):
                message = decode(data, refuses_events=True)
            else:
                message = decode(data)
            if limits.max_name_chars is not None:
                limits.check_names(message)
        except InvalidMessage as fault:
            self._refuse_invalid(fault)
            return None
        # As `is_event`, without the call.
        is_one = type(message) is ClientMessage and message.action is _BROADCAST
        bucket = events if is_one else limits.controls
        if bucket is not None and (wait := bucket.take(now)):
            self._refuse(replies.rate_limited(message, wait), message)
            self._count_refusal()
            return None
        size = len(data) if data.isascii() or isinstance(data, bytes) else len(data.encode())
        if bucket is not None and size > MIN_COUNTED_BYTES:
            bucket.charge(extra_messages(data))
        if isinstance(message, Ping):
            self._session.send(replies.pong(message))
            return None
        lanes = self.lanes
        waiting = lanes.messages
        # Only beside others: most messages are handled at once, and need not be searched.
        if waiting and size > MIN_COUNTED_BYTES:
            size = pending_bytes(data, size)
        if waiting >= lanes.max_messages or lanes.bytes + size > lanes.max_bytes:
            self._refuse(replies.busy(message), message)
            self._count_refusal()
            return None
        find_lane = self._router.find_lane
        if find_lane is None:
            return lanes.begin(message.channel_name, message, size)
        return lanes.begin(find_lane(self._session, message), message, size)

    def _enter(self, message: ClientMessage, size: int) -> PendingMessage | None:
        find_lane = self._router.find_lane
        lane = message.channel_name if find_lane is None else find_lane(self._session, message)
        return self.lanes.enter(lane, message, size)

    def resume(
        self, joins: Sequence[ClientMessage]
    ) -> tuple[list[PendingMessage], tuple[str, ...]]:
        """Accept the joins of a resumed connection.

        Returns:
            Those to run now, and the names of those that were left out.
        """
        taken: list[PendingMessage] = []
        left: list[str] = []
        for join in joins:
            size = message_bytes(join)
            may = self._router.can_resume(join.channel_name, len(taken))
            entered = self._enter(join, size) if may and self.lanes.has_room(1, size) else None
            if entered is None:
                left.append(join.channel_name)
            else:
                taken.append(entered)
        return taken, tuple(left)

    def post(self, body: bytes | Refusal, run: Callable[[PendingMessage], None]) -> Refusal | None:
        """Accept a message, or a JSON array of up to 64: all of them or none.

        Args:
            body: A refusal if the transport refused it, which counts like any other.
            run: Finishes a message in a task of its own.
        """
        if isinstance(body, Refusal):
            self._count_refusal()
            return body
        limits = self._limits
        if limits.exceeds_length(body):
            return self._too_long()
        now = limits.clock()  # the same time for both checks, as in `take`
        try:
            messages = limits.read_batch(self._codec, body, now)
        except InvalidMessage as fault:
            self._refuse_invalid(fault)
            return Refusal(400, ErrorTypes.INVALID_MESSAGE, str(fault))
        if wait := limits.wait_for_all(messages, now):
            for message in messages:
                self._refuse(replies.rate_limited(message, wait), message)
            return self._too_many(replies.TOO_FAST, wait)
        if (sizes := limits.sizes(messages, body)) is None:
            return self._too_long()
        if len(body) > MIN_COUNTED_BYTES:
            # If an array holds events and other messages, all of it counts as events.
            kind = next((each for each in messages if is_event(each)), messages[0])
            limits.charge(kind, extra_messages(body))
            if self.lanes.messages:
                counted = pending_bytes(body, len(body))
                sizes = [size * counted // len(body) for size in sizes]
        # Pings wait for nothing, so they need no room.
        waiting = [
            (each, size)
            for each, size in zip(messages, sizes, strict=True)
            if not isinstance(each, Ping)
        ]
        if not self.lanes.has_room(len(waiting), sum(size for _, size in waiting)):
            for each, _ in waiting:
                self._refuse(replies.busy(each), each)
            return self._too_many(replies.BUSY, wait=1)
        for message, size in zip(messages, sizes, strict=True):
            if isinstance(message, Ping):
                self._session.send(replies.pong(message))
            elif (entered := self._enter(message, size)) is not None:
                run(entered)
        return None

    def charge(self, request: ClientMessage, error_count: int) -> None:
        """Charge the client's rate limits for a message with this many errors."""
        self._limits.charge(request, error_count // ERRORS_PER_MESSAGE)

    def charge_bytes(self, size: int) -> None:
        """Charge the client's rate limits for a long frame that it has caused."""
        self._limits.charge_bytes(size)

    def take_new_history(self) -> float:
        """Count a history that a join may begin; see `MessageLimits.take_new_history`."""
        return self._limits.take_new_history()

    def _too_long(self) -> Refusal:
        self._count_refusal()
        text = (
            f"A message is longer than {self._session.environment.options.max_message_bytes} bytes."
        )
        return Refusal(413, ErrorTypes.INVALID_MESSAGE, text)

    def _too_many(self, text: str, wait: float) -> Refusal:
        self._count_refusal()
        return Refusal(429, ErrorTypes.RATE_LIMITED, text, retry_after=math.ceil(wait))

    def _refuse_invalid(self, fault: InvalidMessage) -> None:
        self._refuse(replies.invalid(fault), fault)
        self._count_refusal()

    def _refuse(
        self, answer: ServerMessage, request: ClientMessage | Ping | InvalidMessage
    ) -> None:
        self._session.send(answer)
        if not isinstance(request, Ping) and request.action is ClientActions.JOIN_CHANNEL:
            # A member whose repeated join is refused leaves, also if no handler was called.
            member = self._session.memberships.get(request.channel_name or "")
            leave_work = None if member is None else member.leave(LeaveReason.EVICTED)
            if leave_work is not None:
                self._session.spawn(leave_work)

    def _count_refusal(self) -> None:
        if self._limits.count_refusal():
            self._session.close(CloseCode.RATE_LIMITED, "too many requests over the limits")
