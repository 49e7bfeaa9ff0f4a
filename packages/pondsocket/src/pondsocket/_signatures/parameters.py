"""Reads from signatures where the parameters of handlers and dependencies come from.

All of it happens at registration; `signatures` makes the calls.
"""

import inspect
from collections.abc import Callable, Coroutine, Hashable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import UnionType
from typing import Any, Final, Generic, NoReturn, TypeVar, Union, get_args, get_origin

from pondsocket_common import Detail
from pydantic import BaseModel, TypeAdapter, ValidationError

from pondsocket import _contexts
from pondsocket._environment import Environment
from pondsocket._errors import InvalidPayload, UsageError
from pondsocket._runtime.functions import (
    Form,
    bound_arguments_of,
    form_of,
    hints_of,
    is_callable_type,
    is_list_type,
    name_of,
    peel,
)
from pondsocket._state.canonical import Canonical, NamedType, OtherText
from pondsocket._state.payloads import unfit_payload, validated

from .adapters import UnknownType, adapter_of
from .declarations import Declaration, declaration_of
from .defaults import EMPTY, LEFT_TO_THE_CLASS, UNTYPED, is_value
from .dependencies import Dependency
from .marks import is_connection_class, is_mark, refuse, type_name
from .responses import ANY_RESPONSE, Response, response_of

C = TypeVar("C")

_CONTEXTS: Final[tuple[type[Any], ...]] = tuple(
    getattr(_contexts, name) for name in _contexts.__all__
)
PAYLOAD: Final = "payload"


