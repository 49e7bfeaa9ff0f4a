"""Typed handlers: called with the arguments that their signatures ask for.

A handler may ask for its context, for parameters of the pattern by name, for the whole `payload`,
for single fields of it, and for dependencies. Its return value is passed to the kind's `finish`.
A handler that asks for its context alone is called directly.
"""

from collections.abc import Callable, Coroutine, Generator, Mapping
from contextlib import (
    AbstractContextManager,
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
    contextmanager,
)
from functools import partial
from types import TracebackType
from typing import Any, Final, Generic, TypeAlias, TypeVar

import anyio
from pondsocket_common import Detail
from pydantic import ValidationError

from pondsocket._errors import InvalidPayload, UsageError
from pondsocket._log import get_log
from pondsocket._runtime.functions import Form
from pondsocket._runtime.loop import failure_of
from pondsocket._runtime.plain_calls import PlainCalls
from pondsocket._state.canonical import OtherText
from pondsocket._state.payloads import validated

from .parameters import PAYLOAD, Callee, Inspector, Kind
from .responses import NoResponse

C = TypeVar("C")

Arguments: TypeAlias = dict[str, Any]

Step: TypeAlias = tuple[Form, Callable[[], Any]]
"""A call to be made. For a generator it returns the context manager to be entered."""

_log: Final = get_log("pondsocket.handlers")
_NO_OVERRIDES: Final[Mapping[Callable[..., Any], Callable[..., Any]]] = {}


