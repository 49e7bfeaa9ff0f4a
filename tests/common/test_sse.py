"""Server-Sent Events: the golden vectors, and any stream cut anywhere."""

import base64
import json
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
    sse_with_id,
)

from tests.common import strategies as some
from tests.common.strategies import more, repeatable
from tests.common.vectors import Row, named, rows

# Names that readers of event streams keep for themselves.
KEPT = ("error", "open", "message")
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
    elif "id" in row:
        frame = sse_with_id(row["blocks"].encode(), row["id"].encode())
        assert [event.id for event in SSEDecoder().feed(frame)][-1] == row["id"]
    else:
        frame = sse_frame(row["json"].encode(), row["event"])
        (event,) = SSEDecoder().feed(frame)
        has_name = frame.startswith(b"event: ")
        assert event.event == (row["event"] if has_name else "message")
        assert json.loads(event.data) == json.loads(row["json"])
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
    frames = [sse_frame(dump_json(value), event) for event, value in said]
    stream = sse_comment().join(frames)
    places = data.draw(st.lists(st.integers(0, 2000), max_size=6))
    events = read(cut(stream, places), SSEDecoder())
    assert [json.loads(event.data) for event in events] == [
        json.loads(dump_json(value)) for _, value in said
    ]
    for (name, _), event in zip(said, events, strict=True):
        is_named = name not in KEPT and (name or "").splitlines() == [name]
        assert event.event == (name if is_named else "message")
    # A reader that cuts lines as Unicode does sees the same.
    text = stream.decode()
    assert [*filter(None, text.splitlines())] == [*filter(None, text.split("\n"))]


# What ends a line somewhere: in Unicode, in Python's `splitlines`, in the standard.
LINE_ENDS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"


@pytest.mark.parametrize("character", LINE_ENDS, ids=ascii)
@pytest.mark.parametrize("place", ["{}x", "x{}", "x{}data: 7{}{}y"])
def test_no_character_of_a_payload_ends_a_line(character: str, place: str) -> None:
    value = {"text": place.replace("{}", character), character: 1}
    frame = sse_frame(dump_json(value), "said").decode()
    assert [json.loads(event.data) for event in SSEDecoder().feed(frame.encode())] == [value]
    assert frame.splitlines() == frame.split("\n")[:-1]


@pytest.mark.parametrize("character", "\u2028\u2029", ids=ascii)
@pytest.mark.parametrize("place", ["{}x", "x{}", "x{}data: 7{}{}y"])
def test_a_client_that_names_an_event_writes_no_line_of_its_own(character: str, place: str) -> None:
    frame = sse_frame(b"{}", place.replace("{}", character))
    assert frame == b"data: {}\n\n"


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_a_codec_that_writes_line_breaks_loses_nothing(line_end: bytes) -> None:
    text = b"{" + line_end + b'  "n": 1' + line_end + b"}"
    (event,) = SSEDecoder().feed(sse_frame(text, "said"))
    assert json.loads(event.data) == {"n": 1}
    assert event.event == "said"


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
