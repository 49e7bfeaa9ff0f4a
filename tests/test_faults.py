"""The programs of `tests/faults` are found, and none passes without saying so."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.__main__ import judge, programs, run


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a folder of programs that can be run as `shown.NAME`."""
    folder = tmp_path / "shown"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    yield folder
    sys.path_importer_cache.clear()


@pytest.mark.parametrize(
    ("code", "output", "is_ok"),
    [
        (0, "ok: all is well", True),
        (0, "skip: h2 is not installed", True),
        (0, "looking\nok", True),
        (1, "ok", False),
        (1, "FAIL: it is not", False),
        (0, "FAIL: it is not", False),
        (0, "", False),
        (0, "ok\nTraceback", False),
    ],
)
def test_a_program_is_ok_if_it_says_so_and_exits_with_0(
    code: int, output: str, is_ok: bool
) -> None:
    assert judge("a", code, output, 1.0).is_ok is is_ok


def test_a_failure_shows_all_that_was_said() -> None:
    assert judge("a", 1, "looking\nFAIL: it is not", 1.0).text == "looking\nFAIL: it is not"


def test_a_program_that_hangs_or_crashes_has_failed(package: Path) -> None:
    (package / "hangs.py").write_text("import time; time.sleep(60)")
    (package / "crashes.py").write_text("raise LookupError('lost')")
    assert run("hangs", "shown", limit=0.5).text == "did not end within 0.5 s"
    assert "LookupError: lost" in run("crashes", "shown").text


def test_helper_modules_are_no_programs(tmp_path: Path) -> None:
    for name in ("_server.py", "b_second.py", "a_first.py", "__init__.py", "notes.md"):
        (tmp_path / name).touch()
    assert programs(tmp_path) == ["a_first", "b_second"]
