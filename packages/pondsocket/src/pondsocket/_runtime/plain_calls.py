"""The context that the plain functions of one message share, in whichever threads they run."""

from collections.abc import Awaitable, Callable
from contextvars import Context, ContextVar, Token, copy_context
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

import anyio

T = TypeVar("T")

_GONE: Final = object()

plain_callers: Final[ContextVar[list[int]]] = ContextVar("pondsocket_plain_callers")
"""In a plain function and what it calls: the id of the task that waits for it, while it does."""

Changes: TypeAlias = list[tuple[ContextVar[Any], Any]]
"""Context variables and their new values."""

Tokens: TypeAlias = dict[ContextVar[Any], Token[Any]]
"""How each variable becomes what it was before it was set first."""


class PlainCalls:
    """Makes the plain calls of one message, all in one context.

    Changes that `async` steps make in the task's context are copied into it, and back. A token
    resets its variable only in the context that it comes from, so each context has its own tokens.
    """

    __slots__ = ("_context", "_given", "_run", "_seen", "_taken")

    def __init__(self, run: Callable[[Callable[[], Any]], Awaitable[Any]]) -> None:
        self._run = run
        self._context: Context | None = None
        self._seen = copy_context()
        # The tokens of what was set first: here for the plain calls, and for the task.
        self._given: Tokens = {}
        self._taken: Tokens = {}

    async def call(self, function: Callable[[], T]) -> T:
        """Call a plain function in a thread."""
        given = _changes(self._seen, copy_context())
        made: Changes = []
        callers = [anyio.get_current_task().id]
        try:
            result: T = await self._run(partial(self._call, function, given, made, callers))
        finally:
            _apply(made, self._taken)
            self._seen = copy_context()
        return result

    def _call(
        self, function: Callable[[], T], given: Changes, made: Changes, callers: list[int]
    ) -> T:
        context = self._context
        if context is None:  # the first call: the thread's own context is a copy of the task's
            context = self._context = self._seen.copy()
            given = [*_changes(self._seen, copy_context()), *given]
        context.run(_apply, given, self._given)
        context.run(plain_callers.set, callers)
        before = context.copy()
        try:
            return context.run(function)
        finally:
            callers.clear()  # a task that the function has started may outlive it
            made += _changes(before, context)


def _apply(changes: Changes, tokens: Tokens) -> None:
    for variable, value in changes:
        if value is not _GONE:
            token = variable.set(value)
            tokens.setdefault(variable, token)
        elif (first := tokens.pop(variable, None)) is not None:
            variable.reset(first)


def _changes(before: Context, after: Context) -> Changes:
    changed = [
        (variable, value)
        for variable, value in after.items()
        if before.get(variable, _GONE) is not value
    ]
    return changed + [(variable, _GONE) for variable in before if variable not in after]
