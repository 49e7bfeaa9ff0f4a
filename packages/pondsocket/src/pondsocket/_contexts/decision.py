"""A decision that is made once."""

from collections.abc import Callable, Generator, Mapping
from typing import Any, Final

from pondsocket._log import get_log
from pondsocket._state.lifecycle import ADMISSIONS, Admission, AdmissionEvent

_log: Final = get_log("pondsocket.contexts")
# A global of its own: before Python 3.12, reading a member of an enum costs 0.3 us.
_PENDING: Final = Admission.PENDING


class _Done:
    """What a call that does not wait returns, so that `await` before it does no harm."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, None]:
        """Wait for nothing."""
        return
        yield


DONE: Final = _Done()


class Decision:
    """A decision that is made once."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state: Admission = _PENDING

    def advance(self, event: AdmissionEvent, fields: Callable[[], Mapping[str, str]]) -> bool:
        """Decide. False, and a line in the log, if it was decided before.

        Args:
            fields: Returns those of that line.
        """
        following = ADMISSIONS.get((self.state, event))
        if following is None:
            if self.state is not Admission.ABANDONED:
                _log.error(
                    "A handler decided twice: %s after it was %s. The first decision stands.",
                    event.name.lower(),
                    self.state.name.lower(),
                    stack_info=True,
                    extra=fields(),
                )
            return False
        self.state = following
        return True
