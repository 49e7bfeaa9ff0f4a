"""The cursor of an event stream: what goes in comes out, and only with the same key."""

import base64
import string
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pondsocket import PresenceMode, UsageError
from pondsocket_asgi._resume.cursor import (
    MAX_CURSOR_CHARS,
    CursorEntry,
    CursorFault,
    CursorKeys,
    CursorSigner,
    StreamCursor,
)
from pondsocket_common import ClientActions, Position

from tests.common.strategies import channel_names, more, payloads, repeatable

NOW = 1_795_000_000.0
SAFE = set(string.ascii_letters + string.digits + "-_")


def signer(*given: str | bytes, path: str = "/socket") -> CursorSigner:
    return CursorKeys(*given or ("a secret of 16 bytes or more",)).signer(path)


def cursor_of(*entries: CursorEntry, by: CursorSigner | None = None) -> StreamCursor:
    cursor = StreamCursor(by or signer())
    for entry in entries:
        cursor.enter(entry.name, entry.position, entry.parameters, entry.presence)
    return cursor


def said(cursor: StreamCursor, now: float = NOW) -> str:
    return cursor.say(now).decode()


def read(text: str, *, by: CursorSigner | None = None, now: float = NOW) -> Sequence[CursorEntry]:
    found = (by or signer()).read(text, now)
    assert not isinstance(found, CursorFault), found
    return found


CHAT = CursorEntry("/chat/1", Position("e1", 41), {})
FULL = CursorEntry("/räume/%41?x", Position("é-2", 2**63 - 1), {"name": "Änn"}, PresenceMode.DIFF)


# --- what a stream says ---------------------------------------------------------------------------


def test_a_cursor_says_where_a_stream_stands_in_each_channel() -> None:
    assert read(said(cursor_of(CHAT, FULL))) == [CHAT, FULL]
    assert read(said(cursor_of())) == []


def test_a_presence_mode_without_parameters_and_parameters_without_a_mode_are_kept() -> None:
    diffs = CHAT._replace(presence=PresenceMode.DIFF)
    named = CHAT._replace(name="/chat/2", parameters={"name": "\x1e\x1f,"})
    assert read(said(cursor_of(diffs, named))) == [diffs, named]


def test_a_cursor_moves_with_what_is_written() -> None:
    cursor = cursor_of(CHAT, FULL)
    cursor.move("/chat/1", 1_000)
    cursor.move("/chat/unknown", 7)
    assert read(said(cursor))[0].position == Position("e1", 1_000)
    cursor.leave("/chat/1")
    cursor.leave("/chat/1")
    cursor.move("/chat/1", 1_001)
    assert read(said(cursor)) == [FULL]
    assert len(cursor) == 1


def test_a_channel_that_is_joined_again_stands_where_the_new_join_begins() -> None:
    cursor = cursor_of(CHAT)
    again = CHAT._replace(position=Position("e2", 3))
    cursor.enter(again.name, again.position, again.parameters)
    assert read(said(cursor)) == [again]


def test_nothing_has_to_be_said_twice() -> None:
    cursor = StreamCursor(signer())
    assert not cursor.is_changed
    cursor.enter("/a", Position("e1", 0), {})
    assert cursor.is_changed
    cursor.say(NOW)
    assert not cursor.is_changed
    cursor.move("/a", 1)
    assert cursor.is_changed
    cursor.say(NOW)
    cursor.leave("/b")
    assert not cursor.is_changed
    cursor.leave("/a")
    assert cursor.is_changed


def test_a_channel_with_large_parameters_is_left_out() -> None:
    cursor = cursor_of(CHAT)
    small, large = {"text": "x" * 501}, {"text": "x" * 502}
    assert cursor.enter("/small", Position("e1", 1), small)
    assert not cursor.enter("/large", Position("e1", 1), large)
    assert not cursor.enter("/chat/1", Position("e1", 1), large)
    assert [entry.name for entry in read(said(cursor))] == ["/small"]


def test_of_too_many_channels_those_that_fit_are_in_it() -> None:
    many = [
        CursorEntry(f"/room/{number}", Position("abcdefgh", 10_000), {}) for number in range(500)
    ]
    cursor = cursor_of(*many)
    text = said(cursor)
    assert MAX_CURSOR_CHARS - 40 <= len(text) <= MAX_CURSOR_CHARS
    found = read(text)
    assert found == many[: len(found)]
    assert len(found) >= 100
    for entry in many[:400]:
        cursor.leave(entry.name)
    assert read(said(cursor)) == many[400:]


def test_a_large_entry_does_not_keep_a_small_one_out() -> None:
    large = [
        CursorEntry(f"/large/{number}", Position("e", 1), {"t": "x" * 500}) for number in range(7)
    ]
    found = read(said(cursor_of(*large, CHAT)))
    assert found == [*large[:5], CHAT]


# --- who may read it ------------------------------------------------------------------------------


def test_another_process_with_the_key_reads_it_and_one_without_does_not() -> None:
    text = said(cursor_of(CHAT, by=signer("the key that two workers share")))
    assert read(text, by=signer("the key that two workers share")) == [CHAT]
    assert signer("a key that no server shares").read(text, NOW) is CursorFault.FOREIGN
    assert CursorKeys().signer("/socket").read(text, NOW) is CursorFault.FOREIGN


