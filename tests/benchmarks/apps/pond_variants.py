"""Ours with what costs something: a limit on how often a client may send, and a history."""

from dataclasses import replace

from pondsocket import History, Options, PondSocket
from pondsocket_asgi import PondASGIApp

from tests.benchmarks.apps.pond import admit, enter, handle, unlimited

FREE = unlimited()
assert FREE is not None
# What no client of a benchmark reaches, so that each message is counted and none is refused.
FAR_ABOVE = replace(
    FREE, event_rate=1e6, event_burst=1_000_000, control_rate=1e6, control_burst=1_000_000
)


def build(options: Options, history: History | None) -> PondSocket:
    """Return a pond with rooms that repeat and echo."""
    pond = PondSocket(options=options)
    endpoint = pond.create_endpoint("/socket", admit)
    handle(endpoint.create_channel("/room/:room_id", enter, history=history))
    return pond


limited = PondASGIApp(build(FAR_ABOVE, None))
remembering = PondASGIApp(build(FREE, History()))
