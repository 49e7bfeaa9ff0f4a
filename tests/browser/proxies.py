"""A proxy between the browser and the server: it may dislike WebSockets, or be cut off."""

import asyncio
import threading
from typing import Final, Literal, Protocol, Self, TypeAlias

from tests.asyncio_server import stop_listening

# What a proxy does with a WebSocket handshake:
#   pass    hands it on
#   strip   hands it on without the headers that make it one, as nginx does unless told otherwise
#   refuse  answers by itself, with the page of a company's filter
#   reset   cuts the connection
#   hang    takes it and says nothing
OnUpgrade: TypeAlias = Literal["pass", "strip", "refuse", "reset", "hang"]

# The way through it:
#   up    bytes pass
#   cut   every connection is reset, and so is each new one
#   deaf  bytes vanish and neither side is told, as in a tunnel; what lost some is reset afterwards
Network: TypeAlias = Literal["up", "cut", "deaf"]

HOP_BY_HOP: Final = (b"upgrade:", b"connection:")
FILTER_PAGE: Final = (
    b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\nContent-Length: 16\r\n"
    b"Connection: close\r\n\r\n<h1>Blocked</h1>"
)
BAD_GATEWAY: Final = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
STOP_SECONDS: Final = 5.0


class Address(Protocol):
    """Where a server is."""

    @property
    def host(self) -> str: ...

    @property
    def port(self) -> int: ...


class Proxy:
    """A reverse proxy on a loopback port, in a thread of its own.

    It serves one request on each connection. Where the server is away it answers 502.

    Args:
        server: Where everything goes.
        on_upgrade: What happens to the next WebSocket handshakes; the last one named stays. May be
            changed while it runs.
        host: What it tells the server the page's host is, in place of its own; as nginx does
            unless told otherwise.
    """

    def __init__(self, server: Address, *on_upgrade: OnUpgrade, host: str | None = None) -> None:
        self.on_upgrade = list(on_upgrade)
        self.upgrades = 0
        self._server = server
        self._host = host
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._done = asyncio.Event()
        self._port = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._network: Network = "up"
        self._up = asyncio.Event()
        self._up.set()
        self._pages: list[asyncio.StreamWriter] = []
        self._servers: list[asyncio.StreamWriter] = []

    def set_network(self, network: Network) -> None:
        """Cut the way through it off, or open it again."""
        self._loop.call_soon_threadsafe(self._set_network, network)

    def _set_network(self, network: Network) -> None:
        self._network = network
        if network == "up":
            self._up.set()
        else:
            self._up.clear()
        if network != "deaf":
            for page in self._pages:
                page.transport.abort()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._listen())

    async def _listen(self) -> None:
        async with asyncio.TaskGroup() as connections:
            tasks: list[asyncio.Task[None]] = []

            def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                # Here: a task that is cancelled before its first step closes nothing.
                self._pages.append(writer)
                tasks.append(connections.create_task(self._serve(reader, writer)))

            listener = await asyncio.start_server(take, "127.0.0.1", 0)
            self._port = listener.sockets[0].getsockname()[1]
            self._ready.set()
            await self._done.wait()
            await stop_listening(listener)
            for task in tasks:
                task.cancel()
        every = [*self._pages, *self._servers]
        for writer in every:
            writer.transport.abort()
        # The end of a connection takes some turns of the loop.
        await asyncio.gather(*(writer.wait_closed() for writer in every), return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self._network == "cut":
                writer.transport.abort()
                return
            await self._up.wait()
            await self._answer(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # one of the two is gone; so is the connection
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        handed_on = rewritten(head, self._host)
        if b"\r\nupgrade: websocket\r\n" in head.lower():
            self.upgrades += 1
            match self.on_upgrade.pop(0) if len(self.on_upgrade) > 1 else self.on_upgrade[0]:
                case "pass":
                    handed_on = rewritten(head, self._host, keep=HOP_BY_HOP)
                case "refuse":
                    writer.write(FILTER_PAGE)
                    return
                case "reset":
                    writer.transport.abort()
                    return
                case "hang":
                    await reader.read()
                    return
        try:
            there = await asyncio.open_connection(self._server.host, self._server.port)
        except OSError:
            writer.write(BAD_GATEWAY)
            return
        self._servers.append(there[1])
        there[1].write(handed_on)
        try:
            await asyncio.gather(self._copy(reader, there[1]), self._copy(there[0], writer))
        finally:
            there[1].close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass bytes on until one side ends, and then end the other."""
        try:
            while chunk := await reader.read(65536):
                if self._network != "deaf":
                    writer.write(chunk)
                    await writer.drain()
        finally:
            writer.close()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(STOP_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join(STOP_SECONDS)


def rewritten(head: bytes, host: str | None, keep: tuple[bytes, ...] = ()) -> bytes:
    """Return the head of a request as it is handed on: pure.

    Args:
        head: The whole of it, with the empty line at the end.
        host: Takes the place of its host.
        keep: The hop-by-hop headers that stay; else the connection is to end with the answer.
    """
    first, *lines = head.split(b"\r\n")
    dropped = [header for header in HOP_BY_HOP if header not in keep]
    added = [b"Connection: close"] if dropped else []
    if host is not None:
        dropped.append(b"host:")
        added.append(b"Host: " + host.encode())
    kept = [line for line in lines if not line.lower().startswith(tuple(dropped))]
    return b"\r\n".join([first, *added, *kept])
