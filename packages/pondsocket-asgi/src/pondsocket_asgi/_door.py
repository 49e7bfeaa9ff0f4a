"""What all connections of one app share."""

from dataclasses import dataclass

from pondsocket import PondSocket

from ._pulse import Pulse
from ._security import Doorman


@dataclass(frozen=True, slots=True)
class Door:
    """What all connections of one app share."""

    pond: PondSocket
    doorman: Doorman
    pulse: Pulse
