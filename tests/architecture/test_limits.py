"""Each limit, tried on a small tree that exceeds it and on one that does not."""

from pathlib import Path

import pytest

from tests.architecture import limits
from tests.architecture.trees import tree


def test_a_long_file_is_found(tmp_path: Path) -> None:
    tree(tmp_path, low__a="x = 1\n" * 3, low__b="x = 1\n" * 2)
    assert limits.long_files(tmp_path, 3) == {}
    assert limits.long_files(tmp_path, 2) == {"low.a": 3}


@pytest.mark.parametrize("comment", ["# fmt: skip", "#fmt:off", "# fmt: off"])
def test_what_keeps_the_formatter_from_its_work_is_found(tmp_path: Path, comment: str) -> None:
    tree(tmp_path, low__a=f"x = '{comment}'\n# About {comment}.\n")
    assert limits.unformatted(tmp_path) == {}
    tree(tmp_path, low__b=f"x = 1\ny = 2  {comment}\n")
    assert limits.unformatted(tmp_path) == {"low.b": 1}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("def f():\n    x = 1\n    y = 2\n", "f"),
        ("async def f():\n    x = 1\n    y = 2\n", "f"),
        ("def f(\n    x=1,\n): ...\n", "f"),
        ("if True:\n    def f():\n        x = 1\n\n        y = 2\n", "f"),
        ("class C:\n    class D:\n        def f():\n            x = 1\n            y = 2", "C.D.f"),
    ],
)
def test_a_long_function_is_found(tmp_path: Path, text: str, name: str) -> None:
    tree(tmp_path, low__a=text)
    assert limits.long_functions(tmp_path, 4) == {}
    assert list(limits.long_functions(tmp_path, 2)) == [f"low.a.{name}"]


@pytest.mark.parametrize(
    "text",
    [
        "@one\n@two(\n    1,\n)\ndef f():\n    return 1\n",
        'def f():\n    """Return 1.\n\n    More.\n    """\n    return 1\n',
        "import typing\n@typing.overload\ndef f(\n    x=1,\n    y=2,\n): ...\n",
    ],
)
def test_decorators_docstrings_and_overloads_make_no_function_long(
    tmp_path: Path, text: str
) -> None:
    tree(tmp_path, low__a=text)
    assert limits.long_functions(tmp_path, 2) == {}


@pytest.mark.parametrize(
    "text",
    [
        "class C:\n    __slots__ = ('a', 'b', 'c')",
        "class C:\n    __slots__ = ('a', 'b')\n    def f(self): self.c: int = 1",
        "class C:\n    a: int\n    b: int\n    def f(self): self.c = 1",
        "class C:\n    def f(self): self.a, self.b = 1, 2\n    def g(self): self.c = self.a = 1",
        "class C:\n    async def f(self):\n        with x as self.a: self.b, self.c = 1, 2",
        "class C(Base):\n    __slots__ = ('a', 'b', 'c')",
        "class C:\n    def f(self):\n        def g(): self.a = self.b = self.c = 1",
        "def f():\n    class C:\n        __slots__ = ('a', 'b', 'c')",
    ],
)
def test_a_class_with_many_attributes_is_found(tmp_path: Path, text: str) -> None:
    tree(tmp_path, low__a=text)
    assert limits.large_classes(tmp_path, 3) == {}
    assert list(limits.large_classes(tmp_path, 2).values()) == [3]


@pytest.mark.parametrize(
    "text",
    [
        "class C:\n    __slots__ = ('a', '__weakref__', '__dict__')",
        "class C:\n    a: ClassVar[int]\n    b: typing.ClassVar[int] = 1\n    c = 2",
        "class C:\n    def f(self): other.a = other.b = self.b.c = self.a[0] = 1",
        "class C:\n    def f(self): self.x = self._x = 1\n    @x.setter\n    def x(self, to): ...",
    ],
)
def test_what_is_no_attribute_of_an_instance_does_not_count(tmp_path: Path, text: str) -> None:
    tree(tmp_path, low__a=text)
    assert limits.large_classes(tmp_path, 1) == {}


@pytest.mark.parametrize(
    "files",
    [
        {"low__b": "from .a import Base\nclass C(Base):\n    c: int"},
        {"low__b": "from .a import Base as Other\nclass C(Other[int]):\n    c: int"},
        {"low__b": "from low import a\nclass C(a.Base):\n    c: int"},
        {"low__b": "import low.a\nclass C(low.a.Base):\n    c: int"},
        {"low__b": "import low.a as it\nclass C(it.Base):\n    c: int"},
        {
            "low__mid": "from . import a",
            "high__b": "from low.mid import a as it\nclass C(it.Base): c: int",
        },
        {
            "low__mid": "from .a import Base",
            "low__b": "from .mid import Base\nclass C(Base): c: int",
        },
        {"low__b": "from .a import Base\nclass B(Base): ...\nclass C(B):\n    c: int"},
    ],
)
def test_inherited_attributes_count_once(tmp_path: Path, files: dict[str, str]) -> None:
    tree(tmp_path, low__a="class Base:\n    a: int\n    b: int\n    def f(self): self.b = 1")
    tree(tmp_path, **files)
    assert limits.large_classes(tmp_path, 3) == {}
    assert list(limits.large_classes(tmp_path, 2).values()) == [3]


def test_a_base_class_of_the_same_name_elsewhere_does_not_count(tmp_path: Path) -> None:
    tree(tmp_path, low__a="class Base:\n    a: int\n    b: int")
    tree(tmp_path, low__b="from outside import Base\nclass C(Base): c: int")
    (tmp_path / "low" / "__init__.py").write_text("from . import a\nfrom .a import Base")
    assert limits.large_classes(tmp_path, 2) == {}


@pytest.mark.parametrize(
    "head",
    [
        "@dataclass\nclass C:",
        "@dataclasses.dataclass(slots=True)\nclass C:",
        "class C(NamedTuple):",
        "class C(typing.TypedDict, total=False):",
        "class C(Protocol[T]):",
        "class C(enum.StrEnum):",
        "class C(ValueError):",
        "class B(Exception): ...\nclass C(B):",
        "class B(pydantic.BaseModel): ...\nclass C(B):",
    ],
)
def test_what_only_holds_values_may_hold_many(tmp_path: Path, head: str) -> None:
    fields = "\n    a: int\n    b: int"
    tree(tmp_path, low__a=head + fields)
    assert limits.large_classes(tmp_path, 1) == {}


@pytest.mark.parametrize(
    "head", ["@dataclass\nclass B: ...", "class B(Protocol): ...", "class B(NamedTuple): ..."]
)
def test_a_class_below_a_data_class_is_like_any_other(tmp_path: Path, head: str) -> None:
    tree(tmp_path, low__a=f"{head}\nclass C(B):\n    a: int\n    b: int")
    assert limits.large_classes(tmp_path, 1) == {"low.a.C": 2}


def test_what_is_beyond_its_number_and_what_is_listed_in_vain_are_found() -> None:
    listed = {"same": 3, "less": 3, "more": 3, "mended": 3}
    found = {"same": 3, "less": 2, "more": 4, "new": 5}
    assert limits.beyond({"same": 3, "less": 2}, {"same": 3, "less": 3}) == []
    assert limits.beyond(found, listed) == [
        "mended no longer needs its exception",
        "more has 4, at most 3",
        "new has 5, which is too much",
    ]
