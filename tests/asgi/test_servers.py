"""What the adapter finds inside of a server, where it is there and where it is not.

The real servers are asked in `tests/integration/test_deploys_inside.py`.
"""

import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any, TypeVar

import hypercorn  # noqa: F401 - a server that is not loaded is not looked for
import pytest
import uvicorn  # noqa: F401
from pondsocket_asgi._process import servers
from pondsocket_asgi._process.servers import HypercornWorker

Value = TypeVar("Value")


def called_by_hypercorn(function: Callable[[], Value], **locals_: object) -> Value:
    """Call a function as hypercorn's `_handle` with these local variables would."""
    return called("hypercorn.trio.task_group", "_handle", function, locals_)


def ping_seconds(receive: object = None) -> float | None:
    return servers.ping_seconds(servers.find_uvicorn(receive))


def called_by_uvicorn(function: Callable[[], Value], protocol: object) -> Value:
    """Call a function as a WebSocket protocol of uvicorn's would."""
    module = "uvicorn.protocols.websockets.fake_impl"
    return called(module, "run_asgi", function, {"self": protocol})


def called(module: str, name: str, function: Callable[[], Value], locals_: dict[str, Any]) -> Value:
    space: dict[str, Any] = {"__name__": module}
    exec(f"def {name}(function, {', '.join(locals_)}): return function()", space)  # noqa: S102
    value: Value = space[name](function, **locals_)
    return value


def worker(
    *, set_: object = lambda: None, timeout: object = 3.0
) -> tuple[SimpleNamespace, SimpleNamespace]:
    """Return hypercorn's `send`, whose stream knows the worker, and its `config`."""
    context = SimpleNamespace(terminated=SimpleNamespace(set=set_))
    send = SimpleNamespace(__self__=SimpleNamespace(context=context))
    return send, SimpleNamespace(graceful_timeout=timeout, websocket_ping_interval=7)


@pytest.mark.parametrize(
    ("server", "leaving"),
    [
        (SimpleNamespace(), False),
        (SimpleNamespace(should_exit=True), True),
        (SimpleNamespace(should_exit="of another kind"), False),
        (SimpleNamespace(should_exit=False, servers=[]), False),
        (SimpleNamespace(should_exit=False, servers=[object()]), False),
        (SimpleNamespace(should_exit=False, servers=3), False),
    ],
)
def test_a_server_is_leaving_only_where_it_says_so(server: object, leaving: bool) -> None:
    assert servers.is_ending(SimpleNamespace(__self__=server)) is leaving


@pytest.mark.parametrize("handler", [None, 0, print, object()])
def test_a_handler_without_a_server_says_nothing(handler: object) -> None:
    assert not servers.is_ending(handler)


@pytest.mark.parametrize(
    ("said", "restart"),
    [
        ({"code": 1012}, True),
        ({"code": 1012, "reason": ""}, False),
        ({"code": 1012, "reason": None}, False),
        ({"code": 1005}, False),
        ({}, False),
    ],
)
def test_a_peer_that_says_restart_is_not_the_server(said: dict[str, Any], restart: bool) -> None:
    assert servers.is_restart({"type": "websocket.disconnect", **said}) is restart


@pytest.mark.parametrize(
    ("interval", "seconds"), [(20, 20.0), (7.5, 7.5), (0, None), (None, None), ("7", None)]
)
def test_pings_are_those_of_the_server(interval: object, seconds: float | None) -> None:
    protocol = SimpleNamespace(ping_interval=interval)
    assert called_by_uvicorn(ping_seconds, protocol) == seconds
    config = SimpleNamespace(websocket_ping_interval=interval)
    assert called_by_hypercorn(ping_seconds, config=config) == seconds


def test_the_protocol_that_receives_is_asked_and_so_is_one_made_of_it() -> None:
    class Uvicorns:
        __module__ = "uvicorn.protocols.websockets.fake_impl"
        ping_interval = 7

        def receive(self) -> None: ...

    class Made(Uvicorns):
        __module__ = "another.project"

    # No call of uvicorn's is about, in which it would be found otherwise.
    assert ping_seconds(Uvicorns().receive) == 7
    assert ping_seconds(Made().receive) == 7
    assert ping_seconds(print) is None


def test_a_uvicorn_that_is_told_to_ping_and_cannot_does_not_ping() -> None:
    protocol = SimpleNamespace(config=SimpleNamespace(ws_ping_interval=20.0))
    assert called_by_uvicorn(ping_seconds, protocol) is None


def test_nothing_is_known_of_other_servers() -> None:
    assert ping_seconds() is None
    assert servers.find_uvicorn() is None
    assert HypercornWorker.find() is None


def test_nothing_is_known_of_servers_that_have_changed() -> None:
    assert called_by_uvicorn(ping_seconds, object()) is None
    assert called_by_uvicorn(servers.find_uvicorn, object()) is not None
    assert called_by_hypercorn(ping_seconds, other=1) is None
    assert called_by_hypercorn(HypercornWorker.find, other=1) is None
    for changed in (worker(set_=None), worker(timeout=None)):
        send, config = changed
        assert called_by_hypercorn(HypercornWorker.find, send=send, config=config) is None


@pytest.mark.parametrize(("timeout", "limit"), [(3.0, 2.5), (12, 11.5), (0.2, 0.0)])
def test_a_drain_ends_half_a_second_before_hypercorn_cuts(timeout: float, limit: float) -> None:
    send, config = worker(timeout=timeout)
    found = called_by_hypercorn(HypercornWorker.find, send=send, config=config)
    assert found is not None
    assert found.drain_limit == limit


async def test_hypercorns_end_is_told_once_and_before_it_begins() -> None:
    told: list[str] = []

    async def set_() -> None:
        told.append("hypercorn")

    send, config = worker(set_=set_)
    for _connection in range(3):
        found = called_by_hypercorn(HypercornWorker.find, send=send, config=config)
        assert found is not None
        found.when_it_ends(lambda: told.append("we"))
    await send.__self__.context.terminated.set()
    assert told == ["we", "hypercorn"]


COOKIES = ((b"set-cookie", b"a=1"), (b"x", b"1"), (b"set-cookie", b"b=2"))


def test_most_servers_send_any_headers(caplog: pytest.LogCaptureFixture) -> None:
    assert servers.accept_headers(COOKIES) == COOKIES
    assert servers.refusal_headers_of_websocket(COOKIES) == COOKIES
    assert caplog.records == []


def test_what_granian_cannot_send_is_said_once_and_does_not_end_it(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "granian._granian", ModuleType("granian._granian"))
    servers._warn_once.cache_clear()
    for _ in range(2):
        left = servers.refusal_headers_of_websocket(COOKIES)
        assert sorted(left) == [(b"set-cookie", b"b=2"), (b"x", b"1")]
        assert servers.accept_headers(()) == ()
        servers.accept_headers(COOKIES)
    assert [record.message.partition(" a")[0] for record in caplog.records] == [
        "granian (2.8) cannot refuse",
        "granian (2.8) drops the headers",
    ]
