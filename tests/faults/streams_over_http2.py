"""An event stream over HTTP/2 whose client reads nothing is closed as that of a slow consumer.

Needs hypercorn and h2. hypercorn's `send` over HTTP/2 does not wait for the client by itself.
"""

import contextlib
import socket
import sys
import time
from typing import Any, Final

from pondsocket import ConnectionContext, EventContext, JoinContext, Options, PondSocket
from pondsocket_asgi import PondASGIApp

from tests.faults._raw_peer import message, resident_mib
from tests.servers import Server

try:
    import h2.config
    import h2.connection
    import h2.events
    import hypercorn  # noqa: F401
except ImportError:
    print("skip hypercorn or h2 is not installed")
    sys.exit(0)

MOST_MIB: Final = 30.0
MODULE: Final = "tests.faults.streams_over_http2:app"

pond = PondSocket(options=Options(write_timeout=2.0))
app = PondASGIApp(pond)


@pond.endpoint("/socket")
async def endpoint(ctx: ConnectionContext) -> None:
    ctx.accept()


@endpoint.channel("/chat/:room")
async def chat(ctx: JoinContext) -> None:
    await ctx.accept()


@chat.on_message("burst")
async def burst(ctx: EventContext) -> None:
    for _ in range(20):
        await ctx.broadcast("b", {"x": "y" * 100_000})


class Client:
    """One connection of HTTP/2 that gives back no window: it takes 64 KiB of each stream."""

    def __init__(self, server: Server) -> None:
        self._host = f"{server.host}:{server.port}"
        self._socket = socket.create_connection((server.host, server.port), 5)
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        self._connection: Any = h2.connection.H2Connection(config)
        self._connection.initiate_connection()
        self.headers: dict[int, dict[str, str]] = {}

    def pump(self, seconds: float) -> None:
        """Send what is due, and read for so long."""
        self._socket.sendall(self._connection.data_to_send())
        self._socket.settimeout(seconds)
        with contextlib.suppress(TimeoutError):
            while data := self._socket.recv(65_536):
                for event in self._connection.receive_data(data):
                    if isinstance(event, h2.events.ResponseReceived):
                        self.headers[event.stream_id] = {str(k): str(v) for k, v in event.headers}
                self._socket.sendall(self._connection.data_to_send())

    def ask(self, method: str, headers: list[tuple[str, str]], body: str | None = None) -> int:
        """Begin a request. Return the number of its stream."""
        stream: int = self._connection.get_next_available_stream_id()
        named = [(":method", method), (":scheme", "http"), (":authority", self._host)]
        named += [(":path", "/socket"), *headers]
        self._connection.send_headers(stream, named, end_stream=body is None)
        if body is not None:
            self._connection.send_data(stream, body.encode(), end_stream=True)
        return stream


def main() -> int:
    """Print how much memory the server took. Return 1 if that is too much."""
    if sys.platform != "linux":
        print("skip measured by what Linux tells of a process")
        return 0
    with Server(MODULE, "--workers", "0", "--error-logfile", "-", server="hypercorn") as server:
        client = Client(server)
        stream = client.ask("GET", [("accept", "text/event-stream")])
        client.pump(0.3)
        connection_id = client.headers[stream]["x-connection-id"]
        named = [("x-connection-id", connection_id), ("content-type", "application/json")]
        client.ask("POST", named, message("join", "j", action="JOIN_CHANNEL"))
        client.pump(0.3)
        before = resident_mib(server)
        for number in range(60):
            client.ask("POST", named, message("burst", str(number)))
            client.pump(0.03)
        time.sleep(4)
        grown = resident_mib(server) - before
        is_closed = "slow consumer" in server.log()
    is_fault = grown > MOST_MIB or not is_closed
    print(
        f"{'FAIL' if is_fault else 'ok'} 60 POSTs of 100 bytes, nothing read: {grown:.0f} MiB more,"
        f" closed as a slow consumer: {is_closed}"
    )
    return int(is_fault)


if __name__ == "__main__":
    sys.exit(main())
