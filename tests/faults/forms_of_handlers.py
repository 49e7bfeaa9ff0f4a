"""Handlers that are no plain functions: partials, methods, objects, wrappers, lambdas."""

import asyncio
import functools
import gc
import logging
import warnings
from collections.abc import Callable
from typing import Any, Final

from pondsocket import EventContext, UsageError
from pondsocket.testing import connect

from tests.faults._outcome import end
from tests.faults._rooms import build, result_of


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


async def typed(ctx: EventContext) -> str:
    return "done"


async def untyped(ctx: Any) -> str:
    return "done"


async def of_two(text: str, ctx: EventContext) -> str:
    return text


class Handlers:
    async def bound(self, ctx: EventContext) -> str:
        return "done"

    @classmethod
    async def of_class(cls, ctx: EventContext) -> str:
        return "done"

    async def __call__(self, ctx: EventContext) -> str:
        return "done"


ANSWERED: Final[dict[str, Callable[..., Any]]] = {
    "bound method": Handlers().bound,
    "class method": Handlers.of_class,
    "object": Handlers(),
    "partial": functools.partial(of_two, "done"),
    "wrapper": wrapped(untyped),
    "lambda": lambda ctx: untyped(ctx),
}


async def answer_of(handler: Callable[..., Any]) -> object:
    rooms = build()
    rooms.lobby.on_message("go", handler)
    async with connect(rooms.pond, "/socket") as ann:
        await ann.join("/room/1")
        return result_of(await ann.answer(ann.send("BROADCAST", "/room/1", "go")))


async def main() -> list[str]:
    faults: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for name, handler in ANSWERED.items():
            if (answer := await answer_of(handler)) != "done":
                faults.append(f"{name}: {answer}")
        try:
            await answer_of(wrapped(typed))
            faults.append("a wrapper that gives its handler the wrong context is registered")
        except UsageError:
            pass
        gc.collect()
    return faults + [str(each.message) for each in caught if "never" in str(each.message)]


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    end(asyncio.run(main()), "every form of handler is awaited or refused")
