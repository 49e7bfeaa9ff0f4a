"""Messages by position, and what is added to a slice that was read late: pure."""

import pytest
from pondsocket._history.slice import Audience, EmittedMessage, HistorySlice, KeptMessage

TO_ANN = Audience(("ann",))


def slice_of(*audiences: Audience | None, top: int = 0) -> HistorySlice:
    """Return a slice of as many messages, behind an offset."""
    found = HistorySlice("e1", top)
    for number, audience in enumerate(audiences, start=top + 1):
        found.add("said", f"r{number}", b'{"n":%d}' % number, audience)
    return found


def emitted(offset: int, audience: Audience | None = None, epoch: str = "e1") -> EmittedMessage:
    return EmittedMessage(epoch, KeptMessage(offset, "said", f"r{offset}", b"{}"), audience)


def offsets(found: HistorySlice, user_id: str | None = None, after: int = 0) -> list[int]:
    return [kept.offset for kept in found.after(after, user_id)]


def test_an_audience_is_these_users_or_all_but_these() -> None:
    assert [TO_ANN.includes(user) for user in ("ann", "bob")] == [True, False]
    others = Audience(("ann",), is_exclusion=True)
    assert [others.includes(user) for user in ("ann", "bob")] == [False, True]
    assert not Audience(()).includes("ann")


def test_a_slice_begins_behind_any_offset() -> None:
    found = slice_of(None, TO_ANN, None, top=6)
    assert (found.first, found.top, len(found)) == (7, 9, 3)
    assert offsets(found) == [7, 8, 9]
    assert offsets(found, "bob") == [7, 9]
    assert offsets(found, "ann", after=7) == [8, 9]
    assert found.next_after(7) == KeptMessage(8, "said", "r8", b'{"n":8}')
    assert found.next_after(9) is None


def test_an_empty_slice_has_a_top() -> None:
    found = slice_of(top=6)
    assert (found.first, found.top, len(found)) == (7, 6, 0)
    assert found.before_last(3) == 6
    assert found.count_after(0) == (0, 0)


def test_only_messages_for_the_user_are_counted() -> None:
    assert slice_of(None, None).count_after(0) == (2, 18)
    assert slice_of(None, TO_ANN).count_after(0, "bob") == (1, 9)
    assert slice_of(None, TO_ANN).count_after(1, "ann") == (1, 9)


def test_the_last_messages_are_those_for_the_user() -> None:
    found = slice_of(None, None, TO_ANN)
    assert [found.before_last(1, user) for user in ("ann", "bob", None)] == [2, 1, 2]
    assert found.before_last(9, "bob") == 0


def test_it_says_whether_a_message_went_to_some() -> None:
    found = slice_of(None, TO_ANN, None)
    assert [found.has_audience_after(offset) for offset in (0, 1, 2)] == [True, True, False]


def test_what_is_emitted_meanwhile_is_added_once() -> None:
    found = slice_of(None, None)
    assert found.extend([emitted(1), emitted(2), emitted(3, TO_ANN), emitted(4)])
    assert offsets(found) == [1, 2, 3, 4]
    assert offsets(found, "bob") == [1, 2, 4]


@pytest.mark.parametrize(
    "later", [[emitted(4)], [emitted(3), emitted(5)], [emitted(1, epoch="e2")]]
)
def test_it_is_to_be_read_again_if_one_between_is_missing(later: list[EmittedMessage]) -> None:
    assert not slice_of(None, None).extend(later)
