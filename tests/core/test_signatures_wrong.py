"""Signatures that cannot work fail at registration, with a sentence that says what to write."""

# ruff: noqa: A002

import logging
from collections.abc import Callable
from typing import Any

import pytest
from pondsocket import EventContext, JoinContext, LeaveContext, Next, SyncEventContext, UsageError
from pydantic import BaseModel

from tests.core.typed_handlers import lobby


class Say(BaseModel):
    text: str


async def plain_context(ctx: SyncEventContext) -> None: ...
def must_await(ctx: EventContext) -> None: ...
async def other_kind(ctx: JoinContext) -> None: ...
async def unknown(ctx: EventContext, room) -> None: ...  # type: ignore[no-untyped-def]
async def middleware(ctx: EventContext, next: Next) -> None: ...
async def bare_middleware(ctx, next) -> None: ...  # type: ignore[no-untyped-def]
async def model_elsewhere(ctx: EventContext, said: Say) -> None: ...
async def no_json(ctx: EventContext, lock: logging.Logger) -> None: ...
async def function(ctx: EventContext, call: Callable[[], None]) -> None: ...
async def two_contexts(ctx: EventContext, other: EventContext) -> None: ...
async def by_position(ctx: EventContext, text: str, /) -> None: ...
async def yields(ctx: EventContext):  # type: ignore[no-untyped-def]
    yield 1


async def unresolved(ctx: EventContext, x: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (plain_context, "is `async def`, which SyncEventContext would block: write `ctx: EventC"),
        (must_await, "write `async def`, or `ctx: SyncEventContext`"),
        (other_kind, "'ctx: JoinContext', but what this event handler is given is EventContext"),
        (unknown, "where does 'room' come from? A parameter of the pattern (id), `payload`"),
        (middleware, "this is middleware; pass it after the handler, or as `middlewares=[…]`"),
        (bare_middleware, "this is middleware"),
        (model_elsewhere, "call the parameter `payload`"),
        (no_json, "'lock' cannot be read from JSON"),
        (function, "'call' cannot be read from JSON"),
        (two_contexts, "'other' and 'ctx' are both the context"),
        (by_position, "write it without '/'"),
        (yields, "it has a `yield`; a handler returns its reply"),
        (unresolved, "name 'Nowhere', which is not there at run time"),
    ],
)
def test_a_signature_that_cannot_work_fails_at_registration_with_what_to_write(
    handler: Any, words: str
) -> None:
    with pytest.raises(UsageError) as failure:
        lobby().on_message("ask", handler)
    assert str(failure.value).startswith(f"channel '/room/:id', event 'ask', {handler.__name__}: ")
    assert words in str(failure.value)


def test_a_leave_has_no_payload_to_take_parameters_from() -> None:
    async def on_leave(ctx: LeaveContext, text: str) -> None: ...

    with pytest.raises(UsageError, match="where does 'text' come from"):
        lobby().on_leave(on_leave)
