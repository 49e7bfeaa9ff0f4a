"""The headers and cookies of the answer that admits or refuses a connection, and the scope."""

from collections.abc import Callable
from typing import Any

import anyio.lowlevel
import fastapi
import pytest
from pondsocket import ConnectionContext, ConnectRequest, Options, PondError, PondSocket, UsageError
from pondsocket.adapter import Refusal, Session
from pondsocket.testing import ConnectionRefused, connect
from pondsocket_common import Headers

from tests.core.ponds import admit, admitted, build, request

Act = Callable[[ConnectionContext], object]


async def answer_of(act: Act, *middlewares: Any, url: str = "/socket", **given: Any) -> Headers:
    """Return the headers of the answer to a client, admitted or refused."""
    pond = PondSocket(options=given.pop("options", None))

    async def handler(ctx: ConnectionContext) -> None:
        await anyio.lowlevel.checkpoint()
        act(ctx)

    pond.create_endpoint("/socket", handler, *middlewares)
    try:
        async with connect(pond, url, **given) as ann:
            return ann.headers
    except ConnectionRefused as refused:
        return refused.headers


def sets(ctx: ConnectionContext) -> None:
    ctx.set_header("X-Trace", "1")
    ctx.set_header("x-trace", "2")
    ctx.set_cookie("a", "1")
    ctx.set_cookie("b", "2", httponly=False, samesite=None)


def sets_and_accepts(ctx: ConnectionContext) -> None:
    sets(ctx)
    ctx.accept()


def raises(make: Callable[[], Exception]) -> Act:
    def act(ctx: ConnectionContext) -> None:
        raise make()

    return act


DECISIONS: dict[str, Act] = {
    "accepted": lambda ctx: ctx.accept(),
    "declined": lambda ctx: ctx.decline(403, "No."),
    "PondError": raises(lambda: PondError("No.", 402)),
    "HTTPException": raises(lambda: fastapi.HTTPException(404)),
    "failed": raises(ValueError),
    "undecided": lambda ctx: None,
}


@pytest.mark.parametrize("decision", DECISIONS)
@pytest.mark.parametrize("transport", ["websocket", "sse"])
async def test_what_a_handler_sets_is_in_its_answer(decision: str, transport: Any) -> None:
    def act(ctx: ConnectionContext) -> None:
        sets(ctx)
        DECISIONS[decision](ctx)

    headers = await answer_of(act, transport=transport)
    assert headers.getall("x-trace") == ["2"]
    assert headers.getall("set-cookie") == ["a=1; Path=/; HttpOnly; SameSite=Lax", "b=2; Path=/"]


async def test_middleware_and_what_comes_after_the_decision_count_too() -> None:
    async def middleware(ctx: ConnectionContext, next: Any) -> None:  # noqa: A002
        ctx.set_header("X-Before", "1")
        await next()
        ctx.set_header("X-After", "2")

    headers = await answer_of(lambda ctx: ctx.accept(), middleware)
    assert dict(headers) == {"x-before": "1", "x-after": "2"}


async def test_a_plain_handler_sets_them_as_well() -> None:
    pond = PondSocket()

    pond.create_endpoint("/socket", sets_and_accepts)
    async with connect(pond, "/socket") as ann:
        assert ann.headers["x-trace"] == "2"


async def test_a_refusal_of_the_identity_has_them() -> None:
    def identity(request: ConnectRequest) -> str:
        raise PondError("No.", 403, headers={"X-Why": "it"})

    pond = PondSocket()

    def handler(ctx: ConnectionContext) -> None:
        sets(ctx)
        ctx.accept()

    pond.create_endpoint("/socket", handler, identity=identity)
    with pytest.raises(ConnectionRefused) as refused:
        async with connect(pond, "/socket", transport="sse"):
            pass
    assert (refused.value.headers["x-trace"], refused.value.headers["x-why"]) == ("2", "it")


@pytest.mark.parametrize(
    "act",
    [
        lambda ctx: ctx.decline(401, "No.", headers={"X-Trace": "own"}),
        raises(lambda: PondError("No.", 401, headers={"X-Trace": "own"})),
        raises(lambda: fastapi.HTTPException(401, headers={"X-Trace": "own"})),
    ],
)
async def test_the_headers_of_a_refusal_replace_those_that_were_set(act: Act) -> None:
    def both(ctx: ConnectionContext) -> None:
        sets(ctx)
        act(ctx)

    headers = await answer_of(both)
    assert headers.getall("x-trace") == ["own"]
    assert len(headers.getall("set-cookie")) == 2


# --- why, and when to come back -----------------------------------------------------------------


BASIC = ("www-authenticate", "Basic")


