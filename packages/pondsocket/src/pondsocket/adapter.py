"""What an adapter needs to bring another transport.

An adapter builds a `ConnectRequest` and awaits `PondSocket.connect`. It gets a `Refusal`, or a
`Session` whose `run` it awaits with an `Outlet` of its own. Applications need none of this.
"""

from pondsocket._connection.session import Session
from pondsocket._delivery.frame import Batch, Frame
from pondsocket._delivery.queue import BoundedQueue
from pondsocket._delivery.sink import Outlet
from pondsocket._log import about, get_log
from pondsocket._runtime.driving import drive
from pondsocket._runtime.loop import running_asyncio
from pondsocket._state.rates import TokenBucket
from pondsocket._state.request import ConnectRequest, Refusal

__all__ = [
    "Batch",
    "BoundedQueue",
    "ConnectRequest",
    "Frame",
    "Outlet",
    "Refusal",
    "Session",
    "TokenBucket",
    "about",
    "drive",
    "get_log",
    "running_asyncio",
]
