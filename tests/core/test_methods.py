"""The decorators of methods: what they refuse, and which methods of a class they mark."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest
from pondsocket import (
    EventContext,
    JoinContext,
    UsageError,
    channel,
    on_join,
    on_leave,
    on_message,
    on_outgoing,
)
from pondsocket._handlers.methods import methods_of


async def handler(ctx: EventContext) -> None: ...


async def join(ctx: JoinContext) -> None: ...


def nested() -> Any:
    async def inner(ctx: EventContext) -> None: ...

    return on_message("a")(inner)


MISTAKES: dict[str, tuple[Callable[[], Any], str]] = {
    "on_message without parentheses": (
        lambda: on_message(handler),  # type: ignore[arg-type]
        r'Write `@on_message\("event"\)`',
    ),
    "on_outgoing without parentheses": (
        lambda: on_outgoing(handler),  # type: ignore[arg-type]
        r'Write `@on_outgoing\("event"\)`',
    ),
    "channel without parentheses": (
        lambda: channel(handler),  # type: ignore[arg-type]
        r'Write `@channel\("/name"\)`',
    ),
    "a function of a module": (
        lambda: on_message("a")(handler),
        r"for methods, which take `self` first; for the function handler, .*`@lobby.on_mess",
    ),
    "a join of a module": (lambda: on_join(join), "for the function join"),
    "a function in a function": (nested, "for the function inner"),
    "a class": (lambda: on_message("a")(dict), "for a method of a class, not <class 'dict'>"),
    "no function": (lambda: on_leave(3), "for a method of a class, not 3"),  # type: ignore[call-overload]
    "channel at a function": (
        lambda: channel("/a")(join),  # type: ignore[type-var]
        r"write `@endpoint.channel\(…\)` or `@router.channel\(…\)`",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_with_what_to_write(name: str) -> None:
    make, text = MISTAKES[name]
    with pytest.raises(UsageError, match=text):
        make()


def test_decorators_return_the_method_itself() -> None:
    async def method(self: object) -> None: ...

    assert on_message("a")(method) is method
    assert on_leave(method) is method
    static = staticmethod(method)
    assert on_message("a")(static) is static


def test_a_wrapper_around_a_marked_method_is_marked_and_its_later_marks_are_its_own() -> None:
    def logged(method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        async def wrapper(*args: Any) -> Any:
            return await method(*args)

        return wrapper

    async def method(self: object) -> None: ...

    class Wrapped:
        inner = on_message("a")(method)
        outer = on_message("b")(logged(inner))

    marks = [(each.mark.pattern, each.function.__func__) for each in methods_of(Wrapped())]  # type: ignore[attr-defined]
    assert marks == [("a", method), ("a", Wrapped.outer), ("b", Wrapped.outer)]


def test_properties_are_not_read() -> None:
    class Lazy:
        @property
        def database(self) -> None:
            raise AssertionError

        @on_message("a")
        async def a(self) -> None: ...

    assert [each.mark.pattern for each in methods_of(Lazy())] == ["a"]


def test_a_class_may_have_slots() -> None:
    class Slotted:
        __slots__ = ("db",)

        @on_message("a")
        async def a(self) -> None: ...

    assert [each.mark.pattern for each in methods_of(Slotted())] == ["a"]
