"""Whether a function that wraps `send` passes a message on as it is, and does nothing else with it.

This is read from the function's source, never tried out: a trial could be counted. Only the path
that one kind of message takes is followed, so that what is done with others may change from one
version of a middleware to the next. What is not understood is not trusted.
"""

import ast
import linecache
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType
from typing import Any, Final

_UNKNOWN: Final = object()


class _NotUnderstood(Exception):  # noqa: N818 - an answer, not an error
    """The function may do more than pass the message on."""


def passes_on(
    function: FunctionType, message: Mapping[str, Any], inner: str, given: Mapping[str, Any]
) -> bool:
    """Return whether a function awaits `inner(message)` once, and does nothing else.

    Args:
        function: An `async def` whose first argument after `self` is the message.
        message: The fields that the message is known to have.
        inner: The expression of what it calls, such as `send` or `self.send`.
        given: Expressions and names whose values are known.
    """
    definition = _definition(function)
    if definition is None:
        return False
    names = [argument.arg for argument in definition.args.args if argument.arg != "self"]
    if not names or inner.partition(".")[0] in _locals(function):
        return False
    path = _Path(function, names[0], message, inner, given)
    try:
        path.follow(definition.body)
    except _NotUnderstood:
        return False
    return path.has_passed_on


def _definition(function: FunctionType) -> ast.AsyncFunctionDef | None:
    """Return a function's source, parsed. None if it cannot be read, or is not what runs."""
    code = function.__code__
    source = "".join(linecache.getlines(code.co_filename, function.__globals__))
    try:
        tree = ast.parse(source)
        whole = compile(tree, code.co_filename, "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return None
    # The file may have been changed since it was loaded, and a function may have been made by hand.
    if not any(code == each for each in _codes(whole)):
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.AsyncFunctionDef) and node.name == code.co_name:
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            if first == code.co_firstlineno:
                return node
    return None


def _codes(code: CodeType) -> Iterator[CodeType]:
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield each
            yield from _codes(each)


def _locals(function: FunctionType) -> tuple[str, ...]:
    return function.__code__.co_varnames[function.__code__.co_argcount :]


class _Path:
    """The path that one message takes through a function."""

    def __init__(
        self,
        function: FunctionType,
        name: str,
        message: Mapping[str, Any],
        inner: str,
        given: Mapping[str, Any],
    ) -> None:
        self.has_passed_on = False
        self._name = name
        self._message = message
        self._inner = inner
        code = function.__code__
        self._globals = function.__globals__
        self._not_global = {*code.co_varnames, *code.co_freevars, *code.co_cellvars}
        # What is assigned to any other name, such as a counter, outlives the call.
        self._locals = _locals(function)
        self._known = dict(given)

    def follow(self, body: list[ast.stmt]) -> bool:
        """Follow statements. True if the function has returned."""
        for statement in body:
            match statement:
                case ast.Nonlocal() | ast.Pass() | ast.Expr(ast.Constant()):
                    pass
                case ast.Expr(ast.Await(call)):
                    self._pass_on(call)
                case ast.Return(None):
                    return True
                case ast.Return(ast.Await(call)):
                    self._pass_on(call)
                    return True
                case ast.Assign([ast.Name(name)], value) if name in self._locals:
                    self._known[name] = self._value(value)
                case ast.If(test, then, otherwise):
                    value = self._value(test)
                    if value is _UNKNOWN:
                        self._ignore(then, otherwise)
                    elif self.follow(then if value else otherwise):
                        return True
                case _:
                    raise _NotUnderstood
        return False

    def _ignore(self, *branches: list[ast.stmt]) -> None:
        """Follow branches of which one is taken: none of them may matter."""
        passed, known = self.has_passed_on, self._known
        for branch in branches:
            self._known = dict(known)
            if self.follow(branch) or self.has_passed_on is not passed:
                raise _NotUnderstood
        self._known = known
        for branch in branches:
            for node in ast.walk(ast.Module(branch, [])):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    self._known[node.id] = _UNKNOWN

    def _pass_on(self, call: ast.expr) -> None:
        match call:
            case ast.Call(function, [ast.Name(name)], []) if (
                name == self._name
                and ast.unparse(function) == self._inner
                and not self.has_passed_on
            ):
                self.has_passed_on = True
            case _:
                raise _NotUnderstood

    def _value(self, node: ast.expr) -> Any:
        """Return the value of an expression that does nothing but look; or `_UNKNOWN`."""
        match node:
            case ast.Constant(value):
                return value
            case ast.Name(name) | ast.Attribute(ast.Name(name)):
                return self._named(ast.unparse(node), name)
            case ast.Subscript(ast.Name(name), ast.Constant(str(key))) if name == self._name:
                return self._message.get(key, _UNKNOWN)
            case ast.Call(
                ast.Attribute(ast.Name(name), "get"), [ast.Constant(str(key)), *_], []
            ) if name == self._name:
                return self._message.get(key, _UNKNOWN)
            case ast.UnaryOp(ast.Not(), operand):
                value = self._value(operand)
                return value if value is _UNKNOWN else not value
            case ast.Tuple(parts) | ast.Set(parts) | ast.List(parts):
                values = [self._value(part) for part in parts]
                return _UNKNOWN if _UNKNOWN in values else values
            case ast.BoolOp(operator, operands):
                return self._any(operands, isinstance(operator, ast.Or))
            case ast.Compare(left, [operator], [right]):
                return self._compared(operator, self._value(left), self._value(right))
            case _:
                raise _NotUnderstood

    def _named(self, expression: str, name: str) -> Any:
        if expression in self._known:
            return self._known[expression]
        if expression != name or name in self._not_global:
            return _UNKNOWN
        value = self._globals.get(name)
        return value if isinstance(value, str) else _UNKNOWN

    def _any(self, operands: list[ast.expr], wanted: bool) -> Any:
        """Return the value of `or`, or of `and` where `wanted` is False."""
        result: Any = not wanted
        for operand in operands:
            value = self._value(operand)
            if value is _UNKNOWN:
                result = _UNKNOWN
            elif bool(value) is wanted:
                return wanted  # those behind it do not run
        return result

    @staticmethod
    def _compared(operator: ast.cmpop, left: Any, right: Any) -> Any:
        if _UNKNOWN in (left, right):
            return _UNKNOWN
        match operator:
            case ast.Eq():
                return left == right
            case ast.NotEq():
                return left != right
            case ast.In():
                return left in right
            case ast.NotIn():
                return left not in right
            case _:
                return _UNKNOWN
