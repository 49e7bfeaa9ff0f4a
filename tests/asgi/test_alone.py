"""Several processes that serve one pond without a backplane: they are told of, once."""

import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from typing import Any

import pytest
from pondsocket import PondSocket
from pondsocket.backplane.memory import MemoryHub
from pondsocket_asgi import PondASGIApp
from pondsocket_asgi._process import alone
from pondsocket_asgi._process.alone import PATIENCE, Alone

SERVER = ("127.0.0.1", 4_711)

# Takes a name of the process's own, as another worker does, until its input ends.
OTHER = """
    import sys
    from pondsocket_asgi._process.alone import names
    assert names.take(sys.argv[1]), "not taken"
    print("taken", flush=True)
    sys.stdin.read()
"""


class Other:
    """Another process that has a name."""

    def __init__(self, name: str) -> None:
        command = [sys.executable, "-c", textwrap.dedent(OTHER), name]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
        )
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if answer != "taken\n":
            self.end()
        assert answer == "taken\n"

    def end(self) -> None:
        self._process.communicate(timeout=5)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=[None, "darwin"])
def _platform(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param is not None:
        monkeypatch.setattr(sys, "platform", request.param)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def here(clock: Clock) -> Iterator[Alone]:
    here = Alone(lambda: ["/socket", "/other"], clock)
    yield here
    here.release()
    alone.names.forget()


def name_of(port: object = 4_711) -> str:
    probe = Alone(lambda: ["/socket", "/other"])
    probe.meet(("127.0.0.1", port))
    probe.release()
    return probe._name


def test_one_process_says_nothing(
    here: Alone, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    here.meet(SERVER)
    assert not here.is_open
    clock.now += 100
    here.check()
    here.note_unknown()
    assert not here.has_others
    assert caplog.records == []


def test_a_second_process_is_told_of_once_it_has_stayed(
    here: Alone, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    other = Other(name_of())
    try:
        here.meet(SERVER)
        clock.now += PATIENCE - 0.1
        here.meet(SERVER)
        here.note_unknown()
        assert caplog.records == []
        clock.now += 0.1
        here.check()
        clock.now += 100
        here.check()
        assert here.has_others
        (told,) = caplog.records
        assert (told.name, told.levelname) == ("pondsocket.asgi.workers", "ERROR")
        assert 'PondSocket(backplane=RedisBackplane("redis://…"))' in told.getMessage()
        assert "port 4711" in told.getMessage()
        caplog.clear()
        for _ in range(2):
            here.note_unknown()
        (told,) = caplog.records
        assert "must reach the process that has its stream" in told.getMessage()
    finally:
        other.end()


def test_a_successor_says_nothing(
    here: Alone, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    other = Other(name_of())
    here.meet(SERVER)
    assert here.is_open
    other.end()
    clock.now += 100
    here.meet(SERVER)
    assert (here.is_open, here.has_others) == (False, False)
    assert caplog.records == []
    here.release()
    Other(name_of()).end()


def test_only_one_of_many_says_it(
    here: Alone, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    name = name_of()
    others = [Other(name), Other(f"{name}:told")]
    try:
        here.meet(SERVER)
        clock.now += PATIENCE
        here.check()
        assert here.has_others
        assert caplog.records == []
    finally:
        for each in others:
            each.end()


def test_several_apps_of_one_process_are_one_process(here: Alone, clock: Clock) -> None:
    again = Alone(lambda: ["/socket", "/other"], clock)
    for each in (here, again):
        each.meet(SERVER)
        assert not each.is_open
    again.release()
    with pytest.raises(AssertionError):
        Other(name_of_held())
    here.release()
    Other(name_of()).end()


def name_of_held() -> str:
    (name,) = alone.names._held
    return name


@pytest.mark.usefixtures("_platform")
def test_a_lock_does_it_where_there_are_no_abstract_sockets(
    here: Alone, clock: Clock, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    here.meet(SERVER)
    assert not here.is_open
    here.release()
    assert here.is_open
    here.meet(SERVER)
    assert not here.is_open


def test_the_name_is_short_enough_and_tells_applications_apart() -> None:
    assert len(name_of(65_535)) + len(":told") < 107
    other = Alone(lambda: ["/elsewhere"])
    other.meet(SERVER)
    assert other._name != name_of()
    other.release()
    path = Alone(lambda: ["/socket"])
    path.meet(("/run/" + "a" * 200, None))
    assert len(path._name) < 100
    assert not path.is_open
    path.release()


@pytest.mark.parametrize("server", [None, ("testserver", 80), ("127.0.0.1", "http"), 7, ("a",)])
def test_what_is_no_real_server_is_left_alone(server: Any) -> None:
    here = Alone(lambda: ["/socket"])
    here.meet(server)
    assert not here.is_open
    assert not alone.names._held


def test_a_port_may_be_a_text(here: Alone) -> None:
    here.meet(("127.0.0.1", "4711"))  # as granian gives it
    assert here._name == name_of()


def test_a_fork_has_no_name(here: Alone) -> None:
    here.meet(SERVER)
    alone.names.forget()
    here.release()
    Other(name_of()).end()


async def get(app: PondASGIApp, server: tuple[str, int]) -> None:
    scope = {
        "type": "http", "method": "GET", "path": "/x", "raw_path": b"/x", "headers": [],
        "query_string": b"", "server": server, "client": ("127.0.0.1", 1), "scheme": "http",
        "http_version": "1.1",
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(_: Any) -> None:
        return

    await app(scope, receive, send)


async def test_an_app_takes_the_name_with_its_first_request() -> None:
    pond = PondSocket()
    app = PondASGIApp(pond)
    assert not alone.names._held
    await get(app, SERVER)
    assert len(alone.names._held) == 1
    alone.names.forget()


async def test_with_a_backplane_there_is_nothing_to_find_out() -> None:
    app = PondASGIApp(PondSocket(backplane=MemoryHub().backplane()))
    await get(app, SERVER)
    assert not alone.names._held


async def test_the_end_of_a_lifespan_gives_the_name_up() -> None:
    app = PondASGIApp(PondSocket())
    await get(app, SERVER)
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> Any:
        return next(messages)

    async def send(_: Any) -> None:
        return

    await app({"type": "lifespan"}, receive, send)
    assert not alone.names._held
