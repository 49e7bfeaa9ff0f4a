"""What the tests of batching share: a pond that batches, and a handler that obeys its event."""

from typing import Any

from pondsocket import EventContext, PondSocket
from pondsocket.testing import MemoryPeer

from tests.core.batching_programs import ManualLoop, batch_by_hand
from tests.core.members import settled
from tests.core.ponds import ROOM, UNLIMITED, PondSetup, accept_join, admit

OTHER = "/room/2"


async def tell(setup: PondSetup, *numbers: int, name: str = ROOM, size: int = 0) -> None:
    channel = setup.pond.channel("/socket", name)
    for number in numbers:
        await channel.broadcast("tick", {"n": number} | ({"x": "x" * size} if size else {}))


def heard(peer: MemoryPeer) -> list[Any]:
    """Receive all; return the numbers of what was broadcast and the names of everything else."""
    return [
        message.payload["n"]  # type: ignore[index]
        if message.event == "tick"
        else message.event
        for message in peer.drain()
    ]


async def do(peer: MemoryPeer, *acts: str, name: str = ROOM) -> None:
    """Have a handler do all of this at once."""
    peer.send("BROADCAST", name, "do", {"acts": list(acts)})
    await settled()


async def on_do(ctx: EventContext) -> None:
    for act in ctx.get_payload()["acts"]:
        verb, _, argument = act.partition(" ")
        match verb:
            case "reply":
                await ctx.reply("answer")
            case "track":
                await ctx.track({"shown": argument})
            case "evict":
                await ctx.evict("out", argument)
            case "from":
                await ctx.broadcast_from("tick", {"n": int(argument)})
            case "to":
                number, user = argument.split()
                await ctx.broadcast_to("tick", {"n": int(number)}, user)
            case "push":
                await ctx.push("tick", {"n": int(argument)})
            case "aside":
                ctx.connection.push("tick", {"n": int(argument)})
            case "shout":
                await ctx.broadcast("shout", {"n": int(argument)})
            case _:
                await ctx.broadcast("tick", {"n": int(act)})


def batching_setup(**lobby: Any) -> tuple[PondSetup, ManualLoop]:
    pond = PondSocket(options=UNLIMITED)
    endpoint = pond.create_endpoint("/socket", admit)
    room = endpoint.create_channel("/room/:id", accept_join, **lobby)
    room.on_message("do", on_do)
    return PondSetup(pond, endpoint, room), batch_by_hand(pond)
