"""Processes of clients, as a test uses them."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.servers import ROOT

from .world import World


class Crowd:
    """A process of clients."""

    def __init__(self, process: Process, users: set[str], file: Path) -> None:
        self._process = process
        self.users = users
        self._file = file

    async def expect(self, word: str, seconds: float) -> bool:
        """Return whether it says a word in time."""
        try:
            async with asyncio.timeout(seconds):
                return await self._line() == word
        except TimeoutError:
            return False

    async def _line(self) -> str:
        assert self._process.stdout is not None
        return (await self._process.stdout.readline()).decode().strip()

    def tell(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())

    async def stay(self) -> dict[str, int]:
        """Return which port each user is connected to; they do not connect again."""
        self.tell("stay")
        async with asyncio.timeout(10):
            ports: dict[str, int] = json.loads(await self._line())
        return ports

    async def report(self) -> dict[str, Any]:
        self.tell("report")
        assert await self.expect("reported", 20)
        found: dict[str, Any] = json.loads(self._file.read_text())
        return found

    async def end(self) -> None:
        """Let all of them close their connections."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        async with asyncio.timeout(10):
            await self._process.wait()


@asynccontextmanager
async def crowd(
    there: World, first: int, count: int, seed: int, *, is_wild: bool = False
) -> AsyncIterator[Crowd]:
    """Run a process of clients, from one number on."""
    file = there.log.with_name(f"clients-{first}.json")
    words = [*map(str, (first, count, seed, int(is_wild))), str(file), *map(str, there.ports)]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.cluster.chaos.clients", *words),
        cwd=ROOT,
        stdin=PIPE,
        stdout=PIPE,
        limit=2**20,
    )
    try:
        yield Crowd(process, {f"u{number}" for number in range(first, first + count)}, file)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def of_clients(reports: dict[str, Any]) -> dict[int, tuple[str, str]]:
    """Return what became of what the clients have said."""
    return {
        int(number): (channel, how)
        for report in reports.values()
        for number, (channel, how) in report["outcomes"].items()
    }
