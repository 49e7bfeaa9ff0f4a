"""The judge of chaos finds what it looks for, and a plan is the same for the same seed."""

from typing import Any

import pytest

from .heard import Heard
from .plan import KINDS, make_plan
from .verdict import Verdict, judge

ROOM = "/room/1"


def heard(*messages: tuple[str, int, int]) -> Heard:
    """Return what a client knows that joined at the beginning."""
    found = Heard()
    found.begin("a", 0, is_told=False)
    for epoch, offset, number in messages:
        found.take(epoch, offset, number)
    return found


def verdict(*clients: Heard, **outcomes: str) -> Verdict:
    reports: dict[str, Any] = {
        f"u{place}": {ROOM: client.report()} for place, client in enumerate(clients)
    }
    said = {int(number[1:]): (ROOM, how) for number, how in outcomes.items()}
    return judge(said, reports)


def test_clients_that_have_heard_all_have_no_faults() -> None:
    client = heard(("a", 1, 7), ("a", 2, 8))
    found = verdict(client, client, n7="ok", n8="uncertain", n9="refused")
    assert found == Verdict(sent=1, heard=4)
    assert str(found) == "1 sent, 4 heard, 0 told, 0 silent"


def test_a_gap_is_silent() -> None:
    found = verdict(heard(("a", 1, 7), ("a", 2, 8), ("a", 3, 9)), heard(("a", 1, 7), ("a", 3, 9)))
    assert found.silent == 1
    assert found.faults


def test_a_gap_that_a_client_was_told_of_is_none() -> None:
    whole = heard(("a", 1, 7), ("a", 2, 8), ("a", 3, 9))
    client = heard(("a", 1, 7))
    client.begin("a", 2, is_told=True)
    client.take("a", 3, 9)
    assert verdict(whole, client) == Verdict(heard=5, told=1)


def test_another_epoch_is_silent_unless_a_client_was_told() -> None:
    assert verdict(heard(("a", 1, 7), ("b", 1, 8))).silent == 1
    client = heard(("a", 1, 7))
    client.begin("b", 0, is_told=True)
    client.take("b", 1, 8)
    assert verdict(client) == Verdict(heard=2)


def test_the_end_of_an_epoch_that_a_client_has_missed_counts() -> None:
    short, long = heard(("a", 1, 7)), heard(("a", 1, 7), ("a", 2, 8), ("a", 3, 9))
    for client in (short, long):
        client.begin("b", 0, is_told=True)
    assert verdict(short, long).told == 2


def test_clients_must_end_at_the_same_position() -> None:
    (fault,) = verdict(heard(("a", 1, 7), ("a", 2, 8)), heard(("a", 1, 7))).faults
    assert "end at" in fault


def test_there_is_one_order() -> None:
    assert verdict(heard(("a", 1, 7)), heard(("a", 1, 8))).faults


def test_a_message_has_one_place_in_an_epoch() -> None:
    assert verdict(heard(("a", 1, 7), ("a", 2, 7))).faults


@pytest.mark.parametrize("number", [7, 8])
def test_a_message_that_comes_again_is_the_same(number: int) -> None:
    client = heard(("a", 1, 7), ("a", 1, number))
    assert client.repeated == 1
    assert bool(verdict(client).faults) is (number == 8)


def test_a_refused_message_must_not_be_heard() -> None:
    assert verdict(heard(("a", 1, 7)), n7="refused").faults


def test_a_message_that_was_accepted_and_no_client_has_heard_is_silent() -> None:
    assert verdict(heard(("a", 1, 7)), n7="ok", n8="ok").silent == 1


def test_an_engine_that_has_lost_its_memory_loses_it_for_all_who_are_told() -> None:
    client = heard(("a", 1, 7))
    client.begin("b", 0, is_told=True)
    assert verdict(client, n7="ok", n8="ok") == Verdict(sent=2, heard=1, told=1)


def test_what_comes_before_a_join_is_a_fault() -> None:
    client = Heard()
    client.take("a", 1, 7)
    assert verdict(client).faults


def test_a_plan_is_the_same_for_the_same_seed() -> None:
    plan = make_plan(3, 80)
    assert plan == make_plan(3, 80)
    assert plan != make_plan(4, 80)
    assert {make_plan(seed, 10).persistence for seed in range(3)} == {"aof", "rdb", "nothing"}
    assert plan.faults == sorted(plan.faults)
    assert all(0 <= fault.at < 80 and fault.kind in KINDS for fault in plan.faults)
    assert {"kill a node", "kill Redis", "swallow"} <= {fault.kind for fault in plan.faults}
