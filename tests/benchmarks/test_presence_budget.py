"""Presence stays within its budget of bytes; these tests do not check times."""

from pondsocket import PresenceMode

from tests.benchmarks.presence import MOST_BYTES_IN_DIFF_MODE, USERS, join_in_turn


async def test_200_users_who_join_one_after_another_cost_2_5_megabytes_in_diff_mode() -> None:
    cost = await join_in_turn(PresenceMode.DIFF)
    assert cost.bytes_sent <= MOST_BYTES_IN_DIFF_MODE
    # CONNECTION and an acknowledgement for each, and one diff to every member at each of two ticks.
    assert cost.frames == 2 * USERS + 100 + 200


async def test_even_where_each_join_is_told_by_itself_no_member_is_told_twice() -> None:
    cost = await join_in_turn(PresenceMode.DIFF, 50, per_tick=1)
    assert cost.frames == 2 * 50 + 50 * 51 // 2


async def test_whole_lists_cost_far_more() -> None:
    lists = await join_in_turn(None, 50)
    diffs = await join_in_turn(PresenceMode.DIFF, 50)
    assert lists.bytes_sent > 3 * diffs.bytes_sent
