"""The servers that are measured, their commands and their environments."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from shutil import which
from typing import Final

from tests.benchmarks._dialects import Dialect, SocketIO
from tests.benchmarks._environments import (
    CARRIERS as CARRIERS,
)
from tests.benchmarks._environments import (
    Checkout,
    Environment,
    Node,
    Own,
    Python,
    version_of,
)
from tests.benchmarks._environments import (
    ContenderMissing as ContenderMissing,
)
from tests.servers import ALWAYS, BIND, ROOT, Server, ServerName

PEER: Final = "0.0.6"
WS: Final = "8.23.0"
# What several workers share.
ENGINE: Final = "redis-server"
# Each with the packages in which it spends its time.
_PYPI_PINS: Final = (
    f"pondsocket-asgi=={PEER}",
    "pondsocket==0.0.7",
    "pondsocket-common==0.0.6",
    "pydantic==2.14.3",
)
_SOCKETIO_PINS: Final = ("python-socketio==5.18.1", "python-engineio==4.15.1")
_DJANGO_PINS: Final = ("channels==4.3.2", "django==5.2.19", "asgiref==3.13.0")
# For several workers; redis-py is faster with hiredis.
_REDIS_PINS: Final = ("redis==8.1.0", "hiredis==3.5.0")
_CHANNELS_REDIS_PINS: Final = ("channels-redis==4.3.0", "msgpack==1.2.4")
_LITESTAR_PINS: Final = ("litestar==2.25.0", "msgspec==0.22.0")

_APPS: Final = "tests.benchmarks.apps"
_LANE: Final = "pondsocket_asgi.fastlane"
# Longer than a run, so that no ping of an idle connection is measured.
_NO_PINGS: Final = "3600"
_UVICORN: Final = (
    "--loop", "uvloop", "--http", "httptools", "--log-level", "warning", "--no-access-log",
    "--ws-ping-interval", _NO_PINGS,
)  # fmt: skip
_SANSIO: Final = ("--ws", "websockets-sansio")
_HYPERCORN: Final = (
    # `--workers 0`: serve in the process itself.
    "--worker-class", "uvloop", "--workers", "0", "--log-level", "warning",
    "--error-logfile", "-", "--websocket-ping-interval", _NO_PINGS, "--backlog", "2048",
)  # fmt: skip
_GRANIAN: Final = (
    "--loop", "uvloop", "--workers", "1", "--log-level", "warning",
    # An open stream is a request, and granian serves 1,024 requests at once by default.
    "--backpressure", "50000",
)  # fmt: skip


class Kind(StrEnum):
    """The kinds of scenarios that a contender can take part in."""

    WEBSOCKET = "websocket"
    SSE = "sse"
    PRESENCE = "presence"
    NODES = "nodes"


_BOTH: Final = frozenset({Kind.WEBSOCKET, Kind.SSE})
_SOCKETS: Final = frozenset({Kind.WEBSOCKET})
_PRESENCE: Final = frozenset({Kind.PRESENCE})
_NODES: Final = frozenset({Kind.NODES})


class Process(Server):
    """A program that serves on a loopback port.

    Args:
        command: Its words; `{host}` and `{port}` in them are filled in.
        folder: The working directory.
        env: Added to this process's environment.
    """

    def __init__(
        self, *command: str, folder: Path = ROOT, env: dict[str, str] | None = None
    ) -> None:
        super().__init__(app="", folder=folder, env=env)
        self._command = [word.format(host=self.host, port=self.port) for word in command]


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A server to be measured.

    Args:
        key: Its name on the command line.
        environment: Where it runs.
        command: The arguments of the environment's program; see `Process`.
        tells: The packages whose versions a report shows.
        folder: The working directory.
        needs: A module of this project without which it cannot run.
        engine: A program that must be on the PATH too, such as `redis-server`.
        peer: Whether it is another project's; else it is PondSocket, or a floor.
    """

    key: str
    label: str
    command: tuple[str, ...]
    environment: Environment
    tells: tuple[str, ...] = ()
    dialect: Dialect = Dialect()  # noqa: RUF009 - frozen
    kinds: frozenset[Kind] = _BOTH
    folder: Path = ROOT
    needs: str | None = None
    engine: str | None = None
    peer: bool = False

    def missing(self) -> str | None:
        """Return why it cannot run here, as far as a quick check can tell; None if it can."""
        if self.engine is not None and which(self.engine) is None:
            return f"there is no `{self.engine}` on the PATH"
        if self.needs is not None:
            try:
                import_module(self.needs)
            except ImportError as error:
                return f"its module cannot be imported: {error}"
        return self.environment.missing()

    def prepare(self) -> None:
        """Install what it needs, unless that is done.

        Raises:
            ContenderMissing: It cannot run here.
        """
        if (why := self.missing()) is not None:
            raise ContenderMissing(f"{self.label}: {why}")
        self.environment.prepare()

    def versions(self) -> dict[str, str]:
        """Return the versions of what it runs; it must be prepared."""
        own = self.environment.versions(*self.tells)
        return own if self.engine is None else own | version_of(self.engine)

    def server(self, env: dict[str, str] | None = None) -> Process:
        """Install what it needs, and return the server, not yet started.

        Args:
            env: Added to this process's environment.

        Raises:
            ContenderMissing: It cannot run here.
        """
        self.prepare()
        return Process(str(self.environment.program), *self.command, folder=self.folder, env=env)


