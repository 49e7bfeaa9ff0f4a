"""Take all descriptors of a server, ask for an event stream, and end the server later.

Wanted: the stream is served, or refused with an answer; when descriptors are there again, a new
client is served; and with no client connected the process ends at once when it is told to.
"""

import os
import signal
import socket
import sys
import time
from typing import Final

from pondsocket import ConnectionContext, PondSocket
from pondsocket_asgi import PondASGIApp

from tests.servers import Server

APP: Final = "tests.faults.no_descriptor_left:app"
DESCRIPTORS: Final = 40
WANTED_SECONDS: Final = 3.0
LONGEST_SECONDS: Final = 25.0
REQUEST: Final = b"GET /socket HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
LIMITED: Final = "POND_FAULT_DESCRIPTORS"

pond = PondSocket()


@pond.endpoint("/socket")
async def admit(ctx: ConnectionContext) -> None:
    """Admit each client."""
    ctx.accept()


app = PondASGIApp(pond)
if LIMITED in os.environ:  # in the server
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))


def ask(client: socket.socket) -> str:
    """Ask for a stream. Return the first line of the answer."""
    client.settimeout(5)
    client.sendall(REQUEST)
    return client.recv(100).split(b"\r\n")[0].decode()


def main() -> int:
    """Do it, and print what came of it."""
    with Server(APP, "--loop", "asyncio", env={LIMITED: "1"}) as server:
        address = server.host, server.port
        idle = [socket.create_connection(address, 5) for _ in range(2 * DESCRIPTORS)]
        time.sleep(0.5)
        full = ask(idle[0])
        for each in idle:
            each.close()
        time.sleep(1.5)  # asyncio accepts nothing for a second when it has no descriptor
        with socket.create_connection(address, 5) as client:
            later = ask(client)
        time.sleep(0.5)
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        try:
            server.wait_exit(LONGEST_SECONDS)
        except AssertionError:
            pass
        seconds = time.monotonic() - began
    is_wrong = seconds > WANTED_SECONDS or " 500 " in full or " 200 " not in later
    print(
        f"{'FAIL' if is_wrong else 'ok'} {full!r} when full, {later!r} later, end: {seconds:.1f} s"
    )
    return is_wrong


if __name__ == "__main__":
    sys.exit(main())
