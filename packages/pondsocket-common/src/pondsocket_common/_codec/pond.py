"""The pond format: messages to JSON objects and back, with camel-cased names.

A client's messages are checked by hand: a model takes several times as long, and every message of
every client passes here. Only clients and tests decode a server's messages; there pydantic does it.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn, cast

import orjson
from pydantic.alias_generators import to_camel

from pondsocket_common._enums import (
    GATEWAY,
    RESERVED_EVENTS,
    ClientActions,
    PresenceMode,
    ServerActions,
)
from pondsocket_common._errors import InvalidMessage
from pondsocket_common._messages import (
    Acknowledged,
    ClientMessage,
    MessageParts,
    Ping,
    Position,
    ServerMessage,
    ServerPayload,
)

from .json_limits import find_excess
from .json_values import (
    NULL,
    dump_json,
    encoding_error,
    json_form,
    load_json,
    refuse_non_finite,
)
from .names import MAX_NAME_CHARS, NO_CHANNEL_NAME, is_channel_name, is_name, readable
from .payload_names import PayloadNames, payload_type

MAX_BATCH: Final = 64
"""How many messages one POST may carry."""

_BROADCAST: Final = ClientActions.BROADCAST
_slashed: Final = "/".join
_dumps: Final = orjson.dumps
_ENVELOPE: Final = b'{"action":%b,"event":%b,"channelName":%b,"requestId":%b,"payload":%b}'
_POSITIONED: Final = _ENVELOPE[:-1] + b',"epoch":%b,"offset":%d}'
_tuple: Final = tuple.__new__
_ACTIONS: Final = {action.value: action for action in ClientActions}

NAMES: Final = PayloadNames(to_camel)


# What nests, and what an integer outside 64 bits becomes. All other types are harmless.
_RISKY: Final = frozenset({dict, list, float})


# --- outbound ---------------------------------------------------------------------------------


def encode_server(message: MessageParts) -> bytes:
    """Encode a server's message as JSON.

    Args:
        message: A `ServerMessage`, or its fields in a plain tuple.

    Raises:
        EncodingError: The application's payload cannot be written as JSON.
    """
    action, event, channel_name, request_id, payload, position = message
    if type(payload) is not dict:
        if isinstance(payload, bytes):
            return _around(message, payload)
        if isinstance(payload, ServerPayload):
            payload = NAMES.encode(payload)
    envelope: dict[str, object] = {
        "action": action,
        "event": event,
        "channelName": channel_name,
        "requestId": request_id,
        "payload": payload,
    }
    if position is not None:
        envelope["epoch"], envelope["offset"] = position
    error: TypeError
    # As `dump_json`, without the call: microbench.py, "encode a broadcast as text".
    try:
        text = _dumps(envelope, json_form)
    except TypeError as failure:
        error = failure
    else:
        if text.rfind(NULL) >= 0:
            _refuse_non_finite(message[4])
        return text
    raise encoding_error(payload, error)


def _refuse_non_finite(payload: object) -> None:
    if isinstance(payload, Acknowledged):
        refuse_non_finite(payload.response)
    elif not isinstance(payload, ServerPayload):
        refuse_non_finite(payload)
    # What else the application gives for the server's own has been checked: presence, for instance.


def _around(message: MessageParts, body: bytes) -> bytes:
    """Put the envelope around a payload that is encoded already."""
    action, event, channel_name, request_id, _, position = message
    names = (_dumps(action), _dumps(event), _dumps(channel_name), _dumps(request_id), body)
    if position is None:
        return _ENVELOPE % names
    epoch, offset = position
    return _POSITIONED % (*names, _dumps(epoch), offset)


def encode_client(message: ClientMessage) -> bytes:
    """Encode a client's message as JSON."""
    envelope: dict[str, object] = {
        "action": message.action,
        "event": message.event,
        "channelName": message.channel_name,
        "requestId": message.request_id,
        "payload": message.payload,
    }
    if message.since is not None:
        envelope["since"] = message.since._asdict()
    if message.presence is not None:
        envelope["presence"] = message.presence
    if message.confirm:
        envelope["confirm"] = True
    return dump_json(envelope)


# --- inbound, from a client -------------------------------------------------------------------


