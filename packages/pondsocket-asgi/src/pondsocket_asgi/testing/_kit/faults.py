"""What goes wrong between a client and a server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .connected import ConnectedClient


class Faults:
    """Faults of the network; the fixture `pond_faults` is one.

    At the end of each block that loses the connection, the client connects again, and joins its
    channels again where it left them.
    """

    @asynccontextmanager
    async def lost(self, client: ConnectedClient) -> AsyncIterator[None]:
        """Lose the connection, until the end of the block."""
        await client.lose()
        yield
        await client.reconnect()

    @asynccontextmanager
    async def cut_mid_frame(self, client: ConnectedClient) -> AsyncIterator[None]:
        """Lose the connection while the next message is on its way, until the end of the block.

        Of an event stream, half of the message comes; of a WebSocket, nothing.
        """
        client.session.lose_within_next()
        yield
        await client.lose()
        await client.reconnect()

    @asynccontextmanager
    async def stalled(self, client: ConnectedClient) -> AsyncIterator[None]:
        """Read nothing, until the end of the block: what the app sends waits, as it would there."""
        async with self.slow(client, frames=0):
            yield

    @asynccontextmanager
    async def slow(self, client: ConnectedClient, *, frames: int = 4) -> AsyncIterator[None]:
        """Read so many messages more and then nothing, until the end of the block."""
        client.session.stop_reading(after=frames)
        try:
            yield
        finally:
            client.session.resume_reading()
