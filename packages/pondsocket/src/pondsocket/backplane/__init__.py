"""Many nodes: the engine that they share, and what one must offer.

`pondsocket.backplane.memory` has an engine for tests, in one process.
"""

from ._errors import BackplaneError, BackplaneUnavailable, LinkLost, PublishUncertain
from ._interface import (
    MAX_BYTES,
    MAX_OPS,
    SEPARATOR,
    Append,
    Backplane,
    Change,
    Drop,
    Emit,
    Entry,
    Keep,
    Listener,
    Op,
    Outage,
    Put,
    Result,
    Roster,
    Slice,
    Topic,
)

__all__ = [
    "MAX_BYTES",
    "MAX_OPS",
    "SEPARATOR",
    "Append",
    "Backplane",
    "BackplaneError",
    "BackplaneUnavailable",
    "Change",
    "Drop",
    "Emit",
    "Entry",
    "Keep",
    "LinkLost",
    "Listener",
    "Op",
    "Outage",
    "PublishUncertain",
    "Put",
    "Result",
    "Roster",
    "Slice",
    "Topic",
]
