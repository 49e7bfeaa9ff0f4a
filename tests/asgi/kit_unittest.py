"""The test kit in tests of unittest; test_plugin.py runs them without pytest."""

import unittest

from pondsocket import ConnectionContext, EventContext, JoinContext, PondSocket
from pondsocket_asgi.testing import ConnectedClient, PondClient, SyncPondClient


def create_pond() -> PondSocket:
    pond = PondSocket()

    @pond.endpoint("/socket")
    async def socket(ctx: ConnectionContext, user: str) -> None:
        ctx.accept(user_id=user)

    async def enter(ctx: JoinContext) -> None:
        await ctx.accept()

    @socket.create_channel("/chat/:room_id", enter).on_message("say")
    async def say(ctx: EventContext, text: str) -> dict[str, bool]:
        await ctx.broadcast("said", {"text": text})
        return {"ok": True}

    return pond


class AsyncTest(unittest.IsolatedAsyncioTestCase):
    ann: ConnectedClient

    async def asyncSetUp(self) -> None:
        client = self.enterContext(PondClient(create_pond()))
        self.ann = await self.enterAsyncContext(client.connect("/socket?user=ann"))

    async def test_hello(self) -> None:
        room = await self.ann.join("/chat/1")
        assert await room.call("say", {"text": "hi"}) == {"ok": True}
        await room.assert_broadcast("said", {"text": "hi"})
        await room.assert_no_broadcast()


class SyncTest(unittest.TestCase):
    def test_hello(self) -> None:
        client = self.enterContext(SyncPondClient(create_pond(), backend="trio"))
        ann = self.enterContext(client.connect("/socket?user=ann"))
        room = ann.join("/chat/1")
        assert room.call("say", {"text": "hi"}) == {"ok": True}
        room.assert_broadcast("said", {"text": "hi"})


if __name__ == "__main__":
    unittest.main()
