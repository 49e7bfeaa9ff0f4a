"""The backend of tests in virtual time.

    anyio_backend = jumping_loops

For tests that stay inside of the process: while a thread or a socket is waited for, time flies.
"""

from collections.abc import Mapping
from typing import Any

import pytest
from pondsocket_asgi.testing import virtual_backend


@pytest.fixture(params=["asyncio", "trio"])
def jumping_loops(request: pytest.FixtureRequest) -> tuple[str, Mapping[str, Any]]:
    """Run a module's tests on loops whose time jumps, as its `anyio_backend`."""
    return virtual_backend(request.param)
