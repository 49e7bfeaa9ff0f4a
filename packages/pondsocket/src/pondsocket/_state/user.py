"""A member's user: the id, what handlers see of it, and why its membership ended."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from pondsocket_common import Payload, is_name

from pondsocket._errors import UsageError

UserId: TypeAlias = str | int
"""A user's public id as an application gives it: an int, as databases have, stands for its text."""


def as_user_id(given: object) -> str:
    """Return a user's id as text; every call that takes one asks here.

    Raises:
        UsageError: It is neither a valid name nor an int.
    """
    if isinstance(given, int) and not isinstance(given, bool):
        return str(int(given))
    if isinstance(given, str) and is_name(given):
        return str.__str__(given)  # of a StrEnum
    # A payload in its place, as in `broadcast_to("ann", "news", {…})`, is not for the log.
    shown = repr(given[:60]) if isinstance(given, str) else type(given).__name__
    raise UsageError(
        "A user's id is a str of 1 to 255 characters, none a control one, or an int, not"
        f" {shown}; give several as `*user_ids`, and another type as `str(...)`."
    )


def as_user_ids(given: Iterable[object]) -> tuple[str, ...]:
    """Return the ids of several users as text; see `as_user_id`."""
    return tuple(map(as_user_id, given))


class LeaveReason(StrEnum):
    """Why a membership ended."""

    EXPLICIT_LEAVE = "explicit_leave"
    CONNECTION_CLOSED = "connection_closed"
    EVICTED = "evicted"


@dataclass(frozen=True, slots=True)
class User:
    """A member as handlers see it: a snapshot.

    Args:
        id: The public id.
        assigns: Server-only data of the connection, overridden by the membership's.
        presence: The user's presence in the channel; None if there is none.
    """

    id: str
    assigns: Mapping[str, Any]
    presence: Payload | None
