"""The same for modules whose annotations are strings until they are evaluated."""

# ruff: noqa: A002

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import pytest
from pondsocket import Depends, EventContext, Next, SyncEventContext, UsageError
from pydantic import BaseModel

from tests.core.typed_handlers import fault, lobby, result

if TYPE_CHECKING:
    from decimal import Decimal


class Say(BaseModel):
    text: str


@dataclass
class Page:
    number: int = 1


class Asker:
    async def __call__(self, ctx: EventContext, payload: Say, id: int) -> str:
        return f"{payload.text} {id}"

    def plain(self, ctx: SyncEventContext, text: str) -> str:
        return text


class Span(NamedTuple):
    start: int
    end: int = 9


class Made:
    def __new__(cls, size: int) -> Made:
        made = super().__new__(cls)
        made.size = size
        return made

    size: int


async def opened(page: Page = Depends(Page)) -> AsyncIterator[int]:
    yield page.number


class Finder:
    async def __call__(self, text: str, number: Annotated[int, Depends(opened)]) -> str:
        return f"{text} {number}"


async def test_strings_are_read_as_the_types_they_name() -> None:
    async def handler(ctx: EventContext, payload: Say, found: str = Depends(Finder())) -> list[str]:
        return [payload.text, found]

    sent = {"text": "hi", "number": "3"}
    assert await result(handler, sent) == ["hi", "hi 3"]
    assert await result(Asker(), sent) == "hi 1"
    assert await result(Asker().plain, sent) == "hi"
    assert await result(functools.partial(Asker()), sent) == "hi 1"
    assert (await fault(handler, {"text": "hi", "number": "x"})).code == 422


async def test_so_are_those_of_classes_without_a_constructor_of_their_own() -> None:
    async def handler(span: Span = Depends(Span), made: Made = Depends(Made)) -> list[int]:
        return [*span, made.size]

    assert await result(handler, {"start": "1", "size": "2"}) == [1, 9, 2]


def test_a_type_that_is_there_for_checkers_alone_fails_with_what_to_write() -> None:
    async def handler(ctx: EventContext, amount: Decimal) -> None: ...

    with pytest.raises(UsageError, match=r"'Decimal', which is not there .* TYPE_CHECKING"):
        lobby().on_message("ask", handler)

    async def depends(amount: Any = Depends(handler)) -> None: ...

    with pytest.raises(UsageError, match="'Decimal', which is not there"):
        lobby().on_message("ask", depends)


def test_middleware_is_known_by_its_strings_too() -> None:
    async def middleware(ctx: EventContext, next: Next) -> None: ...

    with pytest.raises(UsageError, match="this is middleware"):
        lobby().on_message("ask", middleware)
