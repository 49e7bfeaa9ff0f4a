"""Short replies that wait for stalled clients take about the memory that an outbox allows."""

import sys
import time
from typing import Final

from pondsocket import ConnectionContext, EventContext, JoinContext, Options, PondSocket
from pondsocket_asgi import PondASGIApp

from tests.asgi.uvicorn_connection import TEXT, masked
from tests.faults._raw_peer import RawPeer, cpu_seconds, message, resident_mib
from tests.servers import Server

CLIENTS: Final = 40
REPLIES: Final = 940
# An outbox, and a little that the server holds of each connection.
MOST_MIB: Final = 1.1
MODULE: Final = "tests.faults.replies_to_a_stalled_client:app"

pond = PondSocket(options=Options(event_rate=None, write_timeout=60.0, max_pending_messages=5_000))
app = PondASGIApp(pond)


@pond.endpoint("/socket")
async def socket(ctx: ConnectionContext) -> None:
    ctx.accept()


@socket.channel("/chat/:room")
async def chat(ctx: JoinContext) -> None:
    await ctx.accept()


@chat.on_message("echo")
async def echo(ctx: EventContext) -> None:
    await ctx.reply("echo", ctx.get_payload())


def main() -> int:
    """Print how much memory a client's replies take. Return 1 if that is too much."""
    if sys.platform != "linux":
        print("skip measured by what Linux tells of a process")
        return 0
    large = masked(TEXT, message("echo", "1", {"x": "y" * 60_000}).encode())
    small = masked(TEXT, message("echo", "1").encode())
    options = ("--ws", "websockets-sansio", "--log-level", "critical")
    with Server(MODULE, *options) as server:
        stalled = [RawPeer(server) for _ in range(CLIENTS)]
        for client in stalled:
            client.socket.sendall(large * 56)  # until the system's buffers are full
        time.sleep(2)
        before = resident_mib(server)
        for client in stalled:
            client.socket.sendall(small * REPLIES)
        busy = -1.0
        while cpu_seconds(server) > busy:  # until all of it is answered
            busy = cpu_seconds(server)
            time.sleep(1)
        each = (resident_mib(server) - before) / CLIENTS
    is_fault = each > MOST_MIB
    print(
        f"{'FAIL' if is_fault else 'ok'} {REPLIES} replies that wait take {each:.2f} MiB a client"
    )
    return int(is_fault)


if __name__ == "__main__":
    sys.exit(main())
