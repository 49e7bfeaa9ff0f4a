"""Connecting clients: a client that was admitted, or a `Refused` with the answer."""

import json
import ssl
from contextlib import AsyncExitStack
from typing import Final, Self, TypeVar

import httpx
import pytest
import websockets
from pondsocket_common import EVENT_STREAM
from websockets.asyncio.client import connect as connect_websocket
from websockets.typing import Subprotocol

from tests.integration.clients import (
    WAIT_SECONDS,
    Client,
    Message,
    SSEClient,
    Transport,
    WebSocketClient,
)

ClientT = TypeVar("ClientT", bound=Client)

# By default httpx loads all certificate authorities, which takes longer than most tests.
NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
# Well before uvicorn drops an idle connection, after 5 s: a request would meet that on its way.
LIMITS: Final = httpx.Limits(max_keepalive_connections=20, keepalive_expiry=1.0)


class Refused(Exception):  # noqa: N818 - an answer, not an error
    """The server did not admit the client."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        super().__init__(f"{status} {body!r}")
        self.status = status
        self.headers = headers
        self.body = body

    def json(self) -> Message:
        """Return the body."""
        message: Message = json.loads(self.body)
        return message


class Connector:
    """Connects clients, and drops those that the test left open, since the server may be gone.

    The cookies that servers set by answers to `http` are sent with everything, as by a browser.
    """

    def __init__(self) -> None:
        self._clients: list[Client] = []
        self.http = self._http()

    @staticmethod
    def _http() -> httpx.AsyncClient:
        return httpx.AsyncClient(
            verify=NO_TLS, trust_env=False, timeout=WAIT_SECONDS, limits=LIMITS
        )

    async def __call__(self, transport: Transport, url: str) -> Client:
        """Connect to an `http://` address and wait for the first message.

        Raises:
            Refused: The server did not admit it.
        """
        return await (self.websocket(url) if transport == "websocket" else self.sse(url))

    async def websocket(
        self, url: str, *, subprotocols: list[Subprotocol] | None = None
    ) -> WebSocketClient:
        """Connect over WebSocket."""
        try:
            connection = await connect_websocket(
                "ws" + url.removeprefix("http"),
                subprotocols=subprotocols,
                additional_headers=self._cookies(url),
                compression=None,
                proxy=None,
                max_size=None,
                max_queue=None,
                # As a browser, which sends none: keeping a connection alive is the server's task.
                ping_interval=None,
                open_timeout=WAIT_SECONDS,
                close_timeout=WAIT_SECONDS,
            )
        except websockets.InvalidStatus as refusal:
            response = refusal.response
            named = {name.lower(): value for name, value in response.headers.raw_items()}
            raise Refused(response.status_code, named, bytes(response.body or b"")) from None
        return await self._started(WebSocketClient(connection))

    async def sse(self, url: str, *, last_event_id: str = "") -> SSEClient:
        """Connect over server-sent events, or again, as browsers do: with a header."""
        # Its own, since a common one looks through all its connections at every request.
        line = self._http()
        headers = {"accept": EVENT_STREAM, **self._cookies(url)}
        if last_event_id:
            headers["last-event-id"] = last_event_id
        request = line.build_request("GET", url, headers=headers)
        request.extensions["timeout"] = {"connect": WAIT_SECONDS, "pool": WAIT_SECONDS}
        response = await line.send(request, stream=True)
        # A server that drains answers 200 with a goodbye alone.
        if response.status_code != 200 or "x-connection-id" not in response.headers:
            body = await response.aread()
            await line.aclose()
            raise Refused(response.status_code, dict(response.headers), body)
        return await self._started(SSEClient(self.http, line, response))

    def _cookies(self, url: str) -> dict[str, str]:
        cookie = self.http.build_request("GET", url).headers.get("cookie")
        return {} if cookie is None else {"cookie": cookie}

    async def _started(self, client: ClientT) -> ClientT:
        self._clients.append(client)
        await client.start()
        return client

    def forget(self, client: Client) -> None:
        """Drop a client that the test has ended: it makes more than should be kept."""
        self._clients.remove(client)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.http.aclose)
            for client in self._clients:
                stack.push_async_callback(client.abort, reset=False)
                stack.push_async_callback(client.stop)


async def expect_not_found(connect: Connector, transport: Transport, url: str) -> None:
    """Expect a 404, as an endpoint answers it, where none is."""
    with pytest.raises(Refused) as refused:
        await connect(transport, url)
    assert refused.value.status == 404
    assert refused.value.json()["code"] == 404
