"""PondSocket with options that cost time: a rate limit, and a history."""

from dataclasses import replace

from pondsocket import History, Options, PondSocket
from pondsocket_asgi import PondASGIApp

from tests.benchmarks.apps.pond import admit, enter, handle, unlimited

FREE = unlimited()
assert FREE is not None
# No client of a benchmark reaches this, so that each message is counted and none is refused.
FAR_ABOVE = replace(
    FREE, event_rate=1e6, event_burst=1_000_000, control_rate=1e6, control_burst=1_000_000
)


def build(options: Options, history: History | None) -> PondSocket:
    """Make a pond with channels that broadcast and echo."""
    pond = PondSocket(options=options)
    endpoint = pond.create_endpoint("/socket", admit)
    handle(endpoint.create_channel("/room/:room_id", enter, history=history))
    return pond


limited = PondASGIApp(build(FAR_ABOVE, None))
remembering = PondASGIApp(build(FREE, History()))
