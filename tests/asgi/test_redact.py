"""No secrets in logs: not in the server's, and never in our own."""

import ast
import logging
import logging.config
import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
from hypercorn.config import Config as HypercornConfig
from hypercorn.logging import AccessLogAtoms
from hypothesis import given
from hypothesis import strategies as st
from pondsocket_asgi import RedactSecrets
from uvicorn.config import LOGGING_CONFIG
from uvicorn.logging import AccessFormatter
from websockets.frames import Frame, Opcode

from tests.asgi.conftest import HTTP_RESPONSE, Pond, driver_with, join
from tests.servers import ROOT

ID: Final = "0123456789abcdef0123456789abcdef"
UVICORN_ACCESS: Final = '%s - "%s %s HTTP/%s" %d'


def record(message: object, *args: object, name: str = "uvicorn.error") -> logging.LogRecord:
    return logging.LogRecord(name, logging.INFO, __file__, 1, message, args, None)


def cleaned(message: object, *args: object) -> str:
    each = record(message, *args)
    assert RedactSecrets().filter(each) is True
    text = each.getMessage()
    # What is clean stays as it is.
    assert RedactSecrets().filter(each) is True
    assert each.getMessage() == text
    return text


def test_a_token_that_is_a_subprotocol_is_removed_wherever_it_stands() -> None:
    """A client that offers what a server does not speak may end up in a line of its own."""
    token = "base64url.bearer.ZXlKaGJHY2lPaUpJVXpJMU5pSjk"
    clean = "base64url.bearer.***"
    assert cleaned(f"no subprotocols supported: pond, {token}") == (
        f"no subprotocols supported: pond, {clean}"
    )
    assert cleaned("offered %r", [token]) == f"offered {[clean]!r}"
    assert cleaned("%s - %s", token, "pond") == f"{clean} - pond"


@pytest.mark.parametrize(
    ("message", "args", "text"),
    [
        (
            '%s - "WebSocket %s" [accepted]',
            ("127.0.0.1:5000", "/socket?token=secret&x=1"),
            '127.0.0.1:5000 - "WebSocket /socket?***" [accepted]',
        ),
        (
            UVICORN_ACCESS,
            ("127.0.0.1:5000", "POST", "/socket?token=secret", "1.1", 204),
            '127.0.0.1:5000 - "POST /socket?*** HTTP/1.1" 204',
        ),
        ('"GET /socket?token=secret HTTP/1.1" 200', (), '"GET /socket?*** HTTP/1.1" 200'),
        ('"WebSocket /socket?token=secret" 403', (), '"WebSocket /socket?***" 403'),
        ("GET %s?%s", ("/socket", "token=secret"), "GET /socket?***"),
        ("%(m)s %(U)s %(q)s", ({"m": "GET", "U": "/", "q": "secret"},), "GET / ***"),
        ("%(path)s %(query_string)s", ({"path": "/", "query_string": "secret"},), "/ ***"),
        ("scope=%s", ({"query_string": b"secret", "path": "/"},), None),
        ("scope=%s more=%s", ({"query_string": b"secret", "path": "/"}, 1), None),
        ("headers=%s", ([(b"x-connection-id", ID.encode())],), None),
        ("headers=%s", (((b"x-connection-id", ID.encode()), (b"a", b"b")),), None),
        ("< %s: %s", ("X-Connection-ID", ID), "< X-Connection-ID: ***"),
        ("< %s: %s", ("Cookie", "session=secret"), "< Cookie: ***"),
        ("< %s: %s", ("Sec-WebSocket-Protocol", "bearer, secret"), "< Sec-WebSocket-Protocol: ***"),
        ("scope=%s", ({"subprotocols": ["bearer", "secret"], "path": "/"},), None),
        ("< %s: %s", ("Accept", "text/html"), "< Accept: text/html"),
        (f"X-Connection-ID: {ID}", (), "X-Connection-ID: ***"),
        ('{"id":"ann","connectionId":"%s"}', (ID,), '{"id":"ann","connectionId":"***"}'),
        ("%s", (ValueError("no route /socket?token=secret"),), "no route /socket?***"),
        ("%s", (b"/socket?token=secret",), "b'/socket?***'"),
        ("> %s", (Frame(Opcode.TEXT, b"secret"),), "> TEXT ***"),
        ("Why? Because. %d %s %r", (1, None, 2.5), "Why? Because. 1 None 2.5"),
        ("Application startup complete.", (), "Application startup complete."),
    ],
)
def test_queries_and_connection_ids_go_and_the_rest_stays(
    message: str, args: tuple[object, ...], text: str | None
) -> None:
    found = cleaned(message, *args)
    assert "secret" not in found
    assert ID not in found
    assert text is None or found == text


def test_what_a_record_is_about_is_not_changed() -> None:
    scope = {"query_string": b"token=secret", "headers": [(b"cookie", b"secret")], "state": {}}
    before = {**scope}
    assert "secret" not in cleaned("scope=%s", scope).replace("b'cookie', b'secret'", "")
    assert scope == before


def test_uvicorns_own_formatter_still_understands_the_record() -> None:
    each = record(UVICORN_ACCESS, "127.0.0.1:5000", "GET", "/socket?token=secret", "1.1", 200)
    RedactSecrets().filter(each)
    form = '%(client_addr)s - "%(request_line)s" %(status_code)s'
    line = AccessFormatter(form, use_colors=False).format(each)
    assert line == '127.0.0.1:5000 - "GET /socket?*** HTTP/1.1" 200 OK'


