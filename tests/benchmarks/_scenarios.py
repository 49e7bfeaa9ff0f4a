"""What is measured: each scenario is one function that plays, checks, and counts.

It returns how many operations the server has carried out, every one of which it has seen.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from tests.benchmarks._client import Client, Crowd, client_frame

# With the token before it and the object around it, a payload of about 100 bytes.
_FILLING: Final = "x" * 76

_tokens = iter(range(10**8))


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Something that clients do, over and over.

    Args:
        operation: What the server's time is divided by.
        clients: How many connections there are, all in one channel.
        repeats: How often `play` does it in one round.
    """

    title: str
    operation: str
    clients: int
    repeats: int
    play: Callable[[Crowd, int], Awaitable[int]]


def say(action: str, event: str, token: str) -> bytes:
    """A client's message; what answers it carries the token."""
    envelope = {
        "action": action,
        "event": event,
        "channelName": "/room/1",
        "requestId": token,
        "payload": {"text": f"{token}{_FILLING}"} if action == "BROADCAST" else {},
    }
    return client_frame(json.dumps(envelope, separators=(",", ":")).encode())


def fresh_token() -> str:
    """A word that no earlier message held; always of the same length."""
    return f"<{next(_tokens):08}>"


async def join(crowd: Crowd) -> None:
    """Have every client join the channel."""
    waiting = set(crowd.clients)

    def on_text(client: Client, text: bytes) -> None:
        if b'"ACKNOWLEDGE"' in text:
            waiting.discard(client)
            if not waiting:
                crowd.finish()

    crowd.listen(on_text)
    for client in crowd.clients:
        client.send(say("JOIN_CHANNEL", "join", fresh_token()))
    await crowd.finished()


async def fan_out(crowd: Crowd, repeats: int) -> int:
    """One member speaks; the next message follows when everybody has heard this one, once."""
    token = b""
    waiting: set[Client] = set()

    def on_text(client: Client, text: bytes) -> None:
        if token not in text or client not in waiting:
            crowd.fail(f"a member heard something else, or something twice: {text!r}")
            return
        waiting.remove(client)
        if not waiting:
            crowd.finish()

    crowd.listen(on_text)
    for _ in range(repeats):
        word = fresh_token()
        token = word.encode()
        waiting.update(crowd.clients)
        crowd.clients[0].send(say("BROADCAST", "say", word))
        await crowd.finished()
    return repeats * len(crowd.clients)


async def echo(crowd: Crowd, repeats: int) -> int:
    """Every client asks, and asks again as soon as it has its own answer."""
    asked: dict[Client, bytes] = {}
    left = dict.fromkeys(crowd.clients, repeats)

    def ask(client: Client) -> None:
        word = fresh_token()
        asked[client] = word.encode()
        client.send(say("BROADCAST", "echo", word))

    def on_text(client: Client, text: bytes) -> None:
        if text.count(asked[client]) != 2:  # the request's id, and in the payload
            crowd.fail(f"a client had another answer than its own: {text!r}")
            return
        left[client] -= 1
        if left[client]:
            ask(client)
            return
        del left[client]
        if not left:
            crowd.finish()

    crowd.listen(on_text)
    for client in crowd.clients:
        ask(client)
    await crowd.finished()
    return repeats * len(crowd.clients)
