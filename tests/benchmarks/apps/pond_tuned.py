"""PondSocket with a cyclic collector that runs rarely and never walks what lives long."""

from dataclasses import replace

from pondsocket import PondSocket
from pondsocket_asgi import PondASGIApp

from tests.benchmarks.apps.pond import admit, enter, handle, unlimited

options = unlimited()
assert options is not None
pond = PondSocket(options=replace(options, gc_freeze=True))
handle(pond.create_endpoint("/socket", admit).create_channel("/room/:room_id", enter))
app = PondASGIApp(pond)
