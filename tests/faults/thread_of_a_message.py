"""A database connection that belongs to its thread: opened, used and closed in one."""

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Iterator
from typing import Final

from pondsocket import Depends
from pondsocket.testing import connect

from tests.faults._outcome import end
from tests.faults._rooms import Rooms, build, result_of

CLIENTS: Final = 12
MESSAGES: Final = 10

threads: list[set[int]] = []
"""Of each message, those that it ran in."""


def database() -> Iterator[tuple[sqlite3.Connection, set[int]]]:
    used = {threading.get_ident()}
    opened = sqlite3.connect(":memory:")
    try:
        yield opened, used
    finally:
        opened.close()
        threads.append(used | {threading.get_ident()})


def count(opened: tuple[sqlite3.Connection, set[int]] = Depends(database)) -> int:
    connection, used = opened
    used.add(threading.get_ident())
    number: int = connection.execute("select 7").fetchone()[0]
    return number


async def ask(rooms: Rooms, name: str) -> int:
    good = 0
    async with connect(rooms.pond, "/socket") as client:
        await client.join(name)
        for _ in range(MESSAGES):
            good += result_of(await client.answer(client.send("BROADCAST", name, "count"))) == 7
    return good


async def main() -> list[str]:
    rooms = build()
    rooms.lobby.on_message("count", count)
    good = sum(await asyncio.gather(*(ask(rooms, f"/room/{n}") for n in range(CLIENTS))))
    moved = sum(len(each) > 1 for each in threads)
    if good == len(threads) == CLIENTS * MESSAGES and not moved:
        return []
    return [f"{good} of {CLIENTS * MESSAGES} messages were answered, {moved} changed the thread"]


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    end(asyncio.run(main()), "plain functions of one message run in one thread")
