"""What waits for a client counts as about as much memory as it takes, and takes no more."""

import subprocess
import sys

import pytest
from pondsocket._delivery.frame import SharedFrame
from pondsocket._delivery.ordered import PendingFrame
from pondsocket.adapter import BoundedQueue, Frame
from pondsocket_common import POND, ServerActions, ServerMessage, dump_json

from tests.array_codec import ARRAY
from tests.core.waiting_frames import KINDS
from tests.servers import ROOT

PAYLOAD = {"rows": [{"n": number} for number in range(100)]}


def message() -> ServerMessage:
    return ServerMessage(ServerActions.SYSTEM, "echo", "/chat/1", "1", PAYLOAD)


def broadcast() -> Frame:
    return Frame.broadcast("/chat/1", "said", "1", dump_json(PAYLOAD), None)


def queue(max_bytes: int) -> BoundedQueue[Frame | PendingFrame]:
    made: BoundedQueue[Frame | PendingFrame] = BoundedQueue(1_000, max_bytes, lambda _count: None)
    made.begin_writing()
    return made


@pytest.mark.skipif(sys.platform != "linux", reason="measured by what Linux tells of a process")
def test_each_kind_of_frame_takes_about_what_it_counts_as() -> None:
    command = [sys.executable, "-m", "tests.core.waiting_frames"]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    found = {}
    for line in lines.splitlines():
        kind, _, numbers = line.partition(": ")
        found[kind] = tuple(map(int, numbers.split()))
    assert found.keys() == KINDS.keys()
    wrong = {kind: each for kind, each in found.items() if not each[0] < 1.6 * each[1]}
    assert not wrong, wrong


def test_a_reply_that_waits_keeps_its_text_and_not_its_payload() -> None:
    frame = Frame.of(message())
    before = frame.text
    frame.compact()
    assert not frame.message.payload
    assert (frame.message.event, frame.text, frame.encoded.decode()) == ("echo", before, before)
    assert frame.sse == b"event: echo\ndata: " + before.encode() + b"\n\n"


def test_what_is_for_several_may_still_be_put_into_another_format() -> None:
    for frame in (SharedFrame.of(message()), broadcast()):
        frame.compact()
        translated = frame.in_format(ARRAY)
        assert translated is not None
        assert ARRAY.decode_server(translated.encoded).payload == PAYLOAD


def test_what_is_translated_of_a_compact_frame_is_made_compact_itself() -> None:
    frame = broadcast()
    frame.compact()
    translated = frame.in_format(ARRAY)
    assert translated is not None
    translated.compact()
    assert not translated.message.payload
    assert frame.in_format(ARRAY) is translated
    with pytest.raises(RuntimeError, match="one connection"):
        translated.in_format(POND)


def test_a_frame_counts_the_same_whatever_is_made_of_it() -> None:
    frame = broadcast()
    held = frame.weigh()
    assert all([frame.text, frame.sse, frame.sse_unnamed, frame.make_wire()])
    frame.compact()
    assert frame.weigh() == frame.held == held
    waiting = queue(held)
    assert waiting.append(frame)
    assert waiting.bytes == held
    waiting.wrote(1, frame.held)
    assert waiting.bytes == 0


def test_a_broadcast_keeps_the_forms_that_were_asked_for_alone() -> None:
    frame = broadcast()
    assert all([frame.text, frame.sse, frame.make_wire()])
    assert frame.utf8 is None


def test_short_frames_fill_an_outbox_by_their_objects() -> None:
    waiting = queue(10_000)
    count = 0
    while waiting.append(Frame.of(ServerMessage(ServerActions.SYSTEM, "e", "/c", "1", {}))):
        count += 1
    assert 5 <= count <= 20


def test_what_was_queued_before_its_writer_began_is_compact_when_that_hangs() -> None:
    waiting: BoundedQueue[Frame | PendingFrame] = BoundedQueue(100, 10_000, lambda _count: None)
    frames = [Frame.of(message()) for _ in range(3)]
    for frame in frames[:2]:
        waiting.append(frame)
    assert all(frame.message.payload == PAYLOAD for frame in frames)
    waiting.begin_writing()
    waiting.append(frames[2])
    assert not frames[2].message.payload
    waiting.compact()
    assert not any(frame.message.payload for frame in frames)
