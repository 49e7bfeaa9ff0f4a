"""The client in Python against real servers, over both transports, on asyncio and trio."""

from typing import Any, Literal

import anyio
import pytest
from pondsocket_asgi.client import Client, Gap, Message, PondClientError, State, SyncClient

from tests.clients.python_app import Said, Say
from tests.servers import FAST_LANE, Serve, Server

pytestmark = pytest.mark.integration

APP = "tests.clients.python_app:app"


@pytest.fixture(params=["websocket", "sse"])
def transport(request: pytest.FixtureRequest) -> Literal["websocket", "sse"]:
    name: Literal["websocket", "sse"] = request.param
    return name


@pytest.fixture
def server(serve: Serve) -> Server:
    return serve(APP, "--log-level", "warning", *FAST_LANE)


async def test_all_of_it(server: Server, transport: Literal["websocket", "sse"]) -> None:
    url = f"{server.http_url}/socket"
    need = {"need": "t0ken=="}
    async with Client(url, transports=[transport], token="t0ken==", params=need) as ann:
        room = await ann.join("/chat/1", {"nick": "Ann"}, presence=True)
        assert await room.call("say", Say(text="é" * 100), returns=Said) == Said(id=100)
        await room.call("burst", {"count": 200})
        numbers: list[Any] = []
        async for event in room:
            if isinstance(event, Message) and "n" in event.payload:
                numbers.append(event.payload["n"])
                if len(numbers) == 200:
                    break
        assert numbers == [*range(200)]
        assert ann.status.transport == transport


async def test_the_reason_of_a_refusal_is_read(
    server: Server, transport: Literal["websocket", "sse"]
) -> None:
    url = f"{server.http_url}/socket"
    async with Client(url, transports=[transport], params={"user": "stranger"}) as ann:
        with pytest.raises(PondClientError, match="You are not welcome") as refused:
            await ann.wait_open()
        assert refused.value.code == 403
    async with Client(f"{server.http_url}/nothing", transports=[transport]) as ann:
        with pytest.raises(PondClientError) as unknown:
            await ann.wait_open()
        assert unknown.value.code == 404


async def test_a_restart_is_survived(
    server: Server, transport: Literal["websocket", "sse"]
) -> None:
    states: list[State] = []
    async with Client(
        f"{server.http_url}/socket",
        transports=[transport],
        on_status=lambda status: states.append(status.state),
    ) as ann:
        room = await ann.join("/chat/1")
        await room.call("say", {"text": "one"})
        await anyio.to_thread.run_sync(server.stop)
        await anyio.to_thread.run_sync(server.start)
        assert await room.call("say", {"text": "two"}, timeout=20) == {"id": 3}
        said, gap, again = [await room.receive() for _ in range(3)]
        assert isinstance(said, Message)
        # The history was in the process.
        assert gap == Gap("/chat/1")
        assert isinstance(again, Message)
    assert states[:2] == [State.CONNECTING, State.OPEN]
    assert State.LEAVING in states


def test_the_blocking_form(server: Server, transport: Literal["websocket", "sse"]) -> None:
    with SyncClient(f"{server.http_url}/socket", transports=[transport]) as ann:
        assert ann.call("add_numbers", {"a": 1, "b": 2}) == {"sum": 3}
