"""Defaults and marks that are understood do what they say."""

import types
import warnings
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum, StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NewType
from uuid import UUID

import annotated_types
import pytest
from annotated_doc import Doc
from pondsocket import ConnectionContext, Depends, EventContext, JoinContext, PondSocket
from pondsocket.testing import connect
from pydantic import (
    UUID4,
    AfterValidator,
    Base64Bytes,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetPydanticSchema,
    Json,
    PlainSerializer,
    PlainValidator,
    PositiveInt,
    SecretStr,
    SkipValidation,
    Strict,
    StringConstraints,
    WithJsonSchema,
    WrapValidator,
    conint,
    constr,
)
from typing_extensions import Doc as ExtensionsDoc
from typing_extensions import TypeAliasType, TypedDict, deprecated

from tests.core.marked import EMPTY, current_user, signature_of
from tests.core.typed_handlers import fault, lobby, result


class Colour(Enum):
    RED = "red"


class Shade(StrEnum):
    DARK = "dark"


class Page(BaseModel):
    number: int = 1


@dataclass
class Point:
    x: int = 0


Name = NewType("Name", str)

# --- what stands as it is ---------------------------------------------------------------------

UUID_4 = UUID("9a2b6e7c-0c0f-4a53-9d53-0d3c4c1c7b1e")


@pytest.mark.parametrize(
    ("hint", "default"),
    [
        (str, "a"),
        (str | None, None),
        (float, 1),
        (bool, False),
        (bytes, b""),
        (Decimal, Decimal(1)),
        (date, date(2026, 1, 1)),
        (datetime, datetime(2026, 1, 1)),  # noqa: DTZ001
        (timedelta, timedelta(1)),
        (UUID4, UUID_4),
        (Path, Path()),
        (Colour, Colour.RED),
        (Shade, Shade.DARK),
        (Literal["a", "b"], "a"),
        (list[str], ["a"]),
        (set[int], set()),
        (tuple[int, ...], (1, 2)),
        (dict[str, Any], {}),
        (Sequence[str], ()),
        (Sequence[str], deque("ab")),
        (Mapping[str, int], types.MappingProxyType({})),
        (list[Page], [Page()]),
        (Page | None, Page()),
        (Point, Point(1)),
        (Name, "ann"),
        (SecretStr, SecretStr("a")),
        (Json[list[int]], [1]),
        (PositiveInt, 3),
        (Annotated[int, Field(ge=1)], 0),  # limits are for what a client sends
        (Annotated[str, AfterValidator(int)], "a"),
        (Any, 5),
        (object, "a"),
        (EMPTY, 5),
        (EMPTY, [1]),
    ],
)
def test_a_plain_value_is_a_default(hint: Any, default: Any) -> None:
    lobby().on_message("ask", signature_of("x", hint, default))


class SeenByPydantic:
    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return handler(source)


class Limits(annotated_types.GroupedMetadata):
    def __iter__(self) -> Any:
        yield annotated_types.Gt(1)


def kind_of(value: Any) -> str:
    return str(value["kind"])


class Cat(TypedDict):
    kind: Literal["cat"]


class Dog(TypedDict):
    kind: Literal["dog"]


