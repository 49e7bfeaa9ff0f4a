"""A channel's messages by position, as pure columns: what is kept, for which user, how long."""

from enum import StrEnum
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pondsocket import UsageError
from pondsocket._history.log import History, HistoryLog
from pondsocket._history.memory import MemoryStore
from pondsocket._history.slice import Audience

from tests.common.strategies import more


def log_of(count: int = 0, **options: int) -> HistoryLog:
    """Return a history in which this much was said at the time 0."""
    log = HistoryLog(History(**options), "e1", 0.0)
    for number in range(1, count + 1):
        log.append("said", "", b"%d" % number, 0.0)
    return log


def offsets(log: HistoryLog, offset: int = 0, user_id: str | None = None) -> list[int]:
    return [kept.offset for kept in log.after(offset, user_id)]


class Names(StrEnum):
    SAID = "said"


# --- options --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"size": 0}, "History.size is a whole number, above 0: 0."),
        ({"size": 1.5}, "History.size is a whole number, above 0: 1.5."),
        ({"size": True}, "History.size is a whole number, above 0: True."),
        ({"ttl": -1}, "History.ttl is a number of seconds, above 0: -1."),
        ({"ttl": float("inf")}, "History.ttl is a number of seconds, above 0: inf."),
        ({"ttl": float("nan")}, "History.ttl is a number of seconds, above 0: nan."),
        ({"max_bytes": None}, "History.max_bytes is a whole number, above 0: None."),
    ],
)
def test_what_cannot_work_is_refused_with_a_sentence(
    given: dict[str, float], sentence: str
) -> None:
    with pytest.raises(UsageError) as caught:
        History(**given)  # type: ignore[arg-type]
    assert str(caught.value) == sentence


def test_a_position_that_would_go_before_its_messages_is_refused() -> None:
    with pytest.raises(UsageError, match=r"History.position_ttl \(59\) is less than ttl \(60\)"):
        History(ttl=60, position_ttl=59)


# --- one history ----------------------------------------------------------------------------------


def test_offsets_count_from_1_and_the_top_is_0_before() -> None:
    log = log_of()
    assert (log.top, log.first, len(log)) == (0, 1, 0)
    log.append("said", "", b"{}", 0.0)
    assert (log.top, log.first, len(log)) == (1, 1, 1)


def test_what_is_said_can_be_read_on_from_any_position() -> None:
    log = log_of(3)
    assert [(kept.offset, kept.payload, kept.event) for kept in log.after(1)] == [
        (2, b"2", "said"),
        (3, b"3", "said"),
    ]
    assert offsets(log, 3) == []
    log.append("said", "", b"4", 0.0)
    assert offsets(log, 3) == [4]


def test_the_oldest_go_when_there_are_too_many() -> None:
    log = log_of(25, size=10)
    log.expire(0.0)
    assert offsets(log) == [*range(16, 26)]
    assert (log.first, log.top, log.byte_count) == (16, 25, 20)


def test_more_than_an_eighth_too_many_are_never_held() -> None:
    log = log_of(size=100)
    for _ in range(1_000):
        log.append("said", "", b"", 0.0)
        assert len(log) <= 112
    assert log_of(7, size=1).first == 7


def test_what_is_too_old_goes_but_not_the_position() -> None:
    log = HistoryLog(History(ttl=10), "e1", 0.0)
    for now in (0.0, 5.0, 9.0):
        log.append("said", "", b"x", now)
    log.expire(9.9)
    assert offsets(log) == [1, 2, 3]
    log.expire(10.0)
    assert offsets(log) == [2, 3]
    log.expire(1_000.0)
    assert (offsets(log), log.first, log.top, log.byte_count) == ([], 4, 3, 0)
    log.append("said", "", b"x", 1_000.0)
    assert offsets(log, 3) == [4]


