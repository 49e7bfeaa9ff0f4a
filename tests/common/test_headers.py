"""Headers, queries and cookies: names that occur more than once."""

import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pondsocket_common import (
    CONNECTION_ID_HEADER,
    EVENT_STREAM,
    Headers,
    QueryParams,
    parse_cookies,
)

from tests.common.strategies import repeatable


def test_query_gives_the_first_value_and_all_of_them() -> None:
    query = QueryParams([("a", "1"), ("b", "2"), ("a", "3")])
    assert query["a"] == "1"
    assert query.get("a") == "1"
    assert query.getall("a") == query.get_all("a") == ["1", "3"]
    assert dict(query) == {"a": "1", "b": "2"}
    assert list(query) == ["a", "b"]
    assert len(query) == 2


def test_a_name_that_is_not_there() -> None:
    query = QueryParams([("a", "1")])
    assert query.getall("b") == query.get_all("b") == []
    assert query.get("b") is None
    assert query.get("b", "none") == "none"
    assert "b" not in query
    assert query.get("") is None
    with pytest.raises(KeyError):
        query["b"]


def test_query_names_keep_their_case_and_may_be_empty() -> None:
    query = QueryParams([("Token", "1"), ("", "2"), ("token", "")])
    assert query["Token"] == "1"
    assert query[""] == "2"
    assert query["token"] == ""
    assert "TOKEN" not in query


def test_changing_what_getall_gave_changes_nothing() -> None:
    query = QueryParams([("a", "1")])
    query.getall("a").append("2")
    assert query.getall("a") == ["1"]


def test_headers_are_the_same_in_any_case() -> None:
    headers = Headers([("Host", "a"), ("X-Connection-ID", "k"), ("host", "b")])
    assert headers["HOST"] == "a"
    assert headers.getall("hOsT") == ["a", "b"]
    assert headers[CONNECTION_ID_HEADER] == "k"
    assert "HOST" in headers
    assert list(headers) == ["host", "x-connection-id"]


def test_mappings_without_pairs_are_empty_and_false() -> None:
    assert not Headers()
    assert QueryParams() == {}


def test_a_mapping_shows_its_names_and_no_secrets() -> None:
    assert repr(QueryParams([("a", "1"), ("b", "2")])) == "<QueryParams a, b>"
    assert repr(Headers([("X-Token", "secret")])) == "<Headers x-token>"


def test_the_words_both_sides_of_the_wire_use() -> None:
    assert CONNECTION_ID_HEADER == "x-connection-id"
    assert EVENT_STREAM == "text/event-stream"


@pytest.mark.parametrize(
    ("header", "cookies"),
    [
        ("", {}),
        ("a=1", {"a": "1"}),
        ("a=1; b=2", {"a": "1", "b": "2"}),
        ("a=1;b=2;", {"a": "1", "b": "2"}),
        ("  a = 1 ;\tb=2", {"a": "1", "b": "2"}),
        ("a=", {"a": ""}),
        ("a", {}),
        ("=1", {}),
        (" =1; b=2", {"b": "2"}),
        (";;a=1;;", {"a": "1"}),
        ("a=b=c==", {"a": "b=c=="}),
        ('a="quoted words"; b="', {"a": "quoted words", "b": '"'}),
        ('a=""', {"a": ""}),
        ('a=in"side', {"a": 'in"side'}),
        ("a=1; a=2", {"a": "1"}),
        ("A=1; a=2", {"A": "1", "a": "2"}),
        ("a=%20+%3B", {"a": "%20+%3B"}),
        # Names that http.cookies stumbles over, dropping what follows.
        ("x[y]=1; session=s", {"x[y]": "1", "session": "s"}),
        ("x@y=1; session=s", {"x@y": "1", "session": "s"}),
        ("\u00e9=1; session=s", {"\u00e9": "1", "session": "s"}),
        ("a b=1; session=s", {"a b": "1", "session": "s"}),
        ("expires=1; path=/; session=s", {"expires": "1", "path": "/", "session": "s"}),
        ('{"a":1,"b":2}=1; session=s', {'{"a":1,"b":2}': "1", "session": "s"}),
    ],
)
def test_cookies_are_read(header: str, cookies: dict[str, str]) -> None:
    assert parse_cookies(Headers([("Cookie", header)])) == cookies


def test_cookies_may_be_spread_over_several_headers() -> None:
    headers = Headers([("cookie", "a=1; b=2"), ("host", "c=3"), ("Cookie", "b=9; d=4")])
    assert parse_cookies(headers) == {"a": "1", "b": "2", "d": "4"}


def test_a_request_without_cookies_has_none() -> None:
    assert parse_cookies(Headers()) == {}


@repeatable
@given(st.text(max_size=40), st.text(max_size=40))
def test_no_cookie_before_or_behind_hides_the_session(before: str, behind: str) -> None:
    cookies = parse_cookies(Headers([("cookie", f"{before};session=s;{behind}")]))
    names = [pair.partition("=")[0].strip() for pair in before.split(";")]
    if "session" not in names:
        assert cookies["session"] == "s"


@repeatable
@given(
    st.lists(
        st.tuples(st.sampled_from([b"a", b"A", b"b", b"\xe9", b"\xc9"]), st.binary(max_size=3))
    ),
    st.sampled_from(["a", "A", "b", "c", "\u00e9", "\u00c9", "\u212a", ""]),
)
def test_a_servers_list_reads_as_the_same_headers_decoded(
    raw: list[tuple[bytes, bytes]], name: str
) -> None:
    decoded = Headers([(key.decode("latin-1"), value.decode("latin-1")) for key, value in raw])
    wrapped = Headers.of_bytes(raw)
    for _ in range(2):
        assert wrapped.getall(name) == wrapped.get_all(name) == decoded.getall(name)
        assert wrapped.get(name) == decoded.get(name)
        assert (name in wrapped) == (name in decoded)
        assert dict(wrapped) == dict(decoded)  # which decodes all of them
    with pytest.raises(KeyError):
        Headers.of_bytes(raw)["c"]


def test_reading_single_headers_keeps_nothing_of_them() -> None:
    raw = [(b"Host", b"a"), (b"Cookie", b"b=1"), (b"Authorization", b"Bearer c")]
    headers = Headers.of_bytes(raw)
    before = gc.get_referents(headers)
    assert raw in before
    assert (headers["host"], headers.get("origin")) == ("a", None)
    assert "cookie" in headers
    assert parse_cookies(headers) == {"b": "1"}
    assert gc.get_referents(headers) == before
