"""The counts of what was sent, and their print at the end."""

import pytest

from tests.fuzz.tally import SCALE, SEED, Tallies

_KEY = pytest.StashKey[Tallies]()


def pytest_configure(config: pytest.Config) -> None:
    """Have one set of counts a run."""
    config.stash[_KEY] = Tallies()


@pytest.fixture(scope="session")
def tallies(pytestconfig: pytest.Config) -> Tallies:
    """What every part of the suite has sent."""
    return pytestconfig.stash[_KEY]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the seed, and how much was sent of what."""
    tallies = terminalreporter.config.stash.get(_KEY, Tallies())
    if not tallies.parts:
        return
    terminalreporter.section("hostile inputs")
    for name, part in tallies.parts.items():
        terminalreporter.line(f"{part.count:8,}  {name} ({len(part.kinds)} kinds)")
        if terminalreporter.verbosity > 0:
            for kind, count in part.kinds.most_common():
                terminalreporter.line(f"{count:16,}  {kind}")
    terminalreporter.line(f"{tallies.count:8,}  in all; FUZZ_SEED={SEED} FUZZ_SCALE={SCALE:g}")
