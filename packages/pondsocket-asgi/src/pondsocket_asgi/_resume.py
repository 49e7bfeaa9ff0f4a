"""How an event stream goes on where another ended: what came back, and what is written for it."""

import logging
import time
from typing import Final

from pondsocket import ConnectRequest, Frame, PresenceMode, Session
from pondsocket_common import Position

from ._cursor import MAX_AGE_SECONDS, CursorFault, CursorKeys, StreamCursor

_log: Final = logging.getLogger("pondsocket.asgi.transport")

# A stream on which nothing moves for a day must not be cut with a cursor that is too old.
_SAY_AGAIN_SECONDS: Final = MAX_AGE_SECONDS / 24


class Positions:
    """Where one stream stands, as far as it is written.

    Its cursor is made with the first channel that has a history; most streams need none.

    Args:
        session: The stream's; it says what is still joined.
    """

    __slots__ = ("_cursor", "_entered", "_keys", "_noted", "_said_at", "_session")

    def __init__(self, session: Session, keys: CursorKeys) -> None:
        self._session = session
        self._keys = keys
        self._cursor: StreamCursor | None = None
        self._said_at = 0.0
        self._noted: dict[str, Position] = {}
        # By whom each channel is in the cursor: who joins again may do it with other parameters.
        self._entered: dict[str, object] = {}

    def resume(self, request: ConnectRequest) -> None:
        """Have the session go on where the cursor of the request says, if it has one."""
        text = request.headers.get("last-event-id") or request.query.get("lastEventId")
        if not text:
            return
        found = self._keys.signer(request.path).read(text, time.time())
        if isinstance(found, CursorFault):
            _log.info("A stream begins afresh (path=%r): %s", request.path, found.value)
            found = []
        # As if they were joined already: if this stream ends before they are, the next one has to
        # know of them just the same.
        for entry in found:
            self._make().enter(*entry)
        if self._cursor is not None:
            self._cursor.is_changed = False
        self._session.resume([entry.as_join() for entry in found])

    def _make(self) -> StreamCursor:
        if self._cursor is None:
            self._cursor = StreamCursor(self._keys.signer(self._session.path))
            self._said_at = time.time()
        return self._cursor

    def note(self, frame: Frame) -> None:
        """A frame is about to be written."""
        if frame.position is not None and frame.channel is not None:
            self._noted[frame.channel] = frame.position

    def block(self) -> bytes:
        """What moves the reader's last event id, to be written with the frames noted."""
        if self._noted:
            cursor, noted = self._make(), self._noted
            self._noted = {}
            for name, position in noted.items():
                self._move(cursor, name, position)
        elif self._cursor is None:
            return b""
        else:
            cursor = self._cursor
        session = self._session
        for name in cursor.names():
            if name not in session.memberships and name not in session.resuming:
                cursor.leave(name)
                self._entered.pop(name, None)
        now = time.time()
        if not cursor.is_changed and (not len(cursor) or now < self._said_at + _SAY_AGAIN_SECONDS):
            return b""
        cursor.is_changed = False
        self._said_at = now
        # A block without data dispatches nothing. An empty id takes back the last one.
        return b"id: %b\n\n" % (cursor.say(now) if len(cursor) else b"")

    def _move(self, cursor: StreamCursor, name: str, position: Position) -> None:
        member = self._session.memberships.get(name)
        if member is None:
            if name in self._entered and not self._session.is_open:
                cursor.move(name, position.offset)  # written out after the end
            return
        if self._entered.get(name) is member:
            cursor.move(name, position.offset)
            return
        self._entered[name] = member
        mode = PresenceMode.DIFF if member.wants_diffs else None
        if not cursor.enter(name, position, member.join_params, mode):
            _log.info("A channel's parameters are too long to be resumed (channel=%r).", name)
