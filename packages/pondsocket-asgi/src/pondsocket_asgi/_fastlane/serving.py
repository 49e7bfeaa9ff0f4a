"""What all connections of one server have in common, and what uvicorn says of a request."""

import asyncio
from collections.abc import Coroutine
from enum import Enum, auto
from logging import INFO, Logger, getLogger
from typing import Any, Final, NamedTuple, TypeVar

from uvicorn.config import Config
from uvicorn.protocols.utils import (
    get_client_addr,
    get_local_addr,
    get_path_with_query_string,
    get_remote_addr,
    is_ssl,
)
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from pondsocket_asgi._scope import FAST_LANE

from .keepalive import Keepalive
from .lane import Lane
from .plain_frames import MEDIUM, SHORT
from .upgrade import Upgrade, switching_protocols

_KEPT: Final = "_pondsocket_serving"
AnyProtocol = TypeVar("AnyProtocol", bound=WebSocketsSansIOProtocol)


class Stage(Enum):
    """How far a connection is."""

    NEW = auto()  # its request is not there
    ASKED = auto()  # the app has not answered
    OPEN = auto()
    LOST = auto()


class Serving:
    """What all connections of one server have in common."""

    __slots__ = (
        "app",
        "app_state",
        "config",
        "keepalive",
        "largest",
        "logger",
        "longest_single",
        "loop",
        "most_messages",
        "state",
    )

    def __init__(
        self,
        config: Config,
        state: ServerState,
        app_state: dict[str, Any],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        if not config.loaded:
            config.load()
        self.config = config
        self.state = state
        self.app_state = app_state
        self.loop = loop
        self.app: Any = config.loaded_app
        self.logger: Logger = getLogger("uvicorn.error")
        self.most_messages = max(1, config.ws_max_queue)
        self.largest = config.ws_max_size
        # The size of a read that is one text, with its header: two or four bytes, and the mask.
        largest = min(MEDIUM, self.largest)
        self.longest_single = largest + (6 if largest <= SHORT else 8)
        interval = config.ws_ping_interval
        self.keepalive = (
            Keepalive(loop, interval, config.ws_ping_timeout) if interval and interval > 0 else None
        )

    @classmethod
    def of(
        cls,
        config: Config,
        state: ServerState,
        app_state: dict[str, Any],
        loop: asyncio.AbstractEventLoop,
    ) -> "Serving":
        """Return the one of a server; made for its first connection."""
        found: Serving | None = getattr(state, _KEPT, None)
        if found is None or found.loop is not loop or found.app_state is not app_state:
            found = cls(config, state, app_state, loop)
            setattr(state, _KEPT, found)
        return found

    def start(self, app: Coroutine[Any, Any, None]) -> None:
        """Run the app for a connection, in a task that uvicorn waits for when it ends."""
        task = self.loop.create_task(app)
        task.add_done_callback(self.state.tasks.discard)
        self.state.tasks.add(task)

    def protocol(self, kind: type[AnyProtocol]) -> AnyProtocol:
        """Return a protocol of another class."""
        return kind(self.config, self.state, self.app_state, self.loop)

    @staticmethod
    def release_http(transport: asyncio.Transport) -> None:
        """Have uvicorn's protocol for HTTP freed when it has handed over the connection.

        It and its parser refer to each other. So the garbage collector would have to find 21
        objects for each client that connects (`python -m tests.benchmarks`, "Connect and join").
        As uvicorn does when such a connection is lost, the parser is let go.
        """
        http: Any = transport.get_protocol()
        if getattr(http, "parser", None) is not None:  # with h11 there is none
            http.parser = None

    def scope(self, upgrade: Upgrade, transport: asyncio.Transport, lane: Lane) -> dict[str, Any]:
        """Return the scope of a request, as uvicorn makes it, with a lane."""
        server, client, scheme = _addresses(transport)
        config = self.config
        scope = upgrade.scope(config.root_path)
        scope["asgi"] = {"version": config.asgi_version, "spec_version": "2.4"}
        scope["scheme"] = scheme
        scope["server"] = server
        scope["client"] = client
        scope["state"] = self.app_state.copy()
        scope["extensions"] = {"websocket.http.response": {}, FAST_LANE: lane}
        return scope

    def answer(self, opening: "Opening", message: Any) -> bytes:
        """Return the answer to a request that the app accepts, and log what uvicorn logs of it."""
        if self.logger.isEnabledFor(INFO):
            scope: Any = opening.scope
            line = '%s - "WebSocket %s" [accepted]'
            self.logger.info(line, get_client_addr(scope), get_path_with_query_string(scope))
            self.logger.info("connection open")  # which websockets does
        headers = [*self.state.default_headers, *message.get("headers", ())]
        return switching_protocols(opening.key, headers, message.get("subprotocol"))


class Opening(NamedTuple):
    """What is needed of a request until it is answered."""

    key: bytes
    scope: dict[str, Any]


def is_behind(transport: asyncio.Transport) -> bool:
    """Return whether so much waits in a transport that it may have asked to pause writing."""
    size = transport.get_write_buffer_size()
    return size > 0 and size > transport.get_write_buffer_limits()[0]


def check_refusal(message: Any) -> None:
    """Check that a message refuses a WebSocket.

    Raises:
        RuntimeError: It does not, in the words of uvicorn. The app may still accept.
    """
    kind = message["type"]
    if kind not in ("websocket.close", "websocket.http.response.start"):
        raise RuntimeError(
            "Expected ASGI message 'websocket.accept', 'websocket.close' "
            f"or 'websocket.http.response.start' but got '{kind}'."
        )
    if not 100 <= message.get("status", 403) < 600:
        raise RuntimeError(f"Invalid HTTP status code '{message['status']}' in response.")


def _addresses(transport: asyncio.Transport) -> tuple[Any, Any, str]:
    """Return the server's address, the client's, and the scheme, as a scope has them."""
    # uvicorn's protocol for HTTP, which still is the transport's, has asked the system for them.
    http: Any = transport.get_protocol()
    scheme = {"http": "ws", "https": "wss"}.get(getattr(http, "scheme", None) or "")
    if scheme is not None:
        try:
            return http.server, http.client, scheme
        except AttributeError:
            pass
    server, client = get_local_addr(transport), get_remote_addr(transport)
    return server, client, "wss" if is_ssl(transport) else "ws"


def may_hold_data(transport: asyncio.Transport) -> bool:
    """Return whether a transport may hold what the client has not taken: a close needs a bound."""
    # With TLS, another transport below holds what was encrypted, and does not say how much.
    is_tls = transport.get_extra_info("ssl_object") is not None
    return is_tls or transport.get_write_buffer_size() > 0
