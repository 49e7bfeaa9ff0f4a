"""The cyclic garbage collector while a pond is open: what lives long is frozen (`gc.freeze`).

The collector finds garbage by walking all objects that live. A connection is some hundred of them.
So every client that connects brings the next full collection nearer, and the more connections there
are, the longer it stops the event loop: 0.8 s at 20,000. But connections leave no cycles, and the
collector finds nothing in them. So they are taken out of its sight as they become more.
"""

import gc
import threading
from collections.abc import Callable
from typing import Final

from pondsocket._log import get_log

_log: Final = get_log("pondsocket.gc")

# Python's own are 700, 10 and 10. 10,000 new objects are walked in a few milliseconds; 50,000 would
# save no more ("Connect and join" of `python -m tests.benchmarks`: a quarter of the time).
THRESHOLDS: Final = (10_000, 50, 100)
# With fewer connections, a full collection takes a few milliseconds.
LEAST_CONNECTIONS: Final = 64
# So many connections are walked in 35 ms, before they are frozen. Were they frozen only each time
# that their number has doubled, it would be 570 ms at 16,384.
MOST_AT_ONCE: Final = 500


class _Collector:
    """The collector of this process, which all its ponds share."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._thresholds = THRESHOLDS
        self._had_frozen = False

    def begin(self) -> None:
        """Freeze what lives after the start, and collect rarely. Called for each pond."""
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._thresholds = gc.get_threshold()
                self._had_frozen = gc.get_freeze_count() > 0
                gc.set_threshold(*THRESHOLDS)
            gc.collect()
            gc.freeze()

    def end(self) -> None:
        """Undo it for one pond; with the last one, all is as it was before the first."""
        with self._lock:
            self._users -= 1
            if self._users:
                return
            if gc.get_threshold() == THRESHOLDS:  # the application may have set its own meanwhile
                gc.set_threshold(*self._thresholds)
            gc.unfreeze()
            if self._had_frozen:
                # By a server that forks, for instance. Which objects these were is not known.
                gc.collect()
                gc.freeze()


_collector: Final = _Collector()


class GCFreeze:
    """What one pond does to the collector.

    Args:
        count: Returns how many connections are open.
    """

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count
        self._is_on = False
        self._is_said = False
        self._frozen = 0  # how many connections were open at the last time

    def begin(self) -> None:
        """Freeze what lives now. To be called when the pond is open."""
        self._is_said = True
        # If the application has switched the collector off, nothing is to be gained.
        if not self._is_on and gc.isenabled():
            self._is_on = True
            self._frozen = 0
            _collector.begin()

    def connecting(self) -> None:
        """Freeze what lives, if there are twice as many connections as at the last time.

        Or `MOST_AT_ONCE` more. To be called before each connection.
        """
        if not self._is_on:
            self._say()
            return
        count, frozen = self._count(), self._frozen
        if count >= max(LEAST_CONNECTIONS, frozen + min(frozen, MOST_AT_ONCE)):
            self._frozen = count
            # Garbage that is frozen stays until the pond ends. Only young objects are collected
            # before: to walk the old ones is what this avoids.
            gc.collect(1)
            gc.freeze()
            _log.debug("Frozen at %d connections.", count)
        elif count < frozen // 2:
            self._frozen = count  # many have left, and those that come are not frozen

    def end(self) -> None:
        """Let the collector be as it was. Also if `begin` was not called."""
        if self._is_on:
            self._is_on = False
            _collector.end()

    def _say(self) -> None:
        if not self._is_said and gc.isenabled():
            self._is_said = True
            _log.warning(
                "Options.gc_freeze has no effect: nothing has entered the pond, so that nothing"
                " would end it. Serve the app with a lifespan, or pass `pond.lifespan` to its host."
            )
