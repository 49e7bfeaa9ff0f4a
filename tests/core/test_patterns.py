import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pondsocket import QueryParams, Route, UsageError
from pondsocket._state.patterns import Pattern, PatternMap


@pytest.mark.parametrize(
    ("pattern", "name", "params", "rest"),
    [
        ("/chat", "/chat", {}, None),
        ("/chat/:room", "/chat/42", {"room": "42"}, None),
        ("/chat/:room/:who", "/chat/a/b", {"room": "a", "who": "b"}, None),
        ("/room-:id", "/room-7", {"id": "7"}, None),
        ("/room-:id/x", "/room-7/x", {"id": "7"}, None),
        ("/files/*", "/files/a", {}, "a"),
        ("/files/*", "/files/a/b", {}, "a/b"),
        ("/:top/*", "/a/b/c", {"top": "a"}, "b/c"),
        ("*", "anything at all", {}, "anything at all"),
        ("*", "two\nlines", {}, "two\nlines"),
        ("user::created", "user:created", {}, None),
        ("user:::what", "user:gone", {"what": "gone"}, None),
        ("/a.b", "/a.b", {}, None),
        ("/chat/:room", "/chat/a%2Fb?c", {"room": "a%2Fb?c"}, None),
        ("/chat/:room", "/chat/日本", {"room": "日本"}, None),
    ],
)
def test_pattern_matches(pattern: str, name: str, params: dict[str, str], rest: str | None) -> None:
    route = Pattern(pattern).match(name)

    assert route is not None
    assert (route.pattern, route.params, route.rest) == (pattern, params, rest)


def test_a_route_gives_its_parameters_its_rest_and_no_query() -> None:
    route = Pattern("/files/:user/*").match("/files/ann/a/b")
    assert route is not None
    assert route.param("user") == "ann"
    assert (route.wildcard, route.rest) == ("a/b", "a/b")
    assert dict(route.query) == {}
    assert Route("/files").wildcard is None


@pytest.mark.parametrize(
    ("route", "words"),
    [
        (Route("/files/:user", {"user": "ann"}), "no parameter 'id'; it has 'user'."),
        (Route("/files"), "'/files' has no parameter 'id'; it has none."),
    ],
)
def test_a_parameter_that_is_not_there_is_an_error_that_names_those_that_are(
    route: Route, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        route.param("id")


def test_a_route_takes_the_query_of_a_request() -> None:
    route = Route("/:tenant/socket", {"tenant": "acme"}, "rest")
    asked = route.with_query(QueryParams([("a", "1"), ("a", "2")]))
    assert (asked.query["a"], asked.query.getall("a")) == ("1", ["1", "2"])
    assert (asked.pattern, asked.param("tenant"), asked.wildcard) == (
        "/:tenant/socket",
        "acme",
        "rest",
    )
    assert isinstance(asked, Route)
    assert route.with_query(QueryParams()) == route


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("/chat", "/chat/1"),
        ("/chat", "/Chat"),
        ("/chat/:room", "/chat"),
        ("/chat/:room", "/chat/"),
        ("/chat/:room", "/chat/a/b"),
        ("/chat/:room", "/chat/a\n/b"),
        ("/room-:id", "/room-"),
        ("/files/*", "/files"),
        ("/files/*", "/files/"),
        ("/a.b", "/axb"),
        ("user::created", "user::created"),
    ],
)
def test_pattern_does_not_match(pattern: str, name: str) -> None:
    assert Pattern(pattern).match(name) is None


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("", "must not be empty"),
        ("/files/*/x", "'*' stands for the rest, so it must be last"),
        ("**", "must be last"),
        ("/chat/:", "write '::' for the character itself"),
        ("/chat/:1", "a name must follow"),
        ("/:id.json", "the parameter ':id' must end its segment"),
        ("/:a:b", "the parameter ':a' must end its segment"),
        ("/:a*", "the parameter ':a' must end its segment"),
        ("/:a/:a", "stands there twice"),
    ],
)
def test_a_pattern_that_cannot_work_fails_with_a_sentence(pattern: str, words: str) -> None:
    with pytest.raises(UsageError, match=words.replace("*", r"\*")):
        Pattern(pattern)


def test_the_first_registered_wins_whichever_index_it_stands_in() -> None:
    patterns: PatternMap[int] = PatternMap()
    for number, text in enumerate(["/a/b", "/a/:x", "/a/c", "/*", "/a/b"]):
        patterns.add(text, number)

    numbers = {}
    for name in ("/a/b", "/a/c", "/a/d", "/e"):
        found = patterns.match(name)
        assert found is not None
        numbers[name] = found[0]

    assert numbers == {"/a/b": 0, "/a/c": 1, "/a/d": 1, "/e": 3}
    assert patterns.match("a") is None
    assert list(patterns) == [0, 1, 2, 3, 4]
    assert len(patterns) == 5


TEXTS = st.sampled_from(
    ["/a", "/b", "/:x", "/a:x", "/*", "*", "/a/b", "/a/:x", "/:x/b", "/:x/:y", "/a/*", "/a::"]
)
NAMES = st.lists(st.sampled_from(["a", "b", "ab", "a:"]), min_size=1, max_size=3)


@settings(max_examples=60)
@given(st.lists(TEXTS, max_size=6), NAMES)
def test_a_map_finds_what_trying_one_after_another_finds(
    texts: list[str], segments: list[str]
) -> None:
    name = "/" + "/".join(segments)
    patterns: PatternMap[int] = PatternMap()
    for number, text in enumerate(texts):
        patterns.add(text, number)

    expected = next(
        ((n, route) for n, text in enumerate(texts) if (route := Pattern(text).match(name))), None
    )

    assert patterns.match(name) == expected
