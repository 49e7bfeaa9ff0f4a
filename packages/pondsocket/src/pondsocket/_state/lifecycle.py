"""Three state machines: of a request to connect or join, of a connection, and of a pond.

Each is an Enum of states, one of events, and a table. A pair that is not in the table changes
nothing. So a second decision, a late answer or a double close is harmless. `Restart` is what the
drain of a pond tells its clients.
"""

import math
import random
from collections.abc import Callable
from enum import Enum, auto
from typing import ClassVar, Final


class Admission(Enum):
    """The state of a client's request to connect or join."""

    PENDING = auto()
    ACCEPTED = auto()
    REFUSED = auto()
    ABANDONED = auto()
    # Looked up often in a dict, and Enum's own `__hash__` is written in Python
    # (tests/benchmarks/microbench.py, "connect; core").
    __hash__: ClassVar[Callable[[object], int]] = object.__hash__


class AdmissionEvent(Enum):
    """What can happen to a request."""

    ACCEPT = auto()
    DECLINE = auto()
    VANISH = auto()
    __hash__: ClassVar[Callable[[object], int]] = object.__hash__


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

# The clients of a restarted server come back over so many milliseconds, and not all at once.
_SPREAD_MS: Final = (1_000, 4_000)


class Restart:
    """When the clients of a pond that drains may come back.

    Attributes:
        window: Over how many seconds the drain closes connections; 0 before a drain.
        is_closed: Whether the pond is closed.
    """

    __slots__ = ("_grace", "is_closed", "window")

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self.window: float = 0.0
        self.is_closed: bool = False

    def retry_ms(self) -> int:
        """Return after how many milliseconds a client that was closed finds the next process.

        Handlers may run for `grace` seconds after the last close, and until then this one answers.
        """
        return math.ceil((self.window + self._grace) * 1_000) + random.randint(*_SPREAD_MS)  # noqa: S311
