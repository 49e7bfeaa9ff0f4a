"""How an event stream resumes another: reading the cursor that came back, and writing new ones."""

import time
from collections.abc import Sequence
from typing import Final

from pondsocket import PresenceMode
from pondsocket.adapter import ConnectRequest, Frame, Session, about, get_log
from pondsocket_common import Position

from .cursor import MAX_AGE_SECONDS, CursorEntry, CursorFault, CursorKeys, StreamCursor

_log: Final = get_log("pondsocket.asgi.transport")

# The cursor of a stream on which no position moves for a day must not become too old.
_SAY_AGAIN_SECONDS: Final = MAX_AGE_SECONDS / 24


class Positions:
    """The positions of one stream, up to what has been written to it.

    Its cursor is made for the first channel with a history; most streams need none.

    Args:
        session: The stream's session, which knows the channels that are still joined.
    """

    __slots__ = (
        "_alone",
        "_entered",
        "_keys",
        "_marked",
        "_names_removed",
        "_noted",
        "_said_at",
        "_session",
        "cursor",
    )

    def __init__(self, session: Session, keys: CursorKeys) -> None:
        self._session = session
        self._keys = keys
        self.cursor: StreamCursor | None = None
        self._said_at = 0.0
        # If the cursor has exactly one channel: its name, the member, its epoch, and its `mark`.
        self._alone: tuple[str, object, str, bytes] | None = None
        # The position in that channel, if `mark` has noted a newer one.
        self._marked: Position | None = None
        self._names_removed = 0
        self._noted: dict[str, Position] = {}
        # The member and the epoch of each channel in the cursor: a later join may have other
        # parameters, and a history may begin anew under a member.
        self._entered: dict[str, tuple[object, str]] = {}

    def mark(self, frame: Frame) -> bytes | None:
        """Note a frame, and return the mark that streams share which get the same `event_id`.

        Nearly all streams of a channel are in this channel alone, or in no other with a history.
        Then the text to write is made once for all of them. None if this stream needs its own.
        """
        position = frame.position
        if position is None or self._alone is None or self._noted:
            return None
        name, member, epoch, mark = self._alone
        session = self._session
        if (
            name != frame.channel
            or position.epoch != epoch
            or session.memberships.get(name) is not member
            or session.names_removed != self._names_removed
        ):
            return None
        self._marked = position
        return mark

    def resume(self, request: ConnectRequest) -> None:
        """Resume the session at the positions in the request's cursor, if there is one."""
        text = request.headers.get("last-event-id") or request.query.get("lastEventId")
        if not text:
            return
        read = self._keys.signer(request.path).read(text, time.time())
        if isinstance(read, CursorFault):
            told, extra = "A stream begins afresh (path=%r): %s", about(endpoint=request.path)
            _log.info(told, request.path, read.value, extra=extra)
            found: Sequence[CursorEntry] = []
        else:
            found = read
        # Entered before they are joined: if this stream ends before that, the next one still has to
        # know of them.
        for entry in found:
            self._make().enter(*entry)
        if self.cursor is not None:
            self.cursor.is_changed = False
        self._session.resume([entry.as_join() for entry in found])

    def _make(self) -> StreamCursor:
        if self.cursor is None:
            self.cursor = StreamCursor(self._keys.signer(self._session.path))
            self._said_at = time.time()
        return self.cursor

    def note(self, frame: Frame) -> None:
        """Note the position of a frame that is about to be written."""
        if frame.position is not None and frame.channel is not None:
            self._noted[frame.channel] = frame.position

    @property
    def is_due(self) -> bool:
        """Whether there may be an `event_id` although no frame is noted."""
        cursor = self.cursor
        return cursor is not None and (
            cursor.is_changed
            or self._names_removed != self._session.names_removed
            or (len(cursor) > 0 and time.time() >= self._said_at + _SAY_AGAIN_SECONDS)
        )

    def event_id(self) -> bytes | None:
        """Return the reader's last event id from now on, to be written behind the frames noted.

        None if it does not change. An empty one clears it.
        """
        if self._marked is not None and self._alone is not None and self.cursor is not None:
            self.cursor.move(self._alone[0], self._marked.offset)
            self._marked, self.cursor.is_changed = None, False
        if self._noted:
            cursor, noted = self._make(), self._noted
            self._noted = {}
            for name, position in noted.items():
                self._move(cursor, name, position)
        elif self.cursor is None:
            return None
        else:
            cursor = self.cursor
        session = self._session
        if self._names_removed != session.names_removed:
            self._names_removed = session.names_removed
            for name in cursor.names():
                if name not in session.memberships and name not in session.resuming:
                    cursor.leave(name)
                    self._entered.pop(name, None)
        now = time.time()
        if not cursor.is_changed and (not len(cursor) or now < self._said_at + _SAY_AGAIN_SECONDS):
            return None
        cursor.is_changed = False
        self._said_at = now
        self._alone = None
        if len(cursor) == 1:
            (name,) = cursor.names()
            member, epoch = self._entered.get(name, (None, ""))
            self._alone = (name, member, epoch, cursor.around(name))
        return cursor.say(now) if len(cursor) else b""

    def _move(self, cursor: StreamCursor, name: str, position: Position) -> None:
        member = self._session.memberships.get(name)
        if member is None:
            if name in self._entered and not self._session.is_open:
                cursor.move(name, position.offset)  # written after the session's end
            return
        if self._entered.get(name) == (member, position.epoch):
            cursor.move(name, position.offset)
            return
        self._entered[name] = member, position.epoch
        mode = PresenceMode.DIFF if member.wants_diffs else None
        params = member.join_params
        cursor.leave(name)
        if params is None or not cursor.enter(name, position, params, mode):
            told = "A channel's parameters are too long to be resumed (channel=%r)."
            _log.info(told, name, extra=about(member, channel=name))
