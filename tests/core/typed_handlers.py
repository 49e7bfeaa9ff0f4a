"""What the tests of typed handlers have in common: register one, ask it once."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from pondsocket import Handler, Lobby
from pondsocket_common import Fault, Payload, ServerMessage
from pydantic import BaseModel, Field, RootModel

from tests.core.members import member
from tests.core.ponds import ROOM, build


class Say(BaseModel):
    text: str
    loud: bool = False
    sent_on: date | None = Field(default=None, alias="sentOn")


class Words(RootModel[list[str]]):
    pass


@dataclass
class Point:
    x: int


async def ask(
    handler: Handler, payload: Payload | None = None, *, event: str = "ask", pattern: str = "ask"
) -> ServerMessage:
    """Register an event handler, send the event, and give the answer to it."""
    setup = build()
    setup.lobby.on_message(pattern, handler)
    async with member(setup, "ann") as ann:
        return await ann.answer(ann.send("BROADCAST", ROOM, event, payload))


async def result(handler: Handler, payload: Payload | None = None, **more: Any) -> Any:
    """Return the same for a handler whose reply is wrapped as `{"result": …}`."""
    answer = await ask(handler, payload, **more)
    assert isinstance(answer.payload, Mapping), answer.payload
    return answer.payload["result"]


async def fault(handler: Handler, payload: Payload | None = None, **more: Any) -> Fault:
    """Return the same for one that is answered with an ERROR."""
    answer = await ask(handler, payload, **more)
    assert isinstance(answer.payload, Fault), answer
    return answer.payload


def lobby() -> Lobby:
    """Return a lobby without members, to register handlers at."""
    return build().lobby
