"""Who is a member, and why somebody is one no more."""

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
        assigns: Server-only data: the membership's, and behind them the connection's.
        presence: What the user shows in the channel; None if nothing.
    """

    id: str
    assigns: Mapping[str, Any]
    presence: Payload | None
