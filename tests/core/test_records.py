"""The log: fields of records, where tracebacks begin, and lines where nothing is set up."""

import asyncio
import logging
import re
import subprocess
import sys
import traceback
from collections.abc import Iterator

import anyio
import anyio.lowlevel
import pytest
from pondsocket import (
    ConnectionContext,
    DisconnectContext,
    EventContext,
    JoinContext,
    LeaveContext,
    Options,
    OutgoingContext,
    PondSocket,
    SyncEventContext,
)
from pondsocket._log import FIELDS, LINE, get_log, shown
from pondsocket.testing import ConnectionRefused, connect
from pondsocket_common import Fault, Refused

from tests.core.members import member, say, settled
from tests.core.mistakes import PAGE
from tests.core.ponds import ROOM, build
from tests.servers import ROOT

SECRET = "password=hunter2"


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    caplog.set_level(logging.INFO, "pondsocket")
    yield caplog
    for record in caplog.get_records("call"):
        if record.name.startswith("pondsocket"):
            assert [hasattr(record, field) for field in FIELDS] == [True] * len(FIELDS)
            assert logging.Formatter(LINE).format(record)


def fields(record: logging.LogRecord) -> list[str]:
    return [getattr(record, field) for field in FIELDS]


async def test_each_line_of_a_connection_has_the_same_public_name(
    log: pytest.LogCaptureFixture,
) -> None:
    async def fail(ctx: EventContext) -> None:
        await ctx.reply("fail")
        await ctx.reply("fail")
        raise LookupError

    async def leave(ctx: LeaveContext) -> None:
        raise LookupError

    async def gone(ctx: DisconnectContext) -> None:
        raise LookupError

    async def withhold(ctx: OutgoingContext) -> None:
        raise LookupError

    setup = build()
    setup.lobby.on_message("fail", fail)
    setup.lobby.on_leave(leave)
    setup.lobby.on_outgoing("say", withhold)
    setup.endpoint.on_disconnect(gone)
    async with connect(setup.pond, "/socket?user=ann") as ann:
        ref, secret = ann.session.handle.ref, ann.session.connection_id
        await ann.join(ROOM)
        say(ann, "", event="fail")
        say(ann, "hi")
        await settled()
    found = {record.getMessage().partition(" (")[0]: fields(record) for record in log.records}
    assert found == {
        "connected": [ref, "/socket", "-", "-", "ann"],
        "joined": [ref, "/socket", ROOM, "JOIN", "ann"],
        "A handler replied twice to the event 'fail'; the first reply stands.": [
            *(ref, "/socket", ROOM, "fail", "ann")
        ],
        "An event handler failed": [ref, "/socket", ROOM, "fail", "ann"],
        "An outgoing handler failed; the member does not get this event": [
            *(ref, "/socket", ROOM, "say", "ann")
        ],
        "disconnected": [ref, "/socket", "-", "-", "ann"],
        "A disconnect handler failed": [ref, "/socket", "GATEWAY", "DISCONNECT", "ann"],
        "A leave handler failed": ["-", "/socket", ROOM, "LEAVE", "ann"],
    }
    assert secret not in str([vars(record) for record in log.records])


async def test_a_decision_too_many_and_a_failed_join_name_their_connection(
    log: pytest.LogCaptureFixture,
) -> None:
    async def twice(ctx: ConnectionContext) -> None:
        ctx.accept(user_id="ann")
        ctx.decline()

    async def enter(ctx: JoinContext) -> None:
        await ctx.accept()
        await ctx.decline()
        raise LookupError

    setup = build(enter, connect=twice)
    async with connect(setup.pond, "/socket") as ann:
        ref = ann.session.handle.ref
        await ann.join(ROOM)
    errors = [record for record in log.records if record.levelno == logging.ERROR]
    assert [fields(record) for record in errors] == [
        ["-", "/socket", "-", "CONNECT", "ann"],
        [ref, "/socket", ROOM, "JOIN", "ann"],
        [ref, "/socket", ROOM, "JOIN", "ann"],
    ]


async def test_no_connection_is_named_for_the_log_while_it_tells_nothing() -> None:
    setup = build()
    async with member(setup, "ann") as ann:
        session = ann.session
    assert session._ending.handle is None


def text_of(failure: BaseException) -> list[str]:
    return [frame.name for frame in traceback.extract_tb(shown(failure)[2])]


