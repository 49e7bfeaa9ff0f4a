"""The golden vectors, and their neutral form made into this package's types."""

import base64
import json
from pathlib import Path
from typing import Any, Final

from pondsocket_common import (
    Acknowledged,
    ClientActions,
    ClientMessage,
    Connected,
    Detail,
    ErrorTypes,
    Evicted,
    Fault,
    Goodbye,
    Left,
    NotFound,
    Ping,
    Pong,
    Position,
    PresenceDiff,
    PresenceEntry,
    PresenceList,
    PresenceMode,
    Refused,
    ServerActions,
    ServerMessage,
    ServerPayload,
)

VECTORS = Path(__file__).parent.parent / "interop" / "vectors"

Row = dict[str, Any]

_PAYLOADS: dict[str, type[ServerPayload]] = {
    cls.__name__: cls
    for cls in (
        Acknowledged, Connected, Evicted, Fault, Goodbye, Left, NotFound, Pong, PresenceDiff,
        PresenceList, Refused,
    )
}  # fmt: skip


def rows(file: str) -> list[Row]:
    """Return every row of a file of vectors."""
    found: list[Row] = json.loads((VECTORS / file).read_bytes())
    return found


SERVER_ROWS: Final = rows("server-messages.json")
CLIENT_ROWS: Final = rows("client-messages.json")
ARRAY_ROWS: Final = rows("client-arrays.json")
REFUSED_ROWS: Final = rows("client-refused.json")


def named(row: Row) -> str:
    """Return the id of a row's test."""
    return str(row["name"])


def wire(row: Row) -> str | bytes:
    """Return what arrives: text, or bytes where the row is about bytes."""
    if "wire_base64" in row:
        return base64.b64decode(row["wire_base64"])
    text: str = row["wire"]
    return text


def client_message(row: Row) -> ClientMessage | Ping:
    """Return what a row of client messages must become."""
    if "ping" in row:
        return Ping(**row["ping"])
    message = row.get("message", row)
    return ClientMessage(
        ClientActions[message["action"]],
        message["event"],
        message["channel_name"],
        message["request_id"],
        message["payload"],
        Position(**message["since"]) if "since" in message else None,
        PresenceMode(message["presence"]) if "presence" in message else None,
        message.get("confirm", False),
    )


def server_message(row: Row) -> ServerMessage:
    """Return what a row of server messages must become."""
    message = row["message"]
    payload = message["payload"]
    if message["payload_type"] is not None:
        payload = _server_payload(message["payload_type"], payload)
    return ServerMessage(
        ServerActions[message["action"]],
        message["event"],
        message["channel_name"],
        message["request_id"],
        payload,
        Position(**message["position"]) if "position" in message else None,
    )


def _server_payload(name: str, fields: Row) -> ServerPayload:
    values = dict(fields)
    for field in ("resumed", "not_resumed"):
        if field in values:
            values[field] = tuple(values[field])
    if "details" in values:
        values["details"] = tuple(
            Detail(loc=tuple(detail["loc"]), msg=detail["msg"], type=detail["type"])
            for detail in values["details"]
        )
    if "error" in values:
        values["error"] = ErrorTypes[values["error"]]
    match name:
        case "PresenceDiff":
            values = {key: tuple(PresenceEntry(**e) for e in values[key]) for key in values}
        case "PresenceList":
            values["presence"] = tuple(values["presence"])
        case "Acknowledged" if "presence" in values:
            values["presence"] = _server_payload("PresenceDiff", values["presence"])
    return _PAYLOADS[name](**values)
