"""What a server says of itself, and what the system says of it."""

import asyncio
import json
from pathlib import Path
from typing import Final

from tests.integration.clients import WAIT_SECONDS, Message, until
from tests.integration.raw_clients import RawClient, socket_states
from tests.servers import Server

PAGE_BYTES: Final = 4_096
# What must be as it was when all is over, and what may be less: a server may look after the
# connections of its start for some seconds.
SAME: Final = ("connections", "users", "of_connections")
NOT_MORE: Final = ("tasks", "descriptors")


async def ask(server: Server, path: str) -> Message:
    """GET a page of JSON, over a connection of its own."""
    async with asyncio.timeout(WAIT_SECONDS):
        reader, writer = await asyncio.open_connection(server.host, server.port)
        try:
            host = f"{server.host}:{server.port}"
            request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            writer.write(request.encode())
            head = await reader.readuntil(b"\r\n\r\n")
            named = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:-2])
            body = await reader.readexactly(int(named["content-length"]))
        finally:
            writer.close()
    page: Message = json.loads(body)
    return page


async def watch(server: Server) -> Message:
    """Return the state of `stall_app`."""
    return await ask(server, "/state")


async def see_end(server: Server, user: str) -> str:
    """Wait until a user's session has ended; gives the name of the close code."""

    async def has_ended() -> bool:
        return user in (await watch(server))["ends"]

    await until(has_ended, f"the session of {user} ended")
    name: str = (await watch(server))["ends"][user]
    return name


async def see_freed(server: Server, client: RawClient, seconds: float) -> None:
    """Wait until the kernel has nothing left of the server's side of a connection."""
    left = seconds
    while states := socket_states(server, client.address):
        assert left > 0, f"after {seconds:g} s the socket is still in the states {states}"
        await asyncio.sleep(0.02)
        left -= 0.02


async def see_nothing_left(server: Server, before: Message) -> None:
    """Wait until the server is as it was."""
    now: Message = {}

    async def is_as_before() -> bool:
        now.update(await watch(server))
        same = all(now[name] == before[name] for name in SAME)
        return same and all(now[name] <= before[name] for name in NOT_MORE)

    try:
        await until(is_as_before, "nothing left")
    except AssertionError:
        left = {name: (before[name], now[name]) for name in (*SAME, *NOT_MORE)}
        raise AssertionError(f"left over, before and now: {left}") from None


def kernel_bytes() -> int:
    """Return the most that this kernel holds of what was written to one connection."""
    return int(Path("/proc/sys/net/ipv4/tcp_wmem").read_text().split()[2])


def resident_bytes(pid: int) -> int:
    """How much memory of a process is in RAM."""
    with open(f"/proc/{pid}/statm") as statm:  # noqa: PTH123 - a file of the kernel's
        return int(statm.read().split()[1]) * PAGE_BYTES