class TypedHandler(Generic[C]):
    """A handler and where its parameters come from.

    Args:
        what: What is being registered, for error messages.
        path_names: The parameters of its patterns.
        overrides: Functions to be called in the place of dependencies.

    Raises:
        UsageError: Its signature cannot work; the message says what to write.
    """

    def __init__(
        self,
        what: str,
        handler: Callable[..., Any],
        kind: Kind[C],
        path_names: frozenset[str],
        overrides: Mapping[Callable[..., Any], Callable[..., Any]] = _NO_OVERRIDES,
    ) -> None:
        self._what = what
        self._kind = kind
        self._handler = handler
        self._path_names = path_names
        self._overrides = overrides
        self._overridden: TypedHandler[C] | None = None
        inspector = Inspector(what, kind, path_names, overrides)
        self._callee = callee = inspector.handler(handler)
        # Each dependency before the functions that depend on it, the handler last.
        self._callees = inspector.callees
        self.is_plain = callee.form is Form.ASYNC and callee.takes_context_alone
        self.response = response = inspector.response
        self.finish = response.drop if isinstance(response, NoResponse) else kind.finish
        forms = {each.form for each in self._callees}
        is_plain = {form for form in forms if not form.in_loop}
        self._stays_in_loop = not is_plain
        self._is_one_call = forms == is_plain
        # Other messages may wait in their threads for what a generator holds. So a message with a
        # generator must not wait for a thread.
        self._keeps_thread = bool(
            is_plain and forms != is_plain and forms & {Form.GENERATOR, Form.ASYNC_GENERATOR}
        )
        self._selective = [
            (path.name, path.type)
            for each in self._callees
            for path in each.paths
            if path.type is not None
        ]

    @property
    def is_selective(self) -> bool:
        """Whether `fits` may return False."""
        return bool(self._selective)

    def fits(self, params: Mapping[str, str]) -> bool:
        """Return whether the pattern's parameters have the types that the handler asks for."""
        for name, kind in self._selective:
            try:
                kind.read(params[name])
            except (ValidationError, OtherText):
                return False
            except BaseException as error:  # noqa: BLE001 - boundary: a validator
                text = "A validator of '%s' failed (%s)."
                _log.error(text, name, self._what, exc_info=failure_of(error))
                return False
        return True

    def explain(self, params: Mapping[str, str]) -> str:
        """Return what a client should know about parameters that do not fit; mostly nothing."""
        for name, kind in self._selective:
            try:
                kind.read(params[name])
            except OtherText as error:
                return f" Its {name} is written {error.canonical}." if error.is_sayable else ""
            except BaseException as error:  # noqa: BLE001 - boundary: a validator; `fits` has logged it
                failure_of(error)
                return ""
        return ""

    async def __call__(self, context: C) -> None:
        """Call the handler and finish with its return value.

        Raises:
            InvalidPayload: The payload does not fit.
        """
        response = self.response
        if self.is_plain:
            returned = await self._handler(context)
            if response.shape is not None:
                returned = response.shape(returned)
        elif self._callee.dependencies:
            returned = await self._with_overrides(context)._call(context)
        else:
            returned = await self._call(context)
        if returned is not None:
            await self.finish(context, returned)
        elif response.missing and not self._kind.is_answered(context):
            raise UsageError(response.missing)

    def _with_overrides(self, context: C) -> "TypedHandler[C]":
        """Return the handler as it is with the overrides that the pond has now.

        Raises:
            UsageError: A function in the place of a dependency has a signature that cannot work.
        """
        overrides = self._kind.place(context)[0].overrides
        if not overrides:
            return self
        made = self._overridden
        if made is None or made._overrides != overrides:
            made = self._overridden = TypedHandler(
                self._what, self._handler, self._kind, self._path_names, dict(overrides)
            )
        return made

    async def _call(self, context: C) -> object:
        read = self._read(context)
        if self._stays_in_loop:
            return await self._run(context, read, None)
        kind = self._kind
        environment, owner = kind.place(context)
        threads, abandon = environment.threads, kind.abandon
        if self._keeps_thread:
            async with threads.keep(owner, abandon=abandon, patient=kind.patient) as kept:
                return await self._run(context, read, PlainCalls(kept.call))
        plain = PlainCalls(partial(threads.run, owner, abandon=abandon))
        if self._is_one_call:
            return await self._run_plain(context, read, plain)
        return await self._run(context, read, plain)

    async def _run(
        self, context: C, read: dict[Callee, Arguments], plain: PlainCalls | None
    ) -> object:
        """Take one step after another: `async` ones here, plain ones in `plain`."""
        async with AsyncExitStack() as stack:
            steps = self._steps(self._callee, context, read, {})
            form, call = next(steps)
            while True:
                try:
                    form, call = steps.send(await _take(form, call, plain, stack))
                except StopIteration as done:
                    return done.value
        raise self._swallowed()

    async def _run_plain(
        self, context: C, read: dict[Callee, Arguments], plain: PlainCalls
    ) -> object:
        """Take all steps in one thread, as all are plain."""
        steps = self._steps(self._callee, context, read, {})
        rest = _Rest()
        try:
            result = await plain.call(partial(self._go_on, steps, None, rest))
            while rest.coroutine is not None:
                # Here, where it is cancelled when its time is over: a thread cannot be cancelled.
                value = await rest.take()
                result = await plain.call(partial(self._go_on, steps, value, rest))
            return result
        finally:
            rest.drop()

    def _go_on(self, steps: Generator[Step, Any, Any], value: Any, rest: "_Rest") -> object:
        """Take one step after another. Return the result, or leave in `rest` what comes before."""
        has_entered = False
        with ExitStack() as stack:
            while True:
                try:
                    form, call = steps.send(value)
                except StopIteration as done:
                    return done.value
                value = call()
                if form is Form.GENERATOR:
                    value = stack.enter_context(value)
                    has_entered = True
                elif isinstance(value, Coroutine):
                    if not has_entered:
                        rest.give(value)
                        return None
                    # What the generator holds would then wait for the next free thread.
                    value.close()
                    raise UsageError(
                        f"{self._what}: a plain function has returned a coroutine, beside a"
                        " generator dependency: write it, or the decorator around it, as"
                        " `async def`."
                    )
        raise self._swallowed()

    def _swallowed(self) -> UsageError:
        return UsageError(
            f"{self._what}: a dependency has swallowed an exception of the handler, which then"
            " has no answer; raise it again, or a PondError in its place."
        )

    def _read(self, context: C) -> dict[Callee, Arguments]:
        """Read each function's arguments from the message, before any function is called."""
        params = self._kind.params(context)
        values = {} if self._kind.fields is None else self._kind.fields(context)
        details: dict[tuple[object, ...], Detail] = {}
        counts: dict[str, int] = {}  # by field: one that several functions ask for counts once
        read: dict[Callee, Arguments] = {}
        for callee in self._callees:
            arguments = read[callee] = {path.name: path.read(params) for path in callee.paths}
            for name, make in callee.requests:
                if self._kind.scope is not None:
                    arguments[name] = make(self._kind.scope(context))
            if callee.payload is not None:
                arguments[PAYLOAD] = validated(callee.payload, dict(values))
            for each in callee.fields:
                if not each.required and each.name not in values:
                    continue
                try:
                    arguments[each.name] = each.read(values)
                except InvalidPayload as error:
                    details.update({(*detail.loc, detail.type): detail for detail in error.details})
                    counts[each.name] = max(error.count, counts.get(each.name, 0))
        if counts:
            raise InvalidPayload([*details.values()], sum(counts.values()))
        return read

    def _steps(
        self,
        callee: Callee,
        context: C,
        read: dict[Callee, Arguments],
        cache: dict[Callee, Any],
    ) -> Generator[Step, Any, Any]:
        """Yield the calls to make, dependencies first. Each result is sent in.

        Each function gets its own parameters, and no others. What the handler returns is made a
        JSON value while its dependencies are there, and in the thread of a plain one: reading an
        attribute of it may ask a database.

        Returns:
            The result of the function itself.
        """
        arguments = read[callee]
        if callee.dependencies:
            arguments = dict(arguments)
        for name, dependency, use_cache in callee.dependencies:
            if use_cache and dependency in cache:
                arguments[name] = cache[dependency]
                continue
            value = yield from self._steps(dependency, context, read, cache)
            arguments[name] = value
            if use_cache:
                cache[dependency] = value
        by_position = self._shown(callee, context, arguments)
        function = callee.function
        if callee.form is Form.GENERATOR:
            function = contextmanager(function)
        elif callee.form is Form.ASYNC_GENERATOR:
            function = asynccontextmanager(function)
        returned = yield callee.form, partial(function, *by_position, **arguments)
        shape = self.response.shape
        if shape is None or callee is not self._callee:
            return returned
        if callee.form is Form.PLAIN:
            return (yield callee.form, partial(shape, returned))
        return shape(returned)

    def _shown(self, callee: Callee, context: C, arguments: Arguments) -> tuple[Any, ...]:
        """Add the context. Return it if it is to be passed by position."""
        if callee.context is None:
            return ()
        shown = context if callee.form.in_loop else self._kind.sync_context(context)
        if callee.is_context_first:
            return (shown,)
        arguments[callee.context] = shown
        return ()


