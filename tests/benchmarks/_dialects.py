"""The messages that a client exchanges with each contender: texts, and no I/O.

Nearly all use the same JSON; a framework with its own protocol uses that one.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

CHANNEL: Final = "/room/1"
# The bytes of a payload object around its one text.
_AROUND: Final = len('{"text":""}')
_CONNECTION_ID: Final = re.compile(rb"\r\nx-connection-id: *([^\r]+)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """PondSocket's messages, which the apps of other servers use too.

    Args:
        path: The path of WebSockets.
        stream_path: The path of event streams.
        stream_joins: Whether a stream joins with a separate request; else it is a member at once.
        presence: The form in which a member asks for presence: `diff`, or None for whole lists.
    """

    path: str = "/socket"
    stream_path: str = "/socket"
    stream_joins: bool = True
    presence: str | None = None

    def answer(self, text: bytes) -> bytes | None:
        """Return the text that the protocol requires as an answer to this one, if any."""
        return None

    def is_connected(self, text: bytes) -> bool:
        """Whether a client that has received this may join."""
        return b'"CONNECTION"' in text

    def is_joined(self, text: bytes) -> bool:
        """Whether this is the answer to a join; for a stream, any bytes that contain it."""
        return b'"ACKNOWLEDGE"' in text

    def join(self, token: str, channel: str = CHANNEL) -> bytes:
        """Return the message that joins the channel."""
        envelope = self._envelope("JOIN_CHANNEL", "join", token, channel, {})
        if self.presence is not None:
            envelope["presence"] = self.presence
        return compact(envelope)

    def say(self, token: str, size: int = 100, channel: str = CHANNEL) -> bytes:
        """Return a message that is broadcast to every member, the sender included.

        Args:
            size: Bytes of the payload, the token included.
        """
        return compact(self._envelope("BROADCAST", "say", token, channel, payload(token, size)))

    def echo(self, token: str, size: int = 100, channel: str = CHANNEL) -> bytes:
        """Return a message that is answered with the same payload, to the sender only."""
        return compact(self._envelope("BROADCAST", "echo", token, channel, payload(token, size)))

    def publish(self, token: str, room: str, count: int, at_once: int) -> bytes:
        """Return a message after which the server publishes, and then answers with `done`.

        Args:
            room: The channel that gets the messages, not that of the sender.
            count: How many messages.
            at_once: How many tasks publish them.
        """
        asked = {**payload(token, 100), "room": room, "count": count, "at_once": at_once}
        return compact(self._envelope("BROADCAST", "publish", token, CHANNEL, asked))

    def stream_request(self) -> bytes:
        """Return the request that opens an event stream."""
        return (
            f"GET {self.stream_path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            "Accept: text/event-stream\r\n\r\n"
        ).encode()

    def stream_join(self, head: bytes, token: str) -> bytes | None:
        """Return the request that makes a stream a member; None if none is needed.

        Args:
            head: Status line and headers of the stream's response.

        Raises:
            ValueError: They have no connection id.
        """
        if not self.stream_joins:
            return None
        found = _CONNECTION_ID.search(head)
        if found is None:
            raise ValueError(f"no connection id: {head!r}")
        body = self.join(token)
        return (
            b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Connection-ID: %b\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        ) % (self.stream_path.encode(), found[1], len(body), body)

    def _envelope(
        self, action: str, event: str, token: str, channel: str, payload: Mapping[str, object]
    ) -> dict[str, Any]:
        return {
            "action": action,
            "event": event,
            "channelName": channel,
            "requestId": token,
            "payload": payload,
        }


@dataclass(frozen=True, kw_only=True)
class SocketIO(Dialect):
    """Engine.IO 4 and Socket.IO 5, on a WebSocket from the start.

    A packet is `4` (a message) and `2` (an event), the number of an acknowledgement if the client
    asks for one, and a JSON array of the event's name and its arguments.
    """

    path: str = "/socket.io/?EIO=4&transport=websocket"

    def answer(self, text: bytes) -> bytes | None:
        """Open the namespace when the transport is open, and answer pings."""
        if text[:1] == b"0":
            return b"40"
        return b"3" if text == b"2" else None

    def is_connected(self, text: bytes) -> bool:
        """Whether the namespace is open."""
        return text[:2] == b"40"

    def is_joined(self, text: bytes) -> bool:
        """Whether this is the acknowledgement of a join."""
        return text[:3] == b"430"

    def join(self, token: str, channel: str = CHANNEL) -> bytes:
        """Return the packet that joins a room."""
        return b"420" + compact(["join", channel])

    def say(self, token: str, size: int = 100, channel: str = CHANNEL) -> bytes:
        """Return a packet that is broadcast to the room."""
        return b"42" + compact(["say", channel, payload(token, size)])

    def echo(self, token: str, size: int = 100, channel: str = CHANNEL) -> bytes:
        """Return a packet that is acknowledged with the same payload."""
        return b"421" + compact(["echo", payload(token, size)])

    def publish(self, token: str, room: str, count: int, at_once: int) -> bytes:
        """Return a packet after which the server publishes; its acknowledgement has `done`."""
        asked = {**payload(token, 100), "room": room, "count": count, "at_once": at_once}
        return b"421" + compact(["publish", asked])


def payload(token: str, size: int) -> dict[str, str]:
    """Return a payload object of `size` bytes, or of more if the token needs more."""
    return {"text": token.ljust(size - _AROUND, "x")}


def compact(value: object) -> bytes:
    """Encode as JSON without spaces."""
    return json.dumps(value, separators=(",", ":")).encode()
