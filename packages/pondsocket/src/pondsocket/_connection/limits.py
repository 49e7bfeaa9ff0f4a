"""What one connection may send: how long its names are, and how often."""

from collections.abc import Sequence
from typing import Final

from pondsocket_common import (
    ClientActions,
    ClientMessage,
    Codec,
    InvalidMessage,
    Ping,
    message_bytes,
)

from pondsocket._environment import Environment
from pondsocket._state.rates import RefusalCount, TokenBucket

_REFUSALS_WINDOW: Final = 10.0
_HISTORIES_WINDOW: Final = 60.0
# Where there is no `max_message_bytes`: its default.
_MESSAGE_BYTES: Final = 65_536

# This many objects and lists cost as much as several small messages: Python makes each of them, and
# its garbage collector scans them (python -m tests.fuzz.cost, "nests of 64").
CONTAINERS_PER_MESSAGE: Final = 2_048
# pydantic finds this many errors in about the time that a small message takes.
ERRORS_PER_MESSAGE: Final = 256
# Each object or list takes two characters or more, so a shorter text cannot hold that many.
MIN_COUNTED_BYTES: Final = 2 * CONTAINERS_PER_MESSAGE
# In memory, an object or list in a list takes this many bytes, and a short value this many
# (python -m tests.fuzz.cost, "events that wait, of lists").
_CONTAINER_BYTES: Final = 96
_VALUE_BYTES: Final = 48
# Usual messages take three to eight times the memory of their text while they wait.
_USUAL_GROWTH: Final = 8


class MessageLimits:
    """The limits on one connection's messages."""

    __slots__ = (
        "_new_histories",
        "_options",
        "_refusals",
        "clock",
        "controls",
        "events",
        "max_name_chars",
    )

    def __init__(self, environment: Environment) -> None:
        options = environment.options
        self._options = options
        self.clock = environment.clock
        now = environment.clock()
        limit = options.max_name_chars
        # The codec refuses longer names than 255 in any case.
        self.max_name_chars = None if limit is None or limit >= 255 else limit
        # The rates of events and of all else; None: unlimited.
        self.events = _bucket(options.event_rate, options.event_burst, now)
        self.controls = _bucket(options.control_rate, options.control_burst, now)
        self._refusals: RefusalCount | None = None  # made with the first
        self._new_histories: TokenBucket | None = None  # likewise

    def exceeds_length(self, body: bytes) -> bool:
        """Return whether a body that is not an array is longer than a message may be."""
        limit = self._options.max_message_bytes
        return limit is not None and len(body) > limit and body.lstrip()[:1] != b"["

    def read_batch(self, codec: Codec, body: bytes, now: float) -> list[ClientMessage | Ping]:
        """Decode a message or an array of them.

        If the rate allows no event at `now`, events are decoded only as far as their refusal needs.
        `wait_for_all` must be called with the same `now`, and refuses them.

        Raises:
            InvalidMessage: One breaks the protocol, or a name in it is too long.
        """
        events = self.events
        refuses_events = events is not None and events.is_empty(now)
        messages = codec.decode_batch(body, refuses_events=refuses_events)
        for message in messages:
            self.check_names(message)
        return messages

    def sizes(self, messages: Sequence[ClientMessage | Ping], body: bytes) -> list[int] | None:
        """Return the bytes of each message of a body. None if one is longer than it may be."""
        if len(messages) == 1:
            sizes = [len(body)]
        else:
            # The lanes bound waiting messages by bytes, so each size is needed even without a
            # limit. Encoding a message mostly takes a fraction of the time of decoding it.
            sizes = [message_bytes(message) for message in messages]
        limit = self._options.max_message_bytes
        return None if limit is not None and max(sizes) > limit else sizes

    def check_names(self, message: ClientMessage | Ping) -> None:
        """Refuse a message with too long a name; needed only if there is a `max_name_chars`.

        Raises:
            InvalidMessage: With the reason.
        """
        limit = self.max_name_chars
        if limit is None or isinstance(message, Ping):
            return
        for field, name in (("channelName", message.channel_name), ("event", message.event)):
            if len(name) > limit:
                raise InvalidMessage(
                    f"A name may have {limit} characters.",
                    field,
                    message.action,
                    message.channel_name,
                    message.request_id,
                )

    def wait_for_all(self, messages: Sequence[ClientMessage | Ping], now: float) -> float:
        """Take the tokens of all messages, or none.

        Returns:
            0.0, or the seconds until all may come.
        """
        events = sum(map(is_event, messages))
        controls = len(messages) - events
        wait = 0.0
        if controls and self.controls is not None:
            wait = self.controls.take(now, controls)
        if events and self.events is not None and not wait:
            wait = self.events.take(now, events)
            if wait and controls and self.controls is not None:
                self.controls.give_back(controls)
        return wait

    def charge(self, request: ClientMessage | Ping, messages: int) -> None:
        """Charge a request as `messages` more messages, even if the rate does not allow them."""
        bucket = self.events if is_event(request) else self.controls
        if bucket is not None:
            bucket.charge(messages)

    def charge_bytes(self, size: int) -> None:
        """Charge a frame that a client has caused, as the messages that it could have sent itself.

        Of both kinds: joins and leaves cause such frames as well as events.
        """
        more = size // (self._options.max_message_bytes or _MESSAGE_BYTES)
        if more:
            for bucket in (self.events, self.controls):
                if bucket is not None:
                    bucket.charge(more)

    def take_new_history(self) -> float:
        """Count a history that a join may begin. 0.0, or the seconds until it may."""
        limit = self._options.max_new_histories
        if limit is None:
            return 0.0
        if self._new_histories is None:
            self._new_histories = TokenBucket(limit / _HISTORIES_WINDOW, limit, self.clock())
        return self._new_histories.take(self.clock())

    def count_refusal(self) -> bool:
        """Count a refusal; True if the connection has had too many of them."""
        limit = self._options.max_refusals
        if limit is None:
            return False
        if self._refusals is None:
            self._refusals = RefusalCount(limit, _REFUSALS_WINDOW)
        return self._refusals.add(self.clock())


def extra_messages(data: str | bytes) -> int:
    """Return how many extra messages a text counts as, because of its objects and lists."""
    if isinstance(data, str):
        return (data.count("[") + data.count("{")) // CONTAINERS_PER_MESSAGE
    return (data.count(b"[") + data.count(b"{")) // CONTAINERS_PER_MESSAGE


def pending_bytes(data: str | bytes, size: int) -> int:
    """Return how many bytes a text counts as that is to wait beside others.

    It waits as Python objects. Where they take more than `_USUAL_GROWTH` times the memory of the
    text, as do lists in lists, a text counts as more than it has.

    Args:
        size: How many bytes it has; it never counts as less.
    """
    if isinstance(data, str):
        containers, values = data.count("[") + data.count("{"), data.count(",")
    else:
        containers, values = data.count(b"[") + data.count(b"{"), data.count(b",")
    memory = containers * _CONTAINER_BYTES + values * _VALUE_BYTES
    return max(size, memory // _USUAL_GROWTH)


def is_event(message: ClientMessage | Ping) -> bool:
    """Return whether a message counts against the rate of events."""
    return isinstance(message, ClientMessage) and message.action is ClientActions.BROADCAST


def _bucket(rate: float | None, burst: int, now: float) -> TokenBucket | None:
    return None if rate is None else TokenBucket(rate, burst, now)