@pytest.mark.parametrize(
    "hint",
    [
        Annotated[str, "Who."],
        Annotated[str, Doc("Who.")],
        Annotated[str, ExtensionsDoc("Who.")],
        Annotated[str, deprecated("Not any more.")],
        Annotated[int, annotated_types.Gt(3)],
        Annotated[int, annotated_types.Interval(ge=1)],
        Annotated[str, annotated_types.Len(1)],
        Annotated[str, annotated_types.Predicate(str.isupper)],
        Annotated[int, Limits()],
        Annotated[str, AfterValidator(str.strip)],
        Annotated[str, BeforeValidator(str)],
        Annotated[str, PlainValidator(str)],
        Annotated[str, WrapValidator(lambda value, inner: inner(value))],
        Annotated[str, PlainSerializer(str)],
        Annotated[int, Strict()],
        Annotated[str, StringConstraints(min_length=1)],
        Annotated[int, SkipValidation],
        Annotated[int, WithJsonSchema({})],
        Annotated[int, GetPydanticSchema(lambda source, handler: handler(source))],
        Annotated[int, SeenByPydantic()],
        Annotated[Cat | Dog, Field(discriminator="kind")],
        Annotated[Cat | Dog, Discriminator("kind")],
        Base64Bytes,
        Json[list[int]],
        conint(gt=3),
        constr(min_length=2),
        list[Annotated[str, Field(min_length=1)]],
        Annotated[int, Field(gt=3)] | None,
        TypeAliasType("Numbers", list[int]),
    ],
    ids=str,
)
def test_pydantics_marks_and_words_for_readers_are_understood(hint: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lobby().on_message("ask", signature_of("x", hint, EMPTY))


class Harmless(BaseModel):
    """What pydantic lets a model have is none of our business, as long as it asks for nothing."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    a: str = None  # type: ignore[assignment]
    b: Any = None
    c: Annotated[int, object()] = 3
    d: float = Field(1, alias="dd")
    e: list["Harmless"] = Field(default_factory=list)
    f: Colour = Colour.RED
    g: Page = Page()
    h: SecretStr = SecretStr("a")


async def test_a_model_may_hold_what_asks_for_nothing() -> None:
    async def handler(ctx: EventContext, payload: Harmless) -> list[Any]:
        return [payload.d, len(payload.e)]

    assert await result(handler, {"dd": 2, "e": [{}]}) == [2.0, 1]


# --- Field ------------------------------------------------------------------------------------


async def test_the_default_of_a_field_is_obeyed_wherever_it_stands() -> None:
    async def handler(
        ctx: EventContext,
        a: Annotated[int, Field(default=1)],
        b: int = Field(2, ge=0),
        c: int = Field(default=3),
        d: Annotated[int, Field(ge=0)] = 4,
        e: Annotated[int, Field(default=0)] = 5,
    ) -> list[int]:
        return [a, b, c, d, e]

    assert await result(handler) == [1, 2, 3, 4, 5]
    assert await result(handler, dict.fromkeys("abcde", 9)) == [9, 9, 9, 9, 9]
    answer = await fault(handler, {"b": -1, "d": -1})
    assert answer.details is not None
    assert [(each.loc, each.type) for each in answer.details] == [
        (("b",), "greater_than_equal"),
        (("d",), "greater_than_equal"),
    ]


async def test_an_alias_is_what_the_client_writes() -> None:
    async def handler(
        ctx: EventContext,
        from_: Annotated[str, Field(alias="from")],
        limit: Annotated[int, Field(alias="maxCount", ge=1)] = 20,
        offset: int = Field(0, validation_alias="startAt"),
        words: Annotated[list[str], Field(alias="payload", default_factory=list)] = Field(),
    ) -> list[Any]:
        return [from_, limit, offset, words]

    assert await result(handler, {"from": "ann"}) == ["ann", 20, 0, []]
    sent = {"from": "ann", "maxCount": 3, "startAt": 4, "payload": ["a"]}
    assert await result(handler, sent) == ["ann", 3, 4, ["a"]]
    assert await result(handler, {"from": "ann", "limit": 3, "offset": 4}) == ["ann", 20, 0, []]
    answer = await fault(handler, {"from_": "ann", "maxCount": 0})
    assert answer.details is not None
    assert [(each.loc, each.type) for each in answer.details] == [
        (("from",), "missing"),
        (("maxCount",), "greater_than_equal"),
    ]


async def test_a_default_is_made_anew_for_each_message() -> None:
    made: list[list[int]] = []

    def factory() -> list[int]:
        made.append([])
        return made[-1]

    async def handler(
        ctx: EventContext,
        a: Annotated[list[int], Field(default_factory=factory)],
        b: list[int] = Field([]),
    ) -> list[int]:
        a.append(1)
        b.append(1)
        return [len(a), len(b)]

    async def twice(ctx: EventContext, first: Annotated[None, Depends(handler)]) -> int:
        return len(made)

    lobby().on_message("ask", handler)
    assert not made
    assert await result(handler) == [1, 1]
    assert await result(handler) == [1, 1]
    assert await result(twice) == 3


async def test_a_union_is_told_apart_by_its_discriminator() -> None:
    async def handler(
        ctx: EventContext,
        pet: Cat | Dog = Field(alias="thePet", discriminator="kind"),
    ) -> str:
        return pet["kind"]

    assert await result(handler, {"thePet": {"kind": "dog"}}) == "dog"
    answer = await fault(handler, {"thePet": {"kind": "cow"}})
    assert answer.details is not None
    assert [each.type for each in answer.details] == ["union_tag_invalid"]


async def test_the_query_and_the_parameters_of_a_join_have_aliases_too() -> None:
    pond = PondSocket()

    @pond.endpoint("/socket")
    async def socket(
        ctx: ConnectionContext,
        user: Annotated[str, Field(alias="user-id")],
        tags: Annotated[list[str], Field(alias="tag")],
    ) -> None:
        ctx.reply("tags", {"tags": tags})
        ctx.accept(user_id=user)

    @socket.channel("/room/:id")
    async def room(ctx: JoinContext, id: int = Field(ge=5), n: int = Field(3)) -> list[int]:  # noqa: A002
        return [id, n]

    async with connect(pond, "/socket?user-id=ann&tag=a&tag=b&tags=c") as ann:
        assert (await ann.receive_event("tags")).payload == {"tags": ["a", "b"]}
        answer: Any = await ann.join("/room/7")
        assert answer.payload.response == [7, 3]
        assert (await ann.join("/room/4")).event == "NOT_FOUND"


# --- Depends ----------------------------------------------------------------------------------

User = TypeAliasType("User", Annotated[str, Depends(current_user)])


async def test_an_alias_of_a_type_may_hold_a_dependency() -> None:
    async def handler(ctx: Annotated[EventContext, Doc("Ours.")], user: User) -> str:
        return user

    assert await result(handler, {"user": "root"}) == "checked by the server"


@dataclass
class Pager:
    words: list[str] = field(default_factory=list)
    point: Point = field(default_factory=Point)


class Search(BaseModel):
    text: str = Field("all", alias="q")
    ids: list[int] = Field(default_factory=list)
    by: str = None  # type: ignore[assignment]


class Span(NamedTuple):
    start: int
    end: int = 9


class Made:
    def __new__(cls, number: int) -> "Made":
        made = super().__new__(cls)
        made.number = number
        return made

    number: int


async def test_a_class_makes_the_defaults_of_its_own_fields() -> None:
    async def handler(
        ctx: EventContext,
        pager: Annotated[Pager, Depends(Pager)],
        search: Annotated[Search, Depends(Search)],
        span: Annotated[Span, Depends(Span)],
        made: Annotated[Made, Depends(Made)],
    ) -> list[Any]:
        return [pager.words, pager.point.x, search.text, search.ids, search.by, *span, made.number]

    assert await result(handler, {"start": "1", "number": 5}) == [[], 0, "all", [], None, 1, 9, 5]
    sent = {
        "start": 1,
        "number": 5,
        "words": ["a"],
        "point": {"x": 2},
        "q": "b",
        "ids": [3],
        "by": "ann",
    }
    assert await result(handler, sent) == [["a"], 2, "b", [3], "ann", 1, 9, 5]
