"""Flood the fast lane until it closes the connection, and answer its close frame.

Wanted: the connection ends at once when the answer is read, or a second later if more than 64 KiB
come before it; with uvicorn's own class, too. The floods are of several lengths: how much of one is
still unread at the close depends on that.
"""

import asyncio
import json
import sys
from typing import Final

from tests.asgi.uvicorn_connection import masked
from tests.integration.clients import envelope
from tests.integration.raw_clients import TEXT, RawClient, connecting
from tests.servers import FAST_LANE, Server

APP: Final = "tests.integration.stall_app:app"
ROOM: Final = "/room/1"
FLOODS: Final = (1_000, 1_200, 1_400, 4_000)
LOOPS: Final = ("asyncio", "uvloop")
WANTED_SECONDS: Final = 2.0
LONGEST_SECONDS: Final = 15.0


async def flood(client: RawClient, messages: int) -> float:
    """Return how many seconds passed between the close frame and the end."""
    text = json.dumps(envelope("BROADCAST", ROOM, "ask", {"text": "x" * 10})).encode()
    client.write_bytes(masked(TEXT, text) * messages)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(LONGEST_SECONDS):
        while client.close_code is None and not client.ended.done():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    closed = loop.time()
    assert client.close_code == 4429, client.close_code
    try:
        await client.wait_ended(LONGEST_SECONDS)
    except TimeoutError:
        pass
    return loop.time() - closed


async def main() -> int:
    """Send each flood on both loops."""
    worst, seen = 0.0, ""
    for name in LOOPS:
        with Server(APP, "--loop", name, *FAST_LANE, "--ws-max-size", "65536") as server:
            async with connecting(server) as connect:
                for messages in FLOODS:
                    client = await (await connect("websocket", f"{messages}")).join(ROOM)
                    seconds = await flood(client, messages)
                    if seconds >= worst:
                        worst, seen = seconds, f"{messages} messages, {name}: {seconds:.2f} s"
    is_late = worst > WANTED_SECONDS
    print(f"{'FAIL' if is_late else 'ok'} from the close frame to the end, at worst: {seen}")
    return is_late


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
