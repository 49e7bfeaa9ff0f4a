"""A TCP proxy that swallows bytes, as a network does that has lost a connection's state."""

from __future__ import annotations

from typing import Final

import anyio
from anyio.abc import ByteStream, TaskStatus

_BROKEN: Final = (
    anyio.EndOfStream,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    OSError,
)


class Proxy:
    """Passes connections on to a port.

    Attributes:
        swallows_requests, swallows_replies: Whether bytes are read and dropped.
        is_read: Not set: what Redis sends is not read, as by a process that stands still.
        connections: How many were opened.
    """

    def __init__(self, target: int) -> None:
        self.port = 0
        self.swallows_requests = self.swallows_replies = False
        self.is_read = anyio.Event()
        self.is_read.set()
        self.is_closed = False
        self.connections = 0
        self._target = target
        self._scopes: set[anyio.CancelScope] = set()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
        self.port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - not Django
        task_status.started()
        async with listener:
            await listener.serve(self._serve)

    def swallow(self) -> None:
        """Lose all bytes, in both directions, from now on."""
        self.swallows_requests = self.swallows_replies = True

    def stall(self) -> None:
        """Read nothing of what Redis sends, until `is_read` is set."""
        self.is_read = anyio.Event()

    def cut(self, *, for_good: bool = False) -> None:
        """End all connections; for good: and refuse new ones, until `mend`."""
        self.is_closed = self.is_closed or for_good
        for scope in [*self._scopes]:
            scope.cancel()

    def mend(self) -> None:
        """Pass everything on again. Connections that have lost bytes end."""
        has_lost = self.swallows_requests or self.swallows_replies
        self.swallows_requests = self.swallows_replies = self.is_closed = False
        if has_lost:
            self.cut()

    async def _serve(self, client: ByteStream) -> None:
        self.connections += 1
        async with client:
            if self.is_closed:
                return
            try:
                server = await anyio.connect_tcp("127.0.0.1", self._target)
            except OSError:
                return
            async with server, anyio.create_task_group() as tasks:
                self._scopes.add(tasks.cancel_scope)
                try:
                    tasks.start_soon(self._pass, client, server, "swallows_requests", tasks)
                    await self._pass(server, client, "swallows_replies", tasks)
                finally:
                    self._scopes.discard(tasks.cancel_scope)

    async def _pass(
        self,
        source: ByteStream,
        target: ByteStream,
        swallows: str,
        tasks: anyio.abc.TaskGroup,
    ) -> None:
        try:
            while True:
                if swallows == "swallows_replies":
                    await self.is_read.wait()
                data = await source.receive()
                if not getattr(self, swallows):
                    await target.send(data)
        except _BROKEN:
            tasks.cancel_scope.cancel()