def test_what_is_too_large_goes_at_once() -> None:
    log = HistoryLog(History(max_bytes=100), "e1", 0.0)
    for _ in range(5):
        log.append("said", "", b"x" * 40, 0.0)
        assert log.byte_count <= 100
    assert offsets(log) == [4, 5]
    log.append("said", "", b"x" * 101, 0.0)
    assert (offsets(log), log.byte_count, log.top) == ([], 0, 6)


def test_a_large_audience_counts_as_well() -> None:
    log = HistoryLog(History(max_bytes=100_000), "e1", 0.0)
    users = tuple(map(str, range(1_000)))
    log.append("said", "", b"x", 0.0, Audience(users))
    log.append("said", "", b"x", 0.0, Audience(users))
    assert offsets(log) == [2]


def test_a_message_to_some_is_for_them_alone_and_one_past_some_for_the_others() -> None:
    log = log_of()
    log.append("said", "", b"1", 0.0)
    log.append("said", "", b"2", 0.0, Audience(("ann", "bea")))
    log.append("said", "", b"3", 0.0, Audience(("ann",), is_exclusion=True))
    assert offsets(log, user_id="ann") == [1, 2]
    assert offsets(log, user_id="cem") == [1, 3]
    assert offsets(log) == [1, 2, 3]
    assert log.count_after(1, "ann") == (1, 1)
    assert log.count_after(1) == (2, 2)


def test_the_last_few_are_counted_as_one_user_sees_them() -> None:
    log = log_of(2)
    log.append("said", "", b"3", 0.0, Audience(("ann",)))
    assert offsets(log, log.before_last(2, "ann"), "ann") == [2, 3]
    assert offsets(log, log.before_last(2, "bea"), "bea") == [1, 2]
    assert log.before_last(0) == 3
    assert log.before_last(99) == 0


def test_an_event_is_kept_once_and_as_a_plain_name() -> None:
    log = log_of()
    for _ in range(2):
        log.append(b"a long name".decode(), "", b"", 0.0)
    log.append(Names.SAID, "", b"", 0.0)
    first, second, third = log.after(0)
    assert first.event is second.event
    assert type(third.event) is str
    assert third.event == "said"


class Said(NamedTuple):
    """What the model keeps of a message."""

    offset: int
    size: int
    at: int
    audience: Audience | None


audiences = st.none() | st.builds(
    Audience, st.sampled_from([(), ("ann",), ("bea",), ("ann", "bea")]), st.booleans()
)


@more
@given(
    st.integers(1, 20),
    st.integers(1, 30),
    st.integers(1, 1_000),
    st.lists(st.tuples(st.integers(0, 10), st.none() | st.integers(0, 300), audiences)),
    st.sampled_from([None, "ann", "bea", "cem"]),
)
def test_a_reader_finds_just_what_the_options_say(
    size: int,
    ttl: int,
    max_bytes: int,
    steps: list[tuple[int, int | None, Audience | None]],
    user_id: str | None,
) -> None:
    log = HistoryLog(History(size=size, ttl=ttl, max_bytes=max_bytes), "e1", 0.0)
    kept: list[Said] = []
    now = top = 0

    def weight(said: Said) -> int:
        return said.size + (0 if said.audience is None else 64 * len(said.audience.users))

    for passed, text_size, audience in steps:
        now += passed
        if text_size is not None:
            top += 1
            log.append("said", "", b"x" * text_size, now, audience)
            kept.append(Said(top, text_size, now, audience))
        else:
            log.expire(now)
        while kept and (
            len(kept) > size or kept[0].at <= now - ttl or sum(map(weight, kept)) > max_bytes
        ):
            kept.pop(0)
        assert log.byte_count <= max_bytes
        assert len(log) <= size + size // 8
        log.expire(now)
        assert (log.top, log.first, len(log)) == (top, top - len(kept) + 1, len(kept))
        assert log.byte_count == sum(map(weight, kept))
    mine = [
        said
        for said in kept
        if user_id is None or said.audience is None or said.audience.includes(user_id)
    ]
    assert offsets(log, 0, user_id) == [said.offset for said in mine]
    assert log.count_after(0, user_id) == (len(mine), sum(said.size for said in mine))
    for count in range(len(mine) + 1):
        expected = [said.offset for said in mine[len(mine) - count :]]
        assert offsets(log, log.before_last(count, user_id), user_id) == expected
    for offset in range(top + 1):
        assert log.has_audience_after(offset) == any(
            said.audience is not None for said in kept if said.offset > offset
        )


