"""The bytes of all histories of a lobby have one bound, and what goes first."""

import random

import pytest
from pondsocket import History, UsageError
from pondsocket._history.log import HistoryLog
from pondsocket._history.memory import MemoryStore
from pondsocket._history.slice import Audience

from tests.core.histories import build_with_history, heard, position_of, reconnect, rejoin, say
from tests.core.members import member

MOST = 100_000


class Epochs:
    """e1, e2 and so on."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> str:
        self.count += 1
        return f"e{self.count}"


def store(**options: int) -> MemoryStore:
    given = {"max_bytes": MOST, "max_total_bytes": MOST, **options}
    return MemoryStore(History(**given), Epochs())


def fill(histories: MemoryStore, name: str, size: int, *, is_in_use: bool = False) -> HistoryLog:
    """Say one message of this size in a channel, which has a member then, or had one."""
    log = histories.open(name, 0.0)
    log.enter()
    log.append("said", "", b"x" * size, 0.0)
    if not is_in_use:
        log.leave(0.0)
    return log


def test_a_total_below_the_bound_of_one_channel_is_refused() -> None:
    with pytest.raises(UsageError, match=r"max_total_bytes \(10\), which is for all channels"):
        History(max_bytes=11, max_total_bytes=10)


def test_the_channel_that_was_left_first_loses_its_messages_first_and_keeps_its_position() -> None:
    histories = store()
    logs = [fill(histories, f"/{number}", 30_000) for number in range(3)]
    logs[0].enter()
    logs[0].leave(0.0)  # now /1 is the one that was left first
    newest = fill(histories, "/3", 30_000)
    assert [len(log) for log in (*logs, newest)] == [1, 0, 1, 1]
    assert (logs[1].top, histories.find("/1", 0.0)) == (1, logs[1])
    assert histories.byte_count <= MOST


def test_channels_with_members_keep_their_messages_as_long_as_there_are_others() -> None:
    histories = store()
    used = fill(histories, "/used", 30_000, is_in_use=True)
    for number in range(20):
        fill(histories, f"/{number}", 30_000)
    assert len(used) == 1


def test_where_all_have_members_those_above_an_equal_share_are_cut_to_it() -> None:
    histories = store()
    greedy, modest = histories.open("/greedy", 0.0), histories.open("/modest", 0.0)
    for log in (greedy, modest):
        log.enter()
    modest.append("said", "", b"x" * 20_000, 0.0)
    for _ in range(20):
        greedy.append("said", "", b"x" * 10_000, 0.0)
    assert len(modest) == 1
    assert 1 <= len(greedy) <= 8
    assert greedy.top == 20


def test_a_channel_that_left_its_share_can_grow_again_at_the_cost_of_the_greedy() -> None:
    histories = store()
    for number in range(9):
        fill(histories, f"/{number}", 11_000, is_in_use=True)
    late = histories.open("/late", 0.0)
    late.enter()
    late.append("said", "", b"x" * 9_000, 0.0)
    assert len(late) == 1
    assert histories.byte_count <= MOST


@pytest.mark.parametrize(
    "kept",
    [
        pytest.param(("said", b"x" * 5_000, None), id="payloads"),
        pytest.param(("said", b"", None), id="messages-without-a-text"),
        pytest.param(("e" * 250, b"", None), id="long-names-of-events"),
        pytest.param(("said", b"", Audience(("ann",) * 100)), id="audiences"),
    ],
)
def test_whatever_a_message_consists_of_counts(
    kept: tuple[str, bytes, Audience | None],
) -> None:
    event, payload, audience = kept
    histories = store(size=1_000)
    for number in range(300):
        log = histories.open(f"/{number}", 0.0)
        log.enter()
        for _ in range(20):
            log.append(event, "r" * 22, payload, 0.0, audience)
        log.leave(0.0)
    assert MOST / 2 < histories.byte_count <= MOST


def test_many_that_have_grown_by_little_are_counted_one_by_one() -> None:
    histories = store(max_bytes=1_000_000, max_total_bytes=1_000_000)
    logs = []
    for number in range(1_000):
        log = histories.open(f"/{number}", 0.0)
        log.enter()
        for size in (100, 500):  # the second alone is too little to be counted now
            log.append("said", "", b"x" * size, 0.0)
        logs.append(log)
    greedy = histories.open("/greedy", 0.0)
    greedy.enter()
    greedy.append("said", "", b"x" * 900_000, 0.0)
    assert histories.byte_count <= 1_000_000
    assert all(len(log) == 2 for log in logs)


def test_what_is_cut_to_nothing_while_its_last_member_leaves_is_forgotten() -> None:
    histories = store(max_bytes=1_000, max_total_bytes=1_000)
    fill(histories, "/used", 300, is_in_use=True)
    cut = fill(histories, "/cut", 480, is_in_use=True)
    cut.append("said", "", b"x" * 500, 0.0)  # too little to be counted before it is left
    cut.leave(0.0)
    assert len(cut) == 0
    for number in range(5):
        fill(histories, f"/{number}", 800)
    assert histories.byte_count <= 1_000


def test_whatever_happens_the_sum_is_that_of_the_histories_and_within_the_bound() -> None:
    chance = random.Random(1)
    histories = store(size=10, ttl=5, position_ttl=20)
    used: list[HistoryLog] = []
    for now in range(3_000):
        log = histories.open(f"/{chance.randrange(40)}", now / 10)
        if chance.random() < 0.3:
            log.enter()
            used.append(log)
        if used and chance.random() < 0.3:
            used.pop(chance.randrange(len(used))).leave(now / 10)
        log.append("said" * chance.randrange(1, 40), "", b"x" * chance.randrange(20_000), now / 10)
        known = [histories.find(f"/{number}", now / 10) for number in range(40)]
        assert histories.byte_count == sum(each.weight for each in known if each is not None)
        # What has grown by less than an eighth is not counted yet.
        assert sum(each.byte_count for each in known if each is not None) <= MOST * 9 / 8 + 40_960


def test_what_is_over_counts_no_more() -> None:
    histories = store(ttl=5, position_ttl=20)
    for number in range(30):
        fill(histories, f"/{number}", 1_000)
    histories.sweep(100.0)
    assert (len(histories), histories.byte_count) == (0, 0)
    histories.open("/1", 100.0).append("said", "", b"x" * 5_000, 100.0)
    assert histories.open("/1", 1_000.0).top == 0
    assert histories.byte_count == 0


async def test_a_client_whose_messages_had_to_go_is_told_and_gets_no_part() -> None:
    setup = build_with_history(max_bytes=2_000, max_total_bytes=2_000)
    since = await position_of(setup)
    await say(setup, 1, 2)
    for number in range(3):
        name = f"/room/other{number}"
        async with member(setup, "eve", name):
            await setup.pond.channel("/socket", name).broadcast("said", {"text": "x" * 1_500})
    async with reconnect(setup) as ann:
        answer = (await rejoin(ann, since)).payload
        assert answer.recovered is False  # type: ignore[union-attr]
        assert (answer.epoch, answer.offset) == (since.epoch, 2)  # type: ignore[union-attr]
        await say(setup, 3)
        assert heard(ann) == [3]


async def test_a_client_that_missed_nothing_is_told_so_although_its_messages_had_to_go() -> None:
    setup = build_with_history(max_bytes=2_000, max_total_bytes=2_000)
    await say(setup, 1)
    since = await position_of(setup)
    async with member(setup, "eve", "/room/2"):
        await setup.pond.channel("/socket", "/room/2").broadcast("said", {"text": "x" * 1_800})
    async with reconnect(setup) as ann:
        assert (await rejoin(ann, since)).payload.recovered is True  # type: ignore[union-attr]
