"""Messages that the server sends by itself: answers to requests, and its own. Pure."""

import math
from typing import Any, Final

from pondsocket_common import (
    GATEWAY,
    RESERVED_EVENTS,
    Acknowledged,
    ClientActions,
    ClientMessage,
    CloseCode,
    Connected,
    EncodedPayload,
    ErrorTypes,
    Fault,
    Goodbye,
    InvalidMessage,
    Left,
    NotFound,
    Payload,
    Ping,
    Pong,
    Refused,
    ServerActions,
    ServerMessage,
    ServerPayload,
    SystemEvents,
    fresh_id,
)

from pondsocket._errors import InvalidPayload
from pondsocket._state.named_event import Event, named
from pondsocket._state.payloads import as_payload, check_event

# Enum members under names of their own: before Python 3.12 reading one of its class costs 0.3 us.
_SYSTEM: Final = ServerActions.SYSTEM
_CONNECT: Final = ServerActions.CONNECT
_CONNECTION: Final = SystemEvents.CONNECTION
_tuple: Final = tuple.__new__

BUSY: Final = "Too many messages of this connection wait to be handled."
TOO_FAST: Final = "This connection sends too fast."
TOO_MANY_NEW: Final = "You have opened too many new channels within a minute."
INTERNAL: Final = "The server failed to handle this."
# A lane handles its messages within milliseconds, unless a handler hangs.
_BUSY_RETRY_MS: Final = 1_000


def system(
    event: str,
    channel_name: str,
    payload: Payload | ServerPayload | EncodedPayload,
    request_id: str | None = None,
) -> ServerMessage:
    """Return a SYSTEM message, with a fresh id if it answers no request."""
    return ServerMessage(_SYSTEM, event, channel_name, request_id or fresh_id(), payload)


def reply(request: ClientMessage, event: str | Event[Any], payload: object) -> ServerMessage:
    """Return the application's reply to a request.

    Raises:
        UsageError: The event's name is reserved or not valid, or the payload is not an object.
        EncodingError: The payload does not fit the event.
    """
    # The request's own name has been checked, and most handlers reply under that name.
    if event is not request.event or event in RESERVED_EVENTS:
        if type(event) is str:
            check_event(event)
        else:
            event, payload = named(event, payload)
    shown = payload if isinstance(payload, dict) else as_payload(payload)
    # As `ServerMessage(…)`, at half the cost.
    return _tuple(
        ServerMessage, (_SYSTEM, event, request.channel_name, request.request_id, shown, None)
    )


def connected(
    user_id: str,
    connection_id: str,
    resumed: tuple[str, ...] | None = None,
    not_resumed: tuple[str, ...] | None = None,
    supports: tuple[str, ...] | None = None,
) -> ServerMessage:
    """Return the first message of every connection."""
    payload = Connected(user_id, connection_id, resumed, not_resumed, supports)
    return ServerMessage(_CONNECT, _CONNECTION, GATEWAY, fresh_id(), payload)


def refused(
    request: ClientMessage,
    code: int,
    message: str,
    retry_after_ms: int | None = None,
) -> ServerMessage:
    """Return the one answer to a join that was not accepted."""
    payload = Refused(code, message, retry_after_ms=retry_after_ms)
    return system(SystemEvents.UNAUTHORIZED, request.channel_name, payload, request.request_id)


def fault(
    request: ClientMessage,
    error: ErrorTypes,
    code: int,
    message: str,
    retry_after_ms: int | None = None,
) -> ServerMessage:
    """Return an ERROR that answers any request but a join."""
    payload = Fault(error, code, message, retry_after_ms=retry_after_ms)
    return _error(payload, request.channel_name, request.request_id)


def unfit(request: ClientMessage, error: InvalidPayload) -> ServerMessage:
    """Return the answer to a message whose payload or join parameters do not fit the handler."""
    name, request_id, text = request.channel_name, request.request_id, str(error)
    if request.action is ClientActions.JOIN_CHANNEL:
        payload = Refused(422, text, error.details, error_count=error.count)
        return system(SystemEvents.UNAUTHORIZED, name, payload, request_id)
    kind = ErrorTypes.INVALID_MESSAGE
    return _error(Fault(kind, 422, text, error.details, error_count=error.count), name, request_id)


