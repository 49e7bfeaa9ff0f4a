"""Resets of real connections on the loopback, found through their descriptors."""

import logging
import os
import socket
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import RunVar
from pondsocket_asgi._process import sockets
from pondsocket_asgi._process.sockets import hurry_connection, reset_connection
from pondsocket_asgi._scope import Scope

from tests.asgi.socket_pairs import PATIENCE, Connect, fill, read_to_the_end

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="other systems do not list a process's own descriptors"
)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_reset_ends_exactly_the_connection_of_the_scope(connect: Connect) -> None:
    stalled, other = connect(), connect()
    fill(stalled.accepted)
    before = open_descriptors()
    assert await reset_connection(stalled.scope())
    # The server's loop notices: its read ends and its write fails.
    assert stalled.accepted.recv(1) == b""
    with pytest.raises(BrokenPipeError):
        stalled.accepted.send(b"x")
    stalled.accepted.close()
    # Closed with megabytes unread on the way, and yet at once: a reset.
    with pytest.raises(ConnectionResetError):
        read_to_the_end(stalled.client)
    assert other.is_open()
    assert open_descriptors() == before - 1


@pytest.mark.parametrize("port", [int, str])
async def test_a_port_may_be_a_number_or_text(connect: Connect, port: type) -> None:
    pair = connect()
    ends = {
        name: (host, port(number))
        for name, (host, number) in {
            "client": pair.accepted.getpeername(),
            "server": pair.accepted.getsockname(),
        }.items()
    }
    assert await reset_connection(pair.scope(**ends))
    assert not pair.is_open()


async def test_a_connection_over_ipv6_is_found(connect: Connect) -> None:
    pair = connect("::1")
    assert await reset_connection(pair.scope())
    assert not pair.is_open()


@pytest.mark.parametrize("shown", ["::ffff:127.0.0.1", "127.0.0.1"])
async def test_an_ipv4_peer_of_a_listener_for_both_families_is_found(
    connect: Connect, shown: str
) -> None:
    pair = connect("127.0.0.1", "::", dual=True)
    _, peer_port, *_ = pair.accepted.getpeername()
    _, own_port, *_ = pair.accepted.getsockname()
    assert await reset_connection(pair.scope(client=(shown, peer_port), server=(shown, own_port)))
    assert not pair.is_open()


@pytest.mark.parametrize("said", ["127.0.0.1", "0.0.0.0"])  # noqa: S104 - what servers say
async def test_a_connection_to_a_listener_on_every_address_is_found(
    connect: Connect, said: str
) -> None:
    pair = connect("127.0.0.1", "0.0.0.0")  # noqa: S104 - what is tested
    port = pair.accepted.getsockname()[1]
    assert await reset_connection(pair.scope(server=(said, port)))
    assert not pair.is_open()


async def test_nothing_is_reset_where_an_address_is_not_the_connections_own(
    connect: Connect,
) -> None:
    pair, other = connect(), connect()
    host, port = pair.accepted.getpeername()
    strangers: list[dict[str, object]] = [
        {"client": None},
        {"server": None},
        {"client": ("", 0)},
        # A proxy's header put the browser's address here, with no port or its own.
        {"client": ("192.0.2.7", 0)},
        {"client": ("192.0.2.7", port)},
        {"client": (host, 0)},
        {"client": ("client.example", port)},
        {"server": other.accepted.getsockname()},
        {"server": ("127.0.0.2", pair.accepted.getsockname()[1])},
        {"server": ("/run/pond.sock", None)},
        # The client's end is a descriptor of this process too.
        {"client": pair.accepted.getsockname(), "server": other.accepted.getpeername()},
    ]
    for stranger in strangers:
        assert not await reset_connection(pair.scope(**stranger)), stranger
    assert pair.is_open()
    assert other.is_open()


async def test_two_descriptors_of_one_connection_are_one_connection(connect: Connect) -> None:
    pair = connect()
    with pair.accepted.dup():
        assert await reset_connection(pair.scope())
    assert not pair.is_open()


async def test_nothing_is_reset_where_two_connections_fit(connect: Connect) -> None:
    # One client, one port of its own, and two addresses of a server that does not tell them apart.
    pair = connect("127.0.0.1", "0.0.0.0")  # noqa: S104 - what is tested
    with socket.socket() as second:
        second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        second.settimeout(PATIENCE)
        with socket.socket() as first:
            first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            first.settimeout(PATIENCE)
            first.bind(("127.0.0.1", 0))
            second.bind(first.getsockname())
            port = pair.listener.getsockname()[1]
            first.connect(("127.0.0.1", port))
            second.connect(("127.0.0.2", port))
            with pair.listener.accept()[0], pair.listener.accept()[0]:
                scope = pair.scope(client=first.getsockname(), server=("0.0.0.0", port))  # noqa: S104
                assert not await reset_connection(scope)
                precise = pair.scope(client=first.getsockname(), server=("127.0.0.2", port))
                assert await reset_connection(precise)
                assert second.recv(1) == b""


