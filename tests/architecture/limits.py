"""How large things may be: files, functions, and what one object holds.

Each limit is a function that takes the folder of the packages, and gives what exceeds it.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from tests.architecture import rules

_UNFORMATTED: Final = re.compile(r"#\s*fmt:\s*(off|skip)\b")
_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)
# Classes that only hold values, as do all classes below them; exceptions are known by their names.
_VALUES: Final = frozenset({"BaseModel", "Enum", "Flag", "IntEnum", "IntFlag", "StrEnum"}) | {
    "TypedDict"
}
_EXCEPTION: Final = re.compile(r"(Error|Exception|Warning)$")
# Those of which a class below is a class like any other.
_VALUES_ITSELF: Final = frozenset({"NamedTuple", "Protocol"})
_NO_ATTRIBUTES: Final = frozenset({"__dict__", "__weakref__"})


class Class(NamedTuple):
    """A class, and the module that defines it."""

    module: str
    node: ast.ClassDef


def long_files(folder: Path, most: int) -> dict[str, int]:
    """Modules of more than `most` lines, and how many they have."""
    counts = {
        module: len(path.read_text().splitlines()) for module, path in rules.modules(folder).items()
    }
    return {module: count for module, count in counts.items() if count > most}


def unformatted(folder: Path) -> dict[str, int]:
    """Modules with comments that keep the formatter from its work, and how many they have."""
    counts = {
        module: sum(
            each.type == tokenize.COMMENT and _UNFORMATTED.match(each.string) is not None
            for each in tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
        )
        for module, path in rules.modules(folder).items()
    }
    return {module: count for module, count in counts.items() if count}


def long_functions(folder: Path, most: int) -> dict[str, int]:
    """Functions of more than `most` lines, and how many they have.

    Neither decorators nor the docstring count. A function inside another counts in both.
    """
    counts = {
        f"{module}.{name}": _length(node)
        for module, path in rules.modules(folder).items()
        for name, node in _definitions(ast.parse(path.read_text()))
        if isinstance(node, _FUNCTIONS) and not _is_overload(node)
    }
    return {name: count for name, count in counts.items() if count > most}


def _definitions(around: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.AST]]:
    """The functions and classes of a module, at any depth, by their qualified names."""
    for node in ast.iter_child_nodes(around):
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            yield f"{prefix}{node.name}", node
            yield from _definitions(node, f"{prefix}{node.name}.")
        else:
            yield from _definitions(node, prefix)


def _length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[0]
    is_documented = ast.get_docstring(node, clean=False) is not None
    return _lines(node) - (_lines(first) if is_documented else 0)


def _lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _is_overload(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(_last_part(each) == "overload" for each in node.decorator_list)


def _last_part(node: ast.expr) -> str:
    """`c` of `a.b.c`, of `a.b.c(...)` and of `a.b.c[...]`."""
    match node:
        case ast.Call(func=inner) | ast.Subscript(value=inner):
            return _last_part(inner)
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
        case _:
            return ""


def large_classes(folder: Path, most: int) -> dict[str, int]:
    """Classes whose instances have more than `most` attributes, and how many they have.

    What counts: names in `__slots__`, annotated fields, and what methods assign to `self`, also in
    base classes that are in `folder`. What only holds values may hold many: data classes, named
    tuples, typed dictionaries, enums, protocols, exceptions and pydantic models.
    """
    classes = {
        f"{module}.{name}": Class(module, node)
        for module, path in rules.modules(folder).items()
        for name, node in _definitions(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    }
    aliases = {
        f"{each.importer}.{each.known_as}": ".".join(filter(None, (each.module, each.name)))
        for each in rules.imports(folder)
    }
    counts = {}
    for name, each in classes.items():
        line = [each.node, *(base.node for base in _above(each, classes, aliases))]
        if not _only_holds_values(line):
            counts[name] = len(set().union(*map(_attributes, line)))
    return {name: count for name, count in counts.items() if count > most}


def _above(
    derived: Class, classes: Mapping[str, Class], aliases: Mapping[str, str]
) -> Iterator[Class]:
    """The base classes of a class, and theirs, as far as they are in `classes`."""
    for base in derived.node.bases:
        written = ast.unparse(base.value if isinstance(base, ast.Subscript) else base)
        full, seen = f"{derived.module}.{written}", set[str]()
        # An imported name leads to the module that it comes from, which may import it itself.
        while full not in classes and full not in seen:
            seen.add(full)
            place, _, name = full.rpartition(".")
            full = aliases.get(full) or f"{aliases.get(place, place)}.{name}"
        if full in classes:
            yield classes[full]
            yield from _above(classes[full], classes, aliases)


def _only_holds_values(line: Sequence[ast.ClassDef]) -> bool:
    """Whether this is true of the first of these classes; the others are above it."""
    own = {_last_part(each) for each in line[0].bases}
    above = {_last_part(each) for node in line for each in node.bases}
    return (
        any(_last_part(each) == "dataclass" for each in line[0].decorator_list)
        or not own.isdisjoint(_VALUES_ITSELF)
        or not above.isdisjoint(_VALUES)
        or any(_EXCEPTION.search(name) for name in above)
    )


def _attributes(node: ast.ClassDef) -> set[str]:
    """What the class itself gives to its instances."""
    names: set[str] = set()
    for each in node.body:
        match each:
            case ast.Assign(targets=[ast.Name(id="__slots__")], value=value):
                constants = (part for part in ast.walk(value) if isinstance(part, ast.Constant))
                names |= {str(constant.value) for constant in constants} - _NO_ATTRIBUTES
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation):
                names |= set() if _last_part(annotation) == "ClassVar" else {name}
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                names.update(_assigned(each))
    # Assigning to a property calls its setter, which is counted for what it assigns to.
    return names - {each.name for each in node.body if isinstance(each, _FUNCTIONS)}


def _assigned(method: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    """The attributes of `self` that a method assigns to."""
    for node in ast.walk(method):
        match node:
            case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                yield name


def beyond(found: Mapping[str, int], exceptions: Mapping[str, int]) -> list[str]:
    """What breaks a limit: not listed, or above the number that is listed for it.

    So does what is listed, but breaks the limit no longer: the list only gets shorter.
    """
    texts = []
    for name in sorted({*found, *exceptions}):
        if name not in found:
            texts.append(f"{name} no longer needs its exception")
        elif name not in exceptions:
            texts.append(f"{name} has {found[name]}, which is too much")
        elif found[name] > exceptions[name]:
            texts.append(f"{name} has {found[name]}, at most {exceptions[name]}")
    return texts