def joined_or_left(request: ClientMessage) -> ServerMessage:
    """Return the answer to a join or a leave of the endpoint itself, which change nothing."""
    name, request_id = request.channel_name, request.request_id
    if request.action is ClientActions.JOIN_CHANNEL:
        return system(SystemEvents.ACKNOWLEDGE, name, Acknowledged(), request_id)
    return system(SystemEvents.EXIT_ACKNOWLEDGE, name, Left(), request_id)


def not_found(request: ClientMessage, explanation: str) -> ServerMessage:
    """Return the answer to a request for a channel name that no lobby serves.

    Args:
        explanation: A sentence behind a space, or nothing.
    """
    name = request.channel_name
    payload = NotFound(name, 404, f"There is no channel {name} here.{explanation}")
    return system(SystemEvents.NOT_FOUND, name, payload, request.request_id)


def invalid(broken: InvalidMessage) -> ServerMessage:
    """Return the answer to a message that breaks the protocol, with the names that are known."""
    channel_name = broken.channel_name or GATEWAY
    if broken.action is ClientActions.JOIN_CHANNEL:
        payload = Refused(400, str(broken))
        return system(SystemEvents.UNAUTHORIZED, channel_name, payload, broken.request_id)
    return _error(
        Fault(ErrorTypes.INVALID_MESSAGE, 400, str(broken)), channel_name, broken.request_id
    )


def busy(request: ClientMessage) -> ServerMessage:
    """Return the answer where a connection has too many messages that are not handled."""
    return _over_limit(request, BUSY, _BUSY_RETRY_MS)


def rate_limited(request: ClientMessage | Ping, wait: float) -> ServerMessage:
    """Return the answer to a request over a rate limit; the next may come in `wait` seconds."""
    retry_after_ms = math.ceil(wait * 1_000)
    if isinstance(request, Ping):
        payload = Fault(ErrorTypes.RATE_LIMITED, 429, TOO_FAST, retry_after_ms=retry_after_ms)
        return _error(payload, GATEWAY, request.request_id)
    return _over_limit(request, TOO_FAST, retry_after_ms)


def too_many_channels(request: ClientMessage, limit: int) -> ServerMessage:
    """Return the answer to a join of a connection that is in as many channels as it may be."""
    return refused(request, 429, f"A connection may be in {limit} channels.", _BUSY_RETRY_MS)


def too_many_new(request: ClientMessage, wait: float) -> ServerMessage:
    """Return the answer to a join that would begin a history, where a client has begun too many."""
    return refused(request, 429, TOO_MANY_NEW, math.ceil(wait * 1_000))


def _over_limit(request: ClientMessage, message: str, retry_after_ms: int) -> ServerMessage:
    if request.action is ClientActions.JOIN_CHANNEL:
        return refused(request, 429, message, retry_after_ms)
    return fault(request, ErrorTypes.RATE_LIMITED, 429, message, retry_after_ms)


def pong(ping: Ping) -> ServerMessage:
    """Return the answer to a ping."""
    return system(SystemEvents.PONG, GATEWAY, Pong(), ping.request_id)


def heartbeat() -> ServerMessage:
    """Return a message that every client ignores."""
    return system(SystemEvents.PONG, GATEWAY, Pong())


def goodbye(code: CloseCode, reason: str, after_ms: int) -> ServerMessage:
    """Return the message that a connection will be closed, in `after_ms` milliseconds."""
    payload = Goodbye(code, reason, code.reconnect, after_ms)
    return system(SystemEvents.GOODBYE, GATEWAY, payload)


def _error(payload: Fault, channel_name: str, request_id: str | None) -> ServerMessage:
    return ServerMessage(
        ServerActions.ERROR, payload.error, channel_name, request_id or fresh_id(), payload
    )
