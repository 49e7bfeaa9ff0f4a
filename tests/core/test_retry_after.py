"""`PondError(retry_after=…)`: each client that is refused is told when it may try again."""

import math

import pytest
from pondsocket import (
    ConnectionContext,
    EventContext,
    JoinContext,
    PondError,
    PondSocket,
    UsageError,
)
from pondsocket.testing import ConnectionRefused, connect
from pondsocket_common import Fault, Refused

pytestmark = pytest.mark.anyio


def refusing(where: str, error: PondError) -> PondSocket:
    pond = PondSocket()

    @pond.endpoint("/socket")
    async def endpoint(ctx: ConnectionContext) -> None:
        if where == "connection":
            raise error
        ctx.accept(user_id="ann")

    @endpoint.channel("/room")
    async def room(ctx: JoinContext) -> None:
        if where == "join":
            raise error
        await ctx.accept()

    @room.on_message("say")
    async def say(_: EventContext) -> None:
        raise error

    return pond


async def test_a_join_is_told() -> None:
    pond = refusing("join", PondError("Full.", 503, retry_after=1.5))
    async with connect(pond, "/socket") as peer:
        answer = await peer.join("/room")
        assert answer.payload == Refused(503, "Full.", retry_after_ms=1_500)


async def test_an_event_is_told() -> None:
    pond = refusing("event", PondError("Full.", 503, retry_after=0))
    async with connect(pond, "/socket") as peer:
        await peer.join("/room")
        answer = await peer.answer(peer.send("BROADCAST", "/room", "say"))
        assert isinstance(answer.payload, Fault)
        assert (answer.payload.code, answer.payload.retry_after_ms) == (503, 0)


async def test_a_connection_is_told_in_whole_seconds() -> None:
    pond = refusing("connection", PondError("Full.", 503, retry_after=1.2))
    with pytest.raises(ConnectionRefused) as refused:
        async with connect(pond, "/socket"):
            pass
    assert ("retry-after", "2") in refused.value.refusal.response_headers()


async def test_nothing_is_told_by_default() -> None:
    pond = refusing("join", PondError("Full."))
    async with connect(pond, "/socket") as peer:
        assert (await peer.join("/room")).payload == Refused(400, "Full.")


@pytest.mark.parametrize("seconds", [-1, math.nan, math.inf, "1", True, 10**9])
def test_what_is_no_duration_is_refused(seconds: float) -> None:
    with pytest.raises(UsageError, match="retry_after is a number of seconds"):
        PondError("Full.", retry_after=seconds)


async def test_an_attribute_of_another_meaning_is_not_told() -> None:
    class OwnError(PondError):
        def __init__(self) -> None:
            super().__init__("Full.")
            self.retry_after = "tomorrow"  # type: ignore[assignment]

    async with connect(refusing("join", OwnError()), "/socket") as peer:
        assert (await peer.join("/room")).payload == Refused(400, "Full.")
