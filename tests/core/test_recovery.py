"""One member's way from where it was to the present: pure, and in every order of events."""

from itertools import product
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pondsocket._history.log import History, HistoryLog
from pondsocket._history.recovery import (
    RECOVERY_STATES,
    Recovery,
    RecoveryEvent,
    RecoveryState,
    Splice,
    Verdict,
    splice,
)
from pondsocket._history.slice import Audience, KeptMessage
from pondsocket_common import Position

from tests.common.strategies import more

TO_ANN: Final = Audience(("ann",))
TO_BEA: Final = Audience(("bea",))


def log_of(*audiences: Audience | None, **options: int) -> HistoryLog:
    """Return a history of as many messages of ten bytes."""
    log = HistoryLog(History(**options), "e1", 0.0)
    for audience in audiences:
        log.append("said", "", b"x" * 10, 0.0, audience)
    return log


def recovered(recovery: Recovery[str]) -> list[int | str]:
    """Return what comes until nothing does, with the offsets of messages."""
    taken: list[int | str] = []
    while (item := recovery.take()) is not None:
        taken.append(item.offset if isinstance(item, KeptMessage) else item)
    return taken


# --- what becomes of `since` ----------------------------------------------------------------------


def verdict(log: HistoryLog, epoch: str, offset: int, user_id: str = "ann") -> Verdict:
    return splice(log, Position(epoch, offset), user_id, is_user_known=True).verdict


def test_a_member_that_knows_a_position_of_this_life_gets_all_since() -> None:
    log = log_of(None, None, None)
    for offset in range(4):
        found = splice(log, Position("e1", offset), "ann", is_user_known=True)
        assert found == Splice(Verdict.RECOVERED, Position("e1", offset))
        assert found.recovered is True


def test_a_member_that_does_not_ask_begins_at_the_top() -> None:
    found = splice(log_of(None, None), None, "ann", is_user_known=True)
    assert found == Splice(Verdict.NOT_ASKED, Position("e1", 2))
    assert found.recovered is None


@pytest.mark.parametrize("since", [None, Position("e0", 2)])
def test_a_member_that_recovers_nothing_may_get_the_latest(since: Position | None) -> None:
    log = log_of(None, None, TO_BEA)
    found = splice(log, since, "ann", is_user_known=True, latest=1)
    assert found.position == Position("e1", 1)
    assert recovered(Recovery(log, found.position.offset, "ann")) == [2]


def test_a_member_that_recovers_does_not_get_the_latest_again() -> None:
    log = log_of(None, None)
    found = splice(log, Position("e1", 2), "ann", is_user_known=True, latest=1)
    assert found == Splice(Verdict.RECOVERED, Position("e1", 2))


def test_another_life_and_a_position_that_is_not_reached_yet_recover_nothing() -> None:
    log = log_of(None, None)
    assert verdict(log, "e0", 1) is Verdict.OTHER_EPOCH
    assert verdict(log, "e1", 3) is Verdict.FUTURE
    found = splice(log, Position("e1", 3), "ann", is_user_known=True)
    assert found.position == Position("e1", 2)
    assert found.recovered is False


def test_what_is_trimmed_recovers_nothing_and_all_that_is_kept_is_no_part() -> None:
    log = log_of(*[None] * 5, size=3)
    log.expire(0.0)
    assert log.first == 3
    assert verdict(log, "e1", 1) is Verdict.TRIMMED
    assert verdict(log, "e1", 2) is Verdict.RECOVERED
    log.expire(1_000.0)
    assert verdict(log, "e1", 4) is Verdict.TRIMMED
    assert verdict(log, "e1", 5) is Verdict.RECOVERED


def test_300_messages_are_recovered_and_one_more_is_too_much() -> None:
    log = log_of(*[None] * 301, TO_BEA, size=1_000)
    assert verdict(log, "e1", 0) is Verdict.TOO_MUCH
    assert verdict(log, "e1", 0, "bea") is Verdict.TOO_MUCH
    assert verdict(log, "e1", 1) is Verdict.RECOVERED
    assert verdict(log, "e1", 1, "bea") is Verdict.TOO_MUCH


