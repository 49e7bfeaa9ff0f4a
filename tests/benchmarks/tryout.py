"""One small round with every contender, to check that each does what is measured.

`python -m tests.benchmarks.tryout` installs what is missing and prints, for each, how many clients
joined, received and were answered, and the versions of what it runs. Its client is not the
benchmark's.
"""

import argparse
import asyncio
import sys
from contextlib import AsyncExitStack
from typing import Final, NamedTuple, Protocol, Self

from websockets.asyncio.client import ClientConnection, connect

from tests.benchmarks._contenders import CONTENDERS, Contender, ContenderMissing, Kind
from tests.benchmarks._dialects import Dialect
from tests.servers import HOST

CLIENTS: Final = 3
# Bytes of a payload. The largest is the largest that is measured.
SIZES: Final = (100, 65_536)
# For one contender, after it has started.
SECONDS: Final = 15.0
# Long enough for an unwanted message to arrive.
QUIET_SECONDS: Final = 0.05


class Tried(NamedTuple):
    """How many clients joined, how many messages they received, and how many were answered."""

    joined: int
    heard: int
    echoed: int


class Member(Protocol):
    """A member that receives messages."""

    async def hear(self, token: str) -> None:
        """Wait for the message with this token."""


class Socket:
    """A member on a WebSocket."""

    def __init__(self, dialect: Dialect, connection: ClientConnection) -> None:
        self._dialect = dialect
        self._connection = connection

    @classmethod
    async def joined(cls, dialect: Dialect, port: int, ends: AsyncExitStack) -> Self:
        """Connect and join."""
        # Without compression, as the benchmark's own client connects.
        opening = connect(f"ws://{HOST}:{port}{dialect.path}", compression=None, max_size=None)
        self = cls(dialect, await ends.enter_async_context(opening))
        while not dialect.is_connected(await self._text()):
            pass
        await self.send(dialect.join("<00000000>"))
        while not dialect.is_joined(await self._text()):
            pass
        return self

    async def send(self, text: bytes) -> None:
        """Send a text."""
        await self._connection.send(text, text=True)

    async def hear(self, token: str) -> None:
        """Wait for the message with this token."""
        while token.encode() not in await self._text():
            pass

    async def hear_no_more(self, token: str) -> None:
        """Check that no message with this token comes.

        Raises:
            AssertionError: One comes.
        """
        try:
            async with asyncio.timeout(QUIET_SECONDS):
                await self.hear(token)
        except TimeoutError:
            return
        raise AssertionError(f"{token} came where it should not")

    async def _text(self) -> bytes:
        text = await self._connection.recv(decode=False)
        if (answer := self._dialect.answer(text)) is not None:
            await self.send(answer)
        return text


class Stream:
    """A member on an event stream."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._seen = b""

    @classmethod
    async def joined(cls, dialect: Dialect, port: int, ends: AsyncExitStack) -> Self:
        """Open the stream and join."""
        self = cls(await _ask(port, dialect.stream_request(), ends))
        head = await self._reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        if (request := dialect.stream_join(head, "<00000000>")) is not None:
            answer = await (await _ask(port, request, ends)).readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 204"), answer
        while not dialect.is_joined(self._seen):
            await self._read()
        return self

    async def hear(self, token: str) -> None:
        """Wait for the message with this token."""
        while token.encode() not in self._seen:
            await self._read()

    async def _read(self) -> None:
        more = await self._reader.read(65_536)
        if not more:
            raise EOFError(f"a stream ended after {self._seen!r}")
        self._seen += more


async def _ask(port: int, request: bytes, ends: AsyncExitStack) -> asyncio.StreamReader:
    reader, writer = await asyncio.open_connection(HOST, port)
    ends.callback(writer.close)
    writer.write(request)
    return reader


async def try_out(contender: Contender, port: int) -> Tried:
    """Join sockets and streams, broadcast from one socket, and echo from each.

    Raises:
        TimeoutError: An expected message does not come.
        AssertionError: An unexpected message comes.
    """
    dialect = contender.dialect
    async with asyncio.timeout(SECONDS), AsyncExitStack() as ends:
        sockets = [await Socket.joined(dialect, port, ends) for _ in range(CLIENTS)]
        members: list[Member] = list(sockets)
        if Kind.SSE in contender.kinds:
            members += [await Stream.joined(dialect, port, ends) for _ in range(CLIENTS)]
        heard = 0
        for size in SIZES:
            said = f"<{size:08}>"
            await sockets[0].send(dialect.say(said, size))
            for member in members:
                await member.hear(said)
                heard += 1
        for number, socket in enumerate(sockets):
            asked = f"<1000000{number}>"
            await socket.send(dialect.echo(asked))
            await socket.hear(asked)
            for other in sockets:
                await other.hear_no_more(asked)
        return Tried(len(members), heard, len(sockets))


def line(contender: Contender) -> str:
    """Try one contender, and describe the result in a line of text.

    Raises:
        ContenderMissing: It cannot run here.
    """
    with contender.server() as server:
        try:
            tried = asyncio.run(try_out(contender, server.port))
        except (TimeoutError, AssertionError, EOFError) as fault:
            sys.exit(f"{contender.label}: {fault!r}\n{server.log()}")
    versions = ", ".join(f"{name} {number}" for name, number in contender.versions().items())
    return (
        f"{contender.key:20}{tried.joined} joined, {tried.heard:2} heard, {tried.echoed} echoed"
        f"  {contender.label}: {versions}"
    )


def main() -> None:
    """Try the contenders that the command line names, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("keys", nargs="*", default=list(CONTENDERS), metavar="contender")
    for key in parser.parse_args().keys:
        try:
            print(line(CONTENDERS[key]), flush=True)
        except ContenderMissing as missing:
            print(f"{key:20}missing: {missing}", flush=True)


if __name__ == "__main__":
    main()
