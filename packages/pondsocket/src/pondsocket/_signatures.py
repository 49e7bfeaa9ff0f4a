"""Typed handlers: called with what their signatures ask for.

A handler may ask for its context, for parameters of the pattern by name, for the whole `payload`,
for single fields of it, and for dependencies. What it returns is handed to the kind's `finish`.
A handler that asks for its context alone is called as it is.
"""

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import (
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from functools import partial
from typing import Any, Final, Generic, TypeAlias, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread
from pondsocket_common import Detail
from pydantic import ValidationError

from ._errors import InvalidPayload, UsageError
from ._functions import Form
from ._parameters import PAYLOAD, Callee, Inspector, Kind, validated

C = TypeVar("C")

Arguments: TypeAlias = dict[str, Any]

_log: Final = logging.getLogger("pondsocket.handlers")

# As many as anyio's own default. A limiter of our own, so that handlers that block cannot take
# the threads of the application that we are mounted in.
_MAX_THREADS: Final = 40
_limiter: anyio.lowlevel.RunVar[anyio.CapacityLimiter] = anyio.lowlevel.RunVar("pond_threads")


class TypedHandler(Generic[C]):
    """A handler and where its parameters come from.

    Args:
        what: What is being registered, for sentences.
        path_names: The parameters of its patterns.

    Raises:
        UsageError: Its signature cannot work; the message says what to write.
    """

    def __init__(
        self, what: str, handler: Callable[..., Any], kind: Kind[C], path_names: frozenset[str]
    ) -> None:
        self._what = what
        self._kind = kind
        self._handler = handler
        inspector = Inspector(what, kind, path_names)
        self._callee = callee = inspector.handler(handler)
        # The dependencies before whoever depends on them, the handler last.
        self._callees = inspector.callees
        self.is_plain = callee.form is Form.ASYNC and callee.takes_context_alone
        self._selective = [
            path for each in self._callees for path in each.paths if path.adapter is not None
        ]

    @property
    def is_selective(self) -> bool:
        """Whether `fits` may say no."""
        return bool(self._selective)

    def fits(self, params: Mapping[str, str]) -> bool:
        """Whether the pattern's parameters have the types that the handler asks for."""
        for path in self._selective:
            if path.adapter is not None:
                try:
                    path.adapter.validate_python(params[path.name])
                except ValidationError:
                    return False
                except Exception:  # noqa: BLE001 - boundary: a validator of the application's
                    _log.exception("A validator of '%s' failed (%s).", path.name, self._what)
                    return False
        return True

    async def __call__(self, context: C) -> None:
        """Call the handler and deal with what it returns.

        Raises:
            InvalidPayload: The payload does not fit.
        """
        if self.is_plain:
            returned = await self._handler(context)
        else:
            returned = await self._call(context)
        if returned is not None:
            await self._kind.finish(context, returned)

    async def _call(self, context: C) -> object:
        read = self._read(context)
        if not self._callee.dependencies:
            return await self._invoke(self._callee, context, read[self._callee])
        async with AsyncExitStack() as stack:
            arguments = await self._solve(self._callee, context, read, {}, stack)
            return await self._invoke(self._callee, context, arguments)
        raise UsageError(
            f"{self._what}: a dependency has swallowed an exception of the handler, which then"
            " has no answer; raise it again, or a PondError in its place."
        )

    def _read(self, context: C) -> dict[Callee, Arguments]:
        """What the message gives to each of the functions, before any of them is called."""
        params = self._kind.params(context)
        values = {} if self._kind.fields is None else self._kind.fields(context)
        faults: dict[tuple[object, ...], Detail] = {}
        read: dict[Callee, Arguments] = {}
        for callee in self._callees:
            arguments = read[callee] = {path.name: path.read(params) for path in callee.paths}
            if callee.payload is not None:
                arguments[PAYLOAD] = validated(callee.payload, dict(values))
            for each in callee.fields:
                if not each.required and each.name not in values:
                    continue
                try:
                    arguments[each.name] = each.read(values)
                except InvalidPayload as fault:
                    faults.update({(*detail.loc, detail.type): detail for detail in fault.details})
        if faults:
            raise InvalidPayload(tuple(faults.values()))
        return read

    async def _solve(
        self,
        callee: Callee,
        context: C,
        read: dict[Callee, Arguments],
        cache: dict[Callee, Any],
        stack: AsyncExitStack,
    ) -> Arguments:
        """All that a function is called with; each sees its own parameters, and no others."""
        arguments = read[callee]
        if not callee.dependencies:
            return arguments
        arguments = dict(arguments)
        for name, dependency, use_cache in callee.dependencies:
            if use_cache and dependency in cache:
                arguments[name] = cache[dependency]
                continue
            inner = await self._solve(dependency, context, read, cache, stack)
            value = await self._give(dependency, context, inner, stack)
            arguments[name] = value
            if use_cache:
                cache[dependency] = value
        return arguments

    async def _give(
        self, callee: Callee, context: C, arguments: Arguments, stack: AsyncExitStack
    ) -> object:
        if callee.form in (Form.PLAIN, Form.ASYNC):
            return await self._invoke(callee, context, arguments)
        by_position = self._shown(callee, context, arguments)
        if callee.form is Form.ASYNC_GENERATOR:
            manager = asynccontextmanager(callee.function)(*by_position, **arguments)
            return await stack.enter_async_context(manager)
        blocking = contextmanager(callee.function)(*by_position, **arguments)
        return await stack.enter_async_context(_in_threads(blocking))

    async def _invoke(self, callee: Callee, context: C, arguments: Arguments) -> object:
        by_position = self._shown(callee, context, arguments)
        if callee.form is Form.ASYNC:
            return await callee.function(*by_position, **arguments)
        return await anyio.to_thread.run_sync(
            partial(callee.function, *by_position, **arguments),
            abandon_on_cancel=self._kind.abandon,
            limiter=_threads(),
        )

    def _shown(self, callee: Callee, context: C, arguments: Arguments) -> tuple[Any, ...]:
        """Add the context; by position, if it is to be passed so."""
        if callee.context is None:
            return ()
        shown = context if callee.form.in_loop else self._kind.sync_context(context)
        if callee.is_context_first:
            return (shown,)
        arguments[callee.context] = shown
        return ()


@asynccontextmanager
async def _in_threads(manager: AbstractContextManager[Any]) -> AsyncIterator[Any]:
    value = await anyio.to_thread.run_sync(manager.__enter__, limiter=_threads())
    # Beside the limit: whoever waits for what this gives back may hold all of its threads.
    one = anyio.CapacityLimiter(1)
    try:
        yield value
    except BaseException as exc:  # a cancellation is cleaned up after as well
        leave = partial(manager.__exit__, type(exc), exc, exc.__traceback__)
        with anyio.CancelScope(shield=True):
            is_handled = await anyio.to_thread.run_sync(leave, limiter=one)
        if not is_handled or not isinstance(exc, Exception):
            raise
    else:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(manager.__exit__, None, None, None, limiter=one)


def _threads() -> anyio.CapacityLimiter:
    try:
        return _limiter.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(_MAX_THREADS)
        _limiter.set(limiter)
        return limiter
