"""The rule of which test file belongs to which module, tried on small trees."""

from pathlib import Path

import pytest

from tests.architecture import coverage


def files(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


@pytest.mark.parametrize(
    "test",
    ["test_part.py", "test_part_late.py", "test_inner_part.py", "test_inner_part_late.py"],
)
def test_a_module_is_named_by_its_own_name_or_with_its_folder(tmp_path: Path, test: str) -> None:
    package = files(tmp_path, "low/__init__.py", "low/_inner/__init__.py", "low/_inner/part.py")
    tests = files(tmp_path / "tests", test)
    assert list(coverage.unnamed(package, {"low": [tests]})) == []


@pytest.mark.parametrize("test", ["test_parts.py", "test_other.py", "part.py", "test_inner.py"])
def test_a_module_that_no_test_file_is_named_by_is_found(tmp_path: Path, test: str) -> None:
    package = files(tmp_path, "low/__init__.py", "low/_inner/__init__.py", "low/_inner/part.py")
    tests = files(tmp_path / "tests", test)
    assert list(coverage.unnamed(package, {"low": [tests]})) == ["low._inner.part"]
