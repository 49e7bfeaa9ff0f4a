"""Commands to all nodes, to and from bytes."""

import pytest
from pondsocket import EncodingError
from pondsocket._cluster.commands import decode, encode


def test_a_command_comes_back_with_its_arguments_and_its_origin() -> None:
    data = encode("node", "evict", {"topic": "a", "user": "ann", "reason": "é\x1f"})
    assert decode(data) == {
        "v": 1,
        "from": "node",
        "do": "evict",
        "topic": "a",
        "user": "ann",
        "reason": "é\x1f",
    }


def test_no_argument_replaces_what_the_command_is() -> None:
    command = decode(encode("node", "evict", {"do": "other"}))
    assert command is not None
    assert command["do"] == "evict"


@pytest.mark.parametrize("data", [b"", b"[]", b"1", b'{"v":2,"do":"evict"}', b"{}", b"\xff"])
def test_another_version_is_no_command(data: bytes) -> None:
    assert decode(data) is None


def test_an_argument_that_json_cannot_hold_is_refused() -> None:
    with pytest.raises(EncodingError):
        encode("node", "evict", {"user": {1, 2}})
