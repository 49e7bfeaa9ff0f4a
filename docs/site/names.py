"""What is public, as docs/reference.md names it: for the tests of that page, and for the site."""

import ast
import importlib
import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Final

DOCS: Final = Path(__file__).resolve().parent.parent
ROOT: Final = DOCS.parent
REFERENCE: Final = DOCS / "reference.md"
MODULES: Final = (
    "pondsocket",
    "pondsocket.adapter",
    "pondsocket.backplane",
    "pondsocket.backplane.memory",
    "pondsocket.backplane.redis",
    "pondsocket.testing",
    "pondsocket_asgi",
    "pondsocket_asgi.client",
    "pondsocket_asgi.fastlane",
    "pondsocket_asgi.testing",
    "pondsocket_common",
    "pondsocket_pytest",
)
ROW: Final = re.compile(r"^\| `([^`]+)` \|(.*)\|$", re.MULTILINE)
OURS: Final = frozenset(module.partition(".")[0] for module in MODULES)


@dataclass(frozen=True)
class Row:
    """A row of the reference: `call` as it stands there, and what it says."""

    call: str
    text: str

    @property
    def name(self) -> str:
        """`Class.method` or `Class`, without parameters."""
        return self.call.partition("(")[0]


def section(page: str, heading: str) -> str:
    """Return what stands under a heading, up to the next one of the same level."""
    text = (DOCS / page).read_text()
    level = heading.partition(" ")[0]
    found = re.search(
        rf"^{re.escape(heading)}\n(.*?)(?=^{level} |\Z)", text, re.MULTILINE | re.DOTALL
    )
    assert found, f"{page} has no {heading!r}"
    return found[1]


def rows(text: str) -> dict[str, str]:
    """Return the first and the last column of the tables whose first column is code."""
    return {name: rest.rpartition("|")[2].strip() for name, rest in ROW.findall(text)}


def rows_of(module: str) -> list[Row]:
    """Return the rows of a module, in the order of the page."""
    return [Row(*each) for each in rows(section("reference.md", f"## {module}")).items()]


def names_of(module: str) -> list[str]:
    return sorted(importlib.import_module(module).__all__)


@cache
def _internal_members() -> dict[str, list[str]]:
    listed: dict[str, list[str]] = json.loads((DOCS / "site" / "internal_names.json").read_text())
    return listed


def is_internal(module: str, name: str, member: str) -> bool:
    """Whether only the packages themselves call a method, though it has no underscore."""
    listed = _internal_members().get(f"{module}.{name}", [])
    return member in listed or "*" in listed


def home_of(module: str, name: str) -> str:
    """Return the module under whose heading a name is told in full, where several export it."""
    value = getattr(importlib.import_module(module), name)
    others = [
        place
        for place in MODULES
        if name in names_of(place) and getattr(importlib.import_module(place), name) is value
    ]
    package = getattr(value, "__module__", None) or module
    own = [place for place in others if package.split(".")[0] == place.split(".")[0]]
    return (own or others)[0]


def members(module: str, name: str) -> dict[str, object]:
    """Return the public methods and properties of a public class, inherited ones included.

    Only what our own classes define counts, and what is not internal.
    """
    cls = getattr(importlib.import_module(module), name)
    found: dict[str, object] = {}
    for owner in getattr(cls, "__mro__", ()):
        if owner.__module__.partition(".")[0] not in OURS:
            continue
        for member, value in vars(owner).items():
            plain = value.__func__ if isinstance(value, staticmethod | classmethod) else value
            is_one = inspect.isfunction(plain) or isinstance(plain, property)
            if is_one and not member.startswith("_") and not is_internal(module, name, member):
                found.setdefault(member, plain)
    return found


def is_told(module: str, name: str, member: str) -> bool:
    """Whether the reference tells of a method: in a row, or as another name of one that has a row.

    "It has the methods of `Codec`" in the row of a class tells of all of those.
    """
    own = [row for row in rows_of(module) if row.name.partition(".")[0] == name]
    if any(row.name == f"{name}.{member}" for row in own):
        return True
    also = re.compile(
        rf"also (by the name )?`{member}(\(\))?`|`{member}(\(\))?`, which does the same"
    )
    if any(also.search(row.text) for row in own):
        return True
    text = next(row.text for row in own if row.name == name)
    return any(
        is_told(place, other, member)
        for other in re.findall(r"the methods of `(\w+)`", text)
        for place in MODULES
        if other in names_of(place)
    )


def words(module: ModuleType, name: str) -> str | None:
    """Return a name's docstring; of an alias or a constant the string or comment beside it."""
    value = getattr(module, name)
    if inspect.isclass(value) or inspect.isroutine(value):
        return value.__doc__
    return next(_written_beside(module.__name__.partition(".")[0], name), None)


def _written_beside(package: str, name: str) -> Iterator[str]:
    for path in (ROOT / "packages" / package.replace("_", "-") / "src").rglob("*.py"):
        source = path.read_text()
        if name not in source:
            continue
        body = ast.parse(source).body
        for statement, following in zip(body, [*body[1:], None], strict=True):
            target = getattr(statement, "target", None) or next(
                iter(getattr(statement, "targets", ())), None
            )
            if not (isinstance(target, ast.Name) and target.id == name):
                continue
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                yield str(following.value.value)
            before = source.splitlines()[statement.lineno - 2]
            if before.startswith("#"):
                yield before.lstrip("# ")


def attribute_type(cls: type, name: str) -> str | None:
    """Return the annotation of an attribute, in the class or where its constructor sets it."""
    for owner in cls.__mro__:
        if owner.__module__.partition(".")[0] not in OURS:
            continue
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(owner)))):
            if not isinstance(node, ast.AnnAssign):
                continue
            target = node.target
            if (isinstance(target, ast.Name) and target.id == name) or (
                isinstance(target, ast.Attribute) and target.attr == name
            ):
                return ast.unparse(node.annotation)
    return None