def decode_client(data: str | bytes, *, refuses_events: bool = False) -> ClientMessage | Ping:
    """Decode and check one message of a client.

    Args:
        refuses_events: The caller refuses an event in any case: no more of it is looked at than
            an answer needs.

    Raises:
        InvalidMessage: The message breaks the protocol.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        value = cast(Any, load_json(data))  # which says what is wrong with it
    try:
        # One subscript at a time is faster than an `itemgetter`.
        action, event, payload = value["action"], value["event"], value["payload"]
        channel_name, request_id = value["channelName"], value["requestId"]
        names = _slashed((channel_name, event, request_id))  # TypeError if one is no string
    except (KeyError, TypeError):  # a ping, or an invalid message
        return _checked_message(value, data, refuses_events)
    # The fast path, which nearly all messages take, checks all names at once: microbench.py,
    # "decode_client", 10 of 17 us. It accepts nothing that `_client_message` would refuse. What it
    # does not accept, `_client_message` decides: names that hold "//", for instance.
    if action == "BROADCAST":
        known: ClientActions | None = _BROADCAST
    else:
        known = _ACTIONS.get(action) if type(action) is str else None
    if (
        known is not None
        and channel_name
        and request_id
        and names[0] == "/"
        and "//" not in names  # nor an empty event, nor a channel name that ends with "/"
        and len(names) <= MAX_NAME_CHARS
        and names.isprintable()
        and event not in RESERVED_EVENTS
        and type(payload) is dict
    ):
        if len(value) == 5:
            confirm = False
        else:
            confirm = value.get("confirm")
            if len(value) != 6 or type(confirm) is not bool or known is not _BROADCAST:
                # Another field, whose depth has to be measured.
                return _checked_message(value, data, refuses_events)
        refused = refuses_events and known is _BROADCAST
        if not (_is_flat(payload) or refused) and (excess := find_excess(data)) is not None:
            _refuse(value, None, excess.reason)
        # As `ClientMessage(…)`, at half the cost.
        return _tuple(
            ClientMessage, (known, event, channel_name, request_id, payload, None, None, confirm)
        )
    return _checked_message(value, data, refuses_events)


def _is_flat(payload: Mapping[str, Any]) -> bool:
    """Whether nothing nests in the payload, and no float in it may have been a huge integer."""
    for item in payload.values():
        if type(item) in _RISKY and not (type(item) is float and -(2.0**63) < item < 2.0**64):
            return False
    return True


def decode_client_batch(
    data: str | bytes, *, refuses_events: bool = False
) -> list[ClientMessage | Ping]:
    """Decode and check one message of a client, or a JSON array of 1 to 64 of them.

    Args:
        refuses_events: The caller refuses them all in any case if one is an event.

    Raises:
        InvalidMessage: One of them breaks the protocol.
    """
    value = load_json(data)
    if type(value) is not list:
        return [_checked_message(value, data, refuses_events)]
    if not 1 <= len(value) <= MAX_BATCH:
        raise InvalidMessage(f"An array must hold 1 to {MAX_BATCH} messages.")
    messages = [_client_message(item) for item in value]
    if not (refuses_events and any(map(_is_event, messages))):
        _check(value, data)
    return messages


def message_bytes(message: ClientMessage | Ping) -> int:
    """Return how many bytes the message takes alone; for limits on each message of an array."""
    return len(encode_client(message)) if isinstance(message, ClientMessage) else 0


def _checked_message(
    value: object, data: str | bytes, refuses_events: bool
) -> ClientMessage | Ping:
    message = _client_message(value)
    if _may_exceed(value, message) and not (refuses_events and _is_event(message)):
        _check(value, data)
    return message


def _may_exceed(value: object, message: ClientMessage | Ping) -> bool:
    # Joins and leaves, as nearly all clients send them, are not searched either, nor events with
    # `confirm`.
    return not (
        type(message) is ClientMessage
        and len(cast(dict[str, Any], value)) == 5 + message.confirm
        and _is_flat(message.payload)
    )


def _is_event(message: ClientMessage | Ping) -> bool:
    return isinstance(message, ClientMessage) and message.action is _BROADCAST


def _check(value: object, data: str | bytes) -> None:
    """Refuse a message, or an array of them, that nests too deep or holds too large an integer."""
    messages: list[object] = value if type(value) is list else [value]
    excess = find_excess(data, is_array=messages is value)
    if excess is not None:
        _refuse(messages[excess.message], None, excess.reason)


def _client_message(value: object) -> ClientMessage | Ping:
    if type(value) is not dict:
        raise InvalidMessage("A message is a JSON object.")
    envelope: dict[str, Any] = value
    get: Callable[[str], Any] = envelope.get
    action, event, channel_name = get("action"), get("event"), get("channelName")
    request_id, payload = get("requestId"), get("payload")
    if action == "ping":
        return Ping(request_id=readable(request_id))
    known = _ACTIONS.get(action) if type(action) is str else None
    if (
        known is None
        or not is_name(event)
        or not is_name(channel_name)
        or not is_name(request_id)
        or type(payload) is not dict
    ):
        _refuse_envelope(envelope)
    if not is_channel_name(channel_name) and channel_name != GATEWAY:
        _refuse(envelope, "channelName", NO_CHANNEL_NAME)
    if known is ClientActions.BROADCAST:
        if event in RESERVED_EVENTS:
            _refuse(envelope, "event", f"{event} is a name of the server's own.")
        if "confirm" in envelope:
            return ClientMessage(
                known, event, channel_name, request_id, payload, confirm=_confirm(envelope)
            )
    elif known is ClientActions.JOIN_CHANNEL:
        return ClientMessage(
            known, event, channel_name, request_id, payload, _since(envelope), _presence(envelope)
        )
    return ClientMessage(known, event, channel_name, request_id, payload)


def _refuse_envelope(envelope: dict[str, Any]) -> NoReturn:
    if (action := envelope.get("action")) not in list(_ACTIONS):
        given = "missing" if action is None else "not one of them"
        _refuse(envelope, "action", f"must be one of {', '.join(_ACTIONS)}; it is {given}.")
    for field in ("event", "channelName", "requestId"):
        if not is_name(envelope.get(field)):
            rule = f"a string of 1 to {MAX_NAME_CHARS} characters, none a control character"
            _refuse(envelope, field, f"must be {rule}.")
    _refuse(envelope, "payload", "must be an object.")


def _refuse(message: object, field: str | None, reason: str) -> NoReturn:
    envelope = cast(dict[str, Any], message) if isinstance(message, dict) else {}
    action = envelope.get("action")
    raise InvalidMessage(
        reason,
        field=field,
        action=_ACTIONS.get(action) if isinstance(action, str) else None,
        channel_name=readable(envelope.get("channelName")),
        request_id=readable(envelope.get("requestId")),
    )


def _since(envelope: dict[str, Any]) -> Position | None:
    since = envelope.get("since")
    if since is None:
        return None
    if isinstance(since, dict) and (position := _position(since)) is not None:
        return position
    _refuse(envelope, "since", "must be an object {epoch: string, offset: integer, 0 or more}.")


def _presence(envelope: dict[str, Any]) -> PresenceMode | None:
    presence = envelope.get("presence")
    if presence is None:
        return None
    if presence == PresenceMode.DIFF:
        return PresenceMode.DIFF
    _refuse(envelope, "presence", 'must be "diff" or absent.')


def _confirm(envelope: dict[str, Any]) -> bool:
    confirm = envelope["confirm"]
    if type(confirm) is bool:
        return confirm
    _refuse(envelope, "confirm", "must be true or false.")


# --- inbound, from a server -------------------------------------------------------------------


def decode_server(data: str | bytes, *, is_own: bool = False) -> ServerMessage:
    """Decode and check one message of a server.

    Args:
        is_own: The text is from `encode_server`, which lets payloads be nested deeper.

    Raises:
        InvalidMessage: The message breaks the protocol.
    """
    value = load_json(data)
    if not isinstance(value, dict):
        raise InvalidMessage("A message is a JSON object.")
    if not is_own:
        _check(value, data)
    envelope = cast(dict[str, Any], value)
    names: list[str] = []
    for field in ("event", "channelName", "requestId"):
        if not is_name(envelope.get(field)):
            raise InvalidMessage("must be a string of 1 to 255 characters.", field=field)
        names.append(envelope[field])
    event, channel_name, request_id = names
    try:
        action = ServerActions(cast(str, envelope.get("action")))
    except ValueError:
        rule = f"must be one of {', '.join(ServerActions)}."
        raise InvalidMessage(rule, field="action") from None
    payload = envelope.get("payload")
    if type(payload) is not dict:
        raise InvalidMessage("must be an object.", field="payload")
    position = _position(envelope)
    if position is None and not (envelope.get("epoch") is None and envelope.get("offset") is None):
        raise InvalidMessage("must be an integer, 0 or more, beside an epoch.", field="offset")
    cls = payload_type(action, event)
    shown = payload if cls is None else NAMES.decode(cls, payload)
    return ServerMessage(action, event, channel_name, request_id, shown, position)


def _position(holder: dict[str, Any]) -> Position | None:
    epoch, offset = holder.get("epoch"), holder.get("offset")
    if is_name(epoch) and type(offset) is int and 0 <= offset < 2**63:
        return Position(epoch, offset)
    return None


# --- as a codec -------------------------------------------------------------------------------


class PondCodec:
    """This format as a `ClientCodec`; every endpoint speaks it."""

    name = "pond"
    # Not methods, which would be bound anew for every message. In quotes: the class cannot be
    # subscripted at run time.
    decode: "staticmethod[..., ClientMessage | Ping]" = staticmethod(decode_client)
    decode_batch: "staticmethod[..., list[ClientMessage | Ping]]" = staticmethod(
        decode_client_batch
    )
    encode: "staticmethod[..., bytes]" = staticmethod(encode_server)
    encode_client: "staticmethod[..., bytes]" = staticmethod(encode_client)
    decode_server: "staticmethod[..., ServerMessage]" = staticmethod(decode_server)


POND: Final = PondCodec()
"""The format of PondSocket's own clients."""
