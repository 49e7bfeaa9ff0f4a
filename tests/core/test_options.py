"""The limits: what may stand in each, and what is said where it may not."""

import math
from dataclasses import fields
from typing import Any

import pytest
from pondsocket import Options, UsageError

SECONDS = [
    "write_timeout",
    "heartbeat_seconds",
    "post_timeout",
    "tcp_user_timeout",
    "sse_keepalive_seconds",
]
OPTIONAL = ["heartbeat_seconds", "post_timeout", "tcp_user_timeout"]


@pytest.mark.parametrize("name", SECONDS)
@pytest.mark.parametrize("value", [0.001, 1, 3600.5])
def test_a_time_may_be_anything_above_nothing(name: str, value: Any) -> None:
    assert getattr(Options(**{name: value}), name) == value


@pytest.mark.parametrize("name", SECONDS)
@pytest.mark.parametrize("value", [0, 0.0, -1, math.inf, math.nan, "10", True, [1]])
def test_a_time_that_can_be_none_is_refused_with_what_it_is(name: str, value: Any) -> None:
    off = ", or None for no limit" if name in OPTIONAL else ""
    with pytest.raises(UsageError) as caught:
        Options(**{name: value})
    assert str(caught.value) == f"Options.{name} is a number, above 0{off}: {value!r}."


@pytest.mark.parametrize("name", OPTIONAL)
def test_none_switches_off_what_it_may(name: str) -> None:
    off: dict[str, Any] = {name: None}
    assert getattr(Options(**off), name) is None


@pytest.mark.parametrize("name", ["write_timeout", "drain_seconds", "sse_keepalive_seconds"])
def test_none_does_not_switch_off_the_others(name: str) -> None:
    off: dict[str, Any] = {name: None}
    with pytest.raises(UsageError, match=rf"Options\.{name} is a number"):
        Options(**off)


def test_a_drain_may_take_no_time_at_all() -> None:
    assert Options(drain_seconds=0).drain_seconds == 0
    with pytest.raises(UsageError, match=r"drain_seconds is a number, 0 or more: -1\."):
        Options(drain_seconds=-1)


def test_every_default_may_be_given() -> None:
    defaults = {each.name: getattr(Options(), each.name) for each in fields(Options)}
    assert Options(**defaults) == Options()


def test_the_defaults_keep_to_what_proxies_and_service_managers_wait() -> None:
    options = Options()
    assert options.heartbeat_seconds is not None
    assert options.heartbeat_seconds <= 25  # some proxies cut after 30
    assert options.sse_keepalive_seconds <= 15
    assert options.drain_seconds + options.handler_grace < 30
