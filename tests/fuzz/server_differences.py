"""What servers do differently, and may."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ServerDifferences:
    """One server's.

    Args:
        is_exact: It closes with 1002, 1007 and 1009 where RFC 6455 says so; else any end will do.
        is_patient: It goes on with a connection after it has answered a request whose body was not
            read; it may as well end it (RFC 9112, section 9.3).
        heeds_end: It ends a connection whose peer says no more, also within a request.
        bears_bytes: A handshake with a byte above 127 in a header does not end the whole server.
        takes_lists: It takes a handshake whose Upgrade names other protocols besides websocket, as
            RFC 9110, section 7.8, lets it.
        failures: Statuses with which it fails by itself where no server should.
        noise: Words in its log, and how many tracebacks of its own making come with them.
    """

    is_exact: bool = True
    is_patient: bool = True
    heeds_end: bool = True
    bears_bytes: bool = True
    takes_lists: bool = False
    failures: frozenset[int] = frozenset()
    noise: tuple[tuple[str, int], ...] = ()


SANSIO = ServerDifferences(noise=(("Invalid UTF-8 sequence received from client.", 1),))
# Neither can bear a byte above 127 in some header of a handshake (seen in uvicorn 0.54).
LEGACY = ServerDifferences(failures=frozenset({500}), noise=(("opening handshake failed", 1),))
WSPROTO = ServerDifferences(is_exact=False, noise=(("protocol.data_received() call failed", 2),))
# hypercorn 0.18 lets what wsproto raises there end the task group of all its connections.
TRIO = ServerDifferences(is_exact=False, is_patient=False, heeds_end=False, bears_bytes=False)
HYPERCORN = ServerDifferences(
    is_exact=False,
    is_patient=False,
    heeds_end=False,
    noise=(("Unhandled exception in client_connected_cb", 2),),
)
GRANIAN = ServerDifferences(is_exact=False, is_patient=False, takes_lists=True)
