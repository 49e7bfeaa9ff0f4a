"""The objects that all connections of one app share."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from anyio.lowlevel import RunVar
from pondsocket import PondSocket
from pondsocket.adapter import running_asyncio

from pondsocket_asgi._origins import OriginCheck
from pondsocket_asgi._process.alone import Alone
from pondsocket_asgi._resume.cursor import CursorKeys
from pondsocket_asgi._scope import Scope, Send
from pondsocket_asgi._sending.sending_log import SendingLog
from pondsocket_asgi._sending.server_send import ServerSend, server_send

from .heartbeat import Heartbeat
from .http2 import waiting_send


class Shared:
    """The objects that all connections of one app share.

    Args:
        also: Called about once a second while there are connections.
        alone: Whether other processes serve the same; None: all of them share a backplane.
        client_paths: Which file of the client is served at which path.
    """

    def __init__(
        self,
        pond: PondSocket,
        origins: OriginCheck,
        cursor_keys: CursorKeys,
        also: Callable[[], object] | None = None,
        alone: Alone | None = None,
        client_paths: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.pond = pond
        self.origins = origins
        self.client_paths = client_paths
        self._cursor_keys = cursor_keys
        self._also = also
        self._alone = alone
        self._sending_log = SendingLog()
        # Bound once: every connection keeps it.
        self.begin_drain: Final = pond.begin_drain
        self._heartbeat: RunVar[Heartbeat] = RunVar("_heartbeat")
        # A cache of the last asyncio loop and its clock: a RunVar finds out each time which library
        # runs (`python -m tests.benchmarks`, "Connect and join").
        self._latest: tuple[object, Heartbeat] | None = None

    def find_send(self, scope: Scope, send: Send) -> ServerSend:
        """Find how the messages of the connection that is being opened reach the server.

        Must be called in the task in which the server runs the app.
        """
        found = server_send(waiting_send(scope, send), scope["type"])
        self._sending_log.note(scope, found)
        return found

    def note_unknown(self) -> None:
        """Note that a client has posted to a connection that is not there."""
        if self._alone is not None:
            self._alone.note_unknown()

    @property
    def cursor_keys(self) -> CursorKeys:
        """What signs the cursors of event streams: keys of the app's own, or of the cluster."""
        if not self._cursor_keys.is_given and (key := self.pond.cluster_key) is not None:
            self._cursor_keys = CursorKeys(key)
        return self._cursor_keys

    @property
    def heartbeat(self) -> Heartbeat:
        """The clock of the connections in this event loop."""
        # One for each loop, not for each app: test clients run every WebSocket in its own loop, and
        # a task started from another loop would keep both loops alive.
        running, latest = running_asyncio(), self._latest
        if latest is not None and latest[0] is running:
            return latest[1]
        heartbeat = self._heartbeat.get(None)
        if heartbeat is None:
            heartbeat = Heartbeat(self.pond.options, self._also)
            self._heartbeat.set(heartbeat)
        if running is not None:
            self._latest = running, heartbeat
        return heartbeat
