"""docs/reference.md and docs/limits.md are complete, and every public name says what it is."""

import ast
import importlib
import inspect
import json
import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Final

import pytest
from pondsocket import History, Options

from docs.site.names import (
    DOCS,
    MODULES,
    ROW,
    is_told,
    members,
    names_of,
    rows,
    rows_of,
    section,
    words,
)
from tests.servers import ROOT
from tests.test_readme import DOCUMENTS, blocks

ARCHITECTURE: Final = DOCS / "concepts" / "architecture.md"
LINK: Final = re.compile(r"\]\(([^)#\s]*)(#[^)\s]*)?\)")
HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)
PAGES: Final = sorted(DOCS.rglob("*.md"))
# Parameters that only overloads have: `*more` continues `handler`; and what a framework passes.
UNTOLD: Final = {"self", "cls", "more", "_app"}
NOT_FOR_APPLICATIONS: Final = {
    "pondsocket.adapter",
    "pondsocket.backplane",
    "pondsocket_asgi.fastlane",
    "pondsocket_common",
}
RAISED: Final = re.compile(r"^ +raise ([A-Z]\w+)\(", re.MULTILINE)


def test_the_reference_has_every_public_module() -> None:
    assert set(MODULES) == set(json.loads((ROOT / "tests" / "public_names.json").read_text()))


@pytest.mark.parametrize("module", MODULES)
def test_the_reference_names_what_is_public_and_nothing_else(module: str) -> None:
    listed = rows_of(module)
    every_name = {row.name.partition(".")[0] for row in listed}
    assert sorted(every_name) == public_names(module)
    assert all(row.text for row in listed)


@pytest.mark.parametrize("module", MODULES)
def test_the_reference_tells_of_every_public_method(module: str) -> None:
    missing = [
        f"{name}.{member}"
        for name in public_names(module)
        for member in members(module, name)
        if not is_told(module, name, member)
    ]
    assert missing == []


@pytest.mark.parametrize("module", MODULES)
def test_the_reference_names_every_parameter(module: str) -> None:
    missing = []
    for row in rows_of(module):
        function = callable_of(module, row.name)
        if inspect.isfunction(function):
            parameters = set(inspect.signature(function).parameters) - UNTOLD
            missing += [f"{row.name}: {name}" for name in parameters - names_in(row.call)]
        elif inspect.isclass(function) and (example := f"`{row.name}(") in row.text:
            parameters = set(inspect.signature(function).parameters)
            told = names_in(row.text.partition(example)[2].partition("`")[0])
            missing += [f"{row.name}: {name}" for name in told ^ parameters]
    assert missing == []


@pytest.mark.parametrize("module", MODULES)
def test_docstrings_name_the_errors_that_a_call_raises(module: str) -> None:
    silent = []
    for name in public_names(module):
        own = {name: callable_of(module, name)} if not members(module, name) else {}
        for member, function in {**own, **members(module, name)}.items():
            if inspect.isfunction(function):
                text = function.__doc__ or ""
                raised = set(RAISED.findall(inspect.getsource(function)))
                if "see `" not in text:  # there they are named
                    silent += [f"{name}.{member}: {each}" for each in raised if each not in text]
    assert silent == []


def test_applications_find_an_example_of_every_call() -> None:
    shown = set()
    examples = [path.read_text() for path in (ROOT / "examples").rglob("*.py")]
    pages = [code for page in DOCUMENTS for _, code in blocks(page.read_text(), "python")]
    for code in examples + pages:
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Attribute):
                shown.add(node.attr)
            elif isinstance(node, ast.Name):
                shown.add(node.id)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                shown.add(node.name)  # of a class that derives from one of ours
    missing = {
        row.name
        for module in sorted(set(MODULES) - NOT_FOR_APPLICATIONS)
        for row in rows_of(module)
        if takes_something(callable_of(module, row.name))
        and row.name.rpartition(".")[2] not in shown
        and not row.text.startswith(("for adapters", "for the pond", "for `logging`"))
    }
    assert not missing, "\n".join(sorted(missing))


def takes_something(function: object) -> bool:
    if not inspect.isfunction(function):
        return False
    return bool(set(inspect.signature(function).parameters) - UNTOLD)


def public_names(module: str) -> list[str]:
    return [name for name in names_of(module) if name != "__version__"]


def callable_of(module: str, name: str) -> object:
    owner, _, member = name.partition(".")
    found = getattr(importlib.import_module(module), owner)
    found = inspect.getattr_static(found, member, None) if member else found
    return getattr(found, "__func__", found)


def names_in(call: str) -> set[str]:
    return set(re.findall(r"\w+", call))


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
    if hasattr(cls, name):
        return True
    own = [inspect.getsource(each) for each in cls.__mro__[:-1] if "pondsocket" in each.__module__]
    is_set = re.compile(rf"self\.{name}(: [^=]+)? = ")
    return any(is_set.search(source) for source in own)


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_and_method_has_a_docstring(module: str) -> None:
    imported = importlib.import_module(module)
    silent = [name for name in names_of(module) if not words(imported, name)]
    for name in names_of(module):
        silent += [each for each, method in members(module, name).items() if not method.__doc__]
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
