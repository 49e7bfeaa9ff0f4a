"""What was told of presence, and what has changed since: pure."""

from hypothesis import given
from hypothesis import strategies as st
from pondsocket._presence.diffs import PresenceLog
from pondsocket_common import PresenceDiff, PresenceEntry


def entry(ref: str, value: int = 0) -> PresenceEntry:
    return PresenceEntry(f"user-{ref}", ref, {"value": value})


def test_a_join_an_update_and_a_leave_are_told_once() -> None:
    log = PresenceLog([entry("old"), entry("going")])
    assert not log
    log.show(entry("new"))
    log.show(entry("old", 1))
    log.hide("going")
    assert log
    assert log.take() == PresenceDiff((entry("new"),), (entry("old", 1),), (entry("going"),))
    assert not log
    assert log.take() == PresenceDiff()


def test_a_join_and_an_update_are_a_join_with_the_latest() -> None:
    log = PresenceLog([])
    log.show(entry("a", 1))
    log.show(entry("a", 2))
    assert log.take() == PresenceDiff(joins=(entry("a", 2),))


def test_a_join_and_a_leave_are_nothing() -> None:
    log = PresenceLog([])
    log.show(entry("a"))
    log.hide("a")
    assert not log
    assert log.take() == PresenceDiff()


def test_an_update_and_a_leave_are_a_leave_with_what_was_told() -> None:
    log = PresenceLog([entry("a", 1)])
    log.show(entry("a", 2))
    log.hide("a")
    assert log.take() == PresenceDiff(leaves=(entry("a", 1),))


def test_a_leave_and_a_return_are_an_update() -> None:
    log = PresenceLog([entry("a", 1)])
    log.hide("a")
    log.show(entry("a", 2))
    assert log.take() == PresenceDiff(updates=(entry("a", 2),))


def test_a_new_member_is_given_what_every_member_was_told() -> None:
    log = PresenceLog([entry("a")])
    log.show(entry("b"))
    log.hide("a")
    assert log.state() == PresenceDiff(joins=(entry("a"),))
    log.take()
    assert log.state() == PresenceDiff(joins=(entry("b"),))


@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from("abc"), st.integers(0, 3)),
            st.sampled_from("abc"),
            st.just(None),
        )
    )
)
def test_a_client_that_follows_the_diffs_has_the_state(
    steps: list[tuple[str, int] | str | None],
) -> None:
    log = PresenceLog([entry("a")])
    actual = {"a": 0}
    followed = {"a": 0}

    def follow() -> None:
        diff = log.take()
        for each in diff.joins:
            assert each.ref not in followed
        for each in (*diff.joins, *diff.updates):
            followed[each.ref] = each.presence["value"]
        for each in diff.leaves:
            assert each.presence["value"] == followed.pop(each.ref)

    for step in steps:
        match step:
            case None:
                follow()
                assert followed == actual
                assert {each.ref for each in log.state().joins} == set(actual)
            case str(ref):
                log.hide(ref)
                actual.pop(ref, None)
            case (ref, value):
                log.show(entry(ref, value))
                actual[ref] = value
    follow()
    assert followed == actual
