"""Middlewares whose `send` may be left out, in the versions that are installed."""

import importlib
import inspect
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any, Final

import pytest
from fastapi.telemetry._asgi import NativeTelemetry
from pondsocket_asgi._sending import known_wrappers
from pondsocket_asgi._sending.known_wrappers import Kind, is_listed, unwrapped
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware

from tests.asgi.known_middlewares import AROUND, SOCKETS_ALONE, ASGIApp

KINDS: Final[tuple[Kind, ...]] = ("websocket", "http")
# What needs a package that is not installed.
NOT_MADE: Final = {
    # It needs the SDK of OpenTelemetry.
    "NativeTelemetry.__call__.wrapped_send",
}


@pytest.fixture
def anyio_backend() -> str:
    """Run on asyncio alone: nothing here waits."""
    return "asyncio"


async def servers_own(message: Any) -> None:
    """Stand for a server's `send`."""


async def given_to(around: Any, kind: Kind, send: Any = servers_own) -> Any:
    """Return the `send` that an app gets behind a middleware."""
    found: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.append(send)

    async def receive() -> Any:
        return {"type": "http.request"}

    headers = [
        (b"host", b"a.example"), (b"origin", b"https://a.example"), (b"accept-encoding", b"gzip"),
    ]  # fmt: skip
    scope = {
        "type": kind, "path": "/rt/a", "raw_path": b"/rt/a", "query_string": b"",
        "headers": headers, "server": ("a.example", 80), "client": ("b.example", 1),
        "scheme": "http", "http_version": "1.1", "root_path": "", "asgi": {"version": "3.0"},
    }  # fmt: skip
    if kind == "http":
        scope["method"] = "GET"
    else:
        scope["subprotocols"] = []
    await around(app)(scope, receive, send)
    return found[0]


def layers(send: Any, kind: Kind) -> Iterator[Any]:
    """Yield a `send`, and what it wraps, as far as that is known."""
    yield send
    while (wrapper := unwrapped(send, kind)) is not None:
        send = wrapper.inner
        yield send


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", AROUND)
async def test_the_servers_send_is_found_behind_each(name: str, kind: Kind) -> None:
    *_, last = layers(await given_to(AROUND[name], kind), kind)
    assert last is servers_own


@pytest.mark.parametrize("name", SOCKETS_ALONE)
async def test_what_looks_at_each_piece_of_a_body_is_left_out_for_sockets_alone(name: str) -> None:
    *_, last = layers(await given_to(SOCKETS_ALONE[name], "websocket"), "websocket")
    assert last is servers_own
    *_, last = layers(await given_to(SOCKETS_ALONE[name], "http"), "http")
    assert last is not servers_own
    assert not is_listed(last, "http")


async def test_each_of_the_list_was_made_by_a_real_package() -> None:
    seen = set()
    for around in (AROUND | SOCKETS_ALONE).values():
        for kind in KINDS:
            for each in layers(await given_to(around, kind), kind):
                function = getattr(getattr(each, "func", each), "__func__", None) or each
                code = getattr(getattr(function, "func", function), "__code__", None)
                if code is not None:
                    seen.add(code.co_qualname.replace(".<locals>", ""))
    listed = {name for names in known_wrappers._KNOWN.values() for name in names}
    assert listed - seen == NOT_MADE


def inside(outer: Any, name: str) -> FunctionType:
    """Make the function of this name that another one would make, around `servers_own`."""
    code = next(each for each in outer.__code__.co_consts if getattr(each, "co_name", "") == name)
    cells = tuple(CellType(servers_own) for _ in code.co_freevars)
    return FunctionType(code, outer.__globals__, closure=cells)


@pytest.mark.parametrize("kind", KINDS)
async def test_the_source_of_the_others_is_as_it_is_known(kind: Kind) -> None:
    telemetry = inside(NativeTelemetry.__call__, "wrapped_send")
    wrapper = unwrapped(telemetry, kind)
    assert wrapper is not None
    assert wrapper.inner is servers_own