@pytest.mark.parametrize(
    ("given", "headers"),
    [
        ({"status": 401}, {"www-authenticate": "Bearer"}),
        (
            {"status": 401, "headers": (("www-authenticate", "Basic"),)},
            {"www-authenticate": "Basic"},
        ),
        ({"status": 403}, {}),
        ({"status": 429}, {"retry-after": "5"}),
        ({"status": 503}, {"retry-after": "5"}),
        ({"status": 503, "retry_after": 1}, {"retry-after": "1"}),
        ({"status": 429, "headers": (("retry-after", "60"),)}, {"retry-after": "60"}),
        ({"status": 400, "retry_after": 7}, {"retry-after": "7"}),
        ({"status": 500}, {}),
    ],
)
def test_a_401_has_a_challenge_and_a_503_a_time(given: Any, headers: dict[str, str]) -> None:
    refusal = Refusal(error="WHY", message="", **given)
    assert dict(refusal.response_headers()) == headers


async def test_an_endpoint_that_is_full_says_when_to_come_back() -> None:
    headers = await answer_of(lambda ctx: ctx.accept(), options=Options(max_connections=0))
    assert headers["retry-after"] == "5"


async def test_a_declined_client_is_told_what_the_application_wants() -> None:
    def act(ctx: ConnectionContext) -> None:
        ctx.set_header("WWW-Authenticate", 'Basic realm="chat"')
        ctx.decline(401, "Sign in.")

    assert (await answer_of(act)).getall("www-authenticate") == ['Basic realm="chat"']


# --- what cannot be sent ------------------------------------------------------------------------

BAD: list[tuple[Any, Any, str]] = [
    ("X", "a\r\nSet-Cookie: b=c", "cannot be sent"),
    ("X", "a\nb", "cannot be sent"),
    ("X", "a\rb", "cannot be sent"),
    ("X", "a\0b", "cannot be sent"),
    ("X", "\N{SNOWMAN}", "latin-1"),
    ("X", " a", "without a blank"),
    ("X", "a ", "without a blank"),
    ("X", 5, "must be a str"),
    ("X", b"a", "must be a str"),
    ("X", None, "must be a str"),
    ("X: y", "a", "no name of a header"),
    ("X\r\nY", "a", "no name of a header"),
    ("", "a", "no name of a header"),
    ("É", "a", "no name of a header"),
    (b"X", "a", "no name of a header"),
    ("Content-Length", "7", "set by the server"),
    ("transfer-encoding", "chunked", "set by the server"),
    ("Sec-WebSocket-Protocol", "pond", "set by the server"),
    ("Access-Control-Allow-Origin", "*", "set by the server"),
    ("X-Connection-ID", "1", "set by the server"),
]


@pytest.mark.parametrize(("name", "value", "why"), BAD)
async def test_a_header_that_cannot_be_sent_fails_at_once(name: Any, value: Any, why: str) -> None:
    told: list[str] = []

    def act(ctx: ConnectionContext) -> None:
        calls: list[Callable[[], object]] = [
            lambda: ctx.set_header(name, value),
            lambda: ctx.decline(403, "No.", headers={name: value}),
            lambda: PondError("No.", headers={name: value}),
        ]
        for call in calls:
            with pytest.raises(UsageError, match=why) as error:
                call()
            told.append(str(error.value))
        ctx.accept()

    assert dict(await answer_of(act)) == {}
    assert len(told) == 3
    assert not any("b=c" in text for text in told)


@pytest.mark.parametrize("value", ["", "a", "a b\tc", "caf\xe9", "x" * 8_000])
async def test_any_other_header_is_sent_as_it_is(value: str) -> None:
    def act(ctx: ConnectionContext) -> None:
        ctx.set_header("X-Any", value)
        ctx.accept()

    assert (await answer_of(act))["x-any"] == value


