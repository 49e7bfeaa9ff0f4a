"""The policies for slow consumers: members that read slower than they are sent to."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from pondsocket_common import Payload

from pondsocket._errors import UsageError
from pondsocket._runtime.functions import is_async

from .frame import Frame

ConflationKey: TypeAlias = str | Callable[[str, Payload], Hashable]
"""A field of the payload, or a function of the event's name and its payload."""


@dataclass(frozen=True, slots=True)
class Conflate:
    """Keep only the latest event of each key. Made by `conflate`."""

    key: ConflationKey

    def __post_init__(self) -> None:
        key: object = self.key
        # An `async def` returns a new coroutine each time, which would be a new key.
        if not isinstance(key, str) and (not callable(key) or is_async(key)):
            raise UsageError(
                f"conflate(key): a field's name, or a `def` function(event, payload): {key!r}."
            )


SlowConsumers: TypeAlias = Literal["close", "drop_oldest"] | Conflate
"""What a lobby does if a member's outbox is full."""

_KNOWN: Final = ("close", "drop_oldest")


def conflate(key: ConflationKey) -> Conflate:
    """If a member's outbox is full, drop events that a later one with the same key replaces.

    Args:
        key: A field of the payload, such as `"symbol"`, or a function of the event's name and its
            payload. Events without a key (None) are never dropped.

    Raises:
        UsageError: The key is neither.
    """
    return Conflate(key)


def check_policy(what: str, policy: object) -> None:
    """Check that this is a policy.

    Raises:
        UsageError: It is not.
    """
    if isinstance(policy, Conflate) or policy in _KNOWN:
        return
    if policy is conflate:
        policy = "conflate without its key"
    raise UsageError(
        f"{what}: slow_consumers is 'close', 'drop_oldest' or conflate(key), not {policy!r}."
    )


def mark(frame: Frame, policy: SlowConsumers, channel: str, event: str, payload: Payload) -> None:
    """Mark a broadcast as droppable, as the policy allows.

    Raises:
        UsageError: The conflation key of this payload is not hashable.
    """
    if policy == "close":
        return
    frame.channel = channel
    if not isinstance(policy, Conflate):
        frame.droppable = True
        return
    if isinstance(policy.key, str):
        value: Hashable = payload.get(policy.key)
    else:
        value = policy.key(event, payload)
    if value is None:
        return
    try:
        # The event's name is part of the key: an event does not replace one of another name.
        hash(value)
    except TypeError as exc:
        raise UsageError(
            f"The conflation key of {event!r} is {value!r}; it must be hashable."
        ) from exc
    frame.droppable = True
    frame.conflate_key = (event, value)
