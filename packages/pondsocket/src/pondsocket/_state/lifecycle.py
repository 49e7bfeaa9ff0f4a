"""Three state machines: of a request to connect or join, of a connection, and of a pond.

Each is an Enum of states, one of events, and a table. A pair that is not in the table changes
nothing. So a second decision, a late answer or a double close is harmless.
"""

from enum import Enum, auto
from typing import Final


class Admission(Enum):
    """The state of a client's request to connect or join."""

    PENDING = auto()
    ACCEPTED = auto()
    REFUSED = auto()
    ABANDONED = auto()
    # Looked up often in a dict, and Enum's own `__hash__` is written in Python
    # (tests/benchmarks/microbench.py, "connect; core").
    __hash__ = object.__hash__


class AdmissionEvent(Enum):
    """What can happen to a request."""

    ACCEPT = auto()
    DECLINE = auto()
    VANISH = auto()
    __hash__ = object.__hash__


ADMISSIONS: Final = {
    (Admission.PENDING, AdmissionEvent.ACCEPT): Admission.ACCEPTED,
    (Admission.PENDING, AdmissionEvent.DECLINE): Admission.REFUSED,
    (Admission.PENDING, AdmissionEvent.VANISH): Admission.ABANDONED,
}


class Life(Enum):
    """The state of a connection: admitted, served, served until a restart, told to end, over."""

    ADMITTED = auto()
    OPEN = auto()
    RESTARTING = auto()
    CLOSING = auto()
    OVER = auto()
    __hash__ = object.__hash__


class LifeEvent(Enum):
    """What can happen to a connection."""

    OPEN = auto()
    RESTART = auto()
    CLOSE = auto()
    END = auto()
    __hash__ = object.__hash__


LIVES: Final = {
    (Life.ADMITTED, LifeEvent.OPEN): Life.OPEN,
    (Life.ADMITTED, LifeEvent.CLOSE): Life.CLOSING,
    (Life.OPEN, LifeEvent.RESTART): Life.RESTARTING,
    (Life.OPEN, LifeEvent.CLOSE): Life.CLOSING,
    (Life.RESTARTING, LifeEvent.CLOSE): Life.CLOSING,
    (Life.ADMITTED, LifeEvent.END): Life.OVER,
    (Life.OPEN, LifeEvent.END): Life.OVER,
    (Life.RESTARTING, LifeEvent.END): Life.OVER,
    (Life.CLOSING, LifeEvent.END): Life.OVER,
}

SERVED: Final = (Life.OPEN, Life.RESTARTING)
"""The states of a connection whose messages are handled, and which is sent frames."""


class Phase(Enum):
    """The state of a pond: open, draining (no new connections), or closed."""

    OPEN = auto()
    DRAINING = auto()
    CLOSED = auto()


class PhaseEvent(Enum):
    """What can happen to a pond."""

    ENTER = auto()
    DRAIN = auto()
    CLOSE = auto()


PHASES: Final = {
    (Phase.OPEN, PhaseEvent.DRAIN): Phase.DRAINING,
    (Phase.OPEN, PhaseEvent.CLOSE): Phase.CLOSED,
    (Phase.DRAINING, PhaseEvent.CLOSE): Phase.CLOSED,
    (Phase.DRAINING, PhaseEvent.ENTER): Phase.OPEN,
    (Phase.CLOSED, PhaseEvent.ENTER): Phase.OPEN,
}
