from pondsocket._presence.state import Presence, PresenceChange
from pondsocket_common import PresenceEventTypes

JOIN, UPDATE, LEAVE = PresenceEventTypes.JOIN, PresenceEventTypes.UPDATE, PresenceEventTypes.LEAVE


def test_the_first_tracked_connection_is_a_join() -> None:
    presence = Presence()

    assert presence.track("ann", "1", {"n": 1}) == PresenceChange(JOIN, {"n": 1})
    assert presence.listed() == {"ann": {"n": 1}}


def test_listed_is_what_was_set_last() -> None:
    presence = Presence()
    presence.track("ann", "1", {"n": 1})

    assert presence.track("ann", "2", {"n": 2}) == PresenceChange(UPDATE, {"n": 2})
    assert presence.track("ann", "1", {"n": 3}) == PresenceChange(UPDATE, {"n": 3})
    assert presence.listed() == {"ann": {"n": 3}}
    assert presence.of_user("ann") == {"n": 3}


def test_losing_the_listed_connection_shows_the_one_set_before() -> None:
    presence = Presence()
    presence.track("ann", "1", {"n": 1})
    presence.track("ann", "2", {"n": 2})

    assert presence.untrack("ann", "2") == PresenceChange(UPDATE, {"n": 1})
    assert presence.listed() == {"ann": {"n": 1}}


def test_losing_another_connection_changes_nothing_that_is_listed() -> None:
    presence = Presence()
    presence.track("ann", "1", {"n": 1})
    presence.track("ann", "2", {"n": 2})

    assert presence.untrack("ann", "1") is None
    assert not presence.is_tracked("ann", "1")
    assert presence.is_tracked("ann", "2")
    assert presence.listed() == {"ann": {"n": 2}}


def test_losing_the_last_connection_is_a_leave() -> None:
    presence = Presence()
    presence.track("ann", "1", {"n": 1})

    assert presence.untrack("ann", "1") == PresenceChange(LEAVE, {"n": 1})
    assert presence.listed() == {}
    assert presence.of_user("ann") is None


def test_untracking_what_is_not_tracked_changes_nothing() -> None:
    presence = Presence()
    presence.track("ann", "1", {"n": 1})

    assert presence.untrack("ann", "2") is None
    assert presence.untrack("bob", "1") is None
    assert presence.listed() == {"ann": {"n": 1}}


def test_users_are_listed_in_the_order_in_which_they_came() -> None:
    presence = Presence()
    for user in ("ann", "bob", "eve"):
        presence.track(user, user, {"user": user})
    presence.track("ann", "ann", {"user": "ann", "again": True})

    assert list(presence.listed()) == ["ann", "bob", "eve"]