@dataclass(frozen=True)
class Kind(Generic[C]):
    """A kind of handler.

    Args:
        name: Its name in error messages, for instance "event".
        context: The class of `ctx`.
        sync_context: Makes the `ctx` of plain functions, which run in worker threads.
        sync_type: The class of that `ctx`.
        params: Returns the pattern's parameters at a call.
        fields: Returns the payload at a call; None: there is none.
        finish: Handles a value that the handler has returned.
        is_answered: Returns at a call whether no answer is expected (any more).
        has_response: Whether the return type says what clients are sent.
        place: Returns the pond's environment, and the owner whose share of the worker threads is
            used.
        abandon: Whether a thread may be left behind when a time limit ends the handler.
        patient: Whether it waits for a thread where others are refused: it has no client to tell.
        scope: Returns the ASGI scope of the client's request at a call; None: it is over.
    """

    name: str
    context: type[Any]
    sync_context: Callable[[C], Any]
    sync_type: type[Any]
    params: Callable[[C], Mapping[str, str]]
    fields: Callable[[C], Mapping[str, Any]] | None
    finish: Callable[[C, object], Coroutine[Any, Any, None]]
    place: Callable[[C], tuple[Environment, Hashable]]
    is_answered: Callable[[C], bool] = lambda _: True
    has_response: bool = False
    abandon: bool = False
    patient: bool = False
    scope: Callable[[C], dict[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter that is read from a mapping and validated.

    Args:
        name: Its name in the signature.
        adapter: Validates it; None: it stays a string.
        required: Whether the call must pass it; False: Python has a default.
        many: Whether it is the list of all values of a repeated name in a query.
        alias: The name that the client uses, if it is another one.
        make_default: Returns its value if the client sends none.
    """

    name: str
    adapter: TypeAdapter[Any] | None
    required: bool = True
    many: bool = False
    alias: str | None = None
    make_default: Callable[[], Any] | None = None

    def read(self, values: Mapping[str, Any]) -> Any:
        """Return its value.

        Raises:
            InvalidPayload: It is missing or does not fit.
        """
        name = self.alias or self.name
        if name not in values:
            if self.make_default is not None:
                return self.make_default()
            raise InvalidPayload((Detail((name,), "Field required", "missing"),))
        getall = getattr(values, "getall", None) if self.many else None
        value = values[name] if getall is None else getall(name)
        return value if self.adapter is None else validated(self.adapter, value, name)


@dataclass(frozen=True, slots=True)
class PathParameter:
    """One parameter that stands in the pattern.

    Args:
        type: Its type; None: it stays a string.
    """

    name: str
    type: NamedType | None

    def read(self, params: Mapping[str, str]) -> Any:
        """Return its value.

        Raises:
            InvalidPayload: It does not fit, or is written in another way.
        """
        text = params[self.name]
        if self.type is None:
            return text
        try:
            return self.type.read(text)
        except ValidationError as error:
            raise unfit_payload(error, (self.name,)) from None
        except OtherText as error:
            raise InvalidPayload((Detail((self.name,), str(error), "canonical"),)) from None


@dataclass(eq=False, slots=True)
class Callee:
    """A handler or a dependency, and where each of its parameters comes from.

    Args:
        context: The name of the parameter that is the context; None: it has no such parameter.
        is_context_first: Whether the context is passed by position.
        requests: What is made of the ASGI scope: the parameter, and its class.
    """

    function: Callable[..., Any]
    form: Form
    context: str | None = None
    is_context_first: bool = False
    paths: list[PathParameter] = field(default_factory=list)
    payload: TypeAdapter[Any] | None = None
    fields: list[Parameter] = field(default_factory=list)
    dependencies: list[tuple[str, "Callee", bool]] = field(default_factory=list)
    requests: list[tuple[str, Callable[[dict[str, Any]], Any]]] = field(default_factory=list)

    @property
    def takes_context_alone(self) -> bool:
        """Whether the context is all that is passed to it."""
        return self.is_context_first and not (
            self.paths or self.payload or self.fields or self.dependencies or self.requests
        )


class Inspector(Generic[C]):
    """Reads the signatures of a handler and of its dependencies.

    Args:
        what: What is being registered, for error messages.
        path_names: The parameters of its patterns.
        overrides: Functions to be called in the place of dependencies.
    """

    def __init__(
        self,
        what: str,
        kind: Kind[C],
        path_names: frozenset[str],
        overrides: Mapping[Callable[..., Any], Callable[..., Any]],
    ) -> None:
        self._what = what
        self._overrides = overrides
        self._kind = kind
        self._path_names = path_names
        self._seen: dict[tuple[int, object], Callee] = {}
        self._unfinished: list[Callee] = []
        self.callees: list[Callee] = []
        self.response: Response = ANY_RESPONSE  # of the handler, once its signature is read

    def handler(self, function: Callable[..., Any]) -> Callee:
        """Read the signatures of a handler and of its dependencies.

        Raises:
            UsageError: Its signature cannot work; the message says what to write.
        """
        callee = Callee(function, form_of(function))
        if callee.form in (Form.GENERATOR, Form.ASYNC_GENERATOR):
            self._fail(function, "it has a `yield`; a handler returns its reply")
        self._inspect(callee, is_handler=True)
        return callee

    def _dependency(self, asked_by: Callee, dependency: Dependency) -> Callee:
        function = dependency.function
        try:
            function = self._overrides.get(function, function)
            key: tuple[int, object] = (hash(function), function)
        except TypeError:
            key = (id(function), None)
        if not callable(function):
            what = name_of(dependency.function)
            self._fail(asked_by.function, f"in the place of {what}, {function!r} is no function")
        callee = self._seen.get(key)
        if callee is None:
            callee = self._seen[key] = Callee(function, form_of(function))
            self._inspect(callee, is_handler=False)
        elif callee in self._unfinished:
            self._fail(asked_by.function, f"it depends on {name_of(function)}, which depends on it")
        return callee

    def _inspect(self, callee: Callee, *, is_handler: bool) -> None:
        self._unfinished.append(callee)
        function = callee.function
        fail = partial(self._fail, function)
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):
            # A builtin that hides its signature. A handler is assumed to take the context.
            callee.context, callee.is_context_first = ("ctx", True) if is_handler else (None, False)
            signature = inspect.Signature()
        try:
            hints = hints_of(function, signature)
        except NameError as error:
            self._fail(
                function,
                f"its annotations name {error.name!r}, which is not there at run time;"
                " define or import it at the top of the module, outside of `if TYPE_CHECKING`",
            )
        bound = bound_arguments_of(function)
        for name, value in bound.items():
            if is_mark(value):
                refuse(f"a `partial` fills '{name}' with", value, name, EMPTY, fail)
        parameters = [each for each in signature.parameters.values() if each.name not in bound]
        is_model = inspect.isclass(function) and issubclass(function, BaseModel)
        for position, parameter in enumerate(parameters):
            if is_model and is_value(EMPTY, parameter.default):
                # pydantic lets a model's default have another type, or shows None in its place.
                parameter = parameter.replace(default=LEFT_TO_THE_CLASS)
            self._add(
                callee,
                parameter,
                hints[parameter.name],
                is_handler=is_handler,
                is_first=position == 0,
            )
        if is_handler and self._kind.has_response:
            where = f"{self._what}, {name_of(function)}"
            self.response = response_of(hints["return"], callee.form, where, fail)
        self._unfinished.pop()
        self.callees.append(callee)

    def _add(
        self,
        callee: Callee,
        parameter: inspect.Parameter,
        hint: Any,
        *,
        is_handler: bool,
        is_first: bool,
    ) -> None:
        name, function = parameter.name, callee.function
        if is_connection_class(hint) and parameter.default is EMPTY:
            self._add_request(callee, name, hint)
            return
        declaration = declaration_of(name, hint, parameter.default, partial(self._fail, function))
        hint = declaration.hint
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            if is_handler and is_first and parameter.kind is parameter.VAR_POSITIONAL:
                callee.context, callee.is_context_first = name, True  # a wrapper
            if declaration.dependency is not None:
                self._fail(function, f"'*{name}' cannot be a dependency; write one parameter")
            return
        dependency = declaration.dependency
        if dependency is not None:
            asked = self._dependency(callee, dependency)
            callee.dependencies.append((name, asked, dependency.use_cache))
        elif self._is_context(callee, name, hint, guess=is_first and is_handler):
            if callee.context is not None:
                self._fail(function, f"'{name}' and '{callee.context}' are both the context")
            callee.context = name
            callee.is_context_first = is_first and parameter.kind is not parameter.KEYWORD_ONLY
        elif name in self._path_names:
            if declaration.alias is not None:
                self._fail(function, f"'{name}' comes from the pattern; write no alias")
            callee.paths.append(PathParameter(name, self._named_type(function, name, hint)))
        else:
            self._add_field(callee, name, declaration)
        if parameter.kind is parameter.POSITIONAL_ONLY and callee.context != name:
            self._fail(function, "parameters are passed by name; write it without '/'")

    def _add_request(self, callee: Callee, name: str, hint: type[Any]) -> None:
        if self._kind.scope is None:
            self._fail(
                callee.function,
                f"'{name}: {hint.__name__}' is there for connection handlers alone, as the request"
                " is over by then; keep what you need: `ctx.accept(…)`, `ctx.get_assign(…)`",
            )
        callee.requests.append((name, hint))

    def _is_context(self, callee: Callee, name: str, hint: Any, *, guess: bool) -> bool:
        contexts = _contexts_of(hint)
        if contexts:
            for context in contexts:  # one that fits is enough for a union
                if self._is_given(callee, context):
                    return True
            self._refuse_context(callee, name, contexts[0])
        is_named = name in self._path_names or name == PAYLOAD
        return hint in UNTYPED and not is_named and (guess or name == "ctx")

    def _is_given(self, callee: Callee, hint: type[Any]) -> bool:
        wanted = self._kind.context if callee.form.in_loop else self._kind.sync_type
        # Of a class of the application's own, the context that it is derived from.
        return issubclass(wanted, next(each for each in hint.__mro__ if each in _CONTEXTS))

    def _refuse_context(self, callee: Callee, name: str, hint: type[Any]) -> NoReturn:
        kind = self._kind
        wanted = kind.context if callee.form.in_loop else kind.sync_type
        if hint is kind.context:
            self._fail(
                callee.function,
                f"it is a plain function, and what {hint.__name__} does must be awaited: write"
                f" `async def`, or `{name}: {wanted.__name__}`",
            )
        if hint is kind.sync_type:
            self._fail(
                callee.function,
                f"it is `async def`, which {hint.__name__} would block: write"
                f" `{name}: {wanted.__name__}`",
            )
        self._fail(
            callee.function,
            f"'{name}: {hint.__name__}', but what this {kind.name} handler is given is"
            f" {wanted.__name__}",
        )

    def _add_field(self, callee: Callee, name: str, declaration: Declaration) -> None:
        function, hint = callee.function, declaration.hint
        if name == "next" and (hint in UNTYPED or is_callable_type(hint)):
            self._fail(
                function, "this is middleware; pass it after the handler, or as `middlewares=[…]`"
            )
        if hint is EMPTY and not declaration.is_required:
            return  # no client sets it: the default stays
        if self._kind.fields is None:
            self._fail(
                function, f"where does '{name}' come from? A {self._kind.name} has no payload"
            )
        alias = declaration.alias
        if alias is not None and alias in self._path_names:
            self._fail(function, f"the pattern has '{alias}'; call '{name}' so")
        if any(isinstance(mark, Canonical) for mark in peel(hint)[1]):
            self._fail(function, f"'{name}' has `Canonical(…)`, but is no parameter of the pattern")
        if name == PAYLOAD:
            if alias is not None:
                self._fail(function, f"'{name}' is the whole payload; write no alias")
            whole = dict[str, Any] if hint in UNTYPED else hint
            callee.payload = self._adapter(function, name, whole)
            return
        if hint is EMPTY:
            known = ", ".join(sorted(self._path_names)) or "none"
            self._fail(
                function,
                f"where does '{name}' come from? A parameter of the pattern ({known}), `payload`,"
                f" a field of the payload (`{name}: int`), or a dependency (`= Depends(…)`)",
            )
        if isinstance(hint, type) and issubclass(hint, BaseModel):
            self._fail(
                function, f"a model stands for the whole payload: call the parameter `{PAYLOAD}`"
            )
        callee.fields.append(
            Parameter(
                name,
                self._adapter(function, name, hint),
                declaration.is_required,
                is_list_type(hint),
                alias,
                declaration.make_default,
            )
        )

    def _named_type(self, function: object, name: str, hint: Any) -> NamedType | None:
        if hint in (*UNTYPED, str):
            return None
        bare, marks = peel(hint)
        mark = next((each for each in marks if isinstance(each, Canonical)), None)
        try:
            return NamedType(self._adapter(function, name, hint), mark)
        except UsageError as error:
            wanted = type_name(bare)
            self._fail(
                function,
                f"'{name}: {wanted}' is a part of a name, but {error}: write `{name}: str`, or"
                f" `{name}: Annotated[{wanted}, Canonical(function)]`, whose function returns the"
                " one text of a value",
            )

    def _adapter(self, function: object, name: str, hint: Any) -> TypeAdapter[Any]:
        try:
            return adapter_of(hint)
        except UnknownType as error:
            self._fail(
                function,
                f"'{name}' cannot be read from JSON ({error}); if it is a dependency, write"
                " `= Depends(…)`",
            )

    def _fail(self, function: object, reason: str) -> NoReturn:
        raise UsageError(f"{self._what}, {name_of(function)}: {reason}.")


def _contexts_of(hint: Any) -> list[type[Any]]:
    """Return the contexts that a type names: one, several for a union, or none."""
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return [each for each in options if isinstance(each, type) and issubclass(each, _CONTEXTS)]
