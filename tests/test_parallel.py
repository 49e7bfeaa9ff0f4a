"""What the processes that run the tests are given."""

import pytest

from tests.parallel import environment
from tests.servers import ROOT


@pytest.fixture(autouse=True)
def neither(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    monkeypatch.delenv("PYTHONPYCACHEPREFIX", raising=False)


def test_bytecode_lies_apart_where_none_may_lie_beside_the_sources(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    given = environment()
    assert "PYTHONDONTWRITEBYTECODE" not in given
    assert given["PYTHONPYCACHEPREFIX"] == str(ROOT / ".cache" / "bytecode")
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", "/elsewhere")
    assert environment()["PYTHONPYCACHEPREFIX"] == "/elsewhere"


@pytest.mark.parametrize("empty", [False, True])
def test_else_it_lies_where_python_puts_it(monkeypatch: pytest.MonkeyPatch, empty: bool) -> None:
    if empty:  # is as if it were not set
        monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "")
    assert "PYTHONPYCACHEPREFIX" not in environment()
