"""What publishers know of an application: paths, channels, and what they keep."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pondsocket import UsageError
from pondsocket._replica.application import Application, Opened, Served
from pondsocket.backplane import Keep

KEEP = Keep(100, 60.0, 1_000, 600.0)
OTHER = Keep(1, 1.0, 1, 1.0)


def app(*endpoints: Opened) -> Application:
    # As it comes from the engine.
    return Application.from_bytes(Application(endpoints).to_bytes())


def served(pattern: str, keep: Keep | None = None, *, is_selective: bool = False) -> Served:
    return Served(pattern, keep, is_selective)


def opened(path: str, *lobbies: Served, shared: bool = False, is_selective: bool = False) -> Opened:
    return Opened(path, shared, is_selective, lobbies)


def test_a_channel_is_found_as_the_servers_find_it() -> None:
    lobbies = served("/chat/:room", KEEP), served("/news")
    shop = app(
        opened("/socket", *lobbies),
        opened("/:tenant/socket", *lobbies),
        opened("/all/:part/socket", *lobbies, shared=True),
    )
    assert shop.find("/socket", "/chat/1") == ("/socket\x1f/chat/1", KEEP)
    assert shop.find("/socket", "/news") == ("/socket\x1f/news", None)
    assert shop.find("/acme/socket", "/chat/1") == ("/acme/socket\x1f/chat/1", KEEP)
    for path in ("/all/:part/socket", "/all/7/socket"):
        assert shop.find(path, "/news") == ("/all/:part/socket\x1f/news", None)


@pytest.mark.parametrize(
    ("path", "name", "text"),
    [
        ("/sockt", "/news", "There is no endpoint '/sockt'; the servers have: /socket, /:t/socket"),
        ("/:t/socket", "/news", "is a pattern, and each of its paths has channels of its own"),
        ("/socket", "/new", "No channel pattern of '/socket' matches '/new'"),
        ("/socket", "news", "No channel pattern"),
        ("/socket", "/a\n", "No channel pattern"),
    ],
)
def test_a_wrong_name_is_refused(path: str, name: str, text: str) -> None:
    shop = app(opened("/socket", served("/news")), opened("/:t/socket", served("/news")))
    with pytest.raises(UsageError, match=text.replace("?", r"\?")):
        shop.find(path, name)


def test_the_first_one_counts_unless_its_types_may_refuse_the_name() -> None:
    first, second = served("/:number", KEEP), served("/:name", OTHER)
    assert app(opened("/s", first, second)).find("/s", "/a")[1] == KEEP
    first = first._replace(is_selective=True)
    with pytest.raises(UsageError, match="by the types of their parameters"):
        app(opened("/s", first, second)).find("/s", "/a")
    second = second._replace(keep=KEEP)
    assert app(opened("/s", first, second)).find("/s", "/a")[1] == KEEP
    paths = opened("/:n", served("/a"), is_selective=True), opened("/:name", served("/a"))
    assert app(*paths).find("/7", "/a") == ("/7\x1f/a", None)


def test_a_path_is_checked() -> None:
    shop = app(opened("/socket"), opened("/:tenant/socket"), opened("/all/:part", shared=True))
    for path in ("/socket", "/acme/socket", "/all/:part", "/all/7"):
        shop.check_path(path)
    for path in ("/", "/:tenant/socket"):
        with pytest.raises(UsageError):
            shop.check_path(path)


@pytest.mark.parametrize("data", [b'{"v":2,"endpoints":[]}', b"[]", b"", b"\xff", b'{"v":1}',
    b'{"v":1,"endpoints":[1]}', b'{"v":1,"endpoints":[["/a",false]]}',
    b'{"v":1,"endpoints":[["/a",false,false,[["b",[1],false]]]]}'])  # fmt: skip
def test_another_version_is_refused(data: bytes) -> None:
    with pytest.raises(UsageError, match="another version"):
        Application.from_bytes(data)


@given(st.binary(max_size=60))
def test_any_bytes_are_refused_or_read(data: bytes) -> None:
    try:
        Application.from_bytes(data)
    except UsageError:
        pass