async def test_the_headers_of_an_answer_have_a_bound() -> None:
    def act(ctx: ConnectionContext) -> None:
        ctx.set_header("X-A", "a" * 8_000)
        with pytest.raises(UsageError, match="8192 bytes at most: 'X-B'"):
            ctx.set_header("X-B", "b" * 200)
        ctx.set_header("X-A", "short")
        ctx.set_header("X-B", "b" * 200)
        ctx.accept()

    assert set(await answer_of(act)) == {"x-a", "x-b"}


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"name": "a b"}, "no name of a cookie"),
        ({"name": "a=b"}, "no name of a cookie"),
        ({"name": ""}, "no name of a cookie"),
        ({"name": "a", "value": "1; Domain=evil.example"}, "characters that no cookie may have"),
        ({"name": "a", "value": "1\r\nX: y"}, "characters that no cookie may have"),
        ({"name": "a", "value": "é"}, "urllib.parse.quote"),
        ({"name": "a", "value": 5}, "characters"),
        ({"name": "a", "path": "x"}, "a path begins with '/'"),
        ({"name": "a", "path": "/;Secure"}, "a path begins with '/'"),
        ({"name": "a", "domain": "a.example; Path=/"}, "host name"),
        ({"name": "a", "max_age": "5"}, "whole number"),
        ({"name": "a", "samesite": "Lax"}, "samesite is"),
        ({"name": "a", "samesite": "none"}, "secure=True"),
        ({"name": "__Host-a"}, "secure=True"),
        ({"name": "a", "value": "x" * 4_096}, "longer than 4096"),
    ],
)
async def test_a_cookie_that_browsers_would_not_keep_fails_at_once(given: Any, why: str) -> None:
    def act(ctx: ConnectionContext) -> None:
        with pytest.raises(UsageError, match=why):
            ctx.set_cookie(**given)
        ctx.accept()

    assert dict(await answer_of(act)) == {}


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"max_age": 0}, "Max-Age=0; HttpOnly; SameSite=Lax"),
        ({"secure": True, "samesite": "none"}, "Secure; HttpOnly; SameSite=None"),
        ({"domain": "a.example"}, "Domain=a.example; HttpOnly; SameSite=Lax"),
        ({"httponly": False, "samesite": None, "max_age": 60}, "Max-Age=60"),
    ],
)
async def test_a_cookie_is_written_for_browsers(given: Any, text: str) -> None:
    def act(ctx: ConnectionContext) -> None:
        ctx.set_cookie("a", "1", path="/x", **given)
        ctx.accept()

    assert (await answer_of(act))["set-cookie"] == f"a=1; Path=/x; {text}"


# --- the scope ----------------------------------------------------------------------------------


async def test_the_scope_is_there_while_the_handler_runs_and_cannot_be_changed() -> None:
    contexts: list[ConnectionContext] = []

    async def handler(ctx: ConnectionContext) -> None:
        contexts.append(ctx)
        ctx.accept()
        await anyio.lowlevel.checkpoint()
        assert ctx.scope["session"] == {"user": "ann"}
        with pytest.raises(TypeError):
            ctx.scope["user"] = "eve"  # type: ignore[index]

    setup = build(connect=handler)
    async with connect(setup.pond, "/socket", scope={"session": {"user": "ann"}}) as ann:
        assert dict(ann.session.request.scope) == {}
        (ctx,) = contexts
        with pytest.raises(UsageError, match="its scope is let go"):
            assert ctx.scope
        with pytest.raises(UsageError, match="the answer has been sent"):
            ctx.set_header("X", "late")
        with pytest.raises(UsageError, match=r"what it replies has been sent; `pond\.push` sends"):
            ctx.reply("late")


async def test_a_refused_client_leaves_no_scope_behind() -> None:
    contexts: list[ConnectionContext] = []

    def handler(ctx: ConnectionContext) -> None:
        contexts.append(ctx)
        ctx.decline()

    await answer_of(handler, scope={"user": "ann"})
    assert dict(contexts[0].request.scope) == {}


async def test_a_request_may_be_used_again() -> None:
    pond, asked = PondSocket(), request()
    endpoint = pond.create_endpoint("/socket", sets_and_accepts)
    for _ in range(2):
        assert isinstance(await pond.connect(asked), Session)
    assert await endpoint.connection_count() == 0


async def test_an_identity_reads_the_scope_of_its_own_request() -> None:
    pond = PondSocket()
    pond.create_endpoint("/socket", admit, identity=lambda request: request.scope.get("user"))
    async with connect(pond, "/socket", transport="sse", scope={"user": "ann"}) as ann:
        assert ann.session.identity == "ann"


async def test_without_asgi_the_scope_is_empty() -> None:
    def handler(ctx: ConnectionContext) -> None:
        assert dict(ctx.scope) == {}
        ctx.accept()

    await admitted(build(connect=handler).pond)


async def test_the_offer_of_subprotocols_can_be_read_and_a_token_is_never_sent_back() -> None:
    seen: list[tuple[str, ...]] = []
    pond = PondSocket()

    def handler(ctx: ConnectionContext) -> None:
        seen.append(ctx.subprotocols)
        ctx.accept()

    pond.create_endpoint("/socket", handler, subprotocols=["bearer"])
    async with connect(pond, "/socket", subprotocols=("bearer", "s3cret")) as ann:
        assert ann.session.subprotocol == "bearer"
    assert seen == [("bearer", "s3cret")]
