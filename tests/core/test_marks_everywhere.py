"""Marks are looked for in every signature there is, and in the models that it names."""

# ruff: noqa: A002

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import fastapi
import pytest
from pondsocket import (
    ConnectionContext,
    Depends,
    EventContext,
    JoinContext,
    LeaveContext,
    Next,
    OutgoingContext,
    PondSocket,
    UsageError,
)
from pydantic import BaseModel
from typing_extensions import TypedDict

from tests.core.marked import EMPTY, Wired, current_user, get_db, refusal, signature_of
from tests.core.typed_handlers import lobby, result

# --- models -----------------------------------------------------------------------------------


class ByDefault(BaseModel):
    user: str = fastapi.Security(current_user)


class ByMark(BaseModel):
    user: Annotated[str, fastapi.Security(current_user)]


class ByOurs(BaseModel):
    user: str = Depends(current_user)


class ByFunction(BaseModel):
    user: str = current_user  # type: ignore[assignment]


class ByWire(BaseModel):
    user: str = Wired()  # type: ignore[assignment]


class ByHeader(BaseModel):
    user: str = fastapi.Header()


Shared = Annotated[str, Wired()]


class Sharing(BaseModel):
    names: list[Shared]


class Inside(BaseModel):
    said: list[ByDefault]
    again: "Inside | None" = None


@dataclass
class AsDataclass:
    user: str = fastapi.Security(current_user)


class AsDict(TypedDict):
    user: Annotated[str, fastapi.Security(current_user)]


class AsTuple(NamedTuple):
    user: str = fastapi.Security(current_user)


@pytest.mark.parametrize(
    ("name", "hint", "place"),
    [
        *(
            ("payload", model, f"{model.__name__}.user")
            for model in (ByDefault, ByMark, ByOurs, ByFunction, ByWire, ByHeader)
        ),
        ("payload", AsDataclass, "AsDataclass.user"),
        ("payload", AsDict, "AsDict.user"),
        ("payload", Inside, "ByDefault.user"),
        ("payload", ByDefault | None, "ByDefault.user"),
        ("x", AsTuple, "AsTuple.user"),
        ("x", list[AsDataclass], "AsDataclass.user"),
        ("x", dict[str, Inside], "ByDefault.user"),
    ],
)
def test_a_model_that_asks_for_a_value_is_refused_too(name: str, hint: Any, place: str) -> None:
    sentence = refusal(signature_of(name, hint, EMPTY))
    assert f"'{name}' has the field {place} with " in sentence
    assert "the client would fill it; instead of the field, " in sentence


def test_a_mark_that_a_model_may_hold_is_no_mark_for_a_signature() -> None:
    lobby().on_message("ask", signature_of("payload", Sharing, EMPTY))
    assert "'x' is marked with" in refusal(signature_of("x", tuple[Sharing, list[Shared]], EMPTY))


# --- wherever a signature is read -------------------------------------------------------------


async def by_default(ctx: EventContext, user: str = fastapi.Security(current_user)) -> str:
    return user


class Constructed:
    def __init__(self, user: str = fastapi.Security(current_user)) -> None: ...


class Made:
    def __new__(cls, user: Annotated[str, fastapi.Security(current_user)]) -> "Made":
        return super().__new__(cls)


class Called:
    async def __call__(self, user: str = fastapi.Security(current_user)) -> None: ...

    async def method(self, user: Annotated[str, Wired()]) -> None: ...


async def varied(ctx: EventContext, *users: Annotated[str, Wired()]) -> None: ...
async def keyed(ctx: EventContext, **users: Annotated[str, Wired()]) -> None: ...
async def ours_varied(ctx: EventContext, *users: Annotated[str, Depends(get_db)]) -> None: ...
async def keyword(ctx: EventContext, *, user: str = fastapi.Security(current_user)) -> None: ...
async def by_string(
    ctx: EventContext, user: "Annotated[str, fastapi.Security(get_db)]"
) -> None: ...
async def plain(ctx: EventContext, user: str) -> None: ...


def shown_as(hint: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate with another signature than the wrapped function has, as injecting decorators do."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        async def call(*args: Any, **kwargs: Any) -> Any:
            return await function(*args, **kwargs)

        shown = inspect.signature(function)
        parameters = [
            each.replace(annotation=hint) if each.name == "user" else each
            for each in shown.parameters.values()
        ]
        call.__signature__ = shown.replace(parameters=parameters)  # type: ignore[attr-defined]
        return call

    return decorate


async def test_the_signature_that_a_decorator_shows_is_the_one_that_counts() -> None:
    async def told(ctx: EventContext, user: str) -> str:
        return user

    handler = shown_as(Annotated[str, Depends(current_user)])(told)
    assert await result(handler, {"user": "root"}) == "checked by the server"


@pytest.mark.parametrize(
    "function",
    [
        by_default,
        shown_as(Annotated[str, Wired()])(plain),
        shown_as("Annotated[str, Wired()]")(plain),
        keyword,
        varied,
        keyed,
        ours_varied,
        by_string,
        Called(),
        Called().method,
        functools.partial(by_default),
        functools.partial(plain, user=fastapi.Security(current_user)),
        functools.partial(plain, user=Depends(current_user)),
        functools.partial(plain, user=fastapi.Query()),
    ],
    ids=str,
)
def test_every_way_to_write_a_handler_is_looked_at(function: Any) -> None:
    assert "user" in refusal(function)


@pytest.mark.parametrize(
    "function",
    [keyword, by_string, Constructed, AsDataclass, Made, AsTuple, ByDefault, ByMark, Called()],
    ids=str,
)
def test_every_way_to_write_a_dependency_is_looked_at(function: Any) -> None:
    async def inner(x: Any = Depends(function)) -> None: ...
    async def handler(ctx: EventContext, x: None = Depends(inner)) -> None: ...

    assert "'user' " in refusal(handler)


def test_every_kind_of_handler_is_looked_at() -> None:
    pond = PondSocket()
    endpoint = pond.create_endpoint("/socket", lambda ctx: ctx.accept())

    async def connect(ctx: ConnectionContext, user: str = fastapi.Security(get_db)) -> None: ...
    async def join(ctx: JoinContext, user: Annotated[str, Wired()]) -> None: ...
    async def leave(ctx: LeaveContext, user: str = fastapi.Security(get_db)) -> None: ...
    async def around(ctx: EventContext, next: Next, db: str = Depends(get_db)) -> None: ...
    def outgoing(ctx: OutgoingContext, db: str = fastapi.Security(get_db)) -> None: ...

    with pytest.raises(UsageError, match="endpoint '/other', connect: 'user' has the default"):
        pond.create_endpoint("/other", connect)
    with pytest.raises(UsageError, match="join: 'user' is marked with"):
        endpoint.create_channel("/other", join)
    with pytest.raises(UsageError, match="leave: 'user' has the default"):
        lobby().on_leave(leave)
    with pytest.raises(UsageError, match=r"around is called with \(ctx, next\) alone, and 'db'"):
        lobby().on_message("ask", lambda: None, around)
    with pytest.raises(UsageError, match=r"outgoing is called with \(ctx\) alone, and 'db' would"):
        lobby().on_outgoing("ask", outgoing)
