"""What handlers are given: who asks, what for, and the ways to answer.

A connection or join context is good for one decision; a second one is logged and changes nothing.
"""

from ._connection import ConnectionContext
from ._event import EventContext
from ._join import JoinContext
from ._leave import LeaveContext
from ._outgoing import OutgoingContext

__all__ = ["ConnectionContext", "EventContext", "JoinContext", "LeaveContext", "OutgoingContext"]