def test_a_mebibyte_is_recovered_and_one_byte_more_is_too_much() -> None:
    log = HistoryLog(History(max_bytes=10_000_000), "e1", 0.0)
    for size in (1, 524_288, 524_288):
        log.append("said", "", b"x" * size, 0.0)
    assert verdict(log, "e1", 0) is Verdict.TOO_MUCH
    assert verdict(log, "e1", 1) is Verdict.RECOVERED


def test_an_id_that_the_server_made_up_recovers_nothing_that_went_to_some() -> None:
    log = log_of(None, TO_BEA, None)

    def judged(offset: int) -> Verdict:
        return splice(log, Position("e1", offset), "r4nd0m", is_user_known=False).verdict

    assert judged(1) is Verdict.UNKNOWN_AUDIENCE
    assert judged(2) is Verdict.RECOVERED


# --- the machine ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "event"), [*product(RecoveryState, RecoveryEvent)])
def test_a_member_that_is_live_outrun_or_gone_stays_so(
    state: RecoveryState, event: RecoveryEvent
) -> None:
    expected = {
        (RecoveryState.BEHIND, RecoveryEvent.FULL): RecoveryState.STALLED,
        (RecoveryState.BEHIND, RecoveryEvent.CAUGHT_UP): RecoveryState.LIVE,
        (RecoveryState.BEHIND, RecoveryEvent.TRIMMED): RecoveryState.OUTRUN,
        (RecoveryState.BEHIND, RecoveryEvent.LEFT): RecoveryState.GONE,
        (RecoveryState.STALLED, RecoveryEvent.ROOM): RecoveryState.BEHIND,
        (RecoveryState.STALLED, RecoveryEvent.LEFT): RecoveryState.GONE,
    }.get((state, event))
    assert RECOVERY_STATES.get((state, event)) is expected

    recovery = Recovery[str](log_of(), 0, "ann")
    recovery.state = state
    assert recovery.advance(event) is (expected is not None)
    assert recovery.state is (expected or state)


# --- reading on -----------------------------------------------------------------------------------


def test_a_member_reads_what_it_missed_and_is_live() -> None:
    log = log_of(None, None, None)
    recovery = Recovery[str](log, 1, "ann")
    assert recovered(recovery) == [2, 3]
    assert recovery.state is RecoveryState.LIVE
    assert recovery.offset == 3


def test_a_member_that_missed_nothing_is_live_at_once() -> None:
    recovery = Recovery[str](log_of(None), 1, "ann")
    assert recovered(recovery) == []
    assert recovery.state is RecoveryState.LIVE


def test_what_is_said_while_a_member_reads_is_read_as_well() -> None:
    log = log_of(None, None)
    recovery = Recovery[str](log, 0, "ann")
    first = recovery.take()
    log.append("said", "", b"", 0.0)
    assert isinstance(first, KeptMessage)
    assert recovered(recovery) == [2, 3]


def test_a_member_without_room_takes_nothing_and_goes_on_from_there() -> None:
    recovery = Recovery[str](log_of(None, None), 0, "ann")
    recovery.take()
    assert recovery.advance(RecoveryEvent.FULL)
    assert recovery.take() is None
    assert recovery.state is RecoveryState.STALLED
    assert recovery.advance(RecoveryEvent.ROOM)
    assert recovered(recovery) == [2]


def test_what_no_history_keeps_waits_behind_the_message_that_was_the_latest() -> None:
    log = log_of(None, TO_BEA)
    recovery = Recovery[str](log, 0, "ann")
    assert recovery.hold("reply")
    log.append("said", "", b"", 0.0, TO_BEA)
    log.append("said", "", b"", 0.0)
    assert recovery.hold("presence")
    assert recovered(recovery) == [1, "reply", 4, "presence"]


def test_too_much_that_no_history_keeps_is_refused() -> None:
    recovery = Recovery[int](log_of(None), 0, "ann", max_held=2)
    assert [recovery.hold(number) for number in range(3)] == [True, True, False]


def test_too_many_bytes_that_no_history_keeps_are_refused_until_some_are_taken() -> None:
    recovery = Recovery[str](log_of(), 0, "ann")
    assert recovery.hold("large", 1_000_000)
    assert not recovery.hold("larger", 1_000_000)
    assert recovery.hold("small", 1)
    assert recovery.take() == "large"
    assert recovery.hold("larger", 1_000_000)


