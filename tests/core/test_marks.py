"""What stands beside a parameter's type is understood, or refused: no client fills it instead."""

import functools
from collections.abc import Callable, Hashable, Iterator
from enum import Enum
from typing import Annotated, Any, Final, NamedTuple, NewType, Optional, TypeVar

import fastapi
import pytest
from fastapi.security import HTTPBasicCredentials, OAuth2PasswordBearer, SecurityScopes
from litestar.di import Provide
from litestar.params import Body as LitestarBody
from litestar.params import Parameter as LitestarParameter
from pondsocket import Depends, EventContext
from pydantic import AliasChoices, BaseModel, Field, PrivateAttr, Strict, TypeAdapter
from pydantic.fields import FieldInfo
from starlette.background import BackgroundTasks
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.websockets import WebSocket
from typing_extensions import TypeAliasType

from tests.core.marked import EMPTY, Database, Wired, current_user, get_db, refusal, signature_of


class Asked:
    """One that says what it depends on."""

    def __init__(self, dependency: Callable[..., Any]) -> None:
        self.dependency = dependency


class Limited:
    """`Depends` of a FastAPI that limits how often the function runs at once."""

    __module__ = "fastapi.params"
    dependency = staticmethod(current_user)
    max_concurrency = 3


Limited.__name__ = "Depends"


class Taken:
    """One that is written in brackets."""

    def __class_getitem__(cls, _: object) -> "Taken":
        return cls()


taken: Final[Any] = Taken["name"]  # type: ignore[misc]


class Colour(Enum):
    RED = "red"


class OwnField(FieldInfo):  # type: ignore[misc]
    """A user's own description of a field, which means more than pydantic reads."""


def numbers() -> Iterator[int]:
    yield 1


class OwnText(str):
    """A text that a framework of its own may read as a mark."""


class OwnTuple(NamedTuple):
    """A mark that is a tuple as well."""

    function: object


DEPENDS: Final = "write `x: str = Depends(current_user)` with `from pondsocket import Depends`"

DEFAULTS: Final = {
    "depends-on-nothing": (fastapi.Depends(), "`Depends(…)` of fastapi", "Depends(str)"),
    "depends-on-few": (Limited(), "`Depends(…)` of fastapi", "= Depends(current_user)`"),
    "security-of-an-object": (fastapi.Security(OAuth2PasswordBearer("t")), "fastapi", "(function)"),
    "security": (fastapi.Security(current_user), "`Security(…)` of fastapi", "check the scopes"),
    "query": (fastapi.Query("a"), "`Query(…)` of fastapi", "handler reads the query"),
    "header": (fastapi.Header(), "`Header(…)` of fastapi", "`ctx.headers[…]`"),
    "cookie": (fastapi.Cookie(), "`Cookie(…)` of fastapi", "`ctx.cookies[…]`"),
    "path": (fastapi.Path(), "`Path(…)` of fastapi", "the name that stands in the pattern"),
    "body": (fastapi.Body(), "`Body(…)` of fastapi", "`payload: str` for the whole payload"),
    "form": (fastapi.Form(), "`Form(…)` of fastapi", "`x: str` for one field"),
    "file": (fastapi.File(), "`File(…)` of fastapi", "`x: str` for one field"),
    "provide": (Provide(get_db), "`Provide(…)` of litestar", "= Depends(get_db)`"),
    "litestar-parameter": (LitestarParameter(), "of litestar", "for what the client sends"),
    "litestar-body": (LitestarBody(), "of litestar", "for what the server gives"),
    "security-scheme": (OAuth2PasswordBearer("t"), "of fastapi", "= Depends(function)`"),
    "asked": (Asked(current_user), "`Asked(…)` of tests", DEPENDS),
    "wired": (Wired(), "`Wired(…)` of tests", "= Depends(function)`"),
    "taken": (taken, "`Taken(…)` of tests", "= Depends(function)`"),
    "text-of-its-own-class": (OwnText("q"), "`OwnText(…)` of tests", "= Depends(function)`"),
    "tuple-of-its-own-class": (OwnTuple(get_db), "`OwnTuple(…)` of tests", "= Depends(function)`"),
    "in-a-list": ([Depends(current_user)], "has the default [", "= Depends(function)`"),
    "in-a-dict": ({"a": [fastapi.Security(get_db)]}, "has the default {", "= Depends(function)`"),
    "ours-not-called": (Depends, "the function Depends", "call it: write `x: str = Depends("),
    "theirs-not-called": (fastapi.Depends, "the function Depends", "= Depends(function)`"),
    "function": (current_user, "the function current_user", DEPENDS),
    "async-function": (get_db, "the function get_db", "= Depends(get_db)`"),
    "class": (Database, "the class Database", "= Depends(Database)`"),
    "lambda": (lambda: "x", "the function <lambda>", "= Depends(function)`"),
    "partial": (functools.partial(current_user), "`partial(…)` of functools", "(function)`"),
    "builtin": (len, "the function len", "= Depends(len)`"),
    "generator": (numbers(), "a generator of numbers, made once at import", "Depends(numbers)`"),
    "private-attribute": (PrivateAttr("x"), "of pydantic", "= Depends(function)`"),
    "own-field": (OwnField(), "`OwnField(…)` of tests", "for what the client sends"),
    "object": (object(), "<object object", "= Depends(function)`"),
    "ellipsis": (..., "has `...` as its default", "the client must send it"),
}


