"""The cursor of an event stream: its position in each of its channels, signed.

A browser that reconnects sends back the last event id of its stream, and nothing else. So that id
says which channels the stream had joined, and its position in each. A cursor selects what to replay
and grants nothing. It is signed, so that a client cannot make the server run joins that it never
accepted. It is not encrypted, and join parameters may hold secrets: never write it to a log.

    cursor  = base64url(key id (2 bytes), MAC (16), time (5), entries)
    entries = entry 1E entry ...
    entry   = name 1F epoch 1F offset [1F mode [1F join parameters as JSON]]

Neither valid names nor our JSON texts hold control characters, so nothing needs to be escaped.
"""

import binascii
import hmac
import secrets
from collections.abc import Sequence
from enum import Enum
from hashlib import blake2b
from typing import Final, NamedTuple

from pondsocket import PresenceMode, UsageError
from pondsocket_common import (
    GATEWAY,
    ClientActions,
    ClientMessage,
    InvalidMessage,
    Payload,
    Position,
    decode_client,
    dump_json,
    fresh_id,
)

# Half of what nginx accepts for one header (8 KiB), and a quarter of what some servers accept.
MAX_CURSOR_CHARS: Final = 4_096
MAX_PARAMETER_BYTES: Final = 512
# As long as a position lives by default; see `History.position_ttl`.
MAX_AGE_SECONDS: Final = 86_400
_KEY_ID: Final = 2
_MAC: Final = 16
_TIME: Final = 5
_MAX_ENTRY_BYTES: Final = MAX_CURSOR_CHARS * 3 // 4 - _KEY_ID - _MAC - _TIME
_MIN_SECRET_BYTES: Final = 16
_MAX_SIGNERS: Final = 256
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
_PLAIN: Final = bytes.maketrans(b"-_", b"+/")
# Another format of cursor gets another name, and so other keys: it cannot be read as this one.
_FORM: Final = b"pond cursor 1"


class CursorFault(Enum):
    """Why a cursor is ignored, so that the stream starts afresh."""

    MALFORMED = "It is no cursor."
    FOREIGN = "It is signed with a key that is not known here."
    FORGED = "Its signature is wrong, or it is another path's."
    EXPIRED = "It is too old."


class CursorEntry(NamedTuple):
    """One channel of a cursor.

    Args:
        position: The position of the last message that the stream was sent.
        parameters: The parameters of its join.
    """

    name: str
    position: Position
    parameters: Payload
    presence: PresenceMode | None = None

    def as_join(self) -> ClientMessage:
        """Return the join that a client would send to recover the channel."""
        action, name = ClientActions.JOIN_CHANNEL, self.name
        return ClientMessage(
            action, "resume", name, fresh_id(), self.parameters, self.position, self.presence
        )


class CursorKeys:
    """Signs cursors with the newest key, and reads those of every key.

    Args:
        given: Secrets of 16 bytes or more, the newest first. Cursors of the older ones are still
            read, so that a key can be replaced. Without any, this process makes its own.

    Raises:
        UsageError: A secret is too short.
    """

    def __init__(self, *given: str | bytes) -> None:
        self.is_given = bool(given)
        raw = [each.encode() if isinstance(each, str) else each for each in given]
        if any(len(each) < _MIN_SECRET_BYTES for each in raw):
            raise UsageError(f"A cursor key is a secret of {_MIN_SECRET_BYTES} bytes or more.")
        # Derived: a secret may be longer than a key of blake2b, and may have other uses too.
        keys = [
            blake2b(each, digest_size=32, person=_FORM).digest()
            for each in raw or [secrets.token_bytes(32)]
        ]
        ids = [blake2b(key, digest_size=_KEY_ID, person=b"key id").digest() for key in keys]
        # If two keys share an id (one chance in 65,536), the newer counts.
        self._keys = dict(reversed([*zip(ids, keys, strict=True)]))
        self._newest = ids[0]
        self._signers: dict[str, CursorSigner] = {}

    def signer(self, path: str) -> "CursorSigner":
        """Return the signer for the streams of one path. It rejects cursors of other paths."""
        signer = self._signers.get(path)
        if signer is None:
            if len(self._signers) >= _MAX_SIGNERS:  # a path with parameters has many values
                self._signers.clear()
            signer = self._signers[path] = CursorSigner(self._keys, self._newest, path)
        return signer


