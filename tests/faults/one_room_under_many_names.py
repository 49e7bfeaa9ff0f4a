"""A pattern whose parameter is typed, and names in which the same value is written differently.

Wanted: one name is the room, and all others are NOT_FOUND.
"""

import asyncio
import sys
import uuid

from pondsocket import ConnectionContext, JoinContext, PondSocket
from pondsocket.testing import connect

pond = PondSocket()
ID = "0b1f6f0e-5d3c-4b7a-9c1d-0123456789ab"


@pond.endpoint("/socket")
async def endpoint(ctx: ConnectionContext) -> None:
    ctx.accept()


@endpoint.channel("/chat/:room_id")
async def chat(ctx: JoinContext, room_id: int) -> None:
    await ctx.accept()


@endpoint.channel("/doc/:doc_id")
async def doc(ctx: JoinContext, doc_id: uuid.UUID) -> None:
    await ctx.accept()


@endpoint.channel("/flag/:on")
async def flag(ctx: JoinContext, on: bool) -> None:
    await ctx.accept()


NAMES = {
    "/chat/1": ["/chat/01", "/chat/+1", "/chat/1.0", "/chat/ 1", "/chat/1 ", "/chat/\uff11"],
    "/chat/1000": ["/chat/1_000", "/chat/1e3"],
    f"/doc/{ID}": [f"/doc/{ID.upper()}", f"/doc/{ID.replace('-', '')}", f"/doc/urn:uuid:{ID}"],
    "/flag/true": ["/flag/1", "/flag/on", "/flag/yes", "/flag/TRUE"],
}


async def faults() -> list[str]:
    found = []
    async with connect(pond, "/socket") as client:
        for name, others in NAMES.items():
            if (await client.join(name)).event != "ACKNOWLEDGE":
                found.append(f"{name} is refused")
            aliases = [other for other in others if (await client.join(other)).event != "NOT_FOUND"]
            if aliases:
                found.append(f"{name} also has the names {aliases}")
    return found


if __name__ == "__main__":
    bad = asyncio.run(faults())
    print("FAIL " + "; ".join(bad) if bad else "ok one room has one name")
    sys.exit(bool(bad))
