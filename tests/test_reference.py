"""docs/reference.md and docs/limits.md are complete, and every public name says what it is."""

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest
from pondsocket import History, Options

from tests.servers import ROOT

DOCS: Final = ROOT / "docs"
ARCHITECTURE: Final = DOCS / "concepts" / "architecture.md"
MODULES: Final = (
    "pondsocket",
    "pondsocket.adapter",
    "pondsocket.testing",
    "pondsocket_asgi",
    "pondsocket_asgi.fastlane",
    "pondsocket_asgi.testing",
    "pondsocket_common",
)
ROW: Final = re.compile(r"^\| `([^`]+)` \|(.*)\|$", re.MULTILINE)
LINK: Final = re.compile(r"\]\(([^)#\s]*)(#[^)\s]*)?\)")
HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)
PAGES: Final = sorted(DOCS.rglob("*.md"))


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


def names_of(module: str) -> list[str]:
    return sorted(importlib.import_module(module).__all__)


def words(module: ModuleType, name: str) -> str | None:
    """Return a name's docstring; of an alias or a constant the string or comment beside it."""
    value = getattr(module, name)
    if inspect.isclass(value) or inspect.isroutine(value):
        return value.__doc__
    return next(written_beside(module.__name__.partition(".")[0], name), None)


def written_beside(package: str, name: str) -> Iterator[str]:
    for path in (ROOT / "packages" / package.replace("_", "-") / "src").rglob("*.py"):
        body = ast.parse(path.read_text()).body
        for statement, following in zip(body, [*body[1:], None], strict=True):
            target = getattr(statement, "target", None) or next(
                iter(getattr(statement, "targets", ())), None
            )
            if not (isinstance(target, ast.Name) and target.id == name):
                continue
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                yield str(following.value.value)
            before = path.read_text().splitlines()[statement.lineno - 2]
            if before.startswith("#"):
                yield before


def methods(cls: type) -> Iterator[tuple[str, object]]:
    """Yield the public methods and properties of a class, also those inherited from our classes."""
    for owner in cls.__mro__:
        if owner.__module__.partition(".")[0] in {each.partition(".")[0] for each in MODULES}:
            for name, value in vars(owner).items():
                if isinstance(value, staticmethod | classmethod):
                    value = value.__func__
                if not name.startswith("_") and (
                    inspect.isfunction(value) or isinstance(value, property)
                ):
                    yield f"{owner.__name__}.{name}", value


@pytest.mark.parametrize("module", MODULES)
def test_the_reference_names_what_is_public_and_nothing_else(module: str) -> None:
    listed = rows(section("reference.md", f"## {module}"))
    every_name = {name.partition(".")[0] for name in listed}
    assert sorted(every_name) == [name for name in names_of(module) if name != "__version__"]
    assert all(listed.values())


@pytest.mark.parametrize("module", MODULES)
def test_every_method_in_the_reference_is_there(module: str) -> None:
    missing = []
    for name in rows(section("reference.md", f"## {module}")):
        owner, _, member = name.partition("(")[0].partition(".")
        if member and not has_member(getattr(importlib.import_module(module), owner), member):
            missing.append(name)
    assert not missing


def has_member(cls: type, name: str) -> bool:
    """Whether it is a method or a property, or set by the constructor."""
    own = [inspect.getsource(each) for each in cls.__mro__[:-1] if "pondsocket" in each.__module__]
    is_set = re.compile(rf"self\.{name}(: [^=]+)? = ")
    return hasattr(cls, name) or any(is_set.search(source) for source in own)


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_and_method_has_a_docstring(module: str) -> None:
    imported = importlib.import_module(module)
    silent = [name for name in names_of(module) if not words(imported, name)]
    for name in names_of(module):
        if inspect.isclass(cls := getattr(imported, name)):
            silent += [each for each, method in methods(cls) if not method.__doc__]
    assert [name for name in silent if name != "__version__"] == []


@pytest.mark.parametrize(
    ("options", "page", "heading"),
    [
        (Options, "limits.md", "## All of them"),
        (History, "history.md", "## What is kept, and for how long"),
    ],
)
def test_every_option_stands_on_its_page_with_its_default(
    options: type[Options | History], page: str, heading: str
) -> None:
    table = {
        name: row.split("|")[0].strip(" `") for name, row in ROW.findall(section(page, heading))
    }
    assert {name: ast.literal_eval(default) for name, default in table.items()} == {
        each.name: each.default for each in fields(options) if each.default is not MISSING
    }


def test_the_limits_say_which_options_none_switches_off() -> None:
    text = section("limits.md", "## All of them")
    told = {name for name, row in ROW.findall(text) if row.split("|")[1].strip() == "yes"}
    hints = inspect.get_annotations(Options)
    assert told == {name for name, hint in hints.items() if "None" in str(hint)}


@pytest.mark.parametrize("page", [str(page.relative_to(ROOT)) for page in PAGES])
def test_every_link_leads_somewhere(page: str) -> None:
    lost = []
    for target, anchor in LINK.findall((ROOT / page).read_text()):
        if "://" in target:
            continue
        path = (ROOT / page).parent / target if target else ROOT / page
        if not path.exists() or (anchor and anchor[1:] not in anchors(path)):
            lost.append(target + anchor)
    assert not lost


def anchors(path: Path) -> list[str]:
    """Return the names by which a page's headings can be linked to, after GitHub's rules."""
    plain = [
        re.sub(r"[^\w\- ]", "", heading).lower() for heading in HEADING.findall(path.read_text())
    ]
    return [heading.replace(" ", "-") for heading in plain]


def test_every_page_is_in_the_index() -> None:
    index = (DOCS / "README.md").read_text()
    pages = {page.relative_to(DOCS).as_posix() for page in PAGES} - {"README.md"}
    assert {page for page in pages if f"({page})" not in index} == set()


def test_the_drawing_names_every_module_and_no_other() -> None:
    (drawing,) = re.findall(r"^```\n(.*?)^```$", ARCHITECTURE.read_text(), re.MULTILINE | re.DOTALL)
    rooms = {
        path.relative_to(root).parts[0]
        for root in (ROOT / "packages").glob("*/src/*")
        for path in root.rglob("*.py")
    } - {"__init__.py"}
    files = {room for room in rooms if room.endswith(".py")}
    assert set(re.findall(r"\b\w+\.py\b", drawing)) == files
    assert set(re.findall(r"\b(\w+)/ ", drawing)) == rooms - files
