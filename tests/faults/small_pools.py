"""A pool of five, of which a hundred messages at once take one each, in plain generators."""

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from typing import Final

from pondsocket import Depends
from pondsocket.testing import connect

from tests.faults._outcome import end
from tests.faults._rooms import Rooms, build, result_of

CLIENTS: Final = 100
WORK_SECONDS: Final = 0.01
PATIENCE_SECONDS: Final = 6.0

pool = threading.Semaphore(5)


def take() -> Iterator[str]:
    if not pool.acquire(timeout=PATIENCE_SECONDS):
        raise TimeoutError("The pool has none left.")
    try:
        yield "one"
    finally:
        pool.release()


def dependent(taken: str = Depends(take)) -> str:
    return taken


def plain(taken: str = Depends(take)) -> str:
    time.sleep(WORK_SECONDS)
    return taken


def plain_with_two(taken: str = Depends(take), more: str = Depends(dependent)) -> str:
    return plain(taken)


async def waiting(taken: str = Depends(take)) -> str:
    await asyncio.sleep(WORK_SECONDS)
    return taken


async def answers(rooms: Rooms, event: str) -> list[object]:
    began = asyncio.Barrier(CLIENTS)

    async def ask(number: int) -> object:
        name = f"/room/{number}"
        async with connect(rooms.pond, "/socket") as client:
            await client.join(name)
            await began.wait()
            return result_of(await client.answer(client.send("BROADCAST", name, event), wait=30))

    return list(await asyncio.gather(*map(ask, range(CLIENTS))))


async def main() -> list[str]:
    rooms, faults = build(), list[str]()
    for handler in (plain, plain_with_two, waiting):
        rooms.lobby.on_message(handler.__name__, handler)
        began = time.monotonic()
        good = (await answers(rooms, handler.__name__)).count("one")
        took = time.monotonic() - began
        if good < CLIENTS or took > PATIENCE_SECONDS:
            faults.append(f"{handler.__name__}: {good} of {CLIENTS} after {took:.1f} s")
    return faults


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    end(asyncio.run(main()), "a pool may be smaller than the number of threads")
