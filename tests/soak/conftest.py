"""The clients of the integration tests."""

from tests.integration.conftest import anyio_backend, connect

__all__ = ["anyio_backend", "connect"]
