"""FastAPI's own `Depends`: run as ours, so that no client can choose the value."""

from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, cast

import pytest
from fastapi import Depends as TheirDepends
from fastapi import Header, Request
from fastapi.security import APIKeyCookie, APIKeyQuery, HTTPBearer
from pondsocket import (
    ConnectionContext,
    Depends,
    EventContext,
    JoinContext,
    LeaveContext,
    PondSocket,
    SyncEventContext,
    UsageError,
)
from pondsocket.testing import ConnectionRefused, connect
from starlette.requests import HTTPConnection
from starlette.responses import Response

from tests.core.members import member
from tests.core.ponds import ROOM, build


def current_user() -> str:
    return "ann"


def name_of(user: Annotated[str, TheirDepends(current_user)], title: str = "Dr.") -> str:
    return f"{title} {user}"


class Page:
    def __init__(self, user: str = TheirDepends(current_user)) -> None:
        self.user = user


async def as_default(ctx: EventContext, user: str = TheirDepends(current_user)) -> str:
    return user


async def as_mark(ctx: EventContext, user: Annotated[str, TheirDepends(current_user)]) -> str:
    return user


async def of_a_type(page: Annotated[Page, TheirDepends()]) -> str:
    return page.user


async def of_a_class(page: Page = TheirDepends(Page)) -> str:  # noqa: B008
    return page.user


def plain(ctx: SyncEventContext, user: str = TheirDepends(current_user)) -> str:
    return user


@pytest.mark.parametrize("handler", [as_default, as_mark, of_a_type, of_a_class, plain])
async def test_what_they_depend_on_is_called_and_the_client_cannot_choose(handler: Any) -> None:
    setup = build()
    setup.lobby.on_message("who", handler)
    async with member(setup, "eve") as eve:
        sent = eve.send("BROADCAST", ROOM, "who", {"user": "admin", "page": {"user": "admin"}})
        assert (await eve.answer(sent)).payload == {"result": "ann"}


async def test_their_dependencies_have_parameters_as_ours_have() -> None:
    async def who(name: str = TheirDepends(name_of)) -> str:
        return name

    setup = build()
    setup.lobby.on_message("who", who)
    async with member(setup, "eve") as eve:
        sent = eve.send("BROADCAST", ROOM, "who", {"title": "Prof."})
        assert (await eve.answer(sent)).payload == {"result": "Prof. ann"}


async def test_one_function_is_called_once_for_theirs_and_ours_unless_it_is_not_to_be() -> None:
    calls: list[int] = []

    async def count() -> int:
        calls.append(1)
        return len(calls)

    async def who(
        a: int = Depends(count),
        b: int = TheirDepends(count),
        c: int = TheirDepends(count, use_cache=False),
    ) -> list[int]:
        return [a, b, c]

    setup = build()
    setup.lobby.on_message("who", who)
    async with member(setup, "eve") as eve:
        answer = await eve.answer(eve.send("BROADCAST", ROOM, "who"))
        assert answer.payload == {"result": [1, 1, 2]}


async def test_their_generators_are_cleaned_up_behind_a_handler_of_any_kind() -> None:
    log: list[str] = []

    async def resource() -> AsyncIterator[str]:
        log.append("open")
        yield "it"
        log.append("close")

    async def join(ctx: JoinContext, it: str = TheirDepends(resource)) -> None:
        log.append(f"join with {it}")
        await ctx.accept()

    async def leave(ctx: LeaveContext, it: str = TheirDepends(resource)) -> None:
        log.append(f"leave with {it}")

    setup = build(join)
    setup.lobby.on_leave(leave)
    async with connect(setup.pond, "/socket") as ann:
        await ann.join(ROOM)
        await ann.answer(ann.send("LEAVE_CHANNEL", ROOM, "leave"))
        await ann.join(ROOM)
        assert log[:6] == ["open", "join with it", "close", "open", "leave with it", "close"]


# --- the request ----------------------------------------------------------------------------------

bearer, key, session = HTTPBearer(), APIKeyQuery(name="key"), APIKeyCookie(name="session")


