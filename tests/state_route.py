"""What the apps of test servers share: ASGI's types, and the answer of a route `/state`."""

import gc
import json
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


def count_objects() -> Counter[str]:
    """How many objects of PondSocket's classes the garbage collector knows, by their class."""
    gc.collect()
    return Counter(
        type(thing).__name__
        for thing in gc.get_objects()
        if str(type(thing).__module__).startswith(("pondsocket.", "pondsocket_asgi."))
    )


async def send_json(send: Send, value: object) -> None:
    """Answer a request with a value, and close its connection."""
    body = json.dumps(value).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
