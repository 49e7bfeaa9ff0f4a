"""Real connections over the loopback, both of whose ends are this process's."""

import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Final, NamedTuple, TypeAlias

# Never reached: everything here happens within the kernel.
PATIENCE: Final = 5.0


class SocketPair(NamedTuple):
    """The two ends of a connection, and the listener between them."""

    client: socket.socket
    accepted: socket.socket
    listener: socket.socket

    def scope(self, **other: object) -> dict[str, object]:
        """Return what a server says of this connection."""
        ends = {
            "client": self.accepted.getpeername()[:2],
            "server": self.accepted.getsockname()[:2],
        }
        return {"type": "http", **ends, **other}

    def is_open(self) -> bool:
        """Whether the server's side can still write and the client can still read it."""
        try:
            self.accepted.sendall(b"x")
            return self.client.recv(1) == b"x"
        except OSError:
            return False


Connect: TypeAlias = Callable[..., SocketPair]


def connect_pairs() -> Iterator[Connect]:
    """Yield what the fixture `connect` gives; what it has connected is closed at the end."""
    with ExitStack() as opened:

        def start(
            host: str = "127.0.0.1", bound: str | None = None, dual: bool = False
        ) -> SocketPair:
            family = socket.AF_INET6 if ":" in (bound or host) else socket.AF_INET
            listener = opened.enter_context(
                socket.create_server((bound or host, 0), family=family, dualstack_ipv6=dual)
            )
            port = listener.getsockname()[1]
            client = opened.enter_context(socket.create_connection((host, port), PATIENCE))
            accepted = opened.enter_context(listener.accept()[0])
            accepted.settimeout(PATIENCE)
            return SocketPair(client, accepted, listener)

        yield start


def fill(sock: socket.socket) -> None:
    """Write until the peer's buffers and our own are full."""
    sock.settimeout(0)
    try:
        while True:
            sock.send(b"x" * 65_536)
    except BlockingIOError:
        pass


def read_to_the_end(sock: socket.socket) -> None:
    while sock.recv(65_536):
        pass


def user_timeout(sock: socket.socket) -> int:
    assert sys.platform == "linux"
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