def whole(connection: HTTPConnection) -> str:
    assert connection.state is not None  # which adds to the scope
    return f"{connection.url.path} {connection.headers['authorization']}"


SECURED: dict[str, tuple[Callable[..., Any], str]] = {
    "header": (bearer, "scheme='Bearer' credentials='t0ken'"),
    "query": (key, "k"),
    "cookie": (session, "s"),
    "function": (whole, "/socket Bearer t0ken"),
}
GIVEN: dict[str, Any] = {"headers": [("Authorization", "Bearer t0ken"), ("Cookie", "session=s")]}


@pytest.mark.parametrize("name", SECURED)
@pytest.mark.parametrize("transport", ["websocket", "sse"])
@pytest.mark.parametrize("depends", [Depends, TheirDepends])
async def test_a_security_class_reads_the_request(name: str, transport: Any, depends: Any) -> None:
    security, user = SECURED[name]
    pond = PondSocket()

    async def handler(ctx: ConnectionContext, found: object = depends(security)) -> None:
        ctx.accept(user=str(found))

    pond.create_endpoint("/socket", handler)
    async with connect(pond, "/socket?key=k", transport=transport, **GIVEN) as ann:
        assert ann.session.assigns["user"] == user


@pytest.mark.parametrize("name", ["header", "query", "cookie"])
async def test_who_is_not_signed_in_is_refused_as_the_class_says(name: str) -> None:
    pond = PondSocket()

    async def handler(ctx: ConnectionContext, found: object = Depends(SECURED[name][0])) -> None:
        ctx.accept()

    pond.create_endpoint("/socket", handler)
    with pytest.raises(ConnectionRefused) as refused:
        async with connect(pond, "/socket"):
            pass
    assert refused.value.code in (401, 403)
    assert "authenticated" in refused.value.message
    if refused.value.code == 401:
        assert refused.value.headers["www-authenticate"]


async def test_the_request_is_made_of_the_scope_of_the_host() -> None:
    pond = PondSocket()

    async def handler(ctx: ConnectionContext, connection: HTTPConnection) -> None:
        connection.state.mine = 1
        ctx.accept(user_id=connection.session["user"], path=connection.path_params["tenant"])

    pond.create_endpoint("/socket", handler)
    scope = {"session": {"user": "ann"}, "path_params": {"tenant": "acme"}}
    async with connect(pond, "/socket", scope=scope) as ann:
        assert ann.session.user_id == "ann"
        assert ann.session.assigns["path"] == "acme"
    assert "state" not in scope


def asks_for(kind: Any) -> Callable[..., Any]:
    def function(request: Any) -> str:
        raise AssertionError

    function.__annotations__["request"] = kind
    return function


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Request, "'request: Request' is filled by starlette alone; `ctx: ConnectionContext`"),
        (Response, "'request: Response' is filled by starlette alone"),
        (Annotated[str, Header()], "the connection handler reads headers"),
    ],
)
@pytest.mark.parametrize("depends", [Depends, TheirDepends])
def test_what_cannot_be_given_is_refused_at_registration(
    kind: Any, words: str, depends: Any
) -> None:
    async def handler(ctx: ConnectionContext, x: Any = depends(asks_for(kind))) -> None:  # noqa: B008
        raise AssertionError

    with pytest.raises(UsageError) as error:
        PondSocket().create_endpoint("/socket", handler)
    assert words in str(error.value)


@pytest.mark.parametrize("kind", ["event", "join", "leave"])
def test_after_the_connection_handler_the_request_is_over(kind: str) -> None:
    async def handler(ctx: Any, x: Any = TheirDepends(bearer)) -> None:  # noqa: B008
        raise AssertionError

    setup = build()
    register: dict[str, Callable[[Any], object]] = {
        "event": lambda handler: setup.lobby.on_message("x", handler),
        "join": lambda handler: setup.endpoint.create_channel("/other", handler),
        "leave": setup.lobby.on_leave,
    }
    with pytest.raises(UsageError, match="is there for connection handlers alone"):
        cast(Any, register[kind](handler))
