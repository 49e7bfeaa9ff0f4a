"""The workflow for GitHub runs the README's line, and sessions that there are."""

import re
from typing import Any, Final

import yaml  # type: ignore[import-untyped]

from tests.servers import ROOT
from tests.test_readme import README, blocks

WORKFLOW: Final[dict[str, Any]] = yaml.safe_load(
    (ROOT / ".github" / "workflows" / "checks.yml").read_text()
)
STEPS: Final[list[str]] = [
    step["run"] for step in WORKFLOW["jobs"]["nox"]["steps"] if "run" in step
]


def test_its_first_line_is_that_of_the_readme() -> None:
    assert STEPS[0] in [code.strip() for _, code in blocks(README, "sh")]


def test_it_runs_sessions_of_the_noxfile() -> None:
    noxfile = (ROOT / "noxfile.py").read_text()
    sessions = re.findall(r"^@nox\.session\ndef (\w+)", noxfile, re.MULTILINE)
    run = [name for step in STEPS for name in step.partition("nox -s ")[2].split()]
    assert {"tests", "lint", "types", "docs", "build"} == set(run)
    assert set(run) <= set(sessions)
