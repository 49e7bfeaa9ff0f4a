"""A message in which thousands of values do not fit: it has a short answer, and that is all."""

import asyncio
from typing import Final

from pondsocket import EventContext
from pondsocket_asgi import PondASGIApp
from pondsocket_asgi.testing import ASGITestDriver
from pydantic import BaseModel

from tests.faults._outcome import end
from tests.faults._rooms import build
from tests.faults._sockets import message

ROOM: Final = "/room/1"


class Say(BaseModel):
    mentions: list[str]


async def main() -> list[str]:
    rooms = build()

    async def say(ctx: EventContext, payload: Say) -> None: ...

    rooms.lobby.on_message("say", say)
    driver = ASGITestDriver(PondASGIApp(rooms.pond))
    socket = await driver.connect_websocket("/socket")
    await socket.send_client_message(action="JOIN_CHANNEL", channel_name=ROOM, event="join")
    await socket.receive_event_named("ACKNOWLEDGE")
    text = message(ROOM, "say", "1", f'{{"mentions":[{",".join("1" * 30_000)}]}}')
    await socket.send_text(text)
    answer = await socket.receive_message(wait=5)
    faults: list[str] = []
    if answer["type"] != "websocket.send" or "INVALID_MESSAGE" not in answer["text"]:
        faults.append(f"the answer is {str(answer)[:100]}")
    elif len(answer["text"]) > len(text):
        faults.append(f"{len(text)} bytes have an answer of {len(answer['text'])}")
    if socket.closed:
        faults.append("the connection was closed")
    await socket.disconnect()
    return faults


if __name__ == "__main__":
    end(asyncio.run(main()), "thousands of misfits have a short answer")
