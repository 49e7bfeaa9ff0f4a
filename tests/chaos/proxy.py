"""A network that swallows: it takes bytes and passes none on, and after a while it cuts."""

import asyncio
from random import Random
from typing import Final, Self

from tests.asyncio_server import stop_listening

SWALLOW_SECONDS: Final = 0.5


class SwallowingProxy:
    """Passes connections on to a port; now and then it swallows what one of them says.

    Args:
        pause: Seconds between two such moments, on average.
    """

    def __init__(self, port: int, random: Random, pause: float) -> None:
        self._target = port
        self._random = random
        self._pause = pause
        self._swallowing: set[asyncio.StreamWriter] = set()
        self._pairs: dict[asyncio.StreamWriter, asyncio.StreamWriter] = {}
        self._server: asyncio.Server | None = None
        self._chaos: asyncio.Task[None] | None = None
        self.port = 0
        self.swallowed = 0
        self.cuts = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def begin(self) -> None:
        """Pass everything on until now; from now on, not everything."""
        self._chaos = asyncio.create_task(self._misbehave())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._pairs[writer] = up_writer
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass(reader, up_writer, writer))
                both.create_task(self._pass(up_reader, writer, writer))
        finally:
            self._pairs.pop(writer, None)
            self._swallowing.discard(writer)
            for each in (writer, up_writer):
                each.transport.abort()

    async def _pass(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, key: asyncio.StreamWriter
    ) -> None:
        try:
            while data := await source.read(65_536):
                if key in self._swallowing:
                    self.swallowed += len(data)
                else:
                    sink.write(data)
                    await sink.drain()
        except ConnectionError:
            pass  # cut, by us or by one of the two ends
        for each in (key, self._pairs.get(key)):
            if each is not None:
                each.transport.abort()

    async def _misbehave(self) -> None:
        while True:
            await asyncio.sleep(self._random.expovariate(1 / self._pause))
            if pairs := list(self._pairs.items()):
                writer, up_writer = self._random.choice(pairs)
                self._swallowing.add(writer)
                await asyncio.sleep(SWALLOW_SECONDS)
                for each in (writer, up_writer):
                    each.transport.abort()
                self.cuts += 1

    async def __aexit__(self, *_: object) -> None:
        if self._chaos is not None:
            self._chaos.cancel()
        if self._server is not None:
            await stop_listening(self._server)
        for pair in list(self._pairs.items()):
            for each in pair:
                each.transport.abort()
