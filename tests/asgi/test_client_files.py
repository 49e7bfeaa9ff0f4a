"""The client for browsers, as PondASGIApp serves it."""

import gzip
import time
from typing import Any, Final

import pytest
from fastapi import FastAPI
from litestar import Litestar, asgi
from pondsocket import ConnectionContext, PondSocket, UsageError
from pondsocket_asgi import PondASGIApp
from pondsocket_asgi._http.client_files import (
    MODULE,
    accepts_gzip,
    names_tag,
    read_file,
    without_comments,
)
from pondsocket_asgi.testing import ASGITestDriver, HTTPAnswer
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.asgi.conftest import Pond

PATH: Final = f"/{MODULE}"
FOREIGN: Final = {"Origin": "https://elsewhere.example", "Host": "here.example"}
CACHED: Final = "public, max-age=0, must-revalidate"
KEPT: Final = "public, max-age=31536000, immutable"


async def get(app: Any, path: str = PATH, **headers: str) -> HTTPAnswer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await ASGITestDriver(app).call_http(path, headers=named)


async def test_the_module_is_served_to_every_page(pond: Pond) -> None:
    answer = await get(pond.app, **FOREIGN)
    assert (answer.status, answer.body) == (200, without_comments(read_file(MODULE)))
    headers = dict(answer.headers)
    etag = headers.pop("etag")
    assert headers == {
        "content-type": "text/javascript; charset=utf-8",
        "content-length": str(len(answer.body)),
        "cache-control": CACHED,
        "vary": "Accept-Encoding",
        "access-control-allow-origin": "*",
        "cross-origin-resource-policy": "cross-origin",
        "x-content-type-options": "nosniff",
    }
    assert etag.startswith('W/"')
    # A page of this origin cannot open a stream all the same.
    stream = await pond.driver.connect_sse("/socket", headers=FOREIGN)
    assert stream.status == 403


async def test_its_types_and_the_binding_for_react_are_beside_it(pond: Pond) -> None:
    for name, kind in [
        ("pondsocket.d.ts", "application/typescript"),
        ("react.js", "text/javascript"),
        ("react.d.ts", "application/typescript"),
    ]:
        answer = await get(pond.app, f"/{name}")
        assert answer.status == 200
        assert answer.headers["content-type"] == f"{kind}; charset=utf-8"
        served = read_file(name) if name.endswith(".ts") else without_comments(read_file(name))
        assert answer.body == served


@pytest.mark.parametrize("path", ["/package.json", "/browser/pondsocket.js", "/other.js", "/"])
async def test_no_other_file_is_served(pond: Pond, path: str) -> None:
    assert (await get(pond.app, path)).status == 404


async def test_a_browser_that_has_it_is_told_so(pond: Pond) -> None:
    first = await get(pond.app)
    for tags in (first.headers["etag"], f'"other", {first.headers["etag"]}', "*"):
        again = await get(pond.app, if_none_match=tags, accept_encoding="gzip")
        assert (again.status, again.body) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
        assert again.headers["cache-control"] == CACHED
        assert again.headers["access-control-allow-origin"] == "*"
        assert "content-length" not in again.headers
    assert (await get(pond.app, if_none_match='W/"other"')).status == 200


async def test_each_file_has_a_tag_of_its_own(pond: Pond) -> None:
    paths = [PATH, "/pondsocket.d.ts", "/react.js", "/react.d.ts"]
    tags = {(await get(pond.app, path)).headers["etag"] for path in paths}
    assert len(tags) == len(paths)


async def test_it_is_compressed_for_those_that_take_it(pond: Pond) -> None:
    answer = await get(pond.app, accept_encoding="br, gzip, deflate")
    assert answer.headers["content-encoding"] == "gzip"
    assert int(answer.headers["content-length"]) == len(answer.body)
    assert gzip.decompress(answer.body) == (await get(pond.app)).body


