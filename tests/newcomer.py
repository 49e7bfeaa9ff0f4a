"""Follows a page of docs/ as a newcomer does: every shell line and every file, in order.

A page becomes one script. A block in `sh` is its commands; a block that begins with a comment such
as `# chat.py` or `<!-- page.html -->` is appended to that file, in the folder reached so far.
Python without a file's name is a cell of a notebook; all cells of a page run in one process. A line
that starts a server is tried: the server must answer, and is then ended.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.test_readme import FENCE, FILE

SERVERS: Final = ("uvicorn ", "python manage.py runserver")
CELLS_PORT: Final = "8001"
PROLOGUE: Final = r"""
set -euo pipefail
serve() {
    "$@" --port "$PORT" >server.log 2>&1 &
    local server=$!
    for _ in $(seq 100); do
        if python - "$PORT" <<'PROBE'
import sys, urllib.error, urllib.request
try:
    print(urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/", timeout=5).status)
except urllib.error.HTTPError as error:
    sys.exit(0 if error.code == 404 else 1)
except OSError:
    sys.exit(1)
PROBE
        then
            kill "$server"
            wait "$server" || true
            return
        fi
        kill -0 "$server" || break
        sleep 0.2
    done
    cat server.log
    kill "$server" 2>/dev/null || true
    return 1
}
"""


def script_of(page: str, prepare: str = "") -> str:
    """Return the page as one script for bash."""
    return "\n".join([PROLOGUE, prepare, *_steps(page)])


def _steps(page: str) -> Iterator[str]:
    cells = ""
    for match in FENCE.finditer(page):
        code = match["code"]
        if match["language"] == "python" and not FILE.match(code):
            cells += code
            continue
        if cells:
            yield _run_of(cells)
            cells = ""
        if match["language"] == "sh":
            yield "\n".join(_command(line) for line in code.splitlines())
        elif file := FILE.match(code):
            name = file["name"]
            folder = Path(name).parent.as_posix()
            yield f"mkdir -p {folder}\ncat >>{name} <<'END_OF_FILE'\n{code}\nEND_OF_FILE"
    if cells:
        yield _run_of(cells)


def _run_of(cells: str) -> str:
    return f"sed 's/{CELLS_PORT}/'\"$PORT\"/ <<'END_OF_CELLS' | python3 -\n{cells}END_OF_CELLS"


def files_of(page: str) -> dict[str, str]:
    """Return the files that a page's blocks make, by name."""
    files: dict[str, str] = {}
    for match in FENCE.finditer(page):
        if file := FILE.match(match["code"]):
            files[file["name"]] = files.get(file["name"], "") + match["code"] + "\n"
    return files


def _command(line: str) -> str:
    return f"serve {line}" if line.startswith(SERVERS) else line


def follow(page: str, folder: Path, prepare: str = "", wait: float = 300) -> str:
    """Run the script of a page in a folder. Return what it has printed.

    Args:
        prepare: Commands before those of the page.
        wait: After how many seconds it is ended.
    """
    left_out = {"PYTHONPATH", "VIRTUAL_ENV", "PYTEST_CURRENT_TEST", "PYTEST_ADDOPTS", "NO_COLOR"}
    env = {name: value for name, value in os.environ.items() if name not in left_out}
    env |= {"PORT": str(_free_port()), "PATH": f"{folder / '.bin'}{os.pathsep}{env['PATH']}"}
    _offer_python(folder / ".bin")
    process = subprocess.Popen(
        ["bash", "-c", script_of(page, prepare)],
        cwd=folder,
        env=env,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=wait)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        raise AssertionError(f"not done after {wait} s:\n{output}") from None
    assert process.returncode == 0, output
    return output


def _offer_python(folder: Path) -> None:
    """Make `python3` the Python of the tests: a newcomer's machine may have any one."""
    folder.mkdir(exist_ok=True)
    link = folder / "python3"
    if not link.exists():
        link.symlink_to(Path(sys.executable).resolve())


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
