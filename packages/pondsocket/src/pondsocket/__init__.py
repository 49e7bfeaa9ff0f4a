"""Channels for Python: endpoints, channels, presence. Transports come from an adapter."""

from pondsocket_common import (
    ChannelReceiver,
    ClientActions,
    CloseCode,
    Detail,
    EncodingError,
    ErrorTypes,
    Headers,
    InvalidMessage,
    PondSocketError,
    Position,
    PresenceEventTypes,
    PresenceMode,
    QueryParams,
    ServerActions,
    ServerMessage,
    SystemEvents,
)

from ._channel import Channel
from ._channel_handle import ChannelHandle
from ._contexts import (
    ConnectionContext,
    EventContext,
    JoinContext,
    LeaveContext,
    OutgoingContext,
    SyncEventContext,
    SyncJoinContext,
    SyncLeaveContext,
)
from ._delivery import Outlet
from ._depends import Depends
from ._endpoint import Endpoint
from ._errors import InvalidPayload, PondError, UsageError
from ._frames import Batch, Frame
from ._handlers import Handler, Middleware, Next
from ._hooks import Counter, Hooks, Metrics
from ._identity import LeaveReason, User
from ._lobby import Lobby
from ._options import Options
from ._outgoing import OutgoingHandler, OutgoingMiddleware
from ._request import ConnectRequest, Refusal
from ._server import PondSocket
from ._session import Session
from ._slow_consumers import Conflate, SlowConsumers, conflate
from ._state.backlog import leeway, make_room
from ._state.history import History
from ._state.patterns import Route

__version__ = "0.1.0"

__all__ = [
    "Batch",
    "Channel",
    "ChannelHandle",
    "ChannelReceiver",
    "ClientActions",
    "CloseCode",
    "Conflate",
    "ConnectRequest",
    "ConnectionContext",
    "Counter",
    "Depends",
    "Detail",
    "EncodingError",
    "Endpoint",
    "ErrorTypes",
    "EventContext",
    "Frame",
    "Handler",
    "Headers",
    "History",
    "Hooks",
    "InvalidMessage",
    "InvalidPayload",
    "JoinContext",
    "LeaveContext",
    "LeaveReason",
    "Lobby",
    "Metrics",
    "Middleware",
    "Next",
    "Options",
    "OutgoingContext",
    "OutgoingHandler",
    "OutgoingMiddleware",
    "Outlet",
    "PondError",
    "PondSocket",
    "PondSocketError",
    "Position",
    "PresenceEventTypes",
    "PresenceMode",
    "QueryParams",
    "Refusal",
    "Route",
    "ServerActions",
    "ServerMessage",
    "Session",
    "SlowConsumers",
    "SyncEventContext",
    "SyncJoinContext",
    "SyncLeaveContext",
    "SystemEvents",
    "UsageError",
    "User",
    "__version__",
    "conflate",
    "leeway",
    "make_room",
]
