"""What members show has a bound: an object, and the list that all members get at every change.

60 members show 60 KB each, one after another. What the server sends must be no more than 200 times
what it was sent: it is 60 times as much where each object goes to each member once.

`python -m tests.faults.presence_without_a_bound`
"""

import json
import sys
import threading
import time
from contextlib import ExitStack

from pondsocket import ConnectionContext, EventContext, JoinContext, PondSocket
from pondsocket_asgi import PondASGIApp

from tests.servers import FAST_LANE, Server

MEMBERS = 60
SIZE = 60_000

pond = PondSocket()


@pond.endpoint("/socket")
async def endpoint(ctx: ConnectionContext) -> None:
    ctx.accept()


@endpoint.channel("/chat/:room")
async def chat(ctx: JoinContext) -> None:
    await ctx.accept()


@chat.on_message("track")
async def track(ctx: EventContext) -> None:
    await ctx.track(ctx.get_payload())


app = PondASGIApp(pond)


def message(action: str, event: str, payload: object) -> str:
    """Return a message of a client."""
    names = {"action": action, "event": event, "channelName": "/chat/1", "requestId": "1"}
    return json.dumps({**names, "payload": payload})


def main() -> int:
    try:
        from websockets.exceptions import ConnectionClosed
        from websockets.sync.client import ClientConnection, connect
    except ImportError:
        print("skip websockets is not installed")
        return 0
    got = 0
    codes: set[int] = set()

    def read(client: ClientConnection) -> None:
        nonlocal got
        try:
            while True:
                text = client.recv()
                got += len(text)
                if len(text) < 1_000:
                    codes.add(json.loads(text)["payload"].get("code", 0))
        except (ConnectionClosed, EOFError):
            pass

    options = (*FAST_LANE, "--ws-max-size", "65536", "--log-level", "critical")
    with (
        Server("tests.faults.presence_without_a_bound:app", *options) as server,
        ExitStack() as stack,
    ):
        clients: list[ClientConnection] = []
        for _ in range(MEMBERS):
            client = connect(f"{server.ws_url}/socket", compression=None, max_size=None)
            clients.append(stack.enter_context(client))
            client.send(message("JOIN_CHANNEL", "join", {}))
            threading.Thread(target=read, args=(client,), daemon=True).start()
        for client in clients:
            try:
                client.send(message("BROADCAST", "track", {"x": "y" * SIZE}))
            except ConnectionClosed:
                break  # a list was larger than its outbox
            time.sleep(0.02)
        time.sleep(2)
    times = got / (MEMBERS * SIZE)
    is_bounded = times <= 200 and 413 in codes
    verdict = "ok" if is_bounded else "FAIL"
    print(f"{verdict} was sent {times:.1f} times what it sent; codes of answers: {sorted(codes)}")
    return 0 if is_bounded else 1


if __name__ == "__main__":
    sys.exit(main())
