"""What nodes tell each other of a broadcast."""

import pytest
from hypothesis import given
from hypothesis import strategies as some
from pondsocket._history.slice import Audience
from pondsocket._replica.envelope import Envelope, pack, unpack
from pondsocket_common import dump_json

TEXTS = some.text(some.characters(exclude_categories=["Cs"]))
AUDIENCES = some.builds(Audience, some.lists(TEXTS).map(tuple), some.booleans())
JSON = some.recursive(
    some.none() | some.booleans() | some.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: some.lists(inner) | some.dictionaries(TEXTS, inner),
)
ENVELOPES = some.builds(
    Envelope,
    TEXTS,
    some.integers(0, 2**53),
    TEXTS,
    TEXTS,
    some.none() | AUDIENCES,
    some.dictionaries(TEXTS, JSON).map(dump_json),
)


@given(ENVELOPES)
def test_an_envelope_comes_back_as_it_was(envelope: Envelope) -> None:
    assert unpack(pack(envelope)) == envelope


@given(some.binary())
def test_any_bytes_are_an_envelope_or_none(data: bytes) -> None:
    assert unpack(data) is None or isinstance(unpack(data), Envelope)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b'[1,"a",1,"e","r",null,false]',  # no payload
        b'[2,"a",1,"e","r",null,false]\n{}',
        b'[1,"a",1,"e","r",null]\n{}',
        b'[1,"a",1,"e","r",null,false,0]\n{}',
        b'{"a":1}\n{}',
        b"\xff\n{}",
        b'[1,"a","x","e","r",null,false]\n{}',
        b'[1,5,1,"e","r",null,false]\n{}',
        b'[1,"a",1,5,"r",null,false]\n{}',
        b'[1,"a",1,"e",null,null,false]\n{}',
        b'[1,"a",1,"e","r",7,false]\n{}',
        b'[1,"a",1,"e","r",["ann",5],false]\n{}',
    ],
)
def test_what_another_version_or_no_node_has_made_is_left_out(data: bytes) -> None:
    assert unpack(data) is None
