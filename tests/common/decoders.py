"""The decoders, and the shortest messages to decode with them."""

from collections.abc import Callable
from typing import Any

from pondsocket_common import (
    ServerActions,
    ServerMessage,
    decode_client,
    decode_client_batch,
    decode_server,
)

Decode = Callable[[str | bytes], object]
DECODERS: dict[str, Decode] = {
    "message": decode_client,
    "array": decode_client_batch,
    "server": decode_server,
}


def broadcast(payload: Any) -> ServerMessage:
    return ServerMessage(ServerActions.BROADCAST, "message", "/chat/1", "r1", payload)


def client_text(payload: str) -> str:
    envelope = '{"action":"BROADCAST","event":"e","channelName":"/c","requestId":"r","payload":%s}'
    return envelope % payload
