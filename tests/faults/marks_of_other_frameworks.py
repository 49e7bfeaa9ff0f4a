"""FastAPI's `Depends` in a handler: refused, or run, but never a value that the client chooses."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

from pondsocket import ConnectionContext, EventContext, UsageError
from pondsocket.testing import connect

from tests.faults._outcome import end
from tests.faults._rooms import build, result_of

try:
    from fastapi import Depends
except ImportError:
    Depends = None  # type: ignore[assignment]


def current_user() -> str:
    return "known to the server"


def handlers() -> dict[str, Callable[..., Any]]:
    async def by_default(ctx: EventContext, user: str = Depends(current_user)) -> str:
        return user

    async def annotated(ctx: EventContext, user: Annotated[str, Depends(current_user)]) -> str:
        return user

    return {"as a default": by_default, "in Annotated": annotated}


async def main() -> list[str]:
    faults: list[str] = []
    for name, handler in handlers().items():
        rooms = build()
        try:
            rooms.lobby.on_message("who", handler)
        except UsageError:
            continue
        async with connect(rooms.pond, "/socket") as eve:
            await eve.join("/room/1")
            request_id = eve.send("BROADCAST", "/room/1", "who", {"user": "admin"})
            if (who := result_of(await eve.answer(request_id))) != current_user():
                faults.append(f"{name}: the handler was given {who!r}")

    async def admit(ctx: ConnectionContext, user: str = Depends(current_user)) -> None:
        ctx.accept(user_id=user)

    rooms = build()
    try:
        rooms.pond.create_endpoint("/other", admit)
    except UsageError:
        return faults
    async with connect(rooms.pond, "/other?user=admin") as eve:
        if (who := eve.session.user_id) != current_user():
            faults.append(f"a connection handler was given {who!r}")
    return faults


if __name__ == "__main__":
    if Depends is None:
        print("skip fastapi is not installed")
    else:
        end(asyncio.run(main()), "marks of FastAPI are refused or obeyed")
