"""Which web pages are those of the host itself."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pondsocket_common import AllowedOrigins, Origin, is_own_origin, parse_origin

LISTED = AllowedOrigins(
    [
        "https://app.example.com",
        "http://localhost:3000",
        "https://*.example.org",
        "https://*.example.net:8443",
        "http://[::1]:5173",
        "chrome-extension://abcdefgh",
    ]
)


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://a.example", Origin("https", "a.example", None)),
        ("HTTPS://A.Example", Origin("https", "a.example", None)),
        ("https://a.example:443", Origin("https", "a.example", None)),
        ("http://a.example:80", Origin("http", "a.example", None)),
        ("http://a.example:443", Origin("http", "a.example", 443)),
        ("http://127.0.0.1:8000", Origin("http", "127.0.0.1", 8000)),
        ("http://[::1]:8000", Origin("http", "[::1]", 8000)),
        ("http://xn--bcher-kva.example", Origin("http", "xn--bcher-kva.example", None)),
        ("app://my_app", Origin("app", "my_app", None)),
        ("http://a.example:65535", Origin("http", "a.example", 65535)),
        ("http://a.example:65536", None),
        ("http://a.example:", None),
        ("http://a.example:1:2", None),
        ("http://a.example:٣", None),
        ("http://a.example/", None),
        ("http://a.example?", None),
        ("http://a.example#", None),
        ("http://user@a.example", None),
        ("http://a.example http://b.example", None),
        ("http://a.example, http://b.example", None),
        ("http://a.example\n", None),
        ("http://bücher.example", None),
        ("http://", None),
        ("file://", None),
        ("//a.example", None),
        ("a.example", None),
        ("null", None),
        ("", None),
    ],
)
def test_an_origin_is_a_scheme_a_host_and_a_port(text: str, origin: Origin | None) -> None:
    assert parse_origin(text) == origin


@pytest.mark.parametrize(
    ("origin", "host", "own"),
    [
        ("http://a.example", "a.example", True),
        ("https://a.example", "a.example", True),
        ("https://a.example", "A.EXAMPLE", True),
        ("https://a.example:443", "a.example", True),
        ("https://a.example", "a.example:443", True),
        ("https://a.example", "a.example:80", True),
        ("http://a.example:443", "a.example:443", True),
        ("http://a.example:8000", "a.example:8000", True),
        ("https://a.example:8000", "a.example:8000", True),
        ("http://[::1]:8000", "[::1]:8000", True),
        ("http://a.example:8000", "a.example", False),
        ("http://a.example", "a.example:8000", False),
        ("http://a.example:8000", "a.example:8001", False),
        ("http://a.example", "b.example", False),
        ("http://a.example", "a.example.evil.example", False),
        ("http://evil.example", "a.example", False),
        ("http://sub.a.example", "a.example", False),
        ("http://localhost", "127.0.0.1", False),
        ("http://a.example", "", False),
        ("http://a.example", "a.example:port", False),
        ("http://a.example", "a.example, b.example", False),
        ("http://a.example", "\xff", False),
    ],
)
def test_the_own_page_has_the_host_and_the_port_that_were_asked(
    origin: str, host: str, own: bool
) -> None:
    parsed = parse_origin(origin)
    assert parsed is not None
    assert is_own_origin(parsed, host) is own


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://app.example.com", True),
        ("https://APP.example.com:443", True),
        ("http://app.example.com", False),
        ("https://app.example.com:8443", False),
        ("https://app.example.com.evil.example", False),
        ("https://evil-app.example.com", False),
        ("http://localhost:3000", True),
        ("http://localhost:3001", False),
        ("http://localhost", False),
        ("https://a.example.org", True),
        ("https://a.b.example.org", True),
        ("https://example.org", False),
        ("https://.example.org", False),
        ("https://evilexample.org", False),
        ("https://a.example.org:8443", False),
        ("http://a.example.org", False),
        ("https://a.example.net:8443", True),
        ("https://a.example.net", False),
        ("http://[::1]:5173", True),
        ("chrome-extension://abcdefgh", True),
        ("chrome-extension://other", False),
        ("null", False),
        ("", False),
        ("*", False),
        ("https://*.example.org", False),
    ],
)
def test_a_list_names_origins_exactly_or_all_below_a_host(origin: str, allowed: bool) -> None:
    assert LISTED.allows(origin) is allowed


def test_null_is_allowed_only_where_it_is_listed() -> None:
    assert AllowedOrigins(["null"]).allows("null")
    assert not AllowedOrigins(["null"]).allows("Null")
    assert not AllowedOrigins([]).allows("null")


@pytest.mark.parametrize(
    ("entry", "advice"),
    [
        ("*", "would let every web page"),
        ("https://*", "would let every web page"),
        ("http://*:8000", "write a scheme and a host"),
        ("app.example.com", "has no scheme: write 'https://app.example.com'"),
        ("localhost:3000", "has no scheme: write 'https://localhost:3000'"),
        ("*.example.com", "has no scheme: write 'https://*.example.com'"),
        ("https://a.example/", "a path, which no origin has: write 'https://a.example'"),
        ("https://a.example/chat?x", "a path, which no origin has: write 'https://a.example'"),
        ("https://*.a.example/", "write 'https://*.a.example'"),
        ("https://a.*.example", "write a scheme and a host"),
        ("https://a*.example", "write a scheme and a host"),
        ("https://a.example:*", "write a scheme and a host"),
        ("https://a.example:99999", "write a scheme and a host"),
        ("https://bücher.example", "xn--"),
        ("https://", "write a scheme and a host"),
        ("", "write a scheme and a host"),
        ("Null", "has no scheme"),
    ],
)
def test_an_entry_that_cannot_be_meant_says_what_to_write(entry: str, advice: str) -> None:
    with pytest.raises(ValueError, match=re.escape(advice)):
        AllowedOrigins([entry])


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_any_text_is_judged(text: str) -> None:
    assert not LISTED.allows(text)
    parse_origin(text)
    assert not is_own_origin(Origin("http", "a.example", None), text)


@given(st.text(), st.from_regex(r"\A[a-z][a-z0-9.-]{0,20}\Z"))
def test_nothing_before_or_after_a_host_makes_it_another_ones(around: str, host: str) -> None:
    allowed = AllowedOrigins([f"https://{host}"])
    assert allowed.allows(f"https://{host}")
    for text in (f"https://{around}{host}", f"https://{host}{around}"):
        same = text.lower() in (f"https://{host}", f"https://{host}:443")
        assert allowed.allows(text) is same
