"""The three state machines: a request for admission, a connection, and a pond.

Each is an Enum of states, one of events, and a table. A pair that is not in the table changes
nothing, which is what makes a second decision, a late answer or a double close harmless.
"""

from enum import Enum, auto
from typing import Final


class Admission(Enum):
    """A connection or a join that somebody asked for."""

    PENDING = auto()
    ACCEPTED = auto()
    REFUSED = auto()
    ABANDONED = auto()
    # Members are looked up often, and Enum's own hash, that of the name, is written in Python
    # (tests/benchmarks/microbench.py, "connect; core").
    __hash__ = object.__hash__


class AdmissionEvent(Enum):
    """What can befall it."""

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
    """A connection: admitted, served, told to end, over."""

    ADMITTED = auto()
    OPEN = auto()
    CLOSING = auto()
    OVER = auto()
    __hash__ = object.__hash__


class LifeEvent(Enum):
    """What can befall it."""

    OPEN = auto()
    CLOSE = auto()
    END = auto()
    __hash__ = object.__hash__


LIVES: Final = {
    (Life.ADMITTED, LifeEvent.OPEN): Life.OPEN,
    (Life.ADMITTED, LifeEvent.CLOSE): Life.CLOSING,
    (Life.OPEN, LifeEvent.CLOSE): Life.CLOSING,
    (Life.ADMITTED, LifeEvent.END): Life.OVER,
    (Life.OPEN, LifeEvent.END): Life.OVER,
    (Life.CLOSING, LifeEvent.END): Life.OVER,
}


class Phase(Enum):
    """A pond: open to everybody, to nobody new, or to nobody."""

    OPEN = auto()
    DRAINING = auto()
    CLOSED = auto()


class PhaseEvent(Enum):
    """What can befall it."""

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
