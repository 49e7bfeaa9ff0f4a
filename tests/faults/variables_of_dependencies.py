"""Generator dependencies that set a context variable, and reset it with its token afterwards."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from typing import Final

from pondsocket import Depends
from pondsocket.testing import connect

from tests.faults._outcome import end
from tests.faults._rooms import build, result_of

tenant: Final[ContextVar[str]] = ContextVar("tenant", default="none")
resets: list[str] = []


def plain() -> Iterator[None]:
    token = tenant.set("acme")
    yield
    tenant.reset(token)
    resets.append("plain")


async def waiting() -> AsyncIterator[None]:
    token = tenant.set("acme")
    yield
    tenant.reset(token)
    resets.append("waiting")


async def waits_for_plain(dependency: None = Depends(plain)) -> str:
    return tenant.get()


async def waits_for_waiting(dependency: None = Depends(waiting)) -> str:
    return tenant.get()


def plain_for_plain(dependency: None = Depends(plain)) -> str:
    return tenant.get()


def plain_for_waiting(dependency: None = Depends(waiting)) -> str:
    return tenant.get()


async def main() -> list[str]:
    rooms, faults = build(), list[str]()
    handlers: list[Callable[..., object]] = [
        waits_for_plain,
        waits_for_waiting,
        plain_for_plain,
        plain_for_waiting,
    ]
    async with connect(rooms.pond, "/socket") as ann:
        await ann.join("/room/1")
        for handler in handlers:
            name = handler.__name__
            rooms.lobby.on_message(name, handler)
            seen = result_of(await ann.answer(ann.send("BROADCAST", "/room/1", name)))
            if seen != "acme":
                faults.append(f"{name}: the handler sees {seen}")
    if sorted(resets) != ["plain", "plain", "waiting", "waiting"]:
        faults.append(f"only these were reset: {resets}")
    return faults


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    end(asyncio.run(main()), "context variables of dependencies are seen and reset")
