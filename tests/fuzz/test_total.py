"""The last test of the suite: it was enough. Files run in the order of their names."""

import pytest

from tests.fuzz.input_counts import ENOUGH, SCALE, SHARES, InputCounts, share

pytestmark = pytest.mark.fuzz


def test_the_shares_are_enough() -> None:
    assert sum(SHARES.values()) >= ENOUGH


def test_every_share_was_sent(input_counts: InputCounts) -> None:
    missing = set(SHARES) - set(input_counts.parts)
    if missing:
        pytest.skip(f"not run: {', '.join(sorted(missing))}")
    assert {
        name: part.count for name, part in input_counts.parts.items() if part.count < share(name)
    } == {}
    assert input_counts.count >= ENOUGH * SCALE
