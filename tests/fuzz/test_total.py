"""The last test of the suite: it was enough. (Files run in the order of their names.)"""

import pytest

from tests.fuzz.tally import ENOUGH, SCALE, SHARES, Tallies, share

pytestmark = pytest.mark.fuzz


def test_the_shares_are_enough() -> None:
    assert sum(SHARES.values()) >= ENOUGH


def test_every_share_was_sent(tallies: Tallies) -> None:
    missing = set(SHARES) - set(tallies.parts)
    if missing:
        pytest.skip(f"not run: {', '.join(sorted(missing))}")
    assert {
        name: part.count for name, part in tallies.parts.items() if part.count < share(name)
    } == {}
    assert tallies.count >= ENOUGH * SCALE
