"""The wakeup descriptor, to which the interpreter writes the number of every signal that comes.

asyncio's `add_signal_handler`, which granian and hypercorn use, reacts to this descriptor and not
to the signal's Python handler; uvloop needs it to notice signals at all. So, to hold signals back,
this reads it in place of the loop, and passes those that are not held on to the loop.
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
        try:
            os.set_blocking(self._reader, False)
            os.set_blocking(self._writer, False)
            self._old: Final = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        except BaseException:
            self._close()
            raise

    @classmethod
    def replace(cls, loop: Any, held: Container[int]) -> Self | None:
        """Take the place of the loop's descriptor. None if the loop reads no signals from one.

        Raises:
            OSError: There is no descriptor left.
        """
        # For trio, and asyncio on Windows, it only wakes the loop; Python's handlers do the rest.
        if os.name != "posix" or not hasattr(loop, "add_reader"):
            return None
        wakeup = cls(loop, held)
        if wakeup._old == -1:
            wakeup.restore()
            wakeup._close()
            return None
        try:
            loop.add_reader(wakeup._reader, wakeup._forward)
        except BaseException:
            wakeup.restore()
            wakeup._close()
            raise
        return wakeup

    def restore(self) -> None:
        """Restore the loop's descriptor, unless other code has replaced ours."""
        current = signal.set_wakeup_fd(self._old)
        if current != self._writer:
            signal.set_wakeup_fd(current)

    def close(self) -> None:
        """Stop reading. Must be called in the loop's thread, not in a signal handler."""
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
                pass  # full of signals that are not read yet, which wake the loop just as well
