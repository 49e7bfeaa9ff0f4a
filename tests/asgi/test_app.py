"""Which scope goes where."""

from typing import Any

import pytest

from tests.asgi.conftest import Pond


async def test_an_unknown_scope_type_is_a_clear_error(pond: Pond) -> None:
    async def unused(*_: Any) -> Any:
        raise AssertionError

    with pytest.raises(ValueError, match="not 'http3'"):
        await pond.app({"type": "http3"}, unused, unused)


async def test_all_three_scopes_are_served_by_one_app(pond: Pond) -> None:
    lifespan = await pond.driver.open_lifespan()
    await lifespan.startup()
    socket = await pond.driver.connect_websocket("/socket")
    stream = await pond.driver.connect_sse("/socket")
    assert (socket.status, stream.status) == (101, 200)
    assert len({socket.connection_id, stream.connection_id}) == 2
    await stream.disconnect()
    await socket.disconnect()
    await lifespan.shutdown()
