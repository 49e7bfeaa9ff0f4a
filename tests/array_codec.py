"""A second wire format, for tests: JSON arrays, and names in kebab case.

A client sends `[kind, request id, channel, event, payload, since?, presence?]`, where kind is 1 for
a join, 2 for a leave and 3 for an event, `since` is `[epoch, offset]` or null, and `presence` is
"diff". An event's sixth item, if there is one, says whether it is to be confirmed. A ping is `[0]`
or `[0, request id]`. A POST may hold an array of these. The server sends
`[kind, request id, channel, event, payload, epoch?, offset?]`; its kind is a place in `KINDS`.
"""

from typing import Any, Final, NoReturn

from pondsocket_common import (
    GATEWAY,
    MAX_BATCH,
    RESERVED_EVENTS,
    ClientActions,
    ClientMessage,
    InvalidMessage,
    PayloadNames,
    Ping,
    Position,
    PresenceMode,
    ServerActions,
    ServerMessage,
    ServerPayload,
    dump_json,
    find_excess,
    is_channel_name,
    is_name,
    load_json,
    payload_type,
)

KINDS: Final = (*ServerActions,)
ACTIONS: Final = {
    1: ClientActions.JOIN_CHANNEL,
    2: ClientActions.LEAVE_CHANNEL,
    3: ClientActions.BROADCAST,
}
NUMBERS: Final = {action: number for number, action in ACTIONS.items()}
PLACES: Final = ("kind", "request-id", "channel", "event", "payload", "since", "presence")


def kebab(name: str) -> str:
    return name.replace("_", "-")


NAMES: Final = PayloadNames(kebab)


class ArrayCodec:
    name = "array"

    # --- the server's side --------------------------------------------------------------------

    def decode(self, data: str | bytes, *, refuses_events: bool = False) -> ClientMessage | Ping:
        del refuses_events  # all is checked in any case
        value = load_json(data)
        message = _client_message(value)
        _check_limits([value], data)
        return message

    def decode_batch(
        self, data: str | bytes, *, refuses_events: bool = False
    ) -> list[ClientMessage | Ping]:
        value = load_json(data)
        if type(value) is not list or not value or type(value[0]) is not list:
            return [self.decode(data, refuses_events=refuses_events)]
        if len(value) > MAX_BATCH:
            raise InvalidMessage(f"An array must hold 1 to {MAX_BATCH} messages.")
        messages = [_client_message(each) for each in value]
        _check_limits(value, data, is_array=True)
        return messages

    def encode(self, message: ServerMessage) -> bytes:
        action, event, channel_name, request_id, payload, position = message
        if isinstance(payload, ServerPayload):
            payload = NAMES.encode(payload)
        # What a broadcast brings is JSON already.
        body = payload if isinstance(payload, bytes) else dump_json(payload)
        names = dump_json([KINDS.index(action), request_id, channel_name, event])[:-1]
        tail = b"]" if position is None else b"," + dump_json([*position])[1:]
        return b"%b,%b%b" % (names, body, tail)

    # --- the client's side --------------------------------------------------------------------

    def encode_client(self, message: ClientMessage) -> bytes:
        action, event, channel_name, request_id, payload, since, presence, confirm = message
        more = [confirm or None] if action == "BROADCAST" else [since and [*since], presence]
        while more and more[-1] is None:
            more.pop()
        return dump_json([NUMBERS[action], request_id, channel_name, event, payload, *more])

    def decode_server(self, data: str | bytes) -> ServerMessage:
        value: Any = load_json(data)
        if type(value) is not list or len(value) not in (5, 7):
            raise InvalidMessage("A message is an array of 5 or 7.")
        kind, request_id, channel_name, event, payload, *more = value
        if type(kind) is not int or not 0 <= kind < len(KINDS):
            raise InvalidMessage("is not one of them.", field="kind")
        for place in (1, 2, 3):
            if not is_name(value[place]):
                raise InvalidMessage("must be a name.", field=PLACES[place])
        if type(payload) is not dict:
            raise InvalidMessage("must be an object.", field="payload")
        position = _position(more) if more else None
        if more and position is None:
            raise InvalidMessage("must be an integer beside an epoch.", field="offset")
        cls = payload_type(KINDS[kind], event)
        shown = payload if cls is None else NAMES.decode(cls, payload)
        return ServerMessage(KINDS[kind], event, channel_name, request_id, shown, position)


def _client_message(value: object) -> ClientMessage | Ping:
    if type(value) is not list or not 1 <= len(value) <= len(PLACES):
        raise InvalidMessage(f"A message is an array of 1 to {len(PLACES)}.")
    given: list[Any] = [*value, *[None] * (len(PLACES) - len(value))]
    kind, request_id, channel_name, event, payload, since, presence = given
    if type(kind) is int and kind == 0:
        return Ping(request_id if is_name(request_id) else None)
    action = ACTIONS.get(kind) if type(kind) is int else None
    if action is None:
        _refuse(given, "kind", "must be 0 to 3.")
    for place in (1, 2, 3):
        if not is_name(given[place]):
            _refuse(given, PLACES[place], "must be a name.")
    if type(payload) is not dict:
        _refuse(given, "payload", "must be an object.")
    is_event = action is ClientActions.BROADCAST
    if not is_channel_name(channel_name) and channel_name != GATEWAY:
        _refuse(given, "channel", "names no channel.")
    if is_event and event in RESERVED_EVENTS:
        _refuse(given, "event", "is a name of the server's own.")
    if is_event and len(value) == 6:
        if type(since) is not bool:
            _refuse(given, "confirm", "must be true or false.")
        return ClientMessage(action, event, channel_name, request_id, payload, confirm=since)
    if action is not ClientActions.JOIN_CHANNEL:
        if len(value) > 5:
            _refuse(given, None, "Only a join has more than five.")
        return ClientMessage(action, event, channel_name, request_id, payload)
    position = None if since is None else _position(since)
    if since is not None and position is None:
        _refuse(given, "since", "must be [epoch, offset].")
    if presence not in (None, PresenceMode.DIFF):
        _refuse(given, "presence", 'must be "diff" or absent.')
    mode = None if presence is None else PresenceMode.DIFF
    return ClientMessage(action, event, channel_name, request_id, payload, position, mode)


def _position(value: object) -> Position | None:
    if type(value) is not list or len(value) != 2:
        return None
    epoch, offset = value
    if is_name(epoch) and type(offset) is int and 0 <= offset < 2**63:
        return Position(epoch, offset)
    return None


def _check_limits(messages: list[Any], data: str | bytes, *, is_array: bool = False) -> None:
    excess = find_excess(data, is_array=is_array)
    if excess is not None:
        _refuse(messages[excess.message], None, excess.reason)


def _refuse(given: list[Any], field: str | None, reason: str) -> NoReturn:
    kind, request_id, channel_name = [*given, None, None][:3]
    raise InvalidMessage(
        reason,
        field=field,
        action=ACTIONS.get(kind) if type(kind) is int else None,
        channel_name=channel_name if is_name(channel_name) else None,
        request_id=request_id if is_name(request_id) else None,
    )


ARRAY: Final = ArrayCodec()
