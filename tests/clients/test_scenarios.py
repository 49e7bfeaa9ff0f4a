"""The client in Python does what the shared scenarios say, on asyncio and trio."""

import pytest

from tests.clients.scenarios import Scenario, all_scenarios, run_scenario
from tests.virtual_time import jumping_loops

anyio_backend = jumping_loops


@pytest.mark.parametrize("scenario", all_scenarios(), ids=str)
async def test_scenario(scenario: Scenario) -> None:
    await run_scenario(scenario)
