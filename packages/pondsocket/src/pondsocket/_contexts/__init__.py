"""The contexts of handlers: the client and its request, and the methods to answer.

A connection or join context takes one decision; a second one is logged and changes nothing.
"""

from .connection import ConnectionContext
from .disconnect import DisconnectContext
from .event import EventContext
from .gateway import GatewayContext
from .join import JoinContext
from .leave import LeaveContext
from .outgoing import OutgoingContext
from .sync import (
    SyncDisconnectContext,
    SyncEventContext,
    SyncGatewayContext,
    SyncJoinContext,
    SyncLeaveContext,
)

__all__ = [
    "ConnectionContext",
    "DisconnectContext",
    "EventContext",
    "GatewayContext",
    "JoinContext",
    "LeaveContext",
    "OutgoingContext",
    "SyncDisconnectContext",
    "SyncEventContext",
    "SyncGatewayContext",
    "SyncJoinContext",
    "SyncLeaveContext",
]
