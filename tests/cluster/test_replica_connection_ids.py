"""Ids of connections, by which every node knows whose they are."""

from pondsocket._replica.connection_ids import new_id, node_of

KEY = b"k" * 32


def test_an_id_names_its_node_and_no_two_are_equal() -> None:
    first, second = new_id("node", KEY), new_id("node", KEY)
    assert first != second
    assert node_of(first, KEY) == node_of(second, KEY) == "node"


def test_an_id_of_another_key_is_of_no_node() -> None:
    assert node_of(new_id("node", b"j" * 32), KEY) is None


def test_a_changed_character_or_a_cut_makes_it_of_no_node() -> None:
    made = new_id("node", KEY)
    for place, character in enumerate(made):
        other = "a" if character != "a" else "b"
        assert node_of(made[:place] + other + made[place + 1 :], KEY) is None
        assert node_of(made[:place], KEY) is None
        assert node_of(made[place + 1 :], KEY) is None


def test_what_no_node_has_made_is_of_none() -> None:
    made = new_id("node", KEY)
    for text in ("", ".", "..", "a.b.c", f"{made}.", f".{made}", f"{made}é", "\ud800", "0" * 32):
        assert node_of(text, KEY) is None


def test_a_key_may_be_longer_than_the_hash_takes() -> None:
    assert node_of(new_id("node", b"k" * 100), b"k" * 100) == "node"
