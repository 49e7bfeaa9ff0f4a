"""The chat on one of several workers, with a short lease; it prints which requests it gets."""

import os
from typing import Final
from urllib.parse import parse_qs

from pondsocket.backplane.redis import RedisBackplane

from examples.chat import HISTORY, Message, Receive, Send, create_app

# Longer than a page takes to come back.
LEASE_SECONDS: Final = 5.0

chat = create_app(
    HISTORY,
    RedisBackplane(
        os.environ.get("CHAT_REDIS", "redis://127.0.0.1"), lease=LEASE_SECONDS, silence=2.0
    ),
)


async def app(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] in ("http", "websocket"):
        name = parse_qs(scope["query_string"].decode()).get("name", ["?"])[0]
        print(scope.get("method", "websocket"), scope["path"], name, flush=True)
    await chat(scope, receive, send)
