"""How many small frames a connection may send: counting alone."""

from pondsocket_asgi._fastlane.small_frames import BURST, LARGE, RATE, SmallFrames


def test_a_burst_is_taken_and_one_more_is_not() -> None:
    frames = SmallFrames(now=10.0)
    assert all(frames.take_control(10.0) for _ in range(BURST))
    assert not frames.take_control(10.0)


def test_after_a_burst_frames_are_taken_at_the_rate() -> None:
    frames = SmallFrames(now=0.0)
    assert all(frames.take_control(0.0) for _ in range(BURST))
    interval = 1.001 / RATE
    assert all(frames.take_control(number * interval) for number in range(1, 900))
    assert not frames.take_control(900 * interval - interval)


def test_waiting_saves_up_no_more_than_a_burst() -> None:
    frames = SmallFrames(now=0.0)
    assert all(frames.take_control(1_000_000.0) for _ in range(BURST))
    assert not frames.take_control(1_000_000.0)


def test_fragments_share_the_rate_with_pings() -> None:
    frames = SmallFrames(now=0.0)
    assert all(frames.take_fragment(1, 0.0, is_first=True) for _ in range(BURST - 1))
    assert frames.take_control(0.0)
    assert not frames.take_fragment(1, 0.0, is_first=True)


def test_large_fragments_are_not_counted() -> None:
    frames = SmallFrames(now=0.0)
    assert all(frames.take_fragment(LARGE, 0.0, is_first=False) for _ in range(10 * BURST))
    assert not all(frames.take_fragment(LARGE - 1, 0.0, is_first=False) for _ in range(BURST + 1))


def test_one_message_has_a_burst_of_small_fragments_however_slowly_they_come() -> None:
    frames = SmallFrames(now=0.0)
    assert all(frames.take_fragment(0, float(n), is_first=n == 0) for n in range(BURST))
    assert not frames.take_fragment(0, float(BURST), is_first=False)


def test_the_next_message_is_counted_anew() -> None:
    frames = SmallFrames(now=0.0)
    for message in range(3):
        for n in range(BURST):
            assert frames.take_fragment(0, message * BURST + float(n), is_first=n == 0)
