"""A member's user, and why a membership ended."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pondsocket_common import Payload


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
