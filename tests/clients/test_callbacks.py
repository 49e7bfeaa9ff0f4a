"""What the application calls from within its own functions: close() there is final."""

from collections.abc import Callable
from typing import Any, Literal

import anyio
import pytest
from anyio.abc import TaskGroup
from pondsocket_asgi.client import (
    ChannelState,
    Gap,
    Message,
    PondClientError,
    State,
    Status,
    TokenReason,
)
from pondsocket_asgi.client._machine.errors import Ended, Refused
from pondsocket_asgi.client._transports import Received

from tests.clients.fakes import ScenarioClient
from tests.virtual_time import jumping_loops

anyio_backend = jumping_loops

TransportName = Literal["websocket", "sse"]
CONNECTION = '"requestId":"r","payload":{"id":"ann","connectionId":"secret"}'
CONNECT = f'{{"action":"CONNECT","event":"CONNECTION","channelName":"GATEWAY",{CONNECTION}}}'


@pytest.fixture(params=["websocket", "sse"])
def transport(request: pytest.FixtureRequest) -> TransportName:
    name: TransportName = request.param
    return name


async def settle() -> None:
    for _ in range(60):
        await anyio.lowlevel.checkpoint()


async def opened(client: ScenarioClient) -> None:
    """Let the server open the latest attempt."""
    await settle()
    client.transports.links[-1].say(None)
    client.transports.links[-1].say([Received(CONNECT)])
    await settle()


async def acknowledged(client: ScenarioClient, *messages: str) -> None:
    """Let the server answer the latest join, and say more at once."""
    await settle()
    link = client.transports.links[-1]
    name, request_id = link.sent[-1]["channelName"], link.sent[-1]["requestId"]
    ours = f'"channelName":"{name}","requestId":"{request_id}","payload":{{}}'
    answer = f'{{"action":"SYSTEM","event":"ACKNOWLEDGE",{ours}}}'
    events = [f'{{"action":"BROADCAST","event":"{each}",{ours}}}' for each in messages]
    link.say([Received(text) for text in (answer, *events)])
    await settle()


async def say_in_the_room(client: ScenarioClient) -> None:
    ours = '"channelName":"/chat/1","requestId":"r","payload":{}'
    client.transports.links[-1].say([Received(f'{{"action":"BROADCAST","event":"said",{ours}}}')])


async def joined(client: ScenarioClient, tasks: TaskGroup, *messages: str) -> None:
    await opened(client)
    tasks.start_soon(client.join, "/chat/1")
    await acknowledged(client, *messages)


async def is_closed(client: ScenarioClient) -> None:
    """Expect that nothing comes back, not even later."""
    await settle()
    attempts = len(client.transports.links)
    await anyio.sleep(600)
    assert len(client.transports.links) == attempts
    assert client.status.state is State.STOPPED
    assert not client.transports.open_links
    assert client.machine.wake_at is None
    assert not client.machine.effects


def closing_at(
    wanted: State, tasks: TaskGroup, clients: list[ScenarioClient], seen: list[State]
) -> Callable[[Status], None]:
    """Return a function for `on_status` that lets a task close the client at a status."""

    def on_status(status: Status) -> None:
        seen.append(status.state)
        if status.state is wanted:
            tasks.start_soon(clients[0].close)

    return on_status


@pytest.mark.parametrize("wanted", [State.CONNECTING, State.OPEN, State.WAITING])
async def test_close_at_a_status_is_final(transport: TransportName, wanted: State) -> None:
    seen: list[State] = []
    clients: list[ScenarioClient] = []
    async with anyio.create_task_group() as tasks:
        on_status = closing_at(wanted, tasks, clients, seen)
        clients.append(ScenarioClient(0.5, transports=[transport], on_status=on_status))
        async with clients[0] as ann:
            if wanted is not State.CONNECTING:
                await opened(ann)
            if wanted is State.WAITING:
                tasks.start_soon(ann.join, "/chat/1")
                await acknowledged(ann)
                ann.transports.links[-1].say(Ended(1006))
            await is_closed(ann)
            assert seen[-2:] == [wanted, State.STOPPED]
            with pytest.raises(PondClientError, match="CLOSED"):
                await ann.join("/chat/1")


@pytest.mark.parametrize("function", ["token", "params"])
@pytest.mark.parametrize("attempt", [1, 2])
async def test_close_where_an_attempt_begins_is_final(
    transport: TransportName, function: str, attempt: int
) -> None:
    calls: list[object] = []

    async def closes(*reason: TokenReason) -> Any:
        calls.append(reason)
        if len(calls) == attempt:
            await ann.close()
            raise AssertionError("the attempt goes on")
        return {} if function == "params" else "token"

    async with ScenarioClient(0.5, transports=[transport], **{function: closes}) as ann:
        await settle()
        if attempt == 2:
            # Another token is asked for after a refusal, the params for each attempt.
            ends = {"token": Refused(401, "the token is old"), "params": Ended(1006)}
            ann.transports.links[-1].say(ends[function])
            await anyio.sleep(5)
        await is_closed(ann)
    assert (len(calls), len(ann.transports.links)) == (attempt, attempt - 1)


async def test_close_in_a_loop_over_a_room_is_final(transport: TransportName) -> None:
    heard: list[object] = []

    async def read() -> None:
        async for event in ann.room("/chat/1"):
            heard.append(event)
            await ann.close()

    async with (
        anyio.create_task_group() as tasks,
        ScenarioClient(0.5, transports=[transport]) as ann,
    ):
        await joined(ann, tasks, "said", "said")
        room = ann.room("/chat/1")
        tasks.start_soon(read)
        await is_closed(ann)
        # What had come before is still read, and then the loop ends.
        assert len(heard) == 2
        assert room.state is ChannelState.LEFT


async def test_close_and_connect_from_a_status_connect_once(transport: TransportName) -> None:
    async def begin_anew() -> None:
        await ann.close()
        ann.connect()

    def on_status(status: Status) -> None:
        if status.state is State.WAITING:
            tasks.start_soon(begin_anew)

    async with (
        anyio.create_task_group() as tasks,
        ScenarioClient(0.5, transports=[transport], on_status=on_status) as ann,
    ):
        await joined(ann, tasks)
        ann.transports.links[-1].say(Ended(1006))
        await opened(ann)
        await acknowledged(ann)
        await anyio.sleep(5)
        with anyio.fail_after(5):
            tasks.start_soon(say_in_the_room, ann)
            assert await ann.room("/chat/1").receive() == Gap("/chat/1")
            assert isinstance(await ann.room("/chat/1").receive(), Message)
        assert len(ann.transports.links) == 2
        assert len(ann.transports.open_links) == 1
        assert ann.status.state is State.OPEN
        assert ann.room("/chat/1").state is ChannelState.JOINED


async def test_connect_in_a_status_connects_again_after_a_refusal(
    transport: TransportName,
) -> None:
    def on_status(status: Status) -> None:
        if status.state is State.STOPPED:
            if status.code != 403:
                return  # the end of the block
            tries.append(status.reason)
        ann.connect()

    tries: list[str] = []
    async with ScenarioClient(0.5, transports=[transport], on_status=on_status) as ann:
        for _ in range(2):
            await settle()
            ann.transports.links[-1].say(Refused(403, "not yet"))
        await opened(ann)
        assert (tries, len(ann.transports.links)) == (["not yet", "not yet"], 3)
        assert ann.status.state is State.OPEN
        await ann.wait_open()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ann.join, "/chat/1")
            await acknowledged(ann)
            assert ann.room("/chat/1").state is ChannelState.JOINED
