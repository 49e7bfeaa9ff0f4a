"""Opens connections to Redis, to the master that sentinels name, and says who we are."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import anyio
from anyio.abc import ByteStream

from pondsocket.backplane._errors import BackplaneError, LinkLost

from ._address import Address
from ._link import Link, ReplyError

Credentials: TypeAlias = Callable[[], Awaitable[tuple[str, str]]]
"""Returns a user and its password."""


class Connector:
    """The way to one Redis.

    Args:
        tls: None: not encrypted.
        credentials: Instead of those of the address.
        seconds: How long each step may take.
    """

    def __init__(
        self,
        address: Address,
        tls: ssl.SSLContext | None,
        credentials: Credentials | None,
        seconds: float,
    ) -> None:
        self.address = address
        self.seconds = seconds
        self._tls = tls
        self._credentials = credentials

    async def open(self) -> ByteStream:
        """Open a connection; where there are sentinels, to the master that they name.

        Raises:
            OSError: It cannot be opened.
            BackplaneError: No sentinel knows the master.
        """
        address = self.address
        if address.path:
            with anyio.fail_after(self.seconds):
                return await anyio.connect_unix(address.path)
        host, port = await self._find_master() if address.master else address.hosts[0]
        return await self._connect(host, port)

    async def _connect(self, host: str, port: int) -> ByteStream:
        with anyio.fail_after(self.seconds):
            if self._tls is None:
                return await anyio.connect_tcp(host, port)
            return await anyio.connect_tcp(
                host, port, ssl_context=self._tls, tls_standard_compatible=False
            )

    async def greet(self, link: Link) -> None:
        """Begin to speak RESP3, as the user of the address, in its database.

        Raises:
            ReplyError: Redis does not speak it, or does not know the user.
            BackplaneError: The credentials cannot be had.
        """
        address = self.address
        user, password = address.user, address.password
        if self._credentials is not None:
            try:
                user, password = await self._credentials()
            except Exception as error:
                # Tried again with the next link: who gives them may be away as well.
                raise BackplaneError(f"`credentials` has failed: {error!r}") from error
        known = () if password is None else ("AUTH", user or "default", password)
        await link.call("HELLO", 3, *known, "SETNAME", "pondsocket")
        if address.database:
            await link.call("SELECT", address.database)

    async def _find_master(self) -> tuple[str, int]:
        troubles: list[str] = []
        for host, port in self.address.hosts:
            found: tuple[str, int] | None = None
            try:
                with anyio.fail_after(self.seconds):
                    found = await self._ask_sentinel(host, port)
                trouble = f"it knows no {self.address.master!r}"
            except* (OSError, ReplyError, LinkLost) as group:
                trouble = reason_of(group)
            if found is not None:
                return found
            troubles.append(f"{host}:{port}: {trouble}")
        name = self.address.master
        raise BackplaneError(f"no sentinel names the master {name!r}: {'; '.join(troubles)}")

    async def _ask_sentinel(self, host: str, port: int) -> tuple[str, int] | None:
        async with await self._connect(host, port) as stream:
            link = Link(stream, lambda _: None)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(link.read)
                tasks.start_soon(link.write)
                name = self.address.master
                found = await link.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)
                tasks.cancel_scope.cancel()
        return (found[0].decode(), int(found[1])) if found else None


def reason_of(error: BaseException) -> str:
    """Return why something has failed; of a group, the first."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, TimeoutError):
        return str(error) or "there was no connection in time"
    return str(error) or type(error).__name__
