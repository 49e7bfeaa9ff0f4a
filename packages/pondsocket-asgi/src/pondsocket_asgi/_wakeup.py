"""The descriptor to which the interpreter writes the number of every signal that comes.

asyncio's `add_signal_handler`, which granian and hypercorn use, reacts to this descriptor and not
to the signal's Python handler; uvloop needs it to notice signals at all. So whoever holds signals
back reads it in the loop's stead, and gives the loop those that are not held.
"""

import os
import signal
from collections.abc import Container
from typing import Any, Final, Self


class Wakeup:
    """A descriptor in the place of the event loop's."""

    def __init__(self, loop: Any, held: Container[int]) -> None:
        self._loop = loop
        self._held = held
        # Not a pair of sockets, which takes six times as long to make.
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._old: Final = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)

    @classmethod
    def replace(cls, loop: Any, held: Container[int]) -> Self | None:
        """Take the place of the loop's descriptor; None where nobody reads one."""
        # trio, and asyncio on Windows, only wake by it, and Python's handlers do the rest.
        if os.name != "posix" or not hasattr(loop, "add_reader"):
            return None
        wakeup = cls(loop, held)
        if wakeup._old == -1:
            wakeup.restore()
            wakeup._close()
            return None
        loop.add_reader(wakeup._reader, wakeup._forward)
        return wakeup

    def restore(self) -> None:
        """Put the loop's descriptor back, unless somebody has taken our place."""
        current = signal.set_wakeup_fd(self._old)
        if current != self._writer:
            signal.set_wakeup_fd(current)

    def close(self) -> None:
        """Read no more. In the loop's thread, and not from a signal handler."""
        self._forward()
        self._loop.remove_reader(self._reader)
        self._close()

    def _close(self) -> None:
        os.close(self._reader)
        os.close(self._writer)

    def _forward(self) -> None:
        try:
            numbers = os.read(self._reader, 4096)
        except BlockingIOError:
            return
        if others := bytes(number for number in numbers if number not in self._held):
            try:
                os.write(self._old, others)
            except BlockingIOError:
                pass  # full of signals that have not been read: as good as these
