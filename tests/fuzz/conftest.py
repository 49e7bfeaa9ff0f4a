"""The counts of what was sent, and their print at the end."""

import pytest

from tests.fuzz.input_counts import SCALE, SEED, InputCounts

_KEY = pytest.StashKey[InputCounts]()


def pytest_configure(config: pytest.Config) -> None:
    """Have one set of counts a run."""
    config.stash[_KEY] = InputCounts()


@pytest.fixture(scope="session")
def input_counts(pytestconfig: pytest.Config) -> InputCounts:
    """Return what every part of the suite has sent."""
    return pytestconfig.stash[_KEY]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the seed, and how much was sent of what."""
    input_counts = terminalreporter.config.stash.get(_KEY, InputCounts())
    if not input_counts.parts:
        return
    terminalreporter.section("hostile inputs")
    for name, part in input_counts.parts.items():
        terminalreporter.line(f"{part.count:8,}  {name} ({len(part.kinds)} kinds)")
        if terminalreporter.verbosity > 0:
            for kind, count in part.kinds.most_common():
                terminalreporter.line(f"{count:16,}  {kind}")
    terminalreporter.line(f"{input_counts.count:8,}  in all; FUZZ_SEED={SEED} FUZZ_SCALE={SCALE:g}")