async def test_a_connection_that_has_ended_is_no_error(connect: Connect) -> None:
    pair = connect()
    scope = pair.scope()
    pair.client.close()
    assert pair.accepted.recv(1) == b""
    assert await reset_connection(scope)
    pair.accepted.close()
    assert not await reset_connection(scope)


async def test_peers_that_stall_together_share_scans(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = [connect() for _ in range(20)]
    scans: list[sockets.Lines] = []

    def counted(wanted: sockets.Lines) -> sockets.Lines:
        assert threading.current_thread() is not threading.main_thread()
        scans.append(wanted)
        return reset(wanted)

    reset = sockets.reset
    monkeypatch.setattr(sockets, "reset", counted)
    monkeypatch.setattr(sockets, "_resets", RunVar("_resets"))
    answers = []

    async def ask(scope: dict[str, object]) -> None:
        answers.append(await reset_connection(scope))

    async with anyio.create_task_group() as tasks:
        for pair in pairs:
            tasks.start_soon(ask, pair.scope())
        tasks.start_soon(ask, pairs[0].scope(client=("192.0.2.7", 1)))
    assert sorted(answers) == [False] + [True] * len(pairs)
    assert not any(pair.is_open() for pair in pairs)
    # The first caller did not wait for the others; these shared the next scan.
    assert len(scans) <= 2
    assert sum(map(len, scans)) == len(pairs) + 1


async def test_a_scan_survives_the_cancellation_of_the_caller(connect: Connect) -> None:
    first, second = connect(), connect()
    with anyio.CancelScope() as cancelled:
        cancelled.cancel()
        await reset_connection(first.scope())
    assert await reset_connection(second.scope())
    assert not second.is_open()


async def test_without_a_list_of_descriptors_it_says_so_once(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sockets._tell_once.cache_clear()
    monkeypatch.setattr(sockets, "OWN_DESCRIPTORS", "/proc/self/nothing")
    pair = connect()
    with caplog.at_level(logging.WARNING, "pondsocket.asgi"):
        assert not await reset_connection(pair.scope())
        assert not await reset_connection(pair.scope())
    (record,) = caplog.records
    assert "does not list" in record.getMessage()
    assert pair.is_open()


def test_a_look_at_the_descriptors_copies_no_file(tmp_path: Path) -> None:
    # To close a copy of a file would drop what locks the process has on it, a database's for one.
    copied = []

    def dup(number: int) -> int:
        copied.append(os.fstat(number).st_mode)
        return os_dup(number)

    os_dup = os.dup
    with pytest.MonkeyPatch.context() as patch, (tmp_path / "file").open("w"):
        patch.setattr(os, "dup", dup)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            numbers = [sock.getsockname() for sock in sockets.own_sockets()]
            assert listener.getsockname() in numbers
    assert copied
    assert all((mode & 0o170000) == 0o140000 for mode in copied)


@pytest.mark.parametrize("timeout", [None, 5.0], ids=["no default timeout", "a default timeout"])
@pytest.mark.parametrize("blocking", [False, True], ids=["of a loop", "of a thread"])
@pytest.mark.parametrize("act", [reset_connection, hurry_connection])
async def test_no_socket_blocks_or_stops_blocking(
    connect: Connect,
    act: Callable[[Scope], Awaitable[bool]],
    blocking: bool,
    timeout: float | None,
) -> None:
    # All descriptors of a socket share this state. One write to a peer that does not read would
    # stop the whole loop; and a thread's driver of a database would fail where it does not wait.
    given, other = connect(), connect()
    for pair in (given, other):
        pair.accepted.setblocking(blocking)
        pair.client.setblocking(blocking)
    ends = [given.accepted, other.accepted, other.client, other.listener]
    before = [os.get_blocking(end.fileno()) for end in ends]
    assert before == [blocking, blocking, blocking, True]
    socket.setdefaulttimeout(timeout)
    try:
        assert await act(given.scope())
    finally:
        socket.setdefaulttimeout(None)
    assert [os.get_blocking(end.fileno()) for end in ends] == before


class ClosedSocket:
    """A socket of uvloop's that has been closed."""

    def _fail(self, *_: object) -> int:
        raise ValueError("negative file descriptor")

    getsockopt = setsockopt = _fail


@pytest.mark.parametrize("act", [sockets.reset_when_closed, sockets.hurry_socket])
def test_a_socket_that_is_closed_already_is_left_alone(
    act: Callable[[Any], None], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="pondsocket.asgi"):
        act(ClosedSocket())
    assert [record.levelname for record in caplog.records] == ["DEBUG"]
