"""The contexts of handlers: the client and its request, and the methods to answer.

A connection or join context takes one decision; a second one is logged and changes nothing.
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
