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

from pondsocket._channel.bound_event import BoundEvent
from pondsocket._channel.channel import Channel
from pondsocket._channel.handle import ChannelHandle
from pondsocket._connection.handle import ConnectionHandle
from pondsocket._contexts import (
    ConnectionContext,
    DisconnectContext,
    EventContext,
    GatewayContext,
    JoinContext,
    LeaveContext,
    OutgoingContext,
    SyncDisconnectContext,
    SyncEventContext,
    SyncGatewayContext,
    SyncJoinContext,
    SyncLeaveContext,
)
from pondsocket._delivery.slow_consumers import Conflate, SlowConsumers, conflate
from pondsocket._handlers.interception import OutgoingHandler, OutgoingMiddleware
from pondsocket._handlers.methods import channel, on_join, on_leave, on_message, on_outgoing
from pondsocket._handlers.registration import Handler, Middleware, Next
from pondsocket._history.log import History
from pondsocket._outside.publisher import Publisher
from pondsocket._signatures.dependencies import Depends
from pondsocket._state.canonical import Canonical
from pondsocket._state.named_event import Event
from pondsocket._state.patterns import Route
from pondsocket._state.request import ConnectRequest
from pondsocket._state.user import LeaveReason, User
from pondsocket._telemetry.failures import ErrorContext
from pondsocket._telemetry.hooks import Counter, Hooks, Metrics

from ._endpoint import Endpoint
from ._errors import InvalidPayload, PondError, UsageError
from ._lobby import Lobby
from ._options import Options
from ._router import Router
from ._server import PondSocket

__version__ = "0.1.0"

__all__ = [
    "BoundEvent",
    "Canonical",
    "Channel",
    "ChannelHandle",
    "ChannelReceiver",
    "ClientActions",
    "CloseCode",
    "Conflate",
    "ConnectRequest",
    "ConnectionContext",
    "ConnectionHandle",
    "Counter",
    "Depends",
    "Detail",
    "DisconnectContext",
    "EncodingError",
    "Endpoint",
    "ErrorContext",
    "ErrorTypes",
    "Event",
    "EventContext",
    "GatewayContext",
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
    "PondError",
    "PondSocket",
    "PondSocketError",
    "Position",
    "PresenceEventTypes",
    "PresenceMode",
    "Publisher",
    "QueryParams",
    "Route",
    "Router",
    "ServerActions",
    "ServerMessage",
    "SlowConsumers",
    "SyncDisconnectContext",
    "SyncEventContext",
    "SyncGatewayContext",
    "SyncJoinContext",
    "SyncLeaveContext",
    "SystemEvents",
    "UsageError",
    "User",
    "__version__",
    "channel",
    "conflate",
    "on_join",
    "on_leave",
    "on_message",
    "on_outgoing",
]