# --- the histories of a lobby ---------------------------------------------------------------------


class Epochs:
    """e1, e2 and so on."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> str:
        self.count += 1
        return f"e{self.count}"


def histories_of(most: int = 100, **options: int) -> MemoryStore:
    return MemoryStore(History(**options), Epochs(), most=most)


def test_a_history_is_found_by_the_name_of_its_channel() -> None:
    histories = histories_of()
    assert histories.find("/a", 0.0) is None
    log = histories.open("/a", 0.0)
    assert histories.open("/b", 0.0) is not log
    assert histories.open("/a", 0.0) is histories.find("/a", 0.0) is log
    assert len(histories) == 2


def test_a_position_outlives_the_last_message_and_the_last_member_and_then_a_new_life_begins() -> (
    None
):
    histories = histories_of(ttl=10, position_ttl=100)
    log = histories.open("/a", 0.0)
    log.enter()
    log.append("said", "", b"x", 5.0)
    assert histories.open("/a", 1_000.0) is log
    log.leave(1_000.0)
    log.append("said", "", b"x", 1_050.0)
    assert histories.find("/a", 1_149.0) is log
    assert (len(log), log.top) == (0, 2)
    assert histories.find("/a", 1_150.0) is None
    fresh = histories.open("/a", 1_150.0)
    assert (fresh.epoch, fresh.top) == ("e2", 0)
    assert len(histories) == 1


def test_the_last_member_counts_from_when_it_left() -> None:
    log = histories_of(ttl=10, position_ttl=100).open("/a", 0.0)
    for _ in range(2):
        log.enter()
    log.leave(50.0)
    assert not log.is_over(1_000.0)
    log.leave(60.0)
    assert not log.is_over(159.0)
    assert log.is_over(160.0)


def test_a_history_that_is_over_ends_without_being_asked_for() -> None:
    histories = histories_of(most=10_000, ttl=10, position_ttl=100)
    for number in range(1_000):
        histories.open(f"/{number}", 0.0).append("said", "", b"x", 0.0)
    busy = histories.open("/busy", 0.0)
    busy.enter()
    for now in range(20, 40):
        histories.open("/busy", now)
    others = [histories.find(f"/{number}", 1.0) for number in range(1_000)]
    assert all(log is not None and len(log) == 0 for log in others)
    for now in range(100, 120):
        histories.open("/busy", now)
    assert len(histories) == 1
    assert histories.find("/busy", 120.0) is busy


def test_one_sweep_is_bounded_however_many_histories_there_are() -> None:
    histories = histories_of(most=100_000, ttl=10, position_ttl=100)
    for number in range(33_000):
        histories.open(f"/{number}", 0.0)
    histories.sweep(1_000.0)
    assert len(histories) == 32_500


def test_where_there_are_too_many_those_without_members_go_first() -> None:
    histories = histories_of(most=3)
    logs = [histories.open(f"/{number}", 0.0) for number in range(3)]
    logs[0].enter()
    newest = histories.open("/3", 0.0)
    assert histories.find("/3", 0.0) is newest
    assert histories.find("/0", 0.0) is logs[0]
    assert histories.find("/1", 0.0) is None
    for log in (logs[2], newest):
        log.enter()
    assert histories.open("/4", 0.0) is histories.find("/4", 0.0)
    assert len(histories) == 4
