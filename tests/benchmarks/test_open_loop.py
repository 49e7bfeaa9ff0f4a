"""Arrivals in an open loop, what its members receive, and the search for the highest rate."""

import os
import socket
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from tests.benchmarks._client import BLANK, BenchmarkFailed, client_frame
from tests.benchmarks._scenarios.open import climb
from tests.benchmarks._speaker import Order, poisson, speakers, token_of
from tests.benchmarks._taps import TimedTap, arrived, check, check_all, cut

WHO = [0, 1, 0, 1]


def said(*numbers: int, ping_after: int = 0) -> bytes:
    """Make the frames of a server that contain these messages."""
    stream = b""
    for place, number in enumerate(numbers, start=1):
        text = token_of(number) * 2 + b"x" * 150
        stream += b"\x81\x7e" + len(text).to_bytes(2) + text
        stream += b"\x89\0" if place == ping_after else b""
    return stream


def test_arrivals_are_those_of_a_poisson_process_and_the_same_for_a_seed() -> None:
    times = poisson(1_000, 20, seed=3)
    assert times == poisson(1_000, 20, seed=3) != poisson(1_000, 20, seed=4)
    assert times == sorted(times)
    assert times[-1] < 20
    assert len(times) == pytest.approx(20_000, rel=0.03)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    # Exponential: 1/e of the intervals are longer than the mean, and half longer than ln 2 of it.
    assert sum(gap > 0.001 for gap in gaps) / len(gaps) == pytest.approx(0.368, abs=0.02)
    assert sum(gap > 0.000_693 for gap in gaps) / len(gaps) == pytest.approx(0.5, abs=0.02)


def test_each_member_speaks_about_as_often() -> None:
    who = speakers(10_000, 100, seed=3)
    counts = [who.count(member) for member in range(100)]
    assert min(counts) > 60
    assert max(counts) < 140


def test_the_speaker_says_each_message_once_when_it_is_due() -> None:
    mine, theirs = zip(*(socket.socketpair() for _ in range(3)), strict=True)
    starts_at = time.monotonic() + 0.3
    frame = client_frame(BLANK.encode()).decode("latin-1")
    order = Order(
        sockets=[own.fileno() for own in theirs], frame=frame,
        blank=BLANK, first=7, rate=200, seconds=0.2, seed=1, starts_at=starts_at,
    )  # fmt: skip
    script = Path(__file__).with_name("_speaker.py")
    done = subprocess.run(
        [sys.executable, "-I", str(script)],
        input=order.json(), stdout=subprocess.PIPE, pass_fds=order.sockets, check=True, timeout=20,
    )  # fmt: skip
    assert time.monotonic() > starts_at + poisson(200, 0.2, 1)[-1]
    heard = {}
    for member, own in enumerate(mine):
        received = os.read(own.fileno(), 100_000)
        heard[member] = [int(word[1:9]) for word in received.split(b"\x81\x8a\0\0\0\0")[1:]]
    who = speakers(len(poisson(200, 0.2, 1)), 3, 1)
    for member, numbers in heard.items():
        assert numbers == [7 + place for place, speaker in enumerate(who) if speaker == member]
    assert len(done.stdout.split()) == 2
    for end in (*mine, *theirs):
        end.close()


def test_what_was_heard_is_cut_into_messages_and_the_rest() -> None:
    stream = said(5, 6, ping_after=1)
    heard = cut(stream + b"\x81\x7e\0")
    assert heard.numbers == [5, 6]
    assert heard.ends == [len(said(5)), len(stream)]
    assert heard.other == [b"\x89\0"]
    assert heard.rest == 3


def test_all_messages_once_and_each_speakers_in_order_pass() -> None:
    check_all([said(1, 2, 3, 4), said(1, 2, 3, 4), said(2, 1, 3, 4)], 1, WHO)


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        (said(1, 2, 3), "1 missing"),
        (said(1, 2, 3, 4, 4), "5 of 4"),
        (said(1, 2, 3, 5), "4 of 4"),
        (said(3, 2, 1, 4), "out of order"),
        (said(1, 2, 3, 4) + b"\x81\x05", "a frame came"),
    ],
)
def test_a_message_that_is_lost_doubled_or_out_of_order_fails(stream: bytes, why: str) -> None:
    with pytest.raises(BenchmarkFailed, match=why):
        check_all([said(1, 2, 3, 4), stream], 1, WHO)


def test_a_message_has_come_when_its_last_byte_has() -> None:
    tap = TimedTap(pytest.fail)
    stream = said(1, 2)
    half = len(said(1)) + 5
    tap.segments, tap.times = [stream[:half], stream[half:]], [10.0, 20.0]
    heard = cut(stream)
    check(heard, 1, [0, 0])
    assert list(arrived(tap, heard)) == [(1, 10.0), (2, 20.0)]


@pytest.mark.parametrize("most", [10, 17, 249, 250, 1_300, 5_000, 10**6])
async def test_the_highest_rate_is_found_to_within_a_fifth(most: int) -> None:
    tried = []

    async def kept_up(rate: float) -> bool:
        tried.append(rate)
        return rate <= most

    good, bad = await climb(kept_up)
    assert good <= most < bad
    assert len(tried) <= 10
    assert good == 0 or bad == float("inf") or bad / good <= 1.21
