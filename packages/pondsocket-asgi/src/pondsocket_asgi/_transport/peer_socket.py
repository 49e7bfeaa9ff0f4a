"""The socket of a peer that reads no more: how its connection is ended all the same."""

from pondsocket_asgi._process.servers import abort_transport, hurry_transport, pause_transport
from pondsocket_asgi._process.sockets import hurry_connection, reset_connection
from pondsocket_asgi._scope import Receive, Scope, is_old_http


class PeerSocket:
    """The socket of one connection, as far as the server gives access to it."""

    __slots__ = ("_is_cut_off", "_receive", "_scope")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._scope = scope
        self._receive = receive
        self._is_cut_off = False

    @property
    def is_shared(self) -> bool:
        """Whether it carries other requests too: with HTTP/2, behind a proxy also other peers'."""
        return not is_old_http(self._scope)

    def stop_reading(self) -> None:
        """Read nothing more of what the peer sends, which the server would answer by itself."""
        pause_transport(self._receive)

    async def hurry(self) -> None:
        """Have the system give up a peer that takes nothing of what was written."""
        # The close frame may get no further than into the buffers of the server and the system,
        # which wait for the peer to read. The writer would seem done, and the socket would stay.
        # Not with HTTP/2: the limit would apply to every stream on the shared socket.
        if not self.is_shared and not hurry_transport(self._receive):
            await hurry_connection(self._scope)

    async def cut_off(self) -> None:
        """Reset the connection. Only the first call counts."""
        if not self._is_cut_off:
            self._is_cut_off = True
            # The server's own transport is certainly this connection. `reset_connection` looks for
            # the addresses, which a client may forge if a proxy passes its headers on.
            if not abort_transport(self._receive):
                await reset_connection(self._scope)