class CursorSigner:
    """Turns the cursors of one path into text and back."""

    __slots__ = ("_newest", "_seeds", "_signed", "_text", "tag")

    def __init__(self, keys: dict[bytes, bytes], newest: bytes, path: str) -> None:
        # The last text signed. The streams of a channel are mostly at the same position in the same
        # channels: then one signature serves all of them (`python -m tests.benchmarks`, "Fan-out to
        # event streams", `ours-history`).
        self._signed = b""
        self._text = b""
        self._newest = newest
        # Copied for each cursor, so that the key and the path are hashed once.
        self._seeds = {
            key_id: blake2b(path.encode() + b"\0", key=key, digest_size=_MAC)
            for key_id, key in keys.items()
        }
        # Identifies the path and the key; not part of any cursor.
        self.tag = self._seeds[newest].digest()

    def sign(self, entries: bytes, now: float) -> bytes:
        """Sign the entries and return the cursor's text.

        Args:
            now: Seconds since 1970, because other processes compare it with their clocks.
        """
        body = int(now).to_bytes(_TIME) + entries
        if body == self._signed:
            return self._text
        mac = self._seeds[self._newest].copy()
        mac.update(body)
        raw = self._newest + mac.digest() + body
        text = binascii.b2a_base64(raw, newline=False)
        self._signed, self._text = body, text.translate(_URL_SAFE).rstrip(b"=")
        return self._text

    def read(
        self, cursor: str, now: float, max_age: float = MAX_AGE_SECONDS
    ) -> Sequence[CursorEntry] | CursorFault:
        """Check a client's cursor and return its entries, or why it is ignored."""
        if not cursor.isascii() or len(cursor) > MAX_CURSOR_CHARS:
            return CursorFault.MALFORMED
        text = cursor.encode()
        try:
            padded = text.translate(_PLAIN) + b"=" * (-len(text) % 4)
            raw = binascii.a2b_base64(padded, strict_mode=True)
        except binascii.Error:
            return CursorFault.MALFORMED
        signed_at = _KEY_ID + _MAC
        if len(raw) < signed_at + _TIME or b"+" in text or b"/" in text:
            return CursorFault.MALFORMED
        seed = self._seeds.get(raw[:_KEY_ID])
        if seed is None:
            return CursorFault.FOREIGN
        mac = seed.copy()
        mac.update(raw[signed_at:])
        if not hmac.compare_digest(mac.digest(), raw[_KEY_ID:signed_at]):
            return CursorFault.FORGED
        # A time in the future is no fault: the clocks of two hosts may differ.
        if int.from_bytes(raw[signed_at : signed_at + _TIME]) + max_age < now:
            return CursorFault.EXPIRED
        entries = raw[signed_at + _TIME :]
        try:
            return [_entry(each) for each in entries.split(b"\x1e")] if entries else []
        except (InvalidMessage, ValueError):
            return CursorFault.MALFORMED  # signed with our key, but not by this code


def _entry(raw: bytes) -> CursorEntry:
    name, epoch, offset, *more = raw.split(b"\x1f")
    mode = more[0] if more else b""
    parameters = more[1] if len(more) > 1 else b"{}"
    # Decoded as a join of a client, so that a cursor cannot ask for what a client may not.
    join = decode_client(
        b'{"action":"JOIN_CHANNEL","event":"resume","channelName":%b,"requestId":"r",'
        b'"payload":%b,"since":{"epoch":%b,"offset":%d},"presence":%b}'
        % (
            dump_json(name.decode()),
            parameters,
            dump_json(epoch.decode()),
            int(offset),
            dump_json(mode.decode() or None),
        )
    )
    if not isinstance(join, ClientMessage) or join.since is None:
        raise ValueError("no join with a position")
    if join.channel_name == GATEWAY:
        raise ValueError("the endpoint itself has no position")
    return CursorEntry(join.channel_name, join.since, join.payload, join.presence)


class StreamCursor:
    """The positions of one stream, kept so that a new cursor after each write is cheap."""

    __slots__ = ("_entries", "_fixed", "_signer", "_size", "is_changed")

    def __init__(self, signer: CursorSigner) -> None:
        self._signer = signer
        # By channel: what is before and after the offset in its entry; and its whole entry.
        self._fixed: dict[str, tuple[bytes, bytes]] = {}
        self._entries: dict[str, bytes] = {}
        self._size = 0  # of the entries, with a separator each
        self.is_changed = False  # since the last `say`

    def __len__(self) -> int:
        return len(self._fixed)

    def names(self) -> list[str]:
        """Return the names of its channels."""
        return [*self._fixed]

    def enter(
        self,
        name: str,
        position: Position,
        parameters: Payload,
        presence: PresenceMode | None = None,
    ) -> bool:
        """Add a channel that the stream joined. False if its parameters are too long."""
        self.leave(name)
        text = dump_json(parameters) if parameters else b""
        if len(text) > MAX_PARAMETER_BYTES:
            return False
        mode = b"" if presence is None else presence.encode()
        behind = b"\x1f%b\x1f%b" % (mode, text) if text else b"\x1f" + mode if mode else b""
        self._fixed[name] = (b"%b\x1f%b\x1f" % (name.encode(), position.epoch.encode()), behind)
        self.move(name, position.offset)
        return True

    def move(self, name: str, offset: int) -> None:
        """Set the offset in a channel. Does nothing if the channel is not in this cursor."""
        fixed = self._fixed.get(name)
        if fixed is None:
            return
        before, behind = fixed
        entry = b"%b%d%b" % (before, offset, behind)
        former = self._entries.get(name)
        self._size += len(entry) - (-1 if former is None else len(former))
        self._entries[name] = entry
        self.is_changed = True

    def around(self, name: str) -> bytes:
        """Return all that a channel's entry is made of, besides the offset and the time."""
        return self._signer.tag + b"\x1f".join(self._fixed[name])

    def leave(self, name: str) -> None:
        """Remove a channel, which the stream has left."""
        if self._fixed.pop(name, None) is not None:
            self._size -= len(self._entries.pop(name)) + 1
            self.is_changed = True

    def say(self, now: float) -> bytes:
        """Return the cursor's text. Of too many channels, leave out those that were joined last.

        Args:
            now: Seconds since 1970.
        """
        self.is_changed = False
        entries = self._entries.values()
        if self._size - 1 <= _MAX_ENTRY_BYTES:
            return self._signer.sign(b"\x1e".join(entries), now)
        room = _MAX_ENTRY_BYTES + 1
        fitting: list[bytes] = []
        for entry in entries:
            if len(entry) < room:
                room -= len(entry) + 1
                fitting.append(entry)
        return self._signer.sign(b"\x1e".join(fitting), now)
