"""A client that pings and reads no answer makes no server's memory grow without a bound.

Servers answer pings by themselves. The fast lane reads no further while answers wait. With
uvicorn's own protocols the answers are counted once a second, and the connection is closed; in that
second they may grow by what one core answers.
"""

import sys
import time
from typing import Final

from pondsocket import ConnectionContext, JoinContext, PondSocket
from pondsocket_asgi import PondASGIApp

from tests.asgi.uvicorn_connection import PING, masked
from tests.faults._raw_peer import RawPeer, resident_mib
from tests.servers import SINGLES, Server, Setup

PINGS: Final = masked(PING, b"p" * 125) * 2_000
SECONDS: Final = 8.0
# What a server answers at full speed until the next look at it, a second later. Without a bound it
# is several times as much, and never ends.
MOST_MIB: Final = 256.0

pond = PondSocket()
app = PondASGIApp(pond)


@pond.endpoint("/socket")
async def socket(ctx: ConnectionContext) -> None:
    ctx.accept()


@socket.channel("/chat/:room")
async def chat(ctx: JoinContext) -> None:
    await ctx.accept()


def grown(setup: Setup) -> float:
    """Return by how many MiB a server grew while a client sent as many pings as it took."""
    module = "tests.faults.pings_whose_answers_are_not_read:app"
    arguments = setup.arguments
    if setup.server == "uvicorn":
        arguments += ("--ws-ping-interval", "60", "--log-level", "critical")
    with Server(module, *arguments, server=setup.server) as server:
        peer = RawPeer(server)
        before = most = resident_mib(server)
        peer.socket.settimeout(2)
        due = time.monotonic() + SECONDS
        try:
            while time.monotonic() < due:
                peer.socket.sendall(PINGS)
                most = max(most, resident_mib(server))
        except OSError:
            pass  # the server reads no more, or has closed
        return max(most, resident_mib(server)) - before


def main(*names: str) -> int:
    """Print what each server held. Return 1 if one held too much."""
    if sys.platform != "linux":
        print("skip measured by what Linux tells of a process")
        return 0
    # granian's first process is not the one that serves.
    setups = [each for each in SINGLES if each.server != "granian" and not each.name.endswith("-1")]
    found = {each.name: grown(each) for each in setups if not names or each.name in names}
    text = ", ".join(f"{name} {size:.0f}" for name, size in found.items())
    is_fault = max(found.values()) > MOST_MIB
    print(f"{'FAIL' if is_fault else 'ok'} MiB of answers that were not read: {text}")
    return int(is_fault)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
