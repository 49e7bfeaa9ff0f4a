"""A client in memory, for tests of applications, without a transport or a network.

async with connect(pond, "/socket?token=secret") as peer:
    await peer.join("/chat/1")
    peer.send("BROADCAST", "/chat/1", "message", {"text": "hi"})
    frame = await peer.receive()
"""

from ._clock import FakeClock
from ._peer import ConnectionRefused, MemoryPeer, connect
from ._settling import clock_of, failures, settle

__all__ = [
    "ConnectionRefused",
    "FakeClock",
    "MemoryPeer",
    "clock_of",
    "connect",
    "failures",
    "settle",
]

# The name that it had: test suites that were written with it still run.
ConnectionRefusedByPond = ConnectionRefused
