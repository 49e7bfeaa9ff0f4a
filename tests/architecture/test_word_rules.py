"""Each rule of the language, tried on files that break it and on files that do not."""

from pathlib import Path

import pytest

from tests.architecture import words


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "Nobody is there.",
        "for whom",
        '"""Tell everybody."""',
        "nobody's turn",
        "x = nobody",
        "*Who*",
    ],
)
def test_a_listed_word_is_found_wherever_it_stands(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, "a.md", f"The client is there.\n{text}\n")
    found = words.uses([path], {"nobody", "everybody", "whom", "who"})
    assert len(found) == 1
    assert found[0].startswith(f"{path}:2 ")


@pytest.mark.parametrize("text", ["The whole body.", "antibody", "somebodyelse", ""])
def test_a_word_that_only_holds_a_listed_one_is_none(tmp_path: Path, text: str) -> None:
    assert words.uses([written(tmp_path, "a.md", text)], {"nobody", "who", "body"} - {"body"}) == []


def test_files_are_found_by_suffix_and_not_in_what_no_person_wrote(tmp_path: Path) -> None:
    page = written(tmp_path, "docs/a.md", "")
    code = written(tmp_path, "docs/inner/b.py", "")
    written(tmp_path, "docs/node_modules/c.md", "")
    written(tmp_path, "docs/d.json", "")
    found = words.texts(tmp_path / "docs", {".md", ".py"}, but={"node_modules"})
    assert list(found) == [page, code]
    assert list(words.texts(page, {".md"})) == [page]


@pytest.mark.parametrize(
    "code", ["class Gate: ...", "def open_gate(): ...", "x.gate = 1", "OPEN_GATE = 2", "HTTPGate()"]
)
def test_a_name_with_a_listed_part_is_found(tmp_path: Path, code: str) -> None:
    found = words.names([written(tmp_path, "a.py", f"import os\n{code}\n")], {"gate"})
    assert len(found) == 1
    assert ":2 " in found[0]


@pytest.mark.parametrize("code", ["delegate = 1", "# a gate", "x = 'gate'", "class Gateway: ..."])
def test_other_names_and_texts_are_left_alone(tmp_path: Path, code: str) -> None:
    assert words.names([written(tmp_path, "a.py", f"{code}\n")], {"gate"}) == []
