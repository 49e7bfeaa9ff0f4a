"""The life of a connection: a writer that hangs, a peer that leaves, and how each is ended."""

from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import TaskGroup
from pondsocket import LeaveContext

from tests.asgi.asgi_connections import (
    KINDS,
    ASGIConnection,
    Kind,
    PondSetup,
    connection_loops,
    count_hurries,
    members,
    overrun_member,
    turns,
)

pytestmark = [pytest.mark.parametrize("kind", KINDS), pytest.mark.usefixtures("resets")]
anyio_backend = connection_loops


@pytest.fixture
def hurries(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the users whose connections the kernel was asked to end sooner."""
    return count_hurries(monkeypatch)


# --- a writer that hangs ----------------------------------------------------------------------


async def test_a_write_that_hangs_is_given_up_within_its_limit(
    kind: Kind, resets: list[str]
) -> None:
    setup = PondSetup(write_timeout=10)
    async with members(setup, kind, "ann", "bob") as (ann, bob):
        ann.stall()
        began = anyio.current_time()
        await setup.tell(1)
        await ann.ended.wait()
        assert 10 <= anyio.current_time() - began <= 13.5
        assert resets == ["ann"]
        assert ann.sending == 0
        assert not ann.is_closed
        assert await setup.users() == 1
        await setup.tell(2)
        await turns()
        assert bob.numbers() == [1, 2]


async def test_one_frame_that_hangs_is_enough(kind: Kind) -> None:
    setup = PondSetup(write_timeout=10)
    left = anyio.Event()

    @setup.lobby.on_leave
    async def leave(ctx: LeaveContext) -> None:
        left.set()

    async with members(setup, kind, "ann") as (ann,):
        ann.stall()
        await setup.tell(1)
        await anyio.sleep(9)
        assert await setup.users() == 1
        await left.wait()
        ann.resume()
        await ann.ended.wait()
        assert ann.numbers() == [1]
        assert ann.goodbyes() == [4408]
        assert ann.is_closed


async def test_one_that_takes_a_little_now_and_then_is_not_slow(kind: Kind) -> None:
    setup = PondSetup(write_timeout=10)
    async with members(setup, kind, "ann") as (ann,):
        for number in range(5):
            ann.stall()
            await setup.tell(number)
            await anyio.sleep(8)
            ann.resume()
            await turns()
        assert ann.numbers() == [0, 1, 2, 3, 4]
        assert await setup.users() == 1


async def test_an_accept_that_hangs_is_given_up_too(kind: Kind, resets: list[str]) -> None:
    setup = PondSetup(write_timeout=10)
    connection = ASGIConnection(setup, kind)
    connection.stall()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(connection.run)
        began = anyio.current_time()
        await connection.ended.wait()
        assert anyio.current_time() - began <= 13.5
    assert resets == ["ann"]
    assert connection.sent == []
    assert await setup.endpoint.connection_count() == 0


async def test_the_goodbye_is_written_where_the_send_goes_on_in_time(
    kind: Kind, resets: list[str]
) -> None:
    async with overrun_member(kind) as (setup, ann):
        assert await setup.users() == 0
        await anyio.sleep(0.9)
        ann.resume()
        await ann.ended.wait()
        assert ann.numbers() == [0]
        assert ann.goodbyes() == [4408]
        assert ann.is_closed
    assert resets == []


async def test_the_socket_is_reset_before_the_writer_is_cancelled(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On one server the cancel of a send that hangs does not return before that."""
    setup = PondSetup(outbox_frames=4)
    sending: list[int] = []

    async with members(setup, kind, "ann") as (ann,):

        async def reset_connection(scope: Any) -> bool:
            sending.append(ann.sending)
            await turns()
            sending.append(ann.sending)
            ann.fail()  # the socket is gone: the send returns by itself
            await turns()
            sending.append(ann.sending)
            return True

        monkeypatch.setattr(
            "pondsocket_asgi._transport.peer_socket.reset_connection", reset_connection
        )
        ann.stall()
        await setup.tell(0)
        await turns()
        began = anyio.current_time()
        await setup.tell(*range(1, 6))
        await ann.ended.wait()
        assert sending == [1, 1, 0]
        assert 0.9 <= anyio.current_time() - began <= 1.5


async def test_a_close_that_hangs_is_given_up(kind: Kind, resets: list[str]) -> None:
    setup = PondSetup()
    async with members(setup, kind, "ann") as (ann,):
        ann.stall()
        began = anyio.current_time()
        await setup.pond.disconnect(user_id="ann")
        await ann.ended.wait()
        assert anyio.current_time() - began <= 6
        assert resets == ["ann"]


async def test_what_was_queued_is_written_before_the_goodbye(kind: Kind) -> None:
    setup = PondSetup()
    async with members(setup, kind, "ann") as (ann,):
        await setup.tell(*range(50))
        await setup.pond.disconnect(user_id="ann")
        await ann.ended.wait()
        assert ann.numbers() == list(range(50))
        assert ann.events()[-1] == "GOODBYE"
        assert ann.goodbyes() == [4403]
        assert ann.is_closed


async def test_a_peer_that_leaves_while_the_goodbye_is_written_is_no_error(kind: Kind) -> None:
    setup = PondSetup()
    async with members(setup, kind, "ann") as (ann,):
        ann.stall()
        await setup.pond.disconnect(user_id="ann")
        await turns()
        assert ann.sending == 1
        ann.leave()
        ann.fail()
        began = anyio.current_time()
        await ann.ended.wait()
        assert anyio.current_time() - began < 0.1
        assert ann.error is None


async def test_a_peer_that_leaves_while_it_is_written_to_ends_at_once(kind: Kind) -> None:
    setup = PondSetup()
    async with members(setup, kind, "ann") as (ann,):
        ann.stall()
        await setup.tell(*range(10))
        await turns()
        ann.leave()
        ann.fail()
        began = anyio.current_time()
        await ann.ended.wait()
        assert anyio.current_time() - began < 0.1


async def test_a_peer_that_leaves_while_its_send_hangs_for_ever_is_given_up(
    kind: Kind, resets: list[str]
) -> None:
    setup = PondSetup()
    async with members(setup, kind, "ann") as (ann,):
        ann.stall()
        await setup.tell(1)
        await turns()
        ann.leave()
        began = anyio.current_time()
        await ann.ended.wait()
        assert anyio.current_time() - began <= 6
        assert resets == ["ann"]


async def hang(tasks: TaskGroup, connection: ASGIConnection) -> None:
    """Serve a connection that joins, and whose next write hangs."""
    tasks.start_soon(connection.run)
    await turns()
    await connection.join()
    connection.stall()
    await connection.setup.tell(1)


async def test_a_socket_that_others_share_is_not_reset(kind: Kind, resets: list[str]) -> None:
    """With HTTP/2 a socket carries other requests, behind some proxies those of other peers."""
    setup = PondSetup(write_timeout=10)
    ann = ASGIConnection(setup, kind, http_version="2")
    async with anyio.create_task_group() as tasks:
        await hang(tasks, ann)
        began = anyio.current_time()
        await ann.ended.wait()
        assert 10 <= anyio.current_time() - began <= 13
        assert ann.sending == 0
    assert resets == []


async def test_it_is_reset_after_all_where_the_writer_does_not_let_itself_be_cancelled(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = PondSetup()
    ann = ASGIConnection(setup, kind, http_version="2")
    asked = anyio.Event()

    async def reset_connection(scope: Any) -> bool:
        asked.set()
        return True

    async def stubborn(message: Any) -> None:
        await anyio.lowlevel.checkpoint()  # the first step may be another task's
        with anyio.CancelScope(shield=True):
            await asked.wait()

    monkeypatch.setattr("pondsocket_asgi._transport.peer_socket.reset_connection", reset_connection)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ann.run)
        await turns()
        await ann.join()
        ann.send_with(stubborn)
        await setup.tell(1)
        began = anyio.current_time()
        await setup.pond.disconnect(user_id="ann")
        await ann.ended.wait()
        assert 6 <= anyio.current_time() - began < 6.5


class Transport:
    """The part of a server's transport that the adapter looks for."""

    def __init__(self, connection: ASGIConnection) -> None:
        self.asked: list[str] = []
        self._connection = connection

    def get_extra_info(self, name: str) -> None:
        self.asked.append(name)

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        self.asked.append("abort")
        self._connection.fail()


async def test_the_servers_own_transport_is_asked_before_all_sockets_are_looked_through(
    kind: Kind, resets: list[str], hurries: list[str]
) -> None:
    """The addresses of a scope may be what a client made a proxy say."""
    ann = ASGIConnection(PondSetup(write_timeout=10), kind)
    ann.transport = transport = Transport(ann)
    async with anyio.create_task_group() as tasks:
        await hang(tasks, ann)
        await ann.ended.wait()
    assert transport.asked == ["socket", "socket", "abort"]
    assert resets == hurries == []


async def test_who_is_given_up_is_hurried_unless_others_share_the_socket(
    kind: Kind, hurries: list[str]
) -> None:
    setup = PondSetup(write_timeout=10)
    connections = [
        ASGIConnection(setup, kind, "ann"),
        ASGIConnection(setup, kind, "bob", http_version="2"),
    ]
    for connection in connections:
        async with anyio.create_task_group() as tasks:
            await hang(tasks, connection)
            await connection.ended.wait()
    assert hurries == ["ann"]
