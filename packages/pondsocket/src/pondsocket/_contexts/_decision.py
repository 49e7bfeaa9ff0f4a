"""A decision that is made once."""

import logging
from typing import Final

from pondsocket._state.lifecycle import ADMISSIONS, Admission, AdmissionEvent

_log: Final = logging.getLogger("pondsocket.contexts")


class Decision:
    """A decision that is made once."""

    def __init__(self) -> None:
        self.state = Admission.PENDING

    def advance(self, event: AdmissionEvent) -> bool:
        """Decide; False, and a line in the log, if it was decided before."""
        following = ADMISSIONS.get((self.state, event))
        if following is None:
            if self.state is not Admission.ABANDONED:
                _log.error(
                    "A handler decided twice: %s after it was %s. The first decision stands.",
                    event.name.lower(),
                    self.state.name.lower(),
                    stack_info=True,
                )
            return False
        self.state = following
        return True