@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_a_traceback_begins_at_the_applications_first_line(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    def helper() -> None:
        raise LookupError("mine")

    async def handler(ctx: EventContext) -> None:
        await anyio.lowlevel.checkpoint()
        helper()

    def plain(ctx: SyncEventContext) -> None:
        helper()

    setup = build()
    setup.lobby.on_message("go", handler if kind == "async" else plain)
    async with member(setup, "ann") as ann:
        await ann.answer(say(ann, "", event="go"))
    (record,) = caplog.records
    assert record.exc_info is not None
    names = [frame.name for frame in traceback.extract_tb(record.exc_info[2])]
    assert names == ["handler" if kind == "async" else "plain", "helper"]
    assert caplog.text.count("Traceback (most recent call last)") == 1


def test_a_failure_without_a_line_of_the_application_keeps_its_traceback() -> None:
    try:
        asyncio.run(asyncio.wait_for(asyncio.sleep(1), 0))
    except TimeoutError as error:
        failure = error
    failure.__traceback__ = failure.__traceback__.tb_next if failure.__traceback__ else None
    assert text_of(failure)[0] in ("run", "wait_for")


# --- without any set-up ------------------------------------------------------------------------

NOT_SET_UP = """
import asyncio, logging, sys
from pondsocket import *
from pondsocket.testing import connect
{setup}
async def main():
    pond = PondSocket()
    endpoint = pond.create_endpoint("/socket", lambda ctx: ctx.accept(user_id="ann"))
    @endpoint.on_message("go")
    async def go(ctx):
        raise LookupError("mine")
    async with connect(pond, "/socket") as ann:
        await ann.answer(ann.send("BROADCAST", "GATEWAY", "go"))
asyncio.run(main())
"""


def lines_of(setup: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", NOT_SET_UP.format(setup=setup)],
        text=True,
        capture_output=True,
        check=True,
        cwd=ROOT,
        timeout=25,
    )
    return done.stderr.splitlines()


def test_without_any_set_up_a_line_has_its_time_level_logger_and_connection() -> None:
    first, *rest = lines_of("")
    pattern = r"\d{4}-\d\d-\d\d [\d:,]+ ERROR pondsocket\.events \[\w{32}\] An event handler failed"
    assert re.match(pattern, first)
    assert rest[0] == "Traceback (most recent call last):"
    assert rest[-1] == "LookupError: mine"


@pytest.mark.parametrize(
    "setup",
    [
        "logging.basicConfig(format='%(levelname)s own %(message)s')",
        "logging.getLogger('pondsocket').addHandler(logging.StreamHandler())",
    ],
)
def test_an_applications_own_set_up_is_the_only_one(setup: str) -> None:
    lines = lines_of(setup)
    assert sum("An event handler failed" in line for line in lines) == 1
    assert "pondsocket.events [" not in lines[0]


RECIPE = """
import json, logging.config, re
page = open('docs/errors.md').read()
(config,) = re.findall('```json\\n([{{]\\n  "version".*?)```', page, re.DOTALL)
logging.config.dictConfig(json.loads(config))
logging.getLogger('uvicorn.error').warning('of the server')
"""


def test_the_recipe_of_the_page_gives_all_lines_one_form() -> None:
    server, ours, *rest = lines_of(RECIPE.replace("{{", "{"))
    time = r"\d{4}-\d\d-\d\d [\d:,]+"
    assert re.fullmatch(rf"{time} WARNING uvicorn\.error \[-\] of the server", server)
    assert re.match(rf"{time} ERROR pondsocket\.events \[\w{{32}}\] An event handler", ours)
    assert rest[-1] == "LookupError: mine"


def test_the_page_has_each_logger_and_each_gives_its_records_all_fields() -> None:
    source = [path.read_text() for path in PAGE.parents[1].glob("packages/*/src/**/*.py")]
    call = r'(get_log|getLogger)\("(pondsocket\..+?)"\)'
    made = [each for text in source for each in re.findall(call, text)]
    assert {by for by, _ in made} == {"get_log"}
    rows = re.findall(r"^\| (`pondsocket\..*?) \|", PAGE.read_text(), re.MULTILINE)
    assert {name for row in rows for name in re.findall("`(.+?)`", row)} == {n for _, n in made}


# --- debug=True --------------------------------------------------------------------------------


async def fails(ctx: object) -> None:
    raise LookupError(SECRET)


async def grouped(ctx: object) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fails, ctx)


async def odd(ctx: object) -> None:
    raise LookupError("\ud800" + "x" * 5_000)


@pytest.mark.parametrize("handler", [fails, grouped])
async def test_a_developers_client_is_told_what_was_raised_and_where(handler: object) -> None:
    pond = PondSocket(debug=True)
    endpoint = pond.create_endpoint("/socket", lambda ctx: ctx.accept())
    endpoint.on_message("go", handler)  # type: ignore[call-overload]
    endpoint.create_channel("/bad", fails)
    pond.create_endpoint("/bad", fails)
    async with connect(pond, "/socket") as ann:
        fault = (await ann.answer(ann.send("BROADCAST", "GATEWAY", "go"))).payload
        assert isinstance(fault, Fault)
        line = fails.__code__.co_firstlineno + 1
        assert fault.message == f"LookupError: {SECRET} (test_records.py:{line}, in fails)"
        refused = (await ann.join("/bad")).payload
        assert isinstance(refused, Refused)
        assert SECRET in refused.message
    with pytest.raises(ConnectionRefused, match=SECRET):
        async with connect(pond, "/bad"):
            pass


async def test_what_cannot_be_sent_of_it_is_replaced() -> None:
    pond = PondSocket(debug=True)
    pond.create_endpoint("/socket", lambda ctx: ctx.accept()).on_message("go", odd)
    async with connect(pond, "/socket") as ann:
        fault = (await ann.answer(ann.send("BROADCAST", "GATEWAY", "go"))).payload
    assert isinstance(fault, Fault)
    assert fault.message.startswith("LookupError: ?xxx")
    assert len(fault.message) == 1_000


async def test_without_debug_no_client_is_told(caplog: pytest.LogCaptureFixture) -> None:
    pond = PondSocket(options=Options())
    endpoint = pond.create_endpoint("/socket", lambda ctx: ctx.accept())
    endpoint.on_message("go", fails)
    endpoint.create_channel("/bad", fails)
    async with connect(pond, "/socket") as ann:
        await ann.answer(ann.send("BROADCAST", "GATEWAY", "go"))
        ann.send("BROADCAST", "GATEWAY", "go")
        await ann.join("/bad")
        assert SECRET not in str(ann.unread)
    assert SECRET in caplog.text
    assert "debug=True" not in caplog.text
    PondSocket(debug=True)
    assert "Not in production" in caplog.text


def test_a_logger_keeps_what_a_caller_adds(caplog: pytest.LogCaptureFixture) -> None:
    get_log("pondsocket.test").warning("a", extra={"user": "ann", "other": 1})
    (record,) = caplog.records
    assert (record.user, record.other, record.channel) == ("ann", 1, "-")  # type: ignore[attr-defined]
