"""Rates, as pure arithmetic: a bucket of tokens, and a count of refusals."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pondsocket._state.rates import RefusalCount, TokenBucket


def test_a_burst_passes_at_once_and_then_the_rate() -> None:
    bucket = TokenBucket(rate=2.0, burst=3, now=100.0)
    assert [bucket.take(100.0) for _ in range(4)] == [0, 0, 0, 0.5]
    assert bucket.take(100.4) == pytest.approx(0.1)
    assert bucket.take(100.5) == 0
    assert bucket.take(100.5) == pytest.approx(0.5)


def test_no_more_is_saved_up_than_the_burst() -> None:
    bucket = TokenBucket(rate=10.0, burst=2, now=0.0)
    assert [bucket.take(1_000.0) for _ in range(3)] == [0, 0, pytest.approx(0.1)]


def test_several_are_taken_all_or_none() -> None:
    bucket = TokenBucket(rate=1.0, burst=5, now=0.0)
    assert bucket.take(0.0, 4) == 0
    assert bucket.take(0.0, 2) == pytest.approx(1.0)
    assert bucket.take(0.0, 1) == 0


def test_what_is_given_back_can_be_taken_again() -> None:
    bucket = TokenBucket(rate=1.0, burst=3, now=0.0)
    assert bucket.take(0.0, 3) == 0
    bucket.give_back(3)
    assert bucket.take(0.0, 3) == 0


@given(st.lists(st.floats(min_value=0, max_value=0.5), max_size=80))
def test_an_empty_bucket_is_one_of_which_nothing_can_be_taken(pauses: list[float]) -> None:
    bucket, now = TokenBucket(rate=5.0, burst=2, now=0.0), 0.0
    for pause in pauses:
        now += pause
        is_empty = bucket.is_empty(now)
        assert is_empty == (bucket.take(now) > 0)


def test_a_bucket_without_a_burst_is_always_empty() -> None:
    bucket = TokenBucket(rate=5.0, burst=0, now=0.0)
    assert bucket.is_empty(1_000.0)
    assert bucket.take(1_000.0) > 0


@given(st.lists(st.floats(min_value=0, max_value=0.5), max_size=80))
def test_never_more_than_burst_and_rate_allow(pauses: list[float]) -> None:
    bucket = TokenBucket(rate=5.0, burst=4, now=0.0)
    now, taken = 0.0, 0
    for pause in pauses:
        now += pause
        wait = bucket.take(now)
        taken += wait == 0
        assert taken <= 4 + 5.0 * now + 1e-6
        assert wait <= 0.2 + 1e-6


def test_a_client_that_waits_as_told_is_let_through() -> None:
    bucket = TokenBucket(rate=3.0, burst=1, now=0.0)
    now = 0.0
    for _ in range(20):
        wait = bucket.take(now)
        if wait:
            now += wait + 1e-9
            assert bucket.take(now) == 0


def test_too_many_refusals_within_the_window() -> None:
    refusals = RefusalCount(limit=3, window=10.0)
    assert [refusals.add(now) for now in (0.0, 5.0, 9.9)] == [False, False, True]


def test_refusals_are_forgotten_after_the_window() -> None:
    refusals = RefusalCount(limit=3, window=10.0)
    assert [refusals.add(now) for now in (0.0, 5.0, 10.0, 14.9)] == [False, False, False, True]
