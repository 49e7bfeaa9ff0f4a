"""The clients of the integration tests."""

from tests.integration.conftest import anyio_backend, dial

__all__ = ["anyio_backend", "dial"]
