"""The states of a writer: an Enum of states, one of events, and a table. Pure.

A pair that is not in the table changes nothing. So a second end, or a failure after the peer was
lost, is harmless.
"""

from enum import Enum, auto
from typing import Final


class WriterState(Enum):
    """What may be done with a frame that is offered."""

    # Frames are queued for the writer's task. The first state: before anything else the connection
    # is accepted. Also the only one before the end if the server does not let callers send.
    QUEUEING = auto()
    # Nothing waits, and the server lets callers send: a frame is written at once.
    FREE = auto()
    # A `send` has failed. The writer is to close the session; until then frames are queued.
    FAILED = auto()
    # What is queued is still written, then the end of the connection. Frames are refused.
    CLOSING = auto()
    # The peer has disconnected. Nothing is written any more, and frames are refused.
    LOST = auto()
    # Looked up in a dict at each change, and Enum's own `__hash__` is written in Python.
    __hash__ = object.__hash__


class WriterEvent(Enum):
    """What can happen to a writer."""

    WAIT = auto()  # something has to wait for the task
    REST = auto()  # nothing waits any more, and the server lets callers send
    FAIL = auto()  # a `send` raised
    END = auto()  # the session is over
    LOSE = auto()  # the peer has disconnected
    __hash__ = object.__hash__


TRANSITIONS: Final = {
    (WriterState.FREE, WriterEvent.WAIT): WriterState.QUEUEING,
    (WriterState.QUEUEING, WriterEvent.REST): WriterState.FREE,
    (WriterState.QUEUEING, WriterEvent.FAIL): WriterState.FAILED,
    (WriterState.FREE, WriterEvent.FAIL): WriterState.FAILED,
    (WriterState.CLOSING, WriterEvent.FAIL): WriterState.FAILED,
    (WriterState.QUEUEING, WriterEvent.END): WriterState.CLOSING,
    (WriterState.FREE, WriterEvent.END): WriterState.CLOSING,
    (WriterState.QUEUEING, WriterEvent.LOSE): WriterState.LOST,
    (WriterState.FREE, WriterEvent.LOSE): WriterState.LOST,
    (WriterState.FAILED, WriterEvent.LOSE): WriterState.LOST,
    (WriterState.CLOSING, WriterEvent.LOSE): WriterState.LOST,
}


def advance(state: WriterState, event: WriterEvent) -> WriterState:
    """Return the state that follows; the same if the event changes nothing."""
    return TRANSITIONS.get((state, event), state)
