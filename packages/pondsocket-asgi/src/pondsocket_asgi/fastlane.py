"""uvicorn's WebSockets with less between the socket and the app. Opt-in, by uvicorn's own option.

    uvicorn --ws pondsocket_asgi.fastlane:Protocol app

`Protocol` does not compress. `DeflateProtocol` does, where a client offers permessage-deflate; it
costs more for each client that is let in, and for each that is idle.

`python -m tests.benchmarks` has `Protocol` as `ours-lane`.
"""

from ._fastlane.deflate_protocol import DeflateProtocol
from ._fastlane.lane import Lane
from ._fastlane.protocol import Protocol

__all__ = ["DeflateProtocol", "Lane", "Protocol"]