def _on(server: ServerName, app: str, *arguments: str) -> tuple[str, ...]:
    """Return the arguments with which an interpreter serves this app."""
    return ("-m", server, *ALWAYS[server], *BIND[server], *arguments, f"{_APPS}.{app}")


def _on_uvicorn(app: str) -> tuple[str, ...]:
    return _on("uvicorn", app, *_UVICORN, *_SANSIO)


_OWN: Final = Own()
_BARE: Final = Dialect(stream_path="/sse/room/1", stream_joins=False)
_OURS: Final = f"pondsocket-asgi {version('pondsocket-asgi')} (ours)"
_OURS_TELL: Final = ("pondsocket-asgi", "anyio", "orjson")
_ORJSON: Final = f"orjson=={version('orjson')}"
_NODE: Final = Node("ws", WS)


def _floors() -> Iterator[Contender]:
    yield Contender(
        key="limit",
        label="bare uvloop server (the limit)",
        command=("-m", f"{_APPS}.limit", "--port", "{port}"),
        environment=_OWN,
        tells=("uvloop", "orjson"),
        dialect=_BARE,
    )
    yield Contender(
        key="bare",
        label="bare ASGI app (the floor)",
        command=_on_uvicorn("bare:app"),
        environment=_OWN,
        tells=(*CARRIERS, "orjson"),
        dialect=_BARE,
    )
    for server, arguments in _OTHER_SERVERS.items():
        yield Contender(
            key=f"bare-{server}",
            label=f"bare ASGI app on {server}",
            command=_on(server, "bare:app", *arguments),
            environment=_OWN,
            tells=(server, "uvloop", "orjson"),
            dialect=_BARE,
        )


def _ours() -> Iterator[Contender]:
    def ours(
        key: str,
        also: str = "",
        app: str = "pond:app",
        *,
        command: tuple[str, ...] = (),
        kinds: frozenset[Kind] = _BOTH,
        carriers: tuple[str, ...] = CARRIERS,
        dialect: Dialect = Dialect(),  # noqa: B008 - frozen
        needs: str | None = None,
    ) -> Contender:
        return Contender(
            key=key,
            label=f"{_OURS}{also and ', '}{also}",
            command=command or _on_uvicorn(app),
            environment=_OWN,
            tells=(*_OURS_TELL, *carriers),
            dialect=dialect,
            kinds=kinds,
            needs=needs,
        )

    def lane(key: str, also: str, app: str) -> Contender:
        command = _on("uvicorn", app, *_UVICORN, "--ws", f"{_LANE}:Protocol")
        return ours(key, also, command=command, kinds=_SOCKETS, needs=_LANE)

    def node(own: Contender) -> Contender:
        return replace(own, kinds=_NODES, engine=ENGINE, tells=(*own.tells, "hiredis"))

    yield ours("ours")
    yield lane("ours-lane", "fast lane", "pond:app")
    for server, arguments in _OTHER_SERVERS.items():
        command = _on(server, "pond:app", *arguments)
        yield ours(f"ours-{server}", server, command=command, carriers=(server, "uvloop"))
    yield ours("ours-gc", "gc_freeze", "pond_tuned:app", kinds=_SOCKETS)
    yield lane("ours-lane-gc", "fast lane, gc_freeze", "pond_tuned:app")
    session = "pond_session:app"
    yield ours("ours-session", "behind SessionMiddleware", session)
    yield lane("ours-lane-session", "fast lane, behind SessionMiddleware", session)
    yield ours("ours-limited", "rate limit on", "pond_variants:limited", kinds=_SOCKETS)
    yield ours("ours-history", "history", "pond_variants:remembering")
    seen = "pond_presence:app"
    yield ours("ours-presence", "whole lists", seen, kinds=_PRESENCE)
    diffs = Dialect(presence="diff")
    yield ours("ours-presence-diff", "diffs", seen, kinds=_PRESENCE, dialect=diffs)
    many = "pond_nodes:app"
    yield node(ours("ours-nodes", "on Redis", many))
    yield node(lane("ours-lane-nodes", "on Redis, fast lane", many))
    yield node(ours("ours-nodes-history", "on Redis, history", "pond_nodes:remembering"))


