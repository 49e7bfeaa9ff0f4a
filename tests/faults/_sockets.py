"""WebSockets and event streams of a server in another process, for programs that wait in lines."""

import http.client
import itertools
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from websockets.sync.client import connect

from tests.servers import Server

_SECONDS: Final = 10.0


class Socket:
    """A WebSocket of /socket."""

    def __init__(self, server: Server) -> None:
        self._socket = connect(f"{server.ws_url}/socket", max_size=None, ping_interval=None)
        self._numbers = itertools.count()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.vanish()

    def vanish(self) -> None:
        """End the connection without a close."""
        self._socket.socket.close()

    def send(self, channel: str, event: str, *, action: str = "BROADCAST") -> str:
        """Send a message, and return its request id."""
        request_id = str(next(self._numbers))
        self._socket.send(message(channel, event, request_id, action=action))
        return request_id

    def answer(self, request_id: str, wait: float = _SECONDS) -> Any:
        """Return the next message with this request id."""
        while True:
            answer = json.loads(self._socket.recv(wait))
            if answer["requestId"] == request_id:
                return answer

    def call(self, channel: str, event: str, wait: float = _SECONDS) -> Any:
        """Send an event, and return its answer."""
        return self.answer(self.send(channel, event), wait)

    def join(self, channel: str) -> None:
        """Join a channel."""
        self.answer(self.send(channel, "join", action="JOIN_CHANNEL"))


class Stream:
    """An event stream of /socket, to which messages are POSTed."""

    def __init__(self, server: Server) -> None:
        self._stream = http.client.HTTPConnection(server.host, server.port, timeout=_SECONDS)
        self._stream.request("GET", "/socket", headers={"Accept": "text/event-stream"})
        self._id = self._stream.getresponse().getheader("X-Connection-ID") or ""
        self._posts = http.client.HTTPConnection(server.host, server.port, timeout=_SECONDS)

    def post(self, text: str) -> int:
        """POST a message, and return the status of the answer."""
        headers = {"X-Connection-ID": self._id, "Content-Type": "application/json"}
        self._posts.request("POST", "/socket", text, headers)
        answer = self._posts.getresponse()
        answer.read()
        return answer.status


def message(
    channel: str, event: str, request_id: str, payload: str = "{}", action: str = "BROADCAST"
) -> str:
    """Return a message whose payload is this text."""
    return (
        f'{{"action":"{action}","event":"{event}","channelName":"{channel}",'
        f'"requestId":"{request_id}","payload":{payload}}}'
    )


def cpu_seconds(server: Server) -> float:
    """Return how much CPU time the server has used."""
    fields = Path(f"/proc/{server.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
