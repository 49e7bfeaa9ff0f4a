"""`python -m pondsocket_asgi client`: the client for browsers, copied for a bundler."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pondsocket_asgi.__main__ import main
from pondsocket_asgi._http.client_files import FILES, read_file

Capture = pytest.CaptureFixture[str]


def test_it_copies_the_files_and_says_so(tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "web" / "vendor" / "pondsocket"
    assert main(["client", "--to", str(folder)]) == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        name: read_file(name) for name in FILES
    }
    assert capsys.readouterr().out == f"{folder}: wrote {', '.join(FILES)}\n"
    assert main(["client", "--to", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder}: is up to date\n"


def test_it_writes_only_what_differs(tmp_path: Path, capsys: Capture) -> None:
    main(["client", "--to", str(tmp_path)])
    (tmp_path / "react.js").write_text("old")
    (tmp_path / "own.js").write_text("own")
    capsys.readouterr()
    assert main(["client", "--to", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path}: wrote react.js\n"
    assert (tmp_path / "react.js").read_bytes() == read_file("react.js")
    assert (tmp_path / "own.js").read_text() == "own"


def test_a_check_writes_nothing_and_fails_for_what_is_out_of_date(
    tmp_path: Path, capsys: Capture
) -> None:
    folder = tmp_path / "vendor"
    check = ["client", "--to", str(folder), "--check"]
    assert main(check) == 1
    assert not folder.exists()
    main(["client", "--to", str(folder)])
    assert main(check) == 0
    (folder / "react.js").write_text("old")
    (folder / "pondsocket.d.ts").unlink()
    capsys.readouterr()
    assert main(check) == 1
    assert (folder / "react.js").read_text() == "old"
    told = capsys.readouterr().err
    assert told == (
        f"{folder}: pondsocket.d.ts, react.js missing or not of this version;"
        f" run `python -m pondsocket_asgi client --to {folder}`\n"
    )


def test_line_ends_of_windows_are_no_difference(tmp_path: Path) -> None:
    main(["client", "--to", str(tmp_path)])
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert main(["client", "--to", str(tmp_path), "--check"]) == 0


@pytest.mark.parametrize("package", ['{"name": "my-site"}', "{}", "[]", "no JSON"])
@pytest.mark.parametrize("more", [[], ["--check"]])
def test_the_package_of_the_user_is_not_replaced(
    tmp_path: Path, capsys: Capture, package: str, more: list[str]
) -> None:
    (tmp_path / "package.json").write_text(package)
    with pytest.raises(SystemExit, match="2"):
        main(["client", "--to", str(tmp_path), *more])
    assert "is another package's: name a folder for the client alone" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["package.json"]
    assert (tmp_path / "package.json").read_text() == package


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "COMMAND"),
        (["server"], "invalid choice: 'server'"),
        (["client"], "required: --to"),
        (["client", "--check"], "required: --to"),
        (["client", "--to"], "expected one argument"),
        (["client", "--to", ""], "the name is empty"),
        (["client", "--to", "a", "b"], "unrecognized arguments: b"),
    ],
)
def test_a_wrong_command_is_explained(
    arguments: list[str],
    message: str,
    capsys: Capture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_explained(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "taken" / "react.js").mkdir(parents=True)
    for name, told in [("file", "Not a directory"), ("taken", "Is a directory")]:
        for more in ([], ["--check"]):
            with pytest.raises(SystemExit, match="2"):
                main(["client", "--to", str(tmp_path / name), *more])
            assert told in capsys.readouterr().err


def test_it_is_a_command(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-m", "pondsocket_asgi", "client", "--to", "web"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("web: wrote pondsocket.js")
    assert json.loads((tmp_path / "web" / "package.json").read_text())["type"] == "module"
    checked = subprocess.run([*command, "--check"], cwd=tmp_path, capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")
