"""Which wire formats an endpoint speaks, and which one a client gets."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from pondsocket import ConnectionContext, PondSocket, UsageError
from pondsocket._connection.formats import Format, Formats
from pondsocket.adapter import Refusal, Session
from pondsocket_common import POND, ClientMessage, Codec, Ping, PondCodec, ServerMessage

from tests.array_codec import ARRAY, ArrayCodec
from tests.core.ponds import admit, request


class Named(ArrayCodec):
    """The array format by another name."""

    def __init__(self, name: Any) -> None:
        self.name = name


OTHER = Named("other.v2")


def choose(
    formats: Formats, *offered: str, query: Sequence[tuple[str, str]] = ()
) -> Format | Refusal:
    return formats.choose(replace(request(query=query), subprotocols=offered))


# --- choosing ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offered", "asked", "codec", "subprotocol"),
    [
        ((), None, POND, None),
        (("array",), None, ARRAY, "array"),
        (("other.v2", "array"), None, OTHER, "other.v2"),
        (("pond",), None, POND, "pond"),
        (("unknown", "array"), None, ARRAY, "array"),
        (("unknown",), None, POND, None),
        (("ARRAY",), None, POND, None),
        ((), "array", ARRAY, None),
        ((), "pond", POND, None),
        # What else is offered is chosen only beside a codec that no subprotocol names.
        (("v1",), None, POND, "v1"),
        (("v1",), "array", ARRAY, "v1"),
        (("v1", "array"), None, ARRAY, "array"),
        (("bearer", "a-token"), "array", ARRAY, None),
        (("bearer", "a-token"), None, POND, None),
        (("a-token", "array"), None, ARRAY, "array"),
        # A subprotocol decides before the query does.
        (("array",), "pond", ARRAY, "array"),
        (("pond",), "array", POND, "pond"),
        (("array",), "unknown", ARRAY, "array"),
    ],
)
def test_a_client_gets_the_format_of_its_subprotocol_or_of_its_query_or_pond(
    offered: tuple[str, ...], asked: str | None, codec: Codec, subprotocol: str | None
) -> None:
    formats = Formats("it", [ARRAY, OTHER], ("v1",))
    query = [] if asked is None else [("codec", asked)]
    assert choose(formats, *offered, query=query) == (codec, subprotocol)


@pytest.mark.parametrize(
    ("offered", "subprotocol"),
    [
        (("bearer", "a-token"), "bearer"),
        # What follows is a token, even if it is the name of a format or listed.
        (("bearer", "pond"), "bearer"),
        (("bearer", "array"), "bearer"),
        (("bearer", "v1"), "bearer"),
        (("bearer", "bearer"), "bearer"),
        (("bearer", "a-token", "array"), "array"),
        (("pond", "bearer", "a-token"), "pond"),
        (("v1", "bearer", "a-token"), "v1"),
        (("bearer",), "bearer"),
        (("base64url.bearer.a-token",), None),
        (("Bearer", "a-token"), None),
    ],
)
def test_a_token_is_never_sent_back(offered: tuple[str, ...], subprotocol: str | None) -> None:
    chosen = choose(Formats("it", [ARRAY], ("v1", "bearer")), *offered)
    assert isinstance(chosen, Format)
    assert chosen.subprotocol == subprotocol


@pytest.mark.parametrize("name", ["a b", "a,b", "a\r\nX: y", "é"])
def test_a_subprotocol_that_no_client_can_offer_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="it: no client can offer the subprotocol"):
        Formats("it", subprotocols=[name])


@pytest.mark.parametrize("asked", ["unknown", "", "ARRAY", "array,pond", "v1"])
def test_a_format_that_there_is_not_is_refused(asked: str) -> None:
    text = "?codec= is one of these: pond, array."
    formats = Formats("it", [ARRAY], ("v1",))
    assert choose(formats, query=[("codec", asked)]) == Refusal(400, "UNKNOWN_CODEC", text)


def test_without_further_formats_there_is_pond() -> None:
    formats = Formats("it")
    assert choose(formats, "array") == (POND, None)
    assert choose(formats, "pond") == (POND, "pond")
    assert choose(formats, query=[("codec", "pond")]) == (POND, None)
    refused = choose(formats, query=[("codec", "array")])
    assert isinstance(refused, Refusal)
    assert refused.message == "?codec= is one of these: pond."


@pytest.mark.parametrize(
    "codecs", [[ARRAY], (ARRAY, ARRAY), {ARRAY}, frozenset([ARRAY]), [POND, ARRAY]]
)
def test_codecs_come_in_any_collection_and_one_may_come_twice(codecs: Any) -> None:
    formats = Formats("it", codecs)
    assert choose(formats, "array") == (ARRAY, "array")
    assert choose(formats) == (POND, None)


@pytest.mark.parametrize("decorated", [True, False])
async def test_an_endpoint_speaks_what_it_was_given(decorated: bool) -> None:
    pond = PondSocket()
    if decorated:
        pond.endpoint("/socket", codecs=[ARRAY])(admit)
    else:
        pond.create_endpoint("/socket", admit, codecs=[ARRAY])
    session = await pond.connect(replace(request(), subprotocols=("array",)))
    assert isinstance(session, Session)
    assert (session.codec, session.subprotocol) == (ARRAY, "array")
    session = await pond.connect(request())
    assert isinstance(session, Session)
    assert (session.codec, session.subprotocol) == (POND, None)


async def test_an_unknown_format_is_refused_before_the_handler_is_asked() -> None:
    def fail(ctx: ConnectionContext) -> None:
        raise AssertionError

    pond = PondSocket()
    pond.create_endpoint("/socket", fail, codecs=[ARRAY])
    refused = await pond.connect(request(query=[("codec", "unknown")]))
    assert isinstance(refused, Refusal)
    assert refused.error == "UNKNOWN_CODEC"


# --- what can be no format --------------------------------------------------------------------


class AsyncEncode(ArrayCodec):
    async def encode(self, message: ServerMessage) -> bytes:  # type: ignore[override]
        raise AssertionError


class NotCallable(ArrayCodec):
    decode_batch = "decode_batch"  # type: ignore[assignment]


@dataclass
class Unhashable:
    name: str = "array"

    def decode(self, data: str | bytes, *, refuses_events: bool = False) -> ClientMessage | Ping:
        raise AssertionError

    decode_batch = encode = decode


@pytest.mark.parametrize("codecs", [ARRAY, "array", b"", None, 5, {"array": ARRAY}, iter([ARRAY])])
def test_codecs_are_a_collection(codecs: Any) -> None:
    with pytest.raises(UsageError, match=r"^endpoint '/socket': codecs is a list of codecs: "):
        PondSocket().create_endpoint("/socket", admit, codecs=codecs)


@pytest.mark.parametrize(
    "codec", ["array", None, object(), ArrayCodec, PondCodec, Named(5), Named(None), NotCallable()]
)
def test_what_has_no_name_or_method_is_no_codec(codec: Any) -> None:
    with pytest.raises(UsageError, match=r"^it: this is no codec, which has a name and methods: "):
        Formats("it", [codec])


@pytest.mark.parametrize("name", ["", "a b", "a,b", "a/b", "é", "a\n", '"a"', "a=b"])
def test_a_name_that_no_client_could_offer_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"is no name of a codec; it must be a token\."):
        Formats("it", [Named(name)])


@pytest.mark.parametrize("name", ["a", "x.y-z_1", "v1+json", "!#$%&'*+^`|~"])
def test_a_name_may_be_any_token(name: str) -> None:
    codec = Named(name)
    assert choose(Formats("it", [codec]), name) == (codec, name)


def test_a_codec_has_plain_methods() -> None:
    with pytest.raises(UsageError, match="write `def`; the methods of codec 'array' are not"):
        Formats("it", [AsyncEncode()])  # type: ignore[list-item]


def test_a_codec_is_hashable() -> None:
    with pytest.raises(UsageError, match="codec 'array' is not hashable"):
        Formats("it", [Unhashable()])  # type: ignore[list-item]


@pytest.mark.parametrize("codecs", [[ARRAY, Named("array")], [Named("pond")]])
def test_two_codecs_of_one_name_are_refused(codecs: list[Codec]) -> None:
    with pytest.raises(UsageError, match=f"it: two codecs are named {codecs[-1].name!r}"):
        Formats("it", codecs)
