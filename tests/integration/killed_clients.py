"""A process of clients to be killed: they join a channel, say so, and stay."""

import asyncio
import sys

from tests.integration.clients import TRANSPORTS
from tests.integration.connector import Connector

COUNT = 10


async def main(url: str, channel_name: str) -> None:
    async with Connector() as connect:
        for number in range(COUNT):
            client = await connect(TRANSPORTS[number % 2], url)
            await client.join(channel_name, {"show": {"number": number}})
        print("joined", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
