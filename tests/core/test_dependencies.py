"""Dependencies: nesting, one call a message, clean-up, and whose parameters are whose."""

# ruff: noqa: A002

import functools
import threading
from collections.abc import Iterator
from typing import Annotated, Any

from pondsocket import Depends, EventContext, SyncEventContext
from pydantic import BaseModel

from tests.core.dependency_log import DependencyLog
from tests.core.members import member
from tests.core.ponds import ROOM, build
from tests.core.typed_handlers import fault, result


async def test_dependencies_of_every_form_give_their_value() -> None:
    log = DependencyLog()

    async def handler(
        a: str = Depends(log.plain),
        b: str = Depends(log.waits),
        c: str = Depends(log.generates),
        d: str = Depends(log.generates_async),
        e: str = Depends(functools.partial(str.upper, "partial")),
        *,
        f: Annotated[str, Depends(lambda: "annotated")],
    ) -> list[str]:
        log.append("handler")
        return [a, b, c, d, e, f]

    assert await result(handler) == [
        "plain",
        "async",
        "generated",
        "generated",
        "PARTIAL",
        "annotated",
    ]
    assert log == ["plain", "async", "open", "open", "handler", "closed", "closed"]


class Pager:
    def __init__(self, page: int = 1, size: int = 10) -> None:
        self.first = (page - 1) * size


class Query(BaseModel):
    words: str


class Finder:
    def __init__(self, name: str) -> None:
        self.name = name

    async def __call__(self, words: str) -> str:
        return f"{self.name} {words}"


async def test_classes_models_and_objects_may_be_dependencies() -> None:
    async def handler(
        pager: Pager = Depends(Pager),
        query: Query = Depends(Query),
        found: str = Depends(Finder("found")),
    ) -> list[Any]:
        return [pager.first, query.words, found]

    assert await result(handler, {"page": 3, "words": "hi"}) == [20, "hi", "found hi"]
    assert (await fault(handler, {"page": "x", "words": "hi"})).code == 422


async def test_dependencies_take_parameters_by_the_same_rules() -> None:
    async def fetch(ctx: EventContext, id: int, words: list[str], payload: dict[str, Any]) -> str:
        return f"{ctx.user.id} {id} {words} {len(payload)}"

    async def handler(fetched: str = Depends(fetch)) -> str:
        return fetched

    assert await result(handler, {"words": ["a"]}) == "ann 1 ['a'] 1"
    details = (await fault(handler, {"words": 1})).details
    assert details is not None
    assert [each.loc for each in details] == [("words",)]


async def test_what_does_not_fit_is_found_before_any_dependency_is_called() -> None:
    log = DependencyLog()

    def needs(a: int) -> int:
        return a

    async def handler(b: int, a: int = Depends(needs), c: str = Depends(log.plain)) -> None:
        log.append("handler")

    details = (await fault(handler)).details
    assert details is not None
    assert sorted(each.loc for each in details) == [("a",), ("b",)]
    assert log == []


async def test_nested_dependencies_are_called_once_a_message() -> None:
    calls: list[str] = []

    def database() -> str:
        calls.append("database")
        return "db"

    def user(db: str = Depends(database)) -> str:
        calls.append("user")
        return f"user of {db}"

    async def rights(db: str = Depends(database), who: str = Depends(user)) -> str:
        calls.append("rights")
        return f"rights of {who}"

    async def handler(
        may: str = Depends(rights), who: str = Depends(user), db: str = Depends(database)
    ) -> list[str]:
        return [may, who, db]

    setup = build()
    setup.lobby.on_message("ask", handler)
    async with member(setup, "ann") as ann:
        for _ in range(2):
            answer = await ann.answer(ann.send("BROADCAST", ROOM, "ask"))
            assert answer.payload == {"result": ["rights of user of db", "user of db", "db"]}
    assert calls == ["database", "user", "rights"] * 2


async def test_without_the_cache_it_is_called_for_each_that_asks() -> None:
    calls: list[int] = []

    def count() -> int:
        calls.append(1)
        return len(calls)

    def inner(n: int = Depends(count, use_cache=False)) -> int:
        return n

    async def handler(
        a: int = Depends(count),
        b: int = Depends(count, use_cache=False),
        n: int = Depends(count, use_cache=False),
        m: int = Depends(inner),
        c: int = Depends(count),
    ) -> list[int]:
        return [a, b, n, m, c]

    assert await result(handler) == [1, 2, 3, 4, 1]


async def test_a_client_cannot_give_what_an_inner_dependency_gives() -> None:
    def current_user(ctx: SyncEventContext) -> str:
        return ctx.user.id

    async def check(user: str = Depends(current_user)) -> str:
        return f"checked {user}"

    async def handler(user: str, checked: str = Depends(check)) -> list[str]:
        return [user, checked]

    assert await result(handler, {"user": "mallory"}) == ["mallory", "checked ann"]


async def test_two_dependencies_may_call_different_things_by_one_name() -> None:
    def target(who: str) -> str:
        return who

    def sender(ctx: SyncEventContext) -> str:
        return ctx.user.id

    def check(user: str = Depends(sender)) -> str:
        return user

    async def handler(user: str = Depends(target), by: str = Depends(check)) -> list[str]:
        return [user, by]

    assert await result(handler, {"who": "bob"}) == ["bob", "ann"]


async def test_each_form_is_given_the_context_that_it_can_use() -> None:
    async def waits(context: EventContext) -> str:
        await context.set_assign("from", "waits")
        return str(await context.get_assign("from"))

    def blocks(context: SyncEventContext) -> str:
        context.set_assign("from", "blocks")
        return str(context.get_assign("from"))

    def plain(ctx: SyncEventContext, a: str = Depends(waits), b: str = Depends(blocks)) -> Any:
        return [a, b, ctx.get_assign("from")]

    async def coroutine(
        ctx: EventContext, a: str = Depends(blocks), b: str = Depends(waits)
    ) -> Any:
        return [a, b, await ctx.get_assign("from")]

    assert await result(plain) == ["waits", "blocks", "blocks"]
    assert await result(coroutine) == ["blocks", "waits", "waits"]


async def test_plain_dependencies_run_in_worker_threads_and_async_ones_in_the_loop() -> None:
    here = threading.get_ident()

    def plain() -> bool:
        return threading.get_ident() == here

    def generates() -> Iterator[bool]:
        yield threading.get_ident() == here

    async def waits() -> bool:
        return threading.get_ident() == here

    async def handler(
        a: bool = Depends(plain), b: bool = Depends(generates), c: bool = Depends(waits)
    ) -> list[bool]:
        return [a, b, c]

    assert await result(handler) == [False, False, True]
