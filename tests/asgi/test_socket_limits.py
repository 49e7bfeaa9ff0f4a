"""The kernel's limit on how long a peer may acknowledge nothing, on real sockets."""

import logging
import socket
import sys
from pathlib import Path

import pytest
from pondsocket_asgi import _app
from pondsocket_asgi._process.servers import (
    abort_transport,
    find_transport,
    hurry_transport,
    is_behind,
)
from pondsocket_asgi._process.sockets import hurry_connection, limit_unacknowledged

from tests.asgi.conftest import MakePond
from tests.asgi.socket_pairs import PATIENCE, Connect, fill, read_to_the_end, user_timeout

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="other systems do not list a process's own descriptors"
)


async def test_the_limit_reaches_listeners_and_what_they_accept_and_nothing_else(
    connect: Connect,
) -> None:
    before = connect()
    assert await limit_unacknowledged(12.5)
    with (
        socket.create_connection(before.listener.getsockname(), PATIENCE) as client,
        before.listener.accept()[0] as later,
    ):
        assert user_timeout(later) == 12_500
        assert user_timeout(client) == 0
    assert user_timeout(before.listener) == 12_500
    assert user_timeout(before.accepted) == 12_500
    assert user_timeout(before.client) == 0


async def test_a_stricter_limit_stays(connect: Connect) -> None:
    pair = connect()
    await limit_unacknowledged(10)
    await limit_unacknowledged(20)
    assert user_timeout(pair.accepted) == 10_000
    await limit_unacknowledged(5)
    assert user_timeout(pair.accepted) == 5_000
    await limit_unacknowledged(0.0001)
    assert user_timeout(pair.accepted) == 1


async def test_a_process_that_listens_on_no_tcp_socket_is_told(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "pond.sock"))
        listener.listen()
        with caplog.at_level(logging.WARNING, "pondsocket.asgi"):
            assert not await limit_unacknowledged(30)
    (record,) = caplog.records
    assert "Options.tcp_user_timeout has no effect" in record.getMessage()
    assert "listens on no TCP socket" in record.getMessage()


async def test_other_systems_are_told_that_the_limit_is_not_theirs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, connect: Connect
) -> None:
    pair = connect()
    monkeypatch.setattr(sys, "platform", "darwin")
    with caplog.at_level(logging.WARNING, "pondsocket.asgi"):
        assert not await limit_unacknowledged(30)
    monkeypatch.undo()
    (record,) = caplog.records
    assert "an option of Linux alone" in record.getMessage()
    assert user_timeout(pair.listener) == 0


async def test_the_first_request_of_an_app_sets_the_limit(
    make_pond: MakePond, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = connect().listener
    set_to = []

    async def limit(seconds: float) -> bool:
        set_to.append(seconds)
        return await limit_unacknowledged(seconds)

    monkeypatch.setattr(_app, "limit_unacknowledged", limit)
    pond = make_pond(tcp_user_timeout=20)
    await pond.driver.call_http("/nowhere")
    await pond.driver.call_http("/nowhere")
    assert set_to == [20]
    assert user_timeout(listener) == 20_000


async def test_nothing_is_set_unless_asked_for(make_pond: MakePond, connect: Connect) -> None:
    listener = connect().listener
    await make_pond().driver.call_http("/nowhere")
    assert user_timeout(listener) == 0


async def test_a_peer_that_is_hurried_is_dropped_by_the_kernel_if_it_takes_nothing(
    connect: Connect,
) -> None:
    given_up, other = connect(), connect()
    assert await hurry_connection(given_up.scope())
    assert user_timeout(given_up.accepted) == 5_000
    assert user_timeout(given_up.listener) == 0
    assert user_timeout(other.accepted) == 0
    # It may still read, and be served.
    assert given_up.is_open()
    assert not await hurry_connection(given_up.scope(client=("192.0.2.7", 0)))


class Protocol:
    """The part of a server's protocol that is looked for: a `transport`, and a `receive` of it."""

    def __init__(self, transport: object) -> None:
        self.transport = transport

    async def receive(self) -> None: ...


class Transport:
    """The part of a transport that is looked for."""

    def __init__(self, sock: socket.socket | None) -> None:
        self._socket = sock

    def get_extra_info(self, name: str) -> socket.socket | None:
        return self._socket if name == "socket" else None

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self._socket is None

    def abort(self) -> None:
        if self._socket is not None:
            self._socket.close()


def test_the_servers_own_transport_is_used_where_it_is_known(connect: Connect) -> None:
    pair = connect()
    transport = find_transport(Protocol(Transport(pair.accepted)).receive)
    hurry_transport(transport)
    assert user_timeout(pair.accepted) == 5_000
    fill(pair.accepted)
    abort_transport(transport)
    with pytest.raises(ConnectionResetError):
        read_to_the_end(pair.client)


class Torn(Transport):
    """asyncio's transport for TLS, when it was closed twice."""

    def get_extra_info(self, name: str) -> socket.socket | None:
        raise AttributeError(name)

    def get_write_buffer_size(self) -> int:
        raise AttributeError


def test_a_transport_that_has_ended_is_no_reason_to_look_elsewhere(connect: Connect) -> None:
    """A socket with the same addresses in another namespace is another connection."""
    pair = connect()
    pair.accepted.close()
    for ended in (Transport(pair.accepted), Transport(None), Torn(None)):
        transport = find_transport(Protocol(ended).receive)
        assert transport is ended
        hurry_transport(transport)
        assert not is_behind(transport)
        abort_transport(transport)


def test_a_server_whose_transport_is_not_known_is_left_alone() -> None:
    async def function() -> None: ...

    for receive in (function, Protocol(None).receive, Protocol(object()).receive):
        assert find_transport(receive) is None
