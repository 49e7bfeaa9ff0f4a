"""Each rule of the layout, tried on a small tree that breaks it and on one that does not."""

from pathlib import Path

import pytest

from tests.architecture import rules
from tests.architecture.trees import tree

PACKAGES = ("low", "high")


def test_modules_are_named_by_where_they_are(tmp_path: Path) -> None:
    folder = tree(tmp_path / "packages" / "high" / "src", high__inner__part="")
    assert list(rules.modules(tmp_path)) == ["high", "high.inner", "high.inner.part"]
    assert rules.modules(tmp_path)["high"] == folder / "high" / "__init__.py"


def test_relative_imports_are_resolved(tmp_path: Path) -> None:
    text = "from . import other\nfrom .other import x\nfrom ..top import y\nimport low.a"
    tree(tmp_path, high__inner__part=text, high__inner__other="", high__top="", low__a="")
    found = [(each.module, each.name) for each in rules.imports(tmp_path)]
    assert found == [
        ("high.inner.other", None),
        ("high.inner.other", "x"),
        ("high.top", "y"),
        ("low.a", None),
    ]


@pytest.mark.parametrize(
    "files",
    [
        {"low__a": "from high import Name"},
        {"low__a": "import high"},
        {"high__b": "from low._inner import Name"},
        {"high__b": "import low._inner"},
        {"high__b": "from low import _inner"},
        {"high__b": "from low import Unlisted"},
        {"high__b": "def f():\n    from low import Unlisted"},
        {"high__b": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from low import No"},
    ],
)
def test_a_package_imports_public_names_of_lower_ones_alone(
    tmp_path: Path, files: dict[str, str]
) -> None:
    tree(tmp_path, low___inner="", high__b="from low import Name", low__a="")
    names = "__all__ = ['Name']"
    (tmp_path / "low" / "__init__.py").write_text(names)
    (tmp_path / "high" / "__init__.py").write_text(names)
    assert rules.out_of_order(tmp_path, PACKAGES) == []
    tree(tmp_path, **files)
    assert len(rules.out_of_order(tmp_path, PACKAGES)) == 1


TYPES_ALONE = """
    from typing import TYPE_CHECKING
    if TYPE_CHECKING:
        from .{} import Name
"""


def test_a_circle_of_files_is_found(tmp_path: Path) -> None:
    tree(tmp_path, low__a="from .b import x", low__b="from .c import x", low__c="")
    assert rules.circles(rules.file_graph(tmp_path)) == []
    tree(tmp_path, low__c="def late():\n    from low.a import x")
    assert rules.circles(rules.file_graph(tmp_path)) == [["low.a", "low.b", "low.c"]]


def test_a_circle_of_types_alone_is_found(tmp_path: Path) -> None:
    tree(tmp_path, low__a="from .b import x", low__b=TYPES_ALONE.format("a"))
    assert rules.circles(rules.file_graph(tmp_path)) == [["low.a", "low.b"]]


def test_a_circle_of_folders_is_found_where_their_files_have_none(tmp_path: Path) -> None:
    tree(tmp_path, low__near__a="", low__near__b="from low.far import c", low__far__c="")
    assert rules.circles(rules.folder_graph(tmp_path)) == []
    tree(tmp_path, low__far__d="import low.near.a")
    assert rules.circles(rules.file_graph(tmp_path)) == []
    assert rules.circles(rules.folder_graph(tmp_path)) == [["low.far", "low.near"]]


def test_a_circle_of_a_folder_and_a_module_beside_it_is_found(tmp_path: Path) -> None:
    tree(tmp_path, low__near__a="from low.beside import x", low__beside="from .near import b")
    tree(tmp_path, low__near__b="")
    assert rules.circles(rules.folder_graph(tmp_path)) == [["low.beside", "low.near"]]


def test_two_circles_are_two(tmp_path: Path) -> None:
    pairs = {"a": "b", "b": "a", "c": "d", "d": "c"}
    tree(tmp_path, **{f"low__{one}": f"from . import {other}" for one, other in pairs.items()})
    tree(tmp_path, low__a="from . import b, c")
    assert rules.circles(rules.file_graph(tmp_path)) == [["low.a", "low.b"], ["low.c", "low.d"]]


def test_a_folder_with_too_many_modules_is_found(tmp_path: Path) -> None:
    tree(tmp_path, low__a="", low__b="", low__inner__c="", low__inner__d="")
    assert rules.crowded(tmp_path, 2) == []
    tree(tmp_path, low__inner__e="")
    assert rules.crowded(tmp_path, 2) == ["low.inner has 3"]


@pytest.mark.parametrize(
    "text",
    [
        "async def f(): ...",
        "async def f():\n    async with x: ...",
        "class C:\n    async def f(self): ...",
    ],
)
def test_a_pure_module_that_waits_is_found(tmp_path: Path, text: str) -> None:
    tree(tmp_path, low__pure__a="def f(): ...", low__other=text)
    assert rules.waiting(tmp_path, ["low.pure"]) == []
    tree(tmp_path, low__pure__a=text)
    assert rules.waiting(tmp_path, ["low.pure"])


@pytest.mark.parametrize("text", ["import anyio.lowlevel", "def f():\n    from anyio import sleep"])
def test_a_pure_module_that_imports_a_clock_or_a_loop_is_found(tmp_path: Path, text: str) -> None:
    tree(tmp_path, low__pure="from .other import x", low__other=text, low__purely=text)
    assert rules.importing(tmp_path, {"anyio", "time"}, within=["low.pure"]) == []
    tree(tmp_path, low__pure=text)
    assert rules.importing(tmp_path, {"anyio", "time"}, within=["low.pure"])


def test_json_outside_of_its_list_is_found(tmp_path: Path) -> None:
    tree(tmp_path, low__codec__a="import json\nimport orjson", low__b="from .codec import a")
    assert rules.importing(tmp_path, {"json", "orjson"}, but=["low.codec"]) == []
    tree(tmp_path, low__b="from json import loads")
    assert rules.importing(tmp_path, {"json", "orjson"}, but=["low.codec"]) == [
        "low.b:1 json loads"
    ]


def test_asyncio_outside_of_its_list_is_found(tmp_path: Path) -> None:
    tree(tmp_path, low__fast="import asyncio", low__b="import sys\nsys.modules.get('asyncio')")
    assert rules.importing(tmp_path, {"asyncio"}, but=["low.fast"]) == []
    tree(tmp_path, low__b="import asyncio.events")
    assert rules.importing(tmp_path, {"asyncio"}, but=["low.fast"]) == ["low.b:1 asyncio.events"]


def test_a_call_of_a_method_outside_of_its_list_is_found(tmp_path: Path) -> None:
    called = "def f(sink, frame):\n    return sink.inner.offer(frame)"
    tree(tmp_path, low__fanout=called, low__b="def offer(x): ...\noffer(1)\nx = [].offer")
    assert rules.calling(tmp_path, {"offer"}, but=["low.fanout"]) == []
    tree(tmp_path, high__b=called.replace("offer", "offer_all"), high__inner__c="super().offer(1)")
    found = rules.calling(tmp_path, {"offer"}, but=["low.fanout"])
    assert found == ["high.inner.c:1 offer"]
    tree(tmp_path, high__b=called)
    found = rules.calling(tmp_path, {"offer"}, but=["low.fanout"])
    assert found == ["high.b:2 offer", "high.inner.c:1 offer"]


def test_a_list_that_names_what_is_not_there_is_found(tmp_path: Path) -> None:
    tree(tmp_path, low__inner__a="")
    assert rules.missing(tmp_path, ["low.inner", "low.inner.a"]) == []
    assert rules.missing(tmp_path, ["low.inner.b", "low.in"]) == ["low.inner.b", "low.in"]