@pytest.mark.parametrize(("default", "found", "remedy"), DEFAULTS.values(), ids=DEFAULTS)
def test_a_default_that_is_no_value_is_refused_with_what_to_write(
    default: Any, found: str, remedy: str
) -> None:
    sentence = refusal(signature_of("x", str, default))
    assert "'x' has " in sentence
    assert found in sentence
    assert remedy in sentence


@pytest.mark.parametrize("default", [row[0] for row in DEFAULTS.values()], ids=DEFAULTS)
@pytest.mark.parametrize("hint", [EMPTY, Any, object, Hashable])
def test_so_it_is_where_any_object_fits_the_type(hint: Any, default: Any) -> None:
    assert "'x' has " in refusal(signature_of("x", hint, default))


@pytest.mark.parametrize("name", ["id", "payload", "ctx2"])
def test_so_it_is_where_the_default_is_never_asked_for(name: str) -> None:
    hint = {"id": str, "payload": dict[str, Any], "ctx2": EventContext}[name]
    assert f"'{name}' has " in refusal(signature_of(name, hint, fastapi.Security(current_user)))


def test_a_coroutine_is_no_default() -> None:
    coroutine = get_db()
    try:
        sentence = refusal(signature_of("x", str, coroutine))
    finally:
        coroutine.close()
    assert "a coroutine of get_db, made once at import" in sentence
    assert "= Depends(get_db)`" in sentence


# --- a default and its type -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hint", "default", "words"),
    [
        (str, None, "'x: str = None' does not fit its own type; write `x: str | None = None`"),
        (int, "7", "'x: int = '7'' does not fit its own type; write a default of the type, or"),
        (str, 7, "write a default of the type, or `x: int`"),
        (int, Field(default="7"), "does not fit its own type"),
        (Annotated[int, Field(default=None)], EMPTY, "write `x: int | None = None`"),
        (Colour, "red", "'x: Colour = 'red'' does not fit"),
        (list[int], ["a"], "'x: list[int] = ['a']' does not fit"),
        (int | None, "7", "does not fit"),
        (EventContext, None, "write `x: EventContext | None = None`"),
    ],
)
def test_a_default_that_does_not_fit_its_own_type_is_refused(
    hint: Any, default: Any, words: str
) -> None:
    assert words in refusal(signature_of("x", hint, default))


# --- marks ------------------------------------------------------------------------------------

Foreign = TypeAliasType("Foreign", Annotated[str, fastapi.Security(current_user)])


class Mentions(BaseModel):
    users: list[str] = []


Ours = TypeAliasType("Ours", Annotated[str, Depends(current_user)])

T = TypeVar("T")
Generic = TypeAliasType("Generic", Annotated[list[T], fastapi.Security(get_db)], type_params=(T,))

