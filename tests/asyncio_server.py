"""The end of an asyncio server in the tests' own process."""

import asyncio
from typing import Final

# Of the loop, from `accept` until the protocol has its connection; it takes two.
TURNS: Final = 5


async def stop_listening(server: asyncio.Server) -> None:
    """Close a server, and leave no connection half accepted.

    `Server.close` drops, with a ResourceWarning, those that the loop has accepted and not yet
    handed over (an assertion in `Server._attach`, CPython 3.11).
    """
    loop = asyncio.get_running_loop()
    for sock in server.sockets:
        loop.remove_reader(sock.fileno())
    for _ in range(TURNS):
        await asyncio.sleep(0)
    server.close()
