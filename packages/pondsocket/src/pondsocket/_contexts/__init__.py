"""What handlers are given: who asks, what for, and the ways to answer.

A connection or join context is good for one decision; a second one is logged and changes nothing.
"""

from ._connection import ConnectionContext
from ._event import EventContext
from ._gateway import GatewayContext
from ._join import JoinContext
from ._leave import LeaveContext
from ._outgoing import OutgoingContext
from ._sync import SyncEventContext, SyncJoinContext, SyncLeaveContext

__all__ = [
    "ConnectionContext",
    "EventContext",
    "GatewayContext",
    "JoinContext",
    "LeaveContext",
    "OutgoingContext",
    "SyncEventContext",
    "SyncJoinContext",
    "SyncLeaveContext",
]
