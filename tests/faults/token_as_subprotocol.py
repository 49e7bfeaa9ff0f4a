"""A browser brings its token as a subprotocol: `new WebSocket(url, ["bearer", token])`.

On every server the handler reads the token, and the answer names "bearer", or a browser closes at
once; the token itself is never sent back.

`python -m tests.faults.token_as_subprotocol`
"""

import socket
import sys
from importlib.util import find_spec
from typing import Final

from pondsocket import ConnectionContext, PondSocket
from pondsocket_asgi import PondASGIApp

from tests.servers import GRANIANS, HYPERCORNS, UVICORNS, Server

SETUPS: Final = (*UVICORNS, HYPERCORNS[0], GRANIANS[0])
HEADERS: Final = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Protocol: bearer, s3cret",
)

pond = PondSocket()


@pond.endpoint("/socket", subprotocols=["bearer"])
async def endpoint(ctx: ConnectionContext) -> None:
    header = ctx.headers.get("sec-websocket-protocol", "").replace(" ", "")
    if ctx.subprotocols == ("bearer", "s3cret") and header == "bearer,s3cret":
        ctx.accept(user_id="ann")
    else:
        ctx.decline(401, f"{ctx.subprotocols} {header}")


app = PondASGIApp(pond)


def handshake(server: Server) -> list[str]:
    """Return the first line of the answer, and the subprotocols in it."""
    with socket.create_connection((server.host, server.port), timeout=5) as peer:
        lines = ["GET /socket HTTP/1.1", f"Host: {server.host}", *HEADERS, "", ""]
        peer.sendall("\r\n".join(lines).encode())
        first, *rest = peer.recv(4096).decode("latin-1").split("\r\n")
    named = [line for line in rest if line.lower().startswith("sec-websocket-protocol:")]
    return [first.split(" ")[1], *(line.partition(":")[2].strip() for line in named)]


def main() -> list[str]:
    bad: list[str] = []
    for setup in SETUPS:
        if find_spec(setup.server) is None:
            print(f"skip {setup} is not installed")
            continue
        path = "tests.faults.token_as_subprotocol:app"
        with Server(path, *setup.arguments, server=setup.server) as server:
            answer = handshake(server)
        if answer != ["101", "bearer"]:
            bad.append(f"{setup}: {answer}")
    return bad


if __name__ == "__main__":
    bad = main()
    print("FAIL " + "; ".join(bad) if bad else "ok a token as a subprotocol on every server")
    sys.exit(bool(bad))
