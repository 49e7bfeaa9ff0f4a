"""What waits for a store that answers late: a broadcast for its position, a join for a slice.

*Late* is said of stores alone. A frame that waits for an `async` outgoing handler is *pending*.
"""

from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Final, NamedTuple

import anyio
from pondsocket_common import Payload, Position

from pondsocket._errors import PondError
from pondsocket._history.channel_history import ChannelHistory
from pondsocket._history.slice import Audience, HistorySlice

from .owner import Interception

# An append that takes longer counts as failed: the broadcasts behind it must not wait for ever. As
# long as a join handler may take by default.
APPEND_SECONDS: Final = 10.0


class DecidedBroadcast(NamedTuple):
    """A broadcast that waits for its position.

    Args:
        shown: The payload, for outgoing handlers.
        but: The connection that does not get it.
    """

    event: str
    request_id: str
    shown: Payload
    payload: bytes
    audience: Audience | None
    but: str | None
    interception: Interception[Any] | None


class PositionedBroadcast(NamedTuple):
    """A broadcast that has its position."""

    position: Position
    decided: DecidedBroadcast


class LateBroadcast:
    """The rest of a broadcast whose position comes late: await it, or give it up.

    Args:
        answer: Called with the position.
        fail: Called if there is none.
    """

    __slots__ = ("_answer", "_fail", "_pending")

    def __init__(
        self,
        pending: Awaitable[Position],
        answer: Callable[[Position], None],
        fail: Callable[[], None],
    ) -> None:
        self._pending = pending
        self._answer = answer
        self._fail = fail

    def __await__(self) -> Generator[Any, Any, None]:
        return self._finish().__await__()

    async def _finish(self) -> None:
        try:
            # Shielded: the history may keep it already, and then the members must get it.
            with anyio.fail_after(APPEND_SECONDS, shield=True):
                position = await self._pending
        except BaseException as error:
            self._fail()
            if isinstance(error, TimeoutError):
                raise PondError("The history of this channel does not answer.", 503) from error
            raise
        self._answer(position)

    def give_up(self) -> None:
        """End without the position, because no task can wait for it. It is not sent."""
        if isinstance(self._pending, Coroutine):
            self._pending.close()  # or Python warns that it was never awaited
        self._fail()


async def read_late(
    history: ChannelHistory,
    pending: Awaitable[HistorySlice],
    since: Position | None,
    latest: int | None,
) -> HistorySlice:
    """Await the messages that a member may recover, and add those that are emitted meanwhile.

    Args:
        pending: What `history.read(since, latest)` has returned.

    Returns:
        The slice, without a gap up to the latest message that was emitted.
    """
    while True:
        with history.recording() as recorded:
            found = await pending
        if found.extend(recorded):
            return found
        # A message between is missing: its append failed here, or another node has appended it.
        again = history.read(since, latest)
        if isinstance(again, HistorySlice):
            return again
        pending = again
