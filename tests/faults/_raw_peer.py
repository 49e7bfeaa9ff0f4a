"""A WebSocket client by hand, which reads only when it is told to."""

import base64
import json
import os
import socket
from pathlib import Path
from typing import Any, Final

from tests.asgi.uvicorn_connection import TEXT, masked
from tests.servers import Server

_SECONDS: Final = 10.0


def message(event: str, request_id: str, payload: object = None, action: str = "BROADCAST") -> str:
    """Return the text of a message in the channel /chat/1."""
    envelope = {"action": action, "event": event, "channelName": "/chat/1"}
    return json.dumps({**envelope, "requestId": request_id, "payload": payload or {}})


class RawPeer:
    """A client that is a member of /chat/1."""

    def __init__(self, server: Server) -> None:
        self.socket = socket.socket()
        # Small, so that what is not read soon waits in the server.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        self.socket.settimeout(_SECONDS)
        self.socket.connect((server.host, server.port))
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET /socket HTTP/1.1\r\nHost: {server.host}:{server.port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self._read = b""
        while b"\r\n\r\n" not in self._read:
            self._more()
        self._read = self._read.partition(b"\r\n\r\n")[2]
        self.say("join", "join", action="JOIN_CHANNEL")
        while self.receive()["requestId"] != "join":
            pass

    def say(self, event: str, request_id: str, payload: object = None, **more: str) -> None:
        """Send a message."""
        text = message(event, request_id, payload, **more)
        self.socket.sendall(masked(TEXT, text.encode()))

    def receive(self) -> Any:
        """Return the next message of the server."""
        while True:
            self._need(2)
            size, start = self._read[1], 2
            if size >= 126:
                start = 4 if size == 126 else 10
                self._need(start)
                size = int.from_bytes(self._read[2:start])
            self._need(start + size)
            opcode, body = self._read[0], self._read[start : start + size]
            self._read = self._read[start + size :]
            if opcode == TEXT:
                return json.loads(body)

    def _need(self, size: int) -> None:
        while len(self._read) < size:
            self._more()

    def _more(self) -> None:
        data = self.socket.recv(65_536)
        if not data:
            raise EOFError
        self._read += data


def resident_mib(server: Server) -> float:
    """Return how much memory the server has, in MiB."""
    status = Path(f"/proc/{server.pid}/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1_024


def cpu_seconds(server: Server) -> float:
    """Return how much CPU time the server has used."""
    fields = Path(f"/proc/{server.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
