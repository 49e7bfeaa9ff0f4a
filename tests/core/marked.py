"""What the tests of marks have in common: things that a signature may hold, and its refusal."""

import inspect
from collections.abc import Callable
from typing import Any, Final

import pytest
from pondsocket import EventContext, UsageError

from tests.core.typed_handlers import lobby

EMPTY: Final = inspect.Parameter.empty


def current_user() -> str:
    return "checked by the server"


async def get_db() -> str:
    return "database"


class Database: ...


class Wired:
    """The mark of a framework that is not known here."""


def signature_of(name: str, hint: Any, default: Any) -> Callable[..., Any]:
    """An event handler with this one parameter beside its context."""

    async def handler(*args: Any, **kwargs: Any) -> None: ...

    kind = inspect.Parameter.KEYWORD_ONLY
    context = inspect.Parameter("ctx", kind, annotation=EventContext)
    parameter = inspect.Parameter(name, kind, annotation=hint, default=default)
    handler.__signature__ = inspect.Signature([context, parameter])  # type: ignore[attr-defined]
    handler.__annotations__ = {"ctx": EventContext}
    if hint is not EMPTY:
        handler.__annotations__[name] = hint
    return handler


def refusal(handler: Callable[..., Any]) -> str:
    """The reason why it is not registered."""
    with pytest.raises(UsageError) as failure:
        lobby().on_message("ask", handler)
    sentence = str(failure.value)
    assert sentence.startswith("channel '/room/:id', event 'ask', ")
    return sentence
