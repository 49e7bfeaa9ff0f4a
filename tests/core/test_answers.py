"""What a failed handler answers: the codes of applications and of other frameworks, or 500."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import fastapi
import litestar.exceptions
import pytest
import starlette.exceptions
from pondsocket import (
    ConnectionContext,
    ConnectRequest,
    Depends,
    InvalidPayload,
    JoinContext,
    LeaveContext,
    PondError,
    PondSocket,
    SyncEventContext,
)
from pondsocket._handlers.answers import answer_of
from pondsocket.testing import ConnectionRefused, MemoryPeer, connect
from pondsocket_common import Detail, Fault

from tests.core.members import member
from tests.core.ponds import ROOM, build, error_records

UNFIT = InvalidPayload([Detail(("x",), "Field required", "missing")])


class Http(Exception):  # noqa: N818 - as frameworks name theirs
    """An HTTP error of no framework in particular."""

    def __init__(self, status_code: Any, detail: Any = "Not today.", headers: Any = None) -> None:
        self.status_code = status_code
        self.detail = detail
        self.headers = headers


class Moody(Exception):  # noqa: N818 - the same
    @property
    def status_code(self) -> int:
        raise LookupError

    detail = "never"


class IncompleteError(PondError):
    """One whose constructor does not call that of its base."""

    def __init__(self) -> None:
        self.reason = "forgotten"


class OwnError(PondError):
    """One that sets what a client is told itself."""

    def __init__(self) -> None:
        self.code, self.message = 402, "No."


class IncompletePayloadError(InvalidPayload):
    def __init__(self) -> None: ...


def changed(**attributes: object) -> PondError:
    error = PondError("No.", 402)
    vars(error).update(attributes)
    return error


def group(*errors: Exception) -> ExceptionGroup[Any]:
    return ExceptionGroup("several", errors)


# --- what it comes to -------------------------------------------------------------------------

ANSWERS: dict[str, tuple[BaseException, int | None, int]] = {
    "PondError": (PondError("No.", 402), 402, 0),
    "PondError of 500": (PondError("No.", 500), 500, 0),
    "unfit": (UNFIT, 422, 0),
    "group": (group(PondError("No.", 402)), 402, 0),
    "nested": (group(group(group(PondError("No.", 402)))), 402, 0),
    "the first of two": (group(PondError("No.", 402), PondError("Nor this.", 409)), 402, 0),
    "beside a failure": (group(ValueError(), PondError("No.", 402)), 402, 1),
    "beside a nested failure": (
        group(group(ValueError(), OSError()), PondError("No.", 402)),
        402,
        2,
    ),
    "nested beside a failure": (group(OSError(), group(KeyError(), group(UNFIT))), 422, 2),
    "in a base group": (BaseExceptionGroup("", [SystemExit(1), PondError("No.", 402)]), 402, 1),
    "failures alone": (group(ValueError(), group(OSError())), None, 2),
    "failure": (ValueError(), None, 1),
    "Starlette": (starlette.exceptions.HTTPException(404), 404, 0),
    "FastAPI": (fastapi.HTTPException(403, "No."), 403, 0),
    "Litestar": (litestar.exceptions.NotAuthorizedException("No."), 401, 0),
    "Litestar, its own status": (litestar.exceptions.HTTPException("No.", status_code=418), 418, 0),
    "any": (Http(409), 409, 0),
    "in a group": (group(group(Http(409))), 409, 0),
    "before a PondError": (group(Http(409), PondError("No.", 402)), 409, 0),
    "HTTP error of 500": (fastapi.HTTPException(500, "No."), 500, 1),
    "HTTP error of 503 in a group": (group(Http(503), ValueError()), 503, 2),
    "no number": (Http("404"), None, 1),
    "a flag": (Http(True), None, 1),
    "no status": (Http(1_000), None, 1),
    "negative": (Http(-404), None, 1),
    "fails itself": (Moody(), None, 1),
    "incomplete": (IncompleteError(), None, 1),
    "incomplete in a group": (group(IncompleteError(), PondError("No.", 402)), 402, 1),
    "incomplete payload": (IncompletePayloadError(), None, 1),
    "of its own": (OwnError(), 402, 0),
    "no code any more": (changed(code="402"), None, 1),
    "no message any more": (changed(message=None), None, 1),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_failure_is_an_answer_or_is_logged_or_both(name: str) -> None:
    error, code, logged = ANSWERS[name]
    told, failure = answer_of(error)
    found = 422 if isinstance(told, InvalidPayload) else told and told.code
    assert found == code
    leaves = [failure] if failure is not None else []
    while any(isinstance(each, BaseExceptionGroup) for each in leaves):
        leaves = [
            inner
            for each in leaves
            for inner in (each.exceptions if isinstance(each, BaseExceptionGroup) else [each])
        ]
    assert len(leaves) == logged


@pytest.mark.parametrize(
    ("detail", "text"),
    [
        ("Not today.", "Not today."),
        ("half \ud83d", "half ?"),
        (None, "Conflict"),
        ("", "Conflict"),
        ({"reason": "late"}, '{"reason":"late"}'),
        ([1, 2], "[1,2]"),
        ({"reason": object()}, "Conflict"),
        (object(), "Conflict"),
    ],
)
def test_a_detail_is_the_sentence(detail: Any, text: str) -> None:
    told, _ = answer_of(Http(409, detail))
    assert isinstance(told, PondError)
    assert told.message == text


@pytest.mark.parametrize(
    ("headers", "kept"),
    [
        (None, ()),
        ({"WWW-Authenticate": "Basic"}, (("www-authenticate", "Basic"),)),
        ([("Retry-After", "9")], (("retry-after", "9"),)),
        ({"A": "1\r\nSet-Cookie: a=b", "B": "2"}, (("b", "2"),)),
        ({"A": "\N{SNOWMAN}", "Content-Length": "7", "C": 5, b"D": "4"}, ()),
        ("text", ()),
        (5, ()),
        ([None, ("a",), ("A", "1", "2")], ()),
    ],
)
def test_headers_go_along_but_for_those_that_cannot_be_sent(
    headers: Any, kept: Any, caplog: pytest.LogCaptureFixture
) -> None:
    told, _ = answer_of(Http(409, headers=headers))
    assert isinstance(told, PondError)
    assert told.headers == kept
    assert "Set-Cookie" not in caplog.text
    if isinstance(headers, dict) and len(headers) > len(kept):
        assert "A header of Http is not sent" in caplog.text


# --- wherever it is raised --------------------------------------------------------------------

RAISED: dict[str, tuple[Callable[[], Exception], int]] = {
    "PondError": (lambda: PondError("No.", 402), 402),
    "PondError in a group": (
        lambda: group(OSError("secret"), group(PondError("No.", 402))),
        402,
    ),
    "HTTPException": (lambda: fastapi.HTTPException(409, "No."), 409),
    "HTTPException of 503": (lambda: fastapi.HTTPException(503, "No."), 503),
    "failure": (lambda: ValueError("secret"), 500),
    "incomplete": (IncompleteError, 500),
    "of its own": (OwnError, 402),
}


@pytest.fixture(params=RAISED)
def raised(request: pytest.FixtureRequest) -> tuple[Callable[[], Exception], int]:
    return RAISED[request.param]


Decide = Callable[[Any], Awaitable[None]]


async def through(place: str, make: Callable[[], Exception]) -> dict[str, Any]:
    """Return what raises at a place: a handler, its dependency, its middleware, a task of its."""

    async def raises(ctx: Any = None) -> None:
        await anyio.lowlevel.checkpoint()
        raise make()

    async def in_a_task(ctx: Any) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(raises)

    async def with_dependency(_: None = Depends(raises)) -> None:
        raise AssertionError

    async def never(ctx: Any) -> None:
        raise AssertionError

    async def middleware(ctx: Any, next: Any) -> None:  # noqa: A002
        raise make()

    found: dict[str, dict[str, Any]] = {
        "handler": {"handler": raises},
        "task": {"handler": in_a_task},
        "dependency": {"handler": with_dependency},
        "middleware": {"handler": never, "middlewares": [middleware]},
    }
    return found[place]


PLACES = ("handler", "task", "dependency", "middleware")


async def code_of_refusal(pond: PondSocket, url: str = "/socket", **options: Any) -> int:
    with pytest.raises(ConnectionRefused) as refused:
        async with connect(pond, url, **options):
            pass
    assert "secret" not in refused.value.message
    return refused.value.code


@pytest.mark.parametrize("place", PLACES)
async def test_a_connection_is_refused_with_its_status(
    place: str, raised: tuple[Callable[[], Exception], int]
) -> None:
    make, code = raised
    pond = PondSocket()
    given = await through(place, make)
    pond.create_endpoint("/socket", given["handler"], *given.get("middlewares", ()))
    assert await code_of_refusal(pond) == code


async def test_a_request_is_refused_with_the_status_of_its_identity(
    raised: tuple[Callable[[], Exception], int],
) -> None:
    make, code = raised

    def identity(request: ConnectRequest) -> str:
        raise make()

    pond = PondSocket()
    pond.create_endpoint("/socket", lambda ctx: ctx.accept(), identity=identity)
    assert await code_of_refusal(pond, transport="sse") == code


@pytest.mark.parametrize("place", PLACES)
async def test_a_join_is_refused_with_its_code(
    place: str, raised: tuple[Callable[[], Exception], int]
) -> None:
    make, code = raised
    given = await through(place, make)
    setup = build(given["handler"], *given.get("middlewares", ()))
    async with connect(setup.pond, "/socket") as ann:
        answer = await ann.join(ROOM)
        assert (answer.event, answer.payload.code) == ("UNAUTHORIZED", code)  # type: ignore[union-attr]


async def code_of_event(ann: MemoryPeer) -> int:
    answer = await ann.answer(ann.send("BROADCAST", ROOM, "ask"))
    assert isinstance(answer.payload, Fault)
    assert "secret" not in answer.payload.message
    return answer.payload.code


@pytest.mark.parametrize("place", PLACES)
async def test_an_event_is_answered_with_its_code_and_the_next_one_is_handled(
    place: str,
    raised: tuple[Callable[[], Exception], int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    make, code = raised
    setup = build()
    given = await through(place, make)
    setup.lobby.on_message("ask", given["handler"], *given.get("middlewares", ()))
    async with member(setup, "ann") as ann:
        assert [await code_of_event(ann) for _ in range(2)] == [code, code]
        is_logged = code >= 500 or isinstance(make(), ExceptionGroup)
        assert len(error_records(caplog)) == (2 if is_logged else 0)


async def test_a_plain_function_answers_likewise() -> None:
    setup = build()

    def ask(ctx: SyncEventContext) -> None:
        raise fastapi.HTTPException(409, "No.")

    setup.lobby.on_message("ask", ask)
    async with member(setup, "ann") as ann:
        assert await code_of_event(ann) == 409


async def test_a_leave_handler_has_none_to_answer_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    setup = build()

    async def leave(ctx: LeaveContext) -> None:
        raise fastapi.HTTPException(409, "No.")

    setup.lobby.on_leave(leave)
    async with member(setup, "ann") as ann:
        await ann.answer(ann.send("LEAVE_CHANNEL", ROOM, "leave"))
        assert (await ann.join(ROOM)).event == "ACKNOWLEDGE"
    assert "A leave handler failed" in caplog.text


async def test_after_the_decision_an_http_error_is_a_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def join(ctx: JoinContext) -> None:
        await ctx.accept()
        raise fastapi.HTTPException(409, "No.")

    setup = build(join)
    async with connect(setup.pond, "/socket") as ann:
        assert (await ann.join(ROOM)).event == "ACKNOWLEDGE"
        await ann.answer(ann.send("LEAVE_CHANNEL", ROOM, "leave"))
    assert "A join handler failed" in caplog.text


async def test_an_http_error_of_400_leaves_no_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def refuse(ctx: ConnectionContext) -> None:
        raise fastapi.HTTPException(401, "Sign in.")

    pond = PondSocket()
    pond.create_endpoint("/socket", refuse)
    assert await code_of_refusal(pond) == 401
    assert [each for each in caplog.records if each.levelno > logging.INFO] == []
