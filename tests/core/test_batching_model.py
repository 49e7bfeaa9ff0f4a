"""Random programs, with broadcasts batched and without: no peer can tell the difference."""

import pytest

from tests.core.batching_programs import differences, random_program

PROGRAMS = 120
BLOCK = 60


@pytest.fixture
def anyio_backend() -> str:
    """Run on asyncio alone: nothing here depends on the loop, and other tests run on both."""
    return "asyncio"


@pytest.mark.parametrize("first", range(0, PROGRAMS, BLOCK))
async def test_no_peer_can_tell_whether_frames_were_batched(first: int) -> None:
    for seed in range(first, first + BLOCK):
        assert await differences(random_program(seed)) == [], f"program {seed}"