def parts_of(send: Any) -> tuple[Any, Any]:
    """Return the function of a `send`, and what makes the same `send` of another function."""
    if isinstance(send, partial):
        function, again = parts_of(send.func)
        return function, lambda other: partial(again(other), **send.keywords)
    if isinstance(send, MethodType):
        return send.__func__, lambda other: MethodType(other, send.__self__)
    return send, lambda other: other


@pytest.mark.parametrize("name", ["session", "cors", "gzip", "sentry", "starlette", "litestar"])
async def test_other_code_of_the_same_name_is_not_known(name: str) -> None:
    send = await given_to(AROUND[name], "http")
    function, again = parts_of(send)
    for code, space in (
        (function.__code__.replace(co_consts=(*function.__code__.co_consts, 1)), None),
        (function.__code__.replace(co_firstlineno=1), None),
        (function.__code__, {**function.__globals__}),
    ):
        doctored = FunctionType(
            code, space or function.__globals__, closure=function.__closure__, name="sender"
        )
        assert unwrapped(again(function), "http") is not None
        assert unwrapped(again(doctored), "http") is None


def session_module(
    path: Path, monkeypatch: pytest.MonkeyPatch, before: str, after: str
) -> ModuleType:
    """Load Starlette's module of sessions, with a change, in its place."""
    source = inspect.getsource(sys.modules[SessionMiddleware.__module__])
    assert source.count(before) == 1
    file = path / "sessions.py"
    file.write_text(source.replace(before, after))
    spec = importlib.util.spec_from_file_location(SessionMiddleware.__module__, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, SessionMiddleware.__module__, module)
    spec.loader.exec_module(module)
    return module


LAST: Final = (
    "            await send(message)\n\n        await self.app(scope, receive, send_wrapper)"
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("before", "after", "is_known"),
    [
        ('headers.add_vary_header("Cookie")', 'headers.add_vary_header("Cookie, X-Other")', True),
        (LAST, "            self.count = 1\n" + LAST, False),
        (LAST, LAST.replace("send(message)", "send({**message})", 1), False),
        (LAST, LAST.replace("await send(message)", "await send(message); await send(message)"),
         False),
        (LAST, "            if self.max_age:\n    " + LAST, False),
        (LAST, LAST.replace("send(message)", "self.send(message)", 1), False),
    ],
)  # fmt: skip
async def test_another_version_is_known_if_it_passes_the_same_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind, before: str, after: str,
    is_known: bool,
) -> None:  # fmt: skip
    module = session_module(tmp_path, monkeypatch, before, after)
    send = await given_to(lambda app: module.SessionMiddleware(app, "a secret"), kind)
    assert is_listed(send, kind)
    assert (unwrapped(send, kind) is not None) is is_known


async def test_gzip_is_left_out_only_if_it_leaves_event_streams_alone() -> None:
    def around(app: ASGIApp, *excluded: str) -> ASGIApp:
        return GZipMiddleware(app, exclude_content_types=excluded)

    for excluded, is_known in {
        ("text/event-stream",): True, ("text/*",): True, ("image/png",): False, (): False,
    }.items():  # fmt: skip
        send = await given_to(lambda app, each=excluded: around(app, *each), "http")
        assert (unwrapped(send, "http") is not None) is is_known
    # As in versions where nothing can be excluded.
    del send.__self__.exclude_content_types
    assert unwrapped(send, "http") is None


async def test_what_is_no_function_is_not_known() -> None:
    class Sender:
        async def __call__(self, message: Any) -> None: ...

    for send in (Sender(), object(), None, print, partial(servers_own, 1), partial(Sender())):
        assert unwrapped(send, "websocket") is None
        assert not is_listed(send, "websocket")


async def test_many_functions_made_by_hand_are_not_all_kept() -> None:
    for number in range(300):
        made: dict[str, Any] = {}
        exec(f"async def sender(message): return {number}", made)  # noqa: S102
        assert unwrapped(made["sender"], "http") is None
    assert len(known_wrappers._verdicts) <= 256
