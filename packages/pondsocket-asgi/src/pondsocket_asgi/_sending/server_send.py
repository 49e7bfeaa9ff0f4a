"""The server's own `send`, behind what wraps it, and who may call it."""

from typing import Any, Final, NamedTuple

from pondsocket.adapter import running_asyncio

from pondsocket_asgi._scope import Send

from .known_wrappers import Kind, unwrapped


class ServerSend(NamedTuple):
    """How the messages of one connection reach the server.

    Attributes:
        send: For all messages between the start and the end: what the app was given, without
            wrappers that pass these on as they are.
        whole: What the app was given: for the start and the end.
        is_inline: Whether `send` may be begun by one task and finished by another.
        opens_inline: Whether `whole` may, at the start.
        stopped_by: What is in the way: a wrapper, or a server whose `send` is not like that.
    """

    send: Send
    whole: Send
    is_inline: bool = False
    opens_inline: bool = False
    stopped_by: object = None


# The `send` of these servers may be begun by one task and finished by another: it waits only for
# the peer, opens no cancel scope or time-out before that, and calls no other code. Any other `send`
# is called only by the writer.
# Not hypercorn's: a connection that was cancelled while such a `send` waited kept its socket
# (tests/integration/test_gone.py, "a cancelled call").
_INLINE: Final = ("uvicorn.protocols.", "pondsocket_asgi._fastlane.", "pondsocket_asgi.testing")
_MOST_WRAPPERS: Final = 32


def server_send(whole: Send, kind: Kind) -> ServerSend:
    """Find the server's own `send` behind wrappers that are known."""
    send: Any = whole
    start_waits = False
    for _ in range(_MOST_WRAPPERS):
        if _is_inline(send):
            runs_asyncio = running_asyncio() is not None
            return ServerSend(send, whole, runs_asyncio, runs_asyncio and not start_waits)
        wrapper = unwrapped(send, kind)
        if wrapper is None:
            break
        send, start_waits = wrapper.inner, start_waits or wrapper.start_waits
    return ServerSend(send, whole, stopped_by=send)


def _is_inline(send: Any) -> bool:
    function = getattr(send, "__func__", send)
    module = getattr(function, "__module__", None) or ""
    # `functools.wraps` copies `__module__` too, so the wrapper's own module is unknown.
    return module.startswith(_INLINE) and not hasattr(function, "__wrapped__")