def _peers() -> Iterator[Contender]:
    def peer(
        key: str,
        label: str,
        app: str,
        pins: tuple[str, ...],
        *,
        dialect: Dialect = Dialect(),  # noqa: B008 - frozen
        kinds: frozenset[Kind] = _SOCKETS,
    ) -> Contender:
        name, _, number = pins[0].partition("==")
        is_node = Kind.NODES in kinds
        return Contender(
            key=key,
            label=label.format(number),
            command=_on_uvicorn(app),
            # orjson because the benchmark's apps use it; no framework is configured to use it.
            environment=Python(f"{name}-{number}{'-redis' * is_node}", (*pins, _ORJSON)),
            tells=(*(pin.partition("==")[0] for pin in pins), *CARRIERS),
            dialect=dialect,
            kinds=kinds,
            engine=ENGINE if is_node else None,
            peer=True,
        )

    pypi = "pondsocket-asgi {} (PyPI)"
    yield peer("pypi", pypi, "pond:app", _PYPI_PINS, kinds=_BOTH)
    lists = f"{pypi}, whole lists"
    yield peer("pypi-presence", lists, "pond_presence:app", _PYPI_PINS, kinds=_PRESENCE)
    yield peer(
        "socketio", "python-socketio {}", "socketio_app:app", _SOCKETIO_PINS, dialect=SocketIO()
    )
    yield peer("django", "Django Channels {}", "django_app:app", _DJANGO_PINS)
    yield peer(
        "socketio-nodes",
        "python-socketio {}, AsyncRedisManager",
        "socketio_app:app",
        (*_SOCKETIO_PINS, *_REDIS_PINS),
        dialect=SocketIO(),
        kinds=_NODES,
    )
    yield peer(
        "django-nodes",
        "Django Channels {}, channels_redis (pub/sub)",
        "django_app:app",
        (*_DJANGO_PINS, *_CHANNELS_REDIS_PINS, *_REDIS_PINS),
        kinds=_NODES,
    )
    yield peer(
        "litestar",
        "Litestar {} channels",
        "litestar_app:app",
        _LITESTAR_PINS,
        dialect=_BARE,
        kinds=_BOTH,
    )
    yield Contender(
        key="node",
        label=f"Node ws {WS}",
        command=(str(ROOT / "tests" / "benchmarks" / "apps" / "node_ws.mjs"), "{port}"),
        environment=_NODE,
        dialect=_BARE,
        folder=_NODE.folder,
        peer=True,
    )


_OTHER_SERVERS: Final[dict[ServerName, tuple[str, ...]]] = {
    "hypercorn": _HYPERCORN,
    "granian": _GRANIAN,
}


def of_checkout(contender: Contender, folder: Path, number: int) -> Contender:
    """Return one of this project's contenders as another checkout has it, the `number`th given."""
    return replace(
        contender,
        key=f"{contender.key}@{number}",
        label=f"{contender.label}, of checkout {number}",
        environment=Checkout(folder),
        folder=folder,
        needs=None,
    )


def watched(contender: Contender) -> tuple[Contender, dict[str, str]]:
    """Return the contender in `apps.stops`, and the environment that tells it which app it is."""
    *arguments, app = contender.command
    return replace(contender, command=(*arguments, f"{_APPS}.stops:app")), {"BENCHMARK_APP": app}


# In the order of a report.
CONTENDERS: Final = {contender.key: contender for contender in (*_floors(), *_ours(), *_peers())}
