"""The two state machines: a request for admission, and a connection.

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


class AdmissionEvent(Enum):
    """What can befall it."""

    ACCEPT = auto()
    DECLINE = auto()
    VANISH = auto()


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


class LifeEvent(Enum):
    """What can befall it."""

    OPEN = auto()
    CLOSE = auto()
    END = auto()


LIVES: Final = {
    (Life.ADMITTED, LifeEvent.OPEN): Life.OPEN,
    (Life.ADMITTED, LifeEvent.CLOSE): Life.CLOSING,
    (Life.OPEN, LifeEvent.CLOSE): Life.CLOSING,
    (Life.ADMITTED, LifeEvent.END): Life.OVER,
    (Life.OPEN, LifeEvent.END): Life.OVER,
    (Life.CLOSING, LifeEvent.END): Life.OVER,
}
