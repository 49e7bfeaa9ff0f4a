"""What one connection may send: how long its names are, and how often."""

from collections.abc import Sequence
from typing import Final

from pondsocket_common import (
    ClientActions,
    ClientMessage,
    InvalidMessage,
    Ping,
    decode_client_batch,
    message_bytes,
)

from ._environment import Environment
from ._state.limits import Strikes, TokenBucket

_REFUSALS_WINDOW: Final = 10.0


class Intake:
    """The limits on one connection's messages."""

    __slots__ = (
        "_max_message_bytes",
        "_max_name_chars",
        "_max_refusals",
        "_refusals",
        "clock",
        "controls",
        "events",
        "limits_names",
    )

    def __init__(self, environment: Environment) -> None:
        options = environment.options
        self.clock = environment.clock
        now = environment.clock()
        self._max_message_bytes = options.max_message_bytes
        limit = options.max_name_chars
        # The codec refuses longer names than 255 in any case.
        self._max_name_chars = None if limit is None or limit >= 255 else limit
        self.limits_names = self._max_name_chars is not None
        # The rates of events and of all else; None: unlimited.
        self.events = _bucket(options.event_rate, options.event_burst, now)
        self.controls = _bucket(options.control_rate, options.control_burst, now)
        self._max_refusals = options.max_refusals
        self._refusals: Strikes | None = None  # made with the first

    def read_batch(self, body: bytes) -> list[tuple[ClientMessage | Ping, int]]:
        """Decode a message or an array of them, each with its bytes.

        Raises:
            InvalidMessage: One breaks the protocol, or a name in it is too long.
        """
        messages = decode_client_batch(body)
        for message in messages:
            self.check_names(message)
        if len(messages) == 1:
            return [(messages[0], len(body))]
        return [(message, message_bytes(message)) for message in messages]

    def exceeded_length(self, batch: Sequence[tuple[ClientMessage | Ping, int]]) -> int | None:
        """The limit on a message's length, if one of these is over it."""
        limit = self._max_message_bytes
        return limit if limit is not None and any(size > limit for _, size in batch) else None

    def check_names(self, message: ClientMessage | Ping) -> None:
        """Refuse a message with too long a name; needed only where `limits_names`.

        Raises:
            InvalidMessage: With the reason.
        """
        limit = self._max_name_chars
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

    def wait_for_all(self, messages: Sequence[ClientMessage | Ping]) -> float:
        """0 if the messages may come now, all of them or none; else the seconds until they may."""
        controls = sum(map(_is_control, messages))
        events = len(messages) - controls
        now = self.clock()
        wait = 0.0
        if controls and self.controls is not None:
            wait = self.controls.take(now, controls)
        if events and self.events is not None and not wait:
            wait = self.events.take(now, events)
            if wait and controls and self.controls is not None:
                self.controls.give_back(controls)
        return wait

    def count_nonsense(self) -> bool:
        """Count what is no message as an event; False: it came too soon.

        Or whoever sends nonsense could go on for ever.
        """
        return self.events is None or not self.events.take(self.clock())

    def charge(self, messages: int) -> None:
        """Count so many messages more, though that may be more than may come."""
        for bucket in (self.events, self.controls):
            if bucket is not None and messages:
                bucket.charge(messages)

    def strike(self) -> bool:
        """Count a refusal; True if the connection has had too many of them."""
        if self._max_refusals is None:
            return False
        if self._refusals is None:
            self._refusals = Strikes(self._max_refusals, _REFUSALS_WINDOW)
        return self._refusals.add(self.clock())


def _is_control(message: ClientMessage | Ping) -> bool:
    return isinstance(message, Ping) or message.action is not ClientActions.BROADCAST


def _bucket(rate: float | None, burst: int, now: float) -> TokenBucket | None:
    return None if rate is None else TokenBucket(rate, burst, now)
