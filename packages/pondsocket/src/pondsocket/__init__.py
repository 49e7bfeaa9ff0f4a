"""Channels for Python: endpoints, channels, presence. Transports come from an adapter."""

from pondsocket_common import (
    ChannelReceiver,
    ClientActions,
    CloseCode,
    EncodingError,
    ErrorTypes,
    Headers,
    InvalidMessage,
    PondSocketError,
    PresenceEventTypes,
    QueryParams,
    ServerActions,
    SystemEvents,
)

from ._channel import Channel, LeaveReason, User
from ._contexts import (
    ConnectionContext,
    EventContext,
    JoinContext,
    LeaveContext,
    OutgoingContext,
)
from ._delivery import Outlet
from ._endpoint import Endpoint
from ._errors import PondError, UsageError
from ._frames import Frame
from ._handlers import Handler, Middleware, Next
from ._lobby import Lobby
from ._options import Options
from ._request import ConnectRequest, Refusal
from ._server import PondSocket
from ._session import Session
from ._state.patterns import Route

__version__ = "0.1.0"

__all__ = [
    "Channel",
    "ChannelReceiver",
    "ClientActions",
    "CloseCode",
    "ConnectRequest",
    "ConnectionContext",
    "EncodingError",
    "Endpoint",
    "ErrorTypes",
    "EventContext",
    "Frame",
    "Handler",
    "Headers",
    "InvalidMessage",
    "JoinContext",
    "LeaveContext",
    "LeaveReason",
    "Lobby",
    "Middleware",
    "Next",
    "Options",
    "OutgoingContext",
    "Outlet",
    "PondError",
    "PondSocket",
    "PondSocketError",
    "PresenceEventTypes",
    "QueryParams",
    "Refusal",
    "Route",
    "ServerActions",
    "Session",
    "SystemEvents",
    "UsageError",
    "User",
    "__version__",
]
