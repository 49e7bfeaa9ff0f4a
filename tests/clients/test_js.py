"""The client for browsers and Node: its tests in its own language, and its types."""

import os
import re
import subprocess
from typing import Final

import pytest

from .node import HERE, node

pytestmark = [pytest.mark.clients, pytest.mark.timeout(400)]

FILES: Final = sorted(path.name for path in HERE.glob("*.test.mjs"))
# A test that is skipped, or a file in which there is none, would show nothing.
COUNT: Final = re.compile(r"^# (tests|pass|fail|cancelled|skipped|todo) (\d+)$", re.MULTILINE)


@pytest.mark.parametrize("file", FILES)
def test_of_the_client(file: str) -> None:
    command = [node(), "--test", "--test-reporter=tap", file]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    output = done.stdout + done.stderr
    counts = {name: int(number) for name, number in COUNT.findall(output)}
    assert done.returncode == 0, output[-6000:]
    assert counts["tests"] == counts["pass"] > 0, counts
    assert not sum(counts[name] for name in ("fail", "cancelled", "skipped", "todo")), counts
    # Sizes, shares and tallies.
    print(
        *re.findall(
            r"^# (?!Subtest|duration|tests|suites|pass|fail|cancelled|skipped|todo)(.*)$",
            output,
            re.MULTILINE,
        ),
        sep="\n",
    )


def test_there_are_files() -> None:
    assert {"scenarios.test.mjs", "model.test.mjs", "unit.test.mjs"} <= set(FILES)


def test_types() -> None:
    """`tsc --checkJs --strict` over the client, and over code that it must refuse."""
    command = [node(), os.fspath(HERE / "node_modules/typescript/bin/tsc"), "--project", "."]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