async def _take(
    form: Form, call: Callable[[], Any], plain: PlainCalls | None, stack: AsyncExitStack
) -> object:
    if form is Form.ASYNC_GENERATOR:
        return await stack.enter_async_context(call())
    if form is Form.ASYNC or plain is None:
        return await call()
    if form is Form.PLAIN:
        rest = _Rest()
        try:
            result = await plain.call(partial(rest.call, call))
            return result if rest.coroutine is None else await rest.take()
        finally:
            rest.drop()
    manager = _Entered(call())
    # Before it is entered: a cancellation may leave the thread behind in the middle of that.
    stack.push_async_exit(partial(_leave, plain, manager))
    return await plain.call(manager.enter)


class _Rest:
    """The coroutine that a plain function has returned: a lambda, or a wrapper of `async def`.

    It is not passed as the result: trio lets no function in a thread return one, and a thread that
    was left behind has no caller.
    """

    __slots__ = ("_is_over", "coroutine")

    def __init__(self) -> None:
        self.coroutine: Coroutine[Any, Any, Any] | None = None
        self._is_over = False

    def call(self, function: Callable[[], Any]) -> object:
        """Call a plain function, in the thread. Keep its result if that is a coroutine."""
        result = function()
        if not isinstance(result, Coroutine):
            return result
        self.give(result)
        return None

    def give(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Keep it, for the caller; close it if there is none any more."""
        self.coroutine = coroutine
        if self._is_over:
            coroutine.close()

    async def take(self) -> object:
        """Await it."""
        coroutine, self.coroutine = self.coroutine, None
        return None if coroutine is None else await coroutine

    def drop(self) -> None:
        """Close it, if it was not awaited."""
        self._is_over = True
        if self.coroutine is not None:
            self.coroutine.close()


class _Entered:
    """A context manager that is left only if it was entered."""

    __slots__ = ("_is_entered", "_manager")

    def __init__(self, manager: AbstractContextManager[Any]) -> None:
        self._manager = manager
        self._is_entered = False

    def enter(self) -> object:
        """Enter it, in the thread that leaves it later."""
        value: object = self._manager.__enter__()
        self._is_entered = True
        return value

    def leave(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Leave it. True if it has handled the exception."""
        return self._is_entered and self._manager.__exit__(exc_type, exc, traceback)


async def _leave(
    plain: PlainCalls,
    manager: _Entered,
    exc_type: type[BaseException] | None,
    exc: BaseException | None,
    traceback: TracebackType | None,
) -> bool:
    # The clean-up also runs after a cancellation, which no generator may swallow.
    is_handled: bool | None = None
    with anyio.CancelScope(shield=True):
        is_handled = await plain.call(partial(manager.leave, exc_type, exc, traceback))
    return bool(is_handled) and isinstance(exc, Exception)
