"""Freeze a peer that has left a little of what it was sent in the server.

Wanted: 30 s after it froze it is a member no more, with the pings of the deployment page. Here they
come every 3 s, and wait 3 s for an answer.
"""

import asyncio
import json
import sys
from functools import partial
from typing import Final

from tests.integration.frozen import FrozenPeer, until_arranged
from tests.integration.raw_clients import connecting
from tests.integration.server_state import watch
from tests.servers import FAST_LANE, Server

APP: Final = "tests.integration.stall_app:app"
ROOM: Final = "/room/1"
PINGS: Final = ("--ws-ping-interval", "3", "--ws-ping-timeout", "3")
OPTIONS: Final = {"event_rate": None, "write_timeout": 100.0, "heartbeat_seconds": 100.0}
KINDS: Final = {"the fast lane": FAST_LANE, "uvicorn's own": ("--ws", "websockets-sansio")}
WANTED_SECONDS: Final = 6 + 2
SOON: Final = 4.0


async def see(arguments: tuple[str, ...]) -> float | None:
    """Return after how many seconds a frozen peer was gone; None if it stayed."""
    server = Server(APP, *arguments, *PINGS, env={"POND_OPTIONS": json.dumps(OPTIONS)})
    with server:
        async with connecting(server) as connect:
            member = await (await connect("websocket", "member")).join(ROOM)
            frozen = await (await connect("websocket", "frozen", 4_096)).join(ROOM)
            peer = FrozenPeer(frozen)
            await peer.fill(member, ROOM)
            loop = asyncio.get_running_loop()
            began = loop.time()
            while (passed := loop.time() - began) < WANTED_SECONDS + SOON:
                state = await watch(server)
                if state["users"] == {ROOM: 1} and not peer.socket_states:
                    return passed
                await asyncio.sleep(0.2)
            peer.check()
    return None


async def main() -> int:
    """Freeze a peer of each kind of WebSocket."""
    found = {
        name: await until_arranged(partial(see, arguments)) for name, arguments in KINDS.items()
    }
    late = [name for name, seconds in found.items() if seconds is None]
    text = ", ".join(f"{name}: {seconds} s" for name, seconds in found.items() if seconds)
    if late:
        print(f"FAIL a frozen peer is still a member, or has a socket, with {', '.join(late)}")
    else:
        print(f"ok a frozen peer was gone after: {text}")
    return bool(late)


if __name__ == "__main__":
    if sys.platform != "linux":
        print("skip this needs Linux's table of connections")
        sys.exit(0)
    sys.exit(asyncio.run(main()))
