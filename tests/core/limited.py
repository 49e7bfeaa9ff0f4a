"""What tests of limits have in common: a pond with a clock of the test's, and messages as sent."""

import json
from typing import Any

from pondsocket import Options, PondSocket
from pondsocket.testing import MemoryPeer
from pondsocket_common import Fault

from tests.core.ponds import ROOM, House, admit, let_in, relay


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def timed(options: Options) -> tuple[House, Clock]:
    clock = Clock()
    pond = PondSocket(options=options, clock=clock)
    endpoint = pond.create_endpoint("/socket", admit)
    lobby = endpoint.create_channel("/room/:id", let_in)
    lobby.on_message("say", relay)
    return House(pond, endpoint, lobby), clock


async def answer_to_event(peer: MemoryPeer, event: str = "say") -> Fault | str:
    """RATE_LIMITED's payload, or the name of what came instead."""
    request_id = peer.send("BROADCAST", ROOM, event)
    message = await peer.receive()
    if isinstance(message.payload, Fault):
        assert message.request_id == request_id
        return message.payload
    return message.event


def message(
    n: int, action: str = "BROADCAST", event: str = "say", **more: object
) -> dict[str, Any]:
    return {
        "action": action,
        "event": event,
        "channelName": ROOM,
        "requestId": f"r{n}",
        "payload": {},
        **more,
    }


def body(*messages: dict[str, Any]) -> bytes:
    return json.dumps(messages).encode()