async def test_a_head_has_the_headers_of_a_get(pond: Pond) -> None:
    head = await pond.driver.call_http(PATH, method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert dict(head.headers) == dict((await get(pond.app)).headers)
    assert (await pond.driver.call_http("/other.js", method="HEAD")).status == 405


async def test_with_its_version_it_is_kept_for_a_year(pond: Pond) -> None:
    url = pond.app.client_url
    assert url is not None
    assert url.startswith(f"{PATH}?v=")
    assert (await get(pond.app, url)).headers["cache-control"] == KEPT
    for other in (f"{PATH}?v=0123456789abcdef", f"{PATH}?v=", f"{PATH}?w=1"):
        assert (await get(pond.app, other)).headers["cache-control"] == CACHED


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_it_takes_no_other_method(pond: Pond, method: str) -> None:
    assert (await pond.driver.call_http(PATH, method=method)).status in (400, 405)


async def test_it_can_be_elsewhere_or_nowhere() -> None:
    pond = PondSocket()
    elsewhere = PondASGIApp(pond, client="/static/v1/pond.js")
    assert (await get(elsewhere, "/static/v1/pond.js")).status == 200
    assert (await get(elsewhere, "/static/v1/pond.d.ts")).body == read_file("pondsocket.d.ts")
    assert (await get(elsewhere, "/static/v1/react.js")).status == 200
    assert (await get(elsewhere)).status == 404
    assert str(elsewhere.client_url).startswith("/static/v1/pond.js?v=")
    nowhere = PondASGIApp(pond, client=None)
    assert [(await get(nowhere, path)).status for path in (PATH, "/react.js")] == [404, 404]
    assert nowhere.client_url is None


@pytest.mark.parametrize(
    "client", ["", "/", "pondsocket.js", "/pondsocket", "/a?.js", "//a.js", "/a/../b.mjs", 1, True]
)
def test_what_is_no_path_of_a_script_is_an_error(client: Any) -> None:
    with pytest.raises(UsageError, match=r"such as \"/pondsocket\.js\""):
        PondASGIApp(PondSocket(), client=client)


async def test_an_endpoint_goes_first() -> None:
    async def accept(ctx: ConnectionContext) -> None:
        ctx.accept()

    pond = PondSocket()
    pond.create_endpoint("/:name", accept)
    app = PondASGIApp(pond)
    assert (await get(app)).status == 404
    stream = await ASGITestDriver(app).connect_sse(PATH)
    assert stream.status == 200
    await stream.disconnect()


async def test_it_is_served_while_the_pond_ends_and_after(pond: Pond) -> None:
    pond.pond.begin_drain()
    assert (await get(pond.app)).status == 200
    await pond.pond.close()
    assert (await get(pond.app)).status == 200


async def test_it_is_served_below_every_mount() -> None:
    app = PondASGIApp(PondSocket())
    fastapi = FastAPI()
    fastapi.mount("/ws", app)

    @asgi("/ws", is_mount=True, copy_scope=True)
    async def realtime(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)

    async def beside_django(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "root_path": "/ws"}, receive, send)

    starlette = Starlette(routes=[Mount("/ws", app=app)])
    litestar = Litestar([realtime], logging_config=None)
    for host in (fastapi, starlette, litestar, beside_django):
        answer = await get(host, "/ws/pondsocket.js")
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "*")
        assert (await get(host, "/ws/other.js")).status == 404


@pytest.mark.parametrize(
    ("script", "left"),
    [
        ("// a\nx();", "\nx();"),
        ("  /** a\n   * b\n   */  \nx();", "\n\n\nx();"),
        ("x(); // a", "x(); // a"),
        ("/** @type {A} */ (x);", "/** @type {A} */ (x);"),
        ("/* a\n// b\n*/ x();", "/* a\n\n*/ x();"),
        ("/* a */ x(); /* b */", "/* a */ x(); /* b */"),
        ('x("/*");\n// a\ny("*/");', 'x("/*");\n\ny("*/");'),
        ("x = a\n  / b;", "x = a\n  / b;"),
    ],
)
def test_lines_that_are_only_a_comment_are_emptied(script: str, left: str) -> None:
    assert without_comments(script.encode()).decode() == left


@pytest.mark.parametrize("name", [MODULE, "react.js"])
def test_emptying_comments_leaves_the_code_alone(name: str) -> None:
    lines = read_file(name).decode().split("\n")
    served = without_comments(read_file(name)).decode().split("\n")
    assert len(served) == len(lines)
    assert {left for left, line in zip(served, lines, strict=True) if left != line} <= {""}
    # No line stands within a template literal, where what looks like a comment is none.
    assert all(line.count("`") % 2 == 0 for line in served)
    # Nothing begins a line as a comment does, and is left.
    assert [line for line in served if line.lstrip().startswith("//")] == []


@pytest.mark.parametrize(
    ("value", "is_taken"),
    [
        ("gzip", True),
        ("deflate, GZIP;q=0.5", True),
        ("x-gzip", True),
        ("*", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000, *", False),
        ("*;q=0", False),
        ("br, deflate", False),
        ("", False),
        ("gzip;q=x", False),
    ],
)
def test_who_takes_gzip(value: str, is_taken: bool) -> None:
    assert accepts_gzip([value] if value else []) is is_taken


def test_tags_are_compared_weakly() -> None:
    assert names_tag(['"a"'], 'W/"a"')
    assert names_tag(['"b"', 'W/"a"'], 'W/"a"')
    assert not names_tag([], 'W/"a"')
    assert not names_tag(['"b"'], 'W/"a"')


def test_a_strange_header_takes_linear_time() -> None:
    """One that a regular expression may try in a hundred million ways."""
    began = time.process_time()
    for strange in ("gzip" + " " * 65_536 + "x", "gzip;" + "q" * 65_536, "," * 65_536):
        assert not accepts_gzip([strange, strange])
    assert time.process_time() - began < 0.5
