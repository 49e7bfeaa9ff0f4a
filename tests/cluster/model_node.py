"""One pond of a cluster, which may be killed."""

from __future__ import annotations

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup, TaskStatus
from pondsocket import (
    ConnectionContext,
    EventContext,
    History,
    JoinContext,
    LeaveContext,
    Options,
    PondSocket,
)
from pondsocket.backplane.memory import MemoryHub

ROOM = "/room/1"  # with a history
PLAIN = "/plain/1"  # without


class ModelNode:
    """One pond, and its access to the engine.

    Attributes:
        left: The users for which `on_leave` was called.
    """

    def __init__(self, hub: MemoryHub, options: Options) -> None:
        self.backplane = hub.backplane()
        self.pond = PondSocket(backplane=self.backplane, options=options)
        self.left: list[str] = []
        self._scope = anyio.CancelScope()
        self._ended = anyio.Event()

        async def admit(ctx: ConnectionContext) -> None:
            ctx.accept(user_id=ctx.query["user"])

        async def join(ctx: JoinContext) -> None:
            await ctx.accept({"name": ctx.user.id})
            await ctx.track({"user": ctx.user.id})

        async def join_plain(ctx: JoinContext) -> None:
            await ctx.accept()

        async def left(ctx: LeaveContext) -> None:
            self.left.append(ctx.user.id)

        endpoint = self.pond.create_endpoint("/socket", admit)
        lobby = endpoint.create_channel("/room/:name", join, history=History(size=50))
        lobby.on_message("say", say)
        lobby.on_message("say_to_others", say_to_others)
        lobby.on_message("say_unkept", say_unkept)
        lobby.on_leave(left)
        plain = endpoint.create_channel("/plain/:name", join_plain)
        plain.on_message("say", say)

    async def serve(self, *, task_status: TaskStatus[None]) -> None:
        """Run it until `close` or `kill`."""
        try:
            with self._scope:
                async with self.pond:
                    task_status.started()
                    await anyio.sleep_forever()
        finally:
            self._ended.set()

    async def close(self) -> None:
        """End it as a server does that restarts."""
        await self.pond.close()
        node = self.pond._node
        assert node is not None
        await node.close()
        self._scope.cancel()
        await self._ended.wait()

    async def kill(self) -> None:
        """End it without a word to the others."""
        node = self.pond._node
        assert node is not None
        assert node._tasks is not None
        node._tasks.cancel_scope.cancel()
        while node.is_running:
            await anyio.lowlevel.checkpoint()
        self._scope.cancel()
        await self._ended.wait()

    @staticmethod
    async def start(tasks: TaskGroup, hub: MemoryHub, options: Options) -> ModelNode:
        """Start one."""
        node = ModelNode(hub, options)
        await tasks.start(node.serve)
        return node


async def say(ctx: EventContext) -> None:
    await ctx.broadcast("said", ctx.get_payload())


async def say_to_others(ctx: EventContext) -> None:
    user = ctx.user.id
    payload = {**ctx.get_payload(), "not": user, "is_by_connection": True}
    await ctx.broadcast_from("said", payload)


async def say_unkept(ctx: EventContext) -> None:
    await ctx.broadcast("typed", ctx.get_payload(), history=False)
