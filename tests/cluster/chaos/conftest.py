"""The loop of these tests, and the seeds of chaos."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """Run on asyncio alone, as the clients do."""
    return "asyncio"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        seeds = metafunc.config.getoption("--seeds")
        metafunc.parametrize("seed", range(1, seeds + 1))
