"""Server-Sent Events: the golden vectors, and any stream cut anywhere."""

import base64
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pondsocket_common import (
    InvalidMessage,
    SSEDecoder,
    SSEEvent,
    dump_json,
    sse_comment,
    sse_frame,
    sse_retry,
)

from tests.common import strategies as some
from tests.common.strategies import more, repeatable
from tests.common.vectors import Row, named, rows

stream_rows = rows("sse-streams.json")


def chunks_of(row: Row) -> list[bytes]:
    if "chunks_base64" in row:
        return [base64.b64decode(chunk) for chunk in row["chunks_base64"]]
    return [chunk.encode() for chunk in row["chunks"]]


def read(chunks: list[bytes], decoder: SSEDecoder) -> list[SSEEvent]:
    return [event for chunk in chunks for event in decoder.feed(chunk)]


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:stop] for start, stop in pairwise(edges)]


@pytest.mark.parametrize("row", stream_rows, ids=named)
def test_stream_gives_the_events_of_its_vector_however_it_is_cut(row: Row) -> None:
    expected = [SSEEvent(**event) for event in row["events"]]
    chunks = chunks_of(row)
    stream = b"".join(chunks)
    ways = [chunks, [stream], [bytes([byte]) for byte in stream]]
    ways += [[stream[:place], stream[place:]] for place in range(len(stream))]
    for way in ways:
        decoder = SSEDecoder()
        assert read(way, decoder) == expected
        assert decoder.last_event_id == row["last_event_id"]
        assert decoder.retry == row["retry"]


@pytest.mark.parametrize("row", rows("sse-frames.json"), ids=named)
def test_frame_is_written_as_in_its_vector(row: Row) -> None:
    if "comment" in row:
        frame = sse_comment(row["comment"])
    elif "retry" in row:
        frame = sse_retry(row["retry"])
    else:
        frame = sse_frame(row["json"].encode(), row["event"])
        event = SSEEvent(row["event"] or "message", row["json"])
        assert SSEDecoder().feed(frame) == [event]
    assert frame.decode() == row["frame"]


def test_comment_without_words_keeps_the_stream_alive_and_says_nothing() -> None:
    decoder = SSEDecoder()
    assert decoder.feed(sse_comment()) == []
    assert sse_comment().startswith(b":")


@repeatable
@given(st.lists(st.tuples(st.none() | some.names, some.json_values), max_size=5), st.data())
def test_every_frame_survives_its_encoding(
    said: list[tuple[str | None, object]], data: st.DataObject
) -> None:
    events = [SSEEvent(event or "message", dump_json(value).decode()) for event, value in said]
    frames = [sse_frame(dump_json(value), event) for event, value in said]
    stream = sse_comment().join(frames)
    places = data.draw(st.lists(st.integers(0, 2000), max_size=6))
    assert read(cut(stream, places), SSEDecoder()) == events


words = b"data event id retry : 7 \r \n \r\n \n\n \0 \xef\xbb\xbf \xff \xe2\x80 \xf0\x9f\x90\xb8"
pieces = st.sampled_from([*words.split(b" "), b" ", b"data: a\n", b"x" * 40, b"9" * 5000])
streams = st.lists(pieces | st.binary(max_size=4), max_size=25).map(b"".join)


@more
@given(streams, st.lists(st.integers(0, 2000), max_size=8))
def test_any_bytes_cut_anywhere_give_the_same_events(stream: bytes, places: list[int]) -> None:
    whole, parts = SSEDecoder(), SSEDecoder()
    assert read([stream], whole) == read(cut(stream, places), parts)
    assert (whole.last_event_id, whole.retry) == (parts.last_event_id, parts.retry)


@more
@given(streams, st.lists(st.integers(0, 2000), max_size=8))
@example(b"data: " + b"x" * 93 + b"\ndata: y\n\n", [50])
@example(b"data: " + b"x" * 80 + b"\n", [50])
@example(b"data: " + b"x" * 94, [94])
def test_the_bound_on_a_block_does_not_depend_on_the_cut(stream: bytes, places: list[int]) -> None:
    def is_refused(chunks: list[bytes]) -> bool:
        try:
            read(chunks, SSEDecoder(max_chars=99))
        except InvalidMessage:
            return True
        return False

    assert is_refused([stream]) == is_refused(cut(stream, places))


@pytest.mark.parametrize(
    "chunk", [b"data: xxxxxxxxx\n", b"data\n", b"x" * 10], ids=["data", "empty data", "no line end"]
)
def test_a_block_without_its_end_is_refused_once_it_is_too_long(chunk: bytes) -> None:
    decoder = SSEDecoder(max_chars=1000)

    def feed_on() -> None:
        for _ in range(1100):
            decoder.feed(chunk)

    with pytest.raises(InvalidMessage, match="longer than 1000"):
        feed_on()


@pytest.mark.parametrize(
    "chunk", [b": keep-alive\n", b"unknown: field\n", b"id: 7\n", b"data: x\n\n"]
)
def test_what_is_not_held_does_not_count_against_the_bound(chunk: bytes) -> None:
    decoder = SSEDecoder(max_chars=1000)
    for _ in range(1000):
        decoder.feed(chunk)


def test_a_retry_of_thousands_of_digits_is_only_a_long_time() -> None:
    decoder = SSEDecoder()
    assert decoder.feed(b"retry: " + b"9" * 5000 + b"\n\n") == []
    assert decoder.retry is not None
    assert decoder.retry > 10**14