MARKS: Final = {
    "security": (Annotated[str, fastapi.Security(current_user)], "check the scopes"),
    "query": (Annotated[str, fastapi.Query(max_length=3)], "handler reads the query"),
    "header": (Annotated[str, fastapi.Header()], "`ctx.headers[…]`"),
    "litestar": (Annotated[str, LitestarParameter()], "of litestar"),
    "wired": (Annotated[str, Wired()], "is marked with `Wired(…)` of tests"),
    "wired-class": (Annotated[str, Wired], "is marked with the class Wired"),
    "taken": (Annotated[str, taken], "is marked with `Taken(…)`"),
    "ours-not-called": (Annotated[str, Depends], "call it: write `x: str = Depends(function)`"),
    "theirs-not-called": (Annotated[str, fastapi.Depends], "the function Depends"),
    "pydantics-not-called": (Annotated[str, Strict], "call it: `Strict(…)`"),
    "function": (Annotated[str, current_user], DEPENDS),
    "class": (Annotated[str, Database], "= Depends(Database)`"),
    "number": (Annotated[str, 5], "is marked with 5"),
    "own-field": (Annotated[str, OwnField()], "`OwnField(…)` of tests"),
    "beside-words": (Annotated[str, "Who it is.", fastapi.Security(current_user)], DEPENDS),
    "nested": (Annotated[Annotated[str, fastapi.Security(current_user)], "Who."], DEPENDS),
    "in-a-list": (list[Annotated[str, fastapi.Security(current_user)]], "`Security(…)` of fastapi"),
    "in-a-dict": (dict[str, list[Annotated[str, Wired()]]], "`Wired(…)` of tests"),
    "in-a-union": (Annotated[str, fastapi.Security(current_user)] | None, "of fastapi"),
    "in-optional": (Optional[Annotated[str, fastapi.Header()]], "`ctx.headers[…]`"),  # noqa: UP045
    "alias": (Foreign, DEPENDS),
    "alias-in-a-union": (Foreign | None, "`Security(…)` of fastapi"),
    "alias-in-a-list": (list[Foreign], "`Security(…)` of fastapi"),
    "alias-marked": (Annotated[Foreign, "Who."], DEPENDS),
    "new-type": (NewType("New", Annotated[str, fastapi.Security(current_user)]), "of fastapi"),
    "ours-in-a-new-type": (
        NewType("OurNew", Annotated[str, Depends(current_user)]),
        "around the whole type",
    ),
    "new-type-in-a-list": (
        list[NewType("Wire", Annotated[str, Wired()])],  # type: ignore[misc]
        "`Wired(…)` of tests",
    ),
    "bound-of-a-variable": (TypeVar("B", bound=Annotated[str, Wired()]), "`Wired(…)` of tests"),
    "constraint-of-a-variable": (TypeVar("C", Annotated[str, Wired()], int), "of tests"),
    "text-of-its-own-class": (Annotated[str, OwnText("q")], "`OwnText(…)` of tests"),
    "model": (Annotated[str, Mentions], "the class Mentions"),
    "adapter": (Annotated[str, TypeAdapter(int)], "`TypeAdapter(…)` of pydantic"),
    "private": (Annotated[str, PrivateAttr(default=1)], "`ModelPrivateAttr(…)` of pydantic"),
    "alias-with-a-parameter": (Generic[int], "= Depends(get_db)`"),
    "ours-in-a-union": (
        Annotated[str, Depends(current_user)] | None,
        "around the whole type: `x: Annotated[…, Depends(current_user)]`",
    ),
    "ours-in-a-list": (list[Annotated[str, Depends(current_user)]], "around the whole type"),
    "ours-in-an-alias": (Ours | None, "around the whole type"),
    "field-in-a-union": (
        Annotated[int, Field(alias="n")] | None,
        "around the whole type: `x: Annotated[…, Field(…)]`",
    ),
    "field-in-a-list": (list[Annotated[int, Field(default=3)]], "around the whole type"),
    "two-of-ours": (Annotated[str, Depends(current_user), Depends(get_db)], "write one of them"),
    "theirs-beside-ours": (
        Annotated[str, fastapi.Security(get_db), Depends(current_user)],
        "= Depends(get_db)`",
    ),
    "two-names": (Annotated[int, Field(validation_alias=AliasChoices("a", "b"))], "one name"),
    "alias-of-the-pattern": (Annotated[int, Field(alias="id")], "the pattern has 'id'"),
    "factory-of-data": (Annotated[int, Field(default_factory=lambda data: 1)], "takes none"),
}


@pytest.mark.filterwarnings("ignore:The '(alias|default)' attribute")
@pytest.mark.parametrize(("hint", "words"), MARKS.values(), ids=MARKS)
def test_a_mark_that_is_not_understood_is_refused_with_what_to_write(hint: Any, words: str) -> None:
    sentence = refusal(signature_of("x", hint, EMPTY))
    assert "'x'" in sentence
    assert words in sentence


@pytest.mark.parametrize("default", ["none", Depends(get_db), fastapi.Depends(get_db), None])
def test_a_dependency_and_another_default_are_one_too_many(default: Any) -> None:
    sentence = refusal(signature_of("x", Annotated[str, Depends(current_user)], default))
    assert "'x' has `Depends(…)` and one more default; write one of them" in sentence


@pytest.mark.parametrize("name", ["id", "payload"])
def test_what_has_its_own_place_has_no_alias(name: str) -> None:
    hint = Annotated[dict[str, Any], Field(alias="n")]
    assert "write no alias" in refusal(signature_of(name, hint, EMPTY))


def test_a_field_needs_a_type() -> None:
    assert "write `x: int = Field(…)`" in refusal(signature_of("x", EMPTY, Field(default=3)))


# --- types that a framework fills -------------------------------------------------------------


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (Request, "'x: Request' is filled by starlette alone; `ctx: ConnectionContext`"),
        (fastapi.Request | None, "'x: Request' is filled by starlette alone"),
        (HTTPConnection, "'x: HTTPConnection' is there for connection handlers alone"),
        (HTTPConnection | None, "has `headers`, `cookies` and `query`"),
        (WebSocket, "write `ctx: EventContext`"),
        (Response, "return the reply, or raise PondError"),
        (BackgroundTasks, "start them in a task group of your own"),
        (SecurityScopes, "check the scopes in a function"),
        (HTTPBasicCredentials, "is filled by fastapi alone; write `= Depends(function)`"),
        (fastapi.UploadFile, "is filled by fastapi alone"),
    ],
)
def test_a_type_that_a_framework_fills_is_refused_with_what_there_is_instead(
    hint: Any, words: str
) -> None:
    assert words in refusal(signature_of("x", hint, EMPTY))