def test_one_that_is_larger_than_the_bound_waits_alone() -> None:
    recovery = Recovery[str](log_of(), 0, "ann")
    assert recovery.hold("huge", 2_000_000)
    assert not recovery.hold("small", 1)
    assert recovery.take() == "huge"
    assert recovery.hold("small", 1)


def test_a_member_that_the_history_outruns_is_told_apart_from_one_that_is_live() -> None:
    log = log_of(None, None, size=2)
    recovery = Recovery[str](log, 0, "ann")
    assert recovery.hold("reply")
    for _ in range(2):
        log.append("said", "", b"", 0.0)
    assert recovery.take() is None
    assert recovery.state is RecoveryState.OUTRUN


def test_a_member_that_leaves_gives_back_what_waited_and_reads_no_more() -> None:
    recovery = Recovery[str](log_of(None, None), 0, "ann")
    for item in ("reply", "presence"):
        recovery.hold(item)
    assert recovery.leave() == ["reply", "presence"]
    assert recovery.state is RecoveryState.GONE
    assert (recovery.take(), recovery.leave()) == (None, [])


# --- every order of events ------------------------------------------------------------------------


class Play:
    """A member that recovers while others talk, and what it should get in the end.

    Args:
        missed: The users that the missed messages went to.
        size: How many messages the history keeps.
    """

    def __init__(self, missed: tuple[Audience | None, ...], size: int) -> None:
        self.log = log_of(*missed, size=size)
        self.recovery = Recovery[str](self.log, 0, "ann")
        self.due: list[int | str] = [
            offset
            for offset, audience in enumerate(missed, start=1)
            if audience is None or audience.includes("ann")
        ]
        self.got: list[int | str] = []
        self._is_live = False

    def say(self, audience: Audience | None) -> None:
        """Broadcast; a live member gets it as it is sent."""
        self.log.append("said", "", b"x", 0.0, audience)
        if audience is None or audience.includes("ann"):
            self.due.append(self.log.top)
            if self._is_live:
                self.got.append(self.log.top)

    def tell(self) -> None:
        """Send a frame that no history keeps."""
        name = f"told {len(self.due)}"
        self.due.append(name)
        if self._is_live:
            self.got.append(name)
        else:
            assert self.recovery.hold(name)

    def read(self, count: int) -> None:
        """Have room for some more frames."""
        self.recovery.advance(RecoveryEvent.ROOM)
        for _ in range(count):
            item = self.recovery.take()
            if item is None:
                break
            self.got.append(item.offset if isinstance(item, KeptMessage) else item)
        else:
            self.recovery.advance(RecoveryEvent.FULL)
        self._is_live = self.recovery.state is RecoveryState.LIVE

    def end(self) -> None:
        """Assert that all that is due has come, once and in order, or the member was outrun."""
        self.read(1_000)
        if self.recovery.state is RecoveryState.OUTRUN:
            assert self.got == self.due[: len(self.got)]
            assert self.log.first > self.recovery.offset + 1
        else:
            assert self.recovery.state is RecoveryState.LIVE
            assert self.got == self.due


STEPS: Final = ("all", "bea", "told", "read 1")


@pytest.mark.parametrize("missed", [(), (None,), (TO_BEA,), (None, TO_BEA), (TO_BEA, TO_ANN, None)])
def test_in_every_order_nothing_is_lost_doubled_or_out_of_order(
    missed: tuple[Audience | None, ...],
) -> None:
    for order in product(STEPS, repeat=5):
        play = Play(missed, size=100)
        for step in order:
            match step:
                case "told":
                    play.tell()
                case "read 1":
                    play.read(1)
                case _:
                    play.say(None if step == "all" else TO_BEA)
        play.end()
        assert play.recovery.state is RecoveryState.LIVE


@more
@given(
    st.integers(8, 30),
    st.lists(st.sampled_from([None, TO_ANN, TO_BEA]), max_size=8).map(tuple),
    st.lists(st.sampled_from([None, TO_ANN, TO_BEA]) | st.integers(0, 4) | st.just("told")),
)
def test_a_short_history_and_a_slow_reader_lose_nothing_unsaid(
    size: int, missed: tuple[Audience | None, ...], steps: list[Audience | int | str | None]
) -> None:
    play = Play(missed, size)
    for step in steps:
        match step:
            case int(count):
                play.read(count)
            case "told":
                play.tell()
            case Audience() | None:
                play.say(step)
    play.end()
