"""Which topics the engine must send: the first use subscribes, the last one lingers."""

from pondsocket._replica.interest import LINGER_SECONDS, Interest


def test_the_first_use_subscribes_and_further_ones_do_not() -> None:
    interest = Interest()
    assert interest.enter("a")
    assert not interest.enter("a")
    assert "a" in interest
    assert not interest.is_confirmed("a")
    interest.confirm("a")
    assert interest.is_confirmed("a")


def test_a_topic_lingers_after_its_last_use() -> None:
    interest = Interest()
    interest.enter("a")
    interest.enter("a")
    interest.confirm("a")
    interest.leave("a", 10.0)
    assert interest.take_idle(20.0) == []
    interest.leave("a", 20.0)
    assert interest.take_idle(20.0 + LINGER_SECONDS / 2) == []
    assert interest.is_confirmed("a")
    assert interest.take_idle(20.0 + LINGER_SECONDS) == ["a"]
    assert "a" not in interest
    assert not interest.is_confirmed("a")
    assert interest.enter("a")


def test_a_return_within_that_time_costs_nothing() -> None:
    interest = Interest()
    interest.enter("a")
    interest.confirm("a")
    interest.leave("a", 0.0)
    assert not interest.enter("a")
    assert interest.is_confirmed("a")
    assert interest.take_idle(100.0) == []


def test_topics_end_in_the_order_of_their_last_uses() -> None:
    interest = Interest()
    for topic in "abc":
        interest.enter(topic)
    interest.leave("b", 1.0)
    interest.leave("a", 2.0)
    interest.enter("b")
    interest.leave("b", 3.0)
    interest.leave("c", 9.0)
    assert interest.take_idle(5.0) == ["a", "b"]


def test_a_confirmation_that_comes_too_late_is_for_no_topic() -> None:
    interest = Interest()
    interest.enter("a")
    interest.forget("a")
    interest.confirm("a")
    assert interest.enter("a")
    assert not interest.is_confirmed("a")
