"""A client in Python, over WebSocket and Server-Sent Events, on asyncio and trio.

It needs the extra `client`: `pip install "httpx2[ws]>=2.16"`.
"""

try:
    import httpx2.websockets  # noqa: F401 - it needs wsproto, which httpx2 alone does not install
except ImportError as _missing:
    raise ImportError(
        'pondsocket_asgi.client needs httpx2 with WebSockets: pip install "httpx2[ws]>=2.16"'
    ) from _missing

from pondsocket_common import PresenceDiff, PresenceEntry

from pondsocket_asgi.client._machine.channel import ChannelState
from pondsocket_asgi.client._machine.errors import PondClientError
from pondsocket_asgi.client._machine.values import (
    Gap,
    Message,
    RoomEvent,
    State,
    Status,
    TokenReason,
)

from ._client import Client
from ._room import Room
from ._sync import SyncClient, SyncRoom

__all__ = [
    "ChannelState",
    "Client",
    "Gap",
    "Message",
    "PondClientError",
    "PresenceDiff",
    "PresenceEntry",
    "Room",
    "RoomEvent",
    "State",
    "Status",
    "SyncClient",
    "SyncRoom",
    "TokenReason",
]
