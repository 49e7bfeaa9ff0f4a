"""The socket of a peer that reads no more: how its connection is ended all the same."""

from pondsocket_asgi._process.servers import (
    abort_transport,
    find_transport,
    hurry_transport,
    is_behind,
    pause_transport,
)
from pondsocket_asgi._process.sockets import hurry_connection, reset_connection
from pondsocket_asgi._scope import Receive, Scope, is_old_http


class PeerSocket:
    """The socket of one connection, as far as the server gives access to it."""

    __slots__ = ("_is_cut_off", "_scope", "_transport", "_was_closing")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._scope = scope
        # The server's own transport is certainly this connection. By its addresses another may be
        # found, as a client may forge them if a proxy passes its headers on.
        self._transport = find_transport(receive)
        self._was_closing = False
        self._is_cut_off = False

    @property
    def is_shared(self) -> bool:
        """Whether it carries other requests too: with HTTP/2, behind a proxy also other peers'."""
        return not is_old_http(self._scope)

    def stop_reading(self) -> None:
        """Read nothing more of what the peer sends, which the server would answer by itself."""
        if self._transport is not None:
            pause_transport(self._transport)

    def end_close(self) -> None:
        """Cut the connection if the server had closed it before the last call, and it still lasts.

        The server waits for the peer to take what was written, and tells the app only then. So it
        is if a ping was not answered in time, or if the peer has ended its own side.
        """
        transport = self._transport
        if transport is None:
            return
        was_closing, self._was_closing = self._was_closing, transport.is_closing()
        if was_closing:
            abort_transport(transport)

    def hurry_if_behind(self) -> None:
        """Have the system give up a peer that has not taken all that was written.

        To be called at the end: the server may wait for such a peer for ever, and keep its socket.
        """
        transport = self._transport
        if transport is not None and not self.is_shared and is_behind(transport):
            hurry_transport(transport)

    async def hurry(self) -> None:
        """Have the system give up a peer that takes nothing of what was written."""
        # The close frame may get no further than into the buffers of the server and the system,
        # which wait for the peer to read. The writer would seem done, and the socket would stay.
        # Not with HTTP/2: the limit would apply to every stream on the shared socket.
        if self.is_shared:
            return
        if self._transport is None:
            await hurry_connection(self._scope)
        else:
            hurry_transport(self._transport)

    async def cut_off(self) -> None:
        """Reset the connection. Only the first call counts."""
        if not self._is_cut_off:
            self._is_cut_off = True
            if self._transport is None:
                await reset_connection(self._scope)
            else:
                abort_transport(self._transport)
