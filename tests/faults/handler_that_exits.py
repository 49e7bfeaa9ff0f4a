"""A handler that calls `sys.exit()`, in a task of its own: the server and its clients live on."""

import sys

import anyio
from pondsocket import EventContext
from pondsocket_asgi import PondASGIApp

from tests.faults._outcome import end
from tests.faults._rooms import build
from tests.faults._sockets import Socket
from tests.servers import FAST_LANE, Server

rooms = build()


@rooms.lobby.on_message("exit")
async def exits(ctx: EventContext) -> None:
    await anyio.sleep(0.01)  # from here on another task reads
    sys.exit(3)


@rooms.lobby.on_message("echo")
async def echo(ctx: EventContext) -> str:
    return "echo"


app = PondASGIApp(rooms.pond)


def main() -> list[str]:
    with (
        Server("tests.faults.handler_that_exits:app", *FAST_LANE) as server,
        Socket(server) as other,
        Socket(server) as bad,
    ):
        for client in (other, bad):
            client.join("/room/1")
        try:
            for _ in range(2):  # in the connection's own task, and in one beside it
                if (answer := bad.call("/room/1", "exit"))["action"] != "ERROR":
                    return [f"answered {answer}"]
            answer = other.call("/room/1", "echo")
        except Exception as error:  # noqa: BLE001 - shown
            return [f"a client is not served any more: {error!r}"]
        return [] if answer["payload"] == {"result": "echo"} else [f"answered {answer}"]


if __name__ == "__main__":
    end(main(), "a handler that exits ends no server")