def test_hypercorns_atoms_still_answer_for_what_they_lack() -> None:
    scope: Any = {
        "type": "websocket",
        "path": "/socket",
        "query_string": b"token=secret",
        "scheme": "ws",
        "headers": [(b"x-connection-id", ID.encode()), (b"referer", b"http://a/?token=secret")],
    }
    atoms = AccessLogAtoms(scope, None, 0.1)
    form = HypercornConfig().access_log_format
    form += " %(R)s %(Uq)s %(q)s %({x-connection-id}i)s %({x-lacking}i)s"
    line = cleaned(form, atoms)
    assert "secret" not in line
    assert ID not in line
    assert line.endswith("GET /socket?*** ws /socket?*** *** *** -")


class Fragile:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


@pytest.mark.parametrize(
    ("message", "args"),
    [
        ("%s", (Fragile(),)),
        (Fragile(), ()),
        ("%d", ("no number",)),
        ("%s %s", ("one",)),
        ("nothing", ("too", "much")),
        ("%(lacking)s", ({"a": 1},)),
        (None, ()),
        ("100 %", (1,)),
    ],
)
def test_a_record_that_cannot_be_formatted_is_left_to_its_handler(
    message: object, args: tuple[object, ...]
) -> None:
    each = record(message, *args)
    before = each.args
    assert RedactSecrets().filter(each) is True
    assert each.msg is message
    assert each.args == before


@given(st.text(), st.lists(st.text() | st.integers() | st.binary() | st.none(), max_size=3))
def test_any_record_passes(message: str, args: list[object]) -> None:
    assert RedactSecrets().filter(record(message, *args)) is True


@pytest.fixture
def servers_loggers() -> Iterator[None]:
    """Take the filters and handlers off again."""
    loggers = [logging.getLogger(name) for name in (*RedactSecrets.LOGGERS, "uvicorn", "mine")]
    before = [(each, each.filters[:], each.handlers[:], each.propagate) for each in loggers]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.filters[:] = []
    yield
    for (each, filters, handlers, propagate), level in zip(before, levels, strict=True):
        each.filters[:], each.handlers[:], each.propagate = filters, handlers, propagate
        each.setLevel(level)


@pytest.mark.parametrize("is_first", [True, False])
def test_it_stays_when_the_server_configures_its_logging(
    servers_loggers: None, is_first: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    if is_first:
        RedactSecrets.install()
    logging.config.dictConfig(LOGGING_CONFIG)
    RedactSecrets.install()
    logging.getLogger("uvicorn.access").info(
        UVICORN_ACCESS, "127.0.0.1:5000", "GET", "/socket?token=secret", "1.1", 200
    )
    logging.getLogger("uvicorn.error").info('%s - "WebSocket %s" 403', "a:1", "/s?token=secret")
    written = capsys.readouterr()
    assert '"GET /socket?*** HTTP/1.1" 200 OK' in written.out
    assert '"WebSocket /s?***" 403' in written.err
    assert [len(logging.getLogger(name).filters) for name in RedactSecrets.LOGGERS] == [
        1 for _ in RedactSecrets.LOGGERS
    ]


def test_it_can_be_given_to_any_logger(servers_loggers: None) -> None:
    RedactSecrets.install("mine")
    assert any(isinstance(each, RedactSecrets) for each in logging.getLogger("mine").filters)
    assert not logging.getLogger("uvicorn.access").filters


async def test_our_own_loggers_print_neither_ids_nor_queries(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = {"Cookie": "session=SECRET", "Authorization": "SECRET"}
    pond = Pond(identity=lambda request: request.query["identity"])
    ids = []
    for query in ("token=SECRET&identity=1", "SECRET&identity=1", "identity=1&decline=418&SECRET"):
        session = await pond.driver.connect_websocket(f"/socket?{query}", headers=secret)
        stream = await pond.driver.connect_sse(f"/socket?{query}", headers=secret)
        for each in (session, stream):
            if each.accepted:
                await join(each)
                await each.send_text("SECRET")
                await each.send_text('{"action": "ping"}')
            ids.append(each.connection_id)
        foreign = {"Origin": "https://evil.example", **secret}
        for path in (f"/socket?{query}&crash", f"/nowhere?{query}", f"/socket?{query}&silent"):
            for headers in (secret, foreign):
                refused = await pond.driver.connect_websocket(
                    path, headers=headers, extensions=HTTP_RESPONSE
                )
                await refused.disconnect()
                await (await pond.driver.connect_sse(path, headers=headers)).disconnect()
        # The identity fails.
        await pond.driver.call_http(
            "/socket?token=SECRET",
            method="POST",
            headers={"X-Connection-ID": stream.connection_id, **secret},
        )
        await session.disconnect()
        await stream.disconnect()

    async def gone(message: Any, send: Any) -> None:
        raise OSError("gone")

    driver = driver_with(pond, gone)
    with pytest.raises(RuntimeError, match="returned without"):
        await driver.connect_sse("/socket?token=SECRET&identity=1", headers=secret)
    text = "\n".join(
        logging.Formatter().format(each)
        for each in caplog.records
        if each.name.startswith("pondsocket")
    )
    assert "connected (path='/socket'" in text
    assert "SECRET" not in text
    assert not [each for each in ids if each and each in text]


def test_no_line_of_ours_is_given_a_secret() -> None:
    secrets = re.compile(r"connection_id|query|cookie|\bheaders\b(?!\.get)|password|token")
    found = [
        f"{path.name}:{call.lineno}"
        for path in sorted((ROOT / "packages").rglob("*.py"))
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and re.match(r"(_log|logger)\.\w+\(", ast.unparse(call))
        if secrets.search(ast.unparse(call))
    ]
    assert not found
