"""Where frames begin and end, however they are cut."""

import pytest
from pondsocket_asgi._fastlane.frame_boundaries import FrameBoundaries

from tests.asgi.uvicorn_connection import BINARY, CONT, PING, TEXT, masked


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
def test_a_walk_ends_with_the_frame_wherever_it_is_cut(size: int) -> None:
    frame, following = masked(BINARY, bytes(size)), masked(TEXT, b"x")
    cuts = [*range(1, min(len(frame), 20)), len(frame) - 1, len(frame)]
    for cut in {cut for cut in cuts if cut <= len(frame)}:
        boundaries = FrameBoundaries()
        assert boundaries.on(b"before" + frame[:cut], 6) == 6 + cut
        assert boundaries.has_ended == (cut == len(frame))
        if not boundaries.has_ended:
            assert boundaries.on(frame[cut:] + following, 0) == len(frame) - cut
            assert boundaries.has_ended


@pytest.mark.parametrize("step", [1, 2, 3, 5, 1_000])
def test_a_walk_ends_with_the_message_and_not_with_a_ping_within(step: int) -> None:
    frames = [masked(TEXT & 0x7F, b"half"), masked(PING, b"?"), masked(CONT & 0x7F, b"")]
    frames.append(masked(CONT, b"x" * 200))
    stream, boundaries, ends = b"".join(frames), FrameBoundaries(), []
    for start in range(0, len(stream), step):
        chunk, position = stream[start : start + step], 0
        while position < len(chunk):
            position = boundaries.on(chunk, position)
            if boundaries.has_ended:
                ends.append(start + position)
    assert ends == [len(stream)]