def test_without_a_key_a_process_makes_its_own() -> None:
    keys = CursorKeys()
    text = said(cursor_of(CHAT, by=keys.signer("/socket")))
    assert read(text, by=keys.signer("/socket")) == [CHAT]


def test_a_key_can_be_replaced_without_a_fresh_start() -> None:
    old, new = "the old key of this app", b"the new key of this app"
    text = said(cursor_of(CHAT, by=signer(old)))
    both = signer(new, old)
    assert read(text, by=both) == [CHAT]
    assert read(said(cursor_of(CHAT, by=both)), by=signer(new)) == [CHAT]


def test_a_cursor_of_another_path_is_none() -> None:
    text = said(cursor_of(CHAT, by=signer(path="/socket")))
    assert signer(path="/other").read(text, NOW) is CursorFault.FORGED


def test_a_cursor_grows_old_and_one_of_a_clock_ahead_does_not_matter() -> None:
    text = said(cursor_of(CHAT))
    assert read(text, now=NOW + 86_400) == [CHAT]
    assert signer().read(text, NOW + 86_401) is CursorFault.EXPIRED
    assert signer().read(text, NOW + 11, max_age=10) is CursorFault.EXPIRED
    assert read(text, now=NOW - 3_600) == [CHAT]


@pytest.mark.parametrize("secret", ["", "too short", b"fifteen bytes.."])
def test_a_key_that_can_be_guessed_is_refused(secret: str | bytes) -> None:
    with pytest.raises(UsageError, match="16 bytes or more"):
        CursorKeys("this one would be long enough", secret)


# --- what is no cursor ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "42",
        "not a cursor",
        "ä",
        "\udc80",
        "AAAA",
        "A" * 4_097,
        "=" * 40,
        "A" * 29,
        "+" * 40,
    ],
)
def test_what_is_no_cursor_is_malformed(text: str) -> None:
    assert signer().read(text, NOW) is CursorFault.MALFORMED


def test_every_changed_or_missing_character_is_noticed() -> None:
    text = said(cursor_of(FULL))
    for place in range(len(text)):
        other = "A" if text[place] != "A" else "g"
        changed = text[:place] + other + text[place + 1 :]
        found = signer().read(changed, NOW)
        # The last character may hold bits that stand for nothing.
        assert isinstance(found, CursorFault) or place == len(text) - 1
        assert isinstance(signer().read(text[:place], NOW), CursorFault)


@more
@given(st.text(max_size=200) | st.text(alphabet=sorted(SAFE), max_size=200))
def test_any_text_is_answered(text: str) -> None:
    assert isinstance(signer().read(text, NOW), CursorFault)


@more
@given(st.binary(max_size=60))
def test_what_is_signed_and_yet_not_ours_is_malformed_or_fits_the_protocol(entries: bytes) -> None:
    by = signer()
    found = by.read(by.sign(entries, NOW).decode(), NOW)
    assert found is CursorFault.MALFORMED or (not entries and found == [])


@pytest.mark.parametrize(
    "entries",
    [
        b"/a\x1fe1",
        b"/a\x1fe1\x1f-1",
        b"/a\x1fe1\x1fx",
        b"/a\x1f\x1f1",
        b"no slash\x1fe1\x1f1",
        b"GATEWAY\x1fe1\x1f1",
        b"/a\x1fe1\x1f1\x1flists",
        b"/a\x1fe1\x1f1\x1f\x1f[]",
        b"\xff\x1fe1\x1f1",
    ],
)
def test_a_cursor_says_nothing_that_a_client_may_not_say(entries: bytes) -> None:
    by = signer()
    assert by.read(by.sign(entries, NOW).decode(), NOW) is CursorFault.MALFORMED


# --- what becomes of it ---------------------------------------------------------------------------


def test_each_channel_is_joined_again_under_a_fresh_request_id() -> None:
    first, second = FULL.as_join(), FULL.as_join()
    assert first.action is ClientActions.JOIN_CHANNEL
    assert first.channel_name == FULL.name
    assert first.payload == FULL.parameters
    assert first.since == FULL.position
    assert first.presence is PresenceMode.DIFF
    assert first.request_id != second.request_id


@repeatable
@given(
    st.dictionaries(
        channel_names,
        st.tuples(st.integers(0, 2**63 - 1), payloads, st.none() | st.just(PresenceMode.DIFF)),
        max_size=5,
    )
)
def test_whatever_is_joined_comes_back_or_is_left_out_whole(
    joined: dict[str, tuple[int, dict[str, object], PresenceMode | None]],
) -> None:
    entries = [
        CursorEntry(name, Position("e1", offset), parameters, presence)
        for name, (offset, parameters, presence) in joined.items()
    ]
    cursor = StreamCursor(signer())
    held = [entry for entry in entries if cursor.enter(*entry)]
    text = said(cursor)
    assert set(text) <= SAFE
    assert len(text) <= MAX_CURSOR_CHARS
    assert base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    found = read(text)
    assert all(entry in held for entry in found)
    if sum(len(entry.name.encode()) + 600 for entry in held) < 2_900:
        assert found == held
