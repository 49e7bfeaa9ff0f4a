"""Histories of one pattern have a bound together, however many channels a client makes.

One client after another connects, joins channels of new names, fills each history and leaves. What
stays behind must not grow with the time that this goes on: 10 MB a second or less, in 10 seconds.

`python -m tests.faults.history_fills_memory`
"""

import json
import secrets
import sys
import threading
import time
from pathlib import Path

from pondsocket import ConnectionContext, EventContext, History, JoinContext, PondSocket
from pondsocket_asgi import PondASGIApp

from tests.servers import Server

SECONDS = 10
# 17 messages fill a channel's 1 MiB, and 500 may come at once.
CHANNELS, MESSAGES = 29, 17

pond = PondSocket()


@pond.endpoint("/socket")
async def endpoint(ctx: ConnectionContext) -> None:
    ctx.accept()


@endpoint.channel("/kept/:room", history=History())
async def kept(ctx: JoinContext) -> None:
    await ctx.accept()


@kept.on_message("say")
async def say(ctx: EventContext) -> None:
    await ctx.broadcast("said", ctx.get_payload())


app = PondASGIApp(pond)


def message(action: str, name: str, event: str, payload: object) -> str:
    """Return a message of a client."""
    return json.dumps(
        {
            "action": action,
            "event": event,
            "channelName": name,
            "requestId": "1",
            "payload": payload,
        }
    )


def resident(pid: int) -> float:
    """Return the memory of a process, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def main() -> int:
    try:
        from websockets.exceptions import ConnectionClosed
        from websockets.sync.client import ClientConnection, connect
    except ImportError:
        print("skip websockets is not installed")
        return 0

    def read(client: ClientConnection) -> None:
        try:
            while True:
                client.recv()
        except (ConnectionClosed, EOFError):
            pass

    options = ("--ws", "websockets-sansio", "--log-level", "critical")
    with Server("tests.faults.history_fills_memory:app", *options) as server:
        before, began, clients = resident(server.pid), time.monotonic(), 0
        while time.monotonic() < began + SECONDS and resident(server.pid) < before + 800:
            clients += 1
            with connect(f"{server.ws_url}/socket", compression=None, max_size=None) as client:
                threading.Thread(target=read, args=(client,), daemon=True).start()
                try:
                    for _ in range(CHANNELS):
                        name = f"/kept/{secrets.token_hex(6)}"
                        client.send(message("JOIN_CHANNEL", name, "join", {}))
                        text = message("BROADCAST", name, "say", {"text": "x" * 65_000})
                        for _ in range(MESSAGES):
                            client.send(text)
                            time.sleep(0.0003)
                except ConnectionClosed:
                    pass
        seconds = time.monotonic() - began
        time.sleep(2)  # connections end, and what was on its way is handled
        left = resident(server.pid) - before
    is_bounded = left / seconds <= 10
    verdict = "ok" if is_bounded else "FAIL"
    print(f"{verdict} {clients} clients, one after another, left {left:.0f} MB in {seconds:.0f} s")
    return 0 if is_bounded else 1


if __name__ == "__main__":
    sys.exit(main())
