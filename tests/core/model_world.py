"""The pond that carries out a random program, and the peers in it."""

import asyncio
import gc
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import anyio.abc
import anyio.lowlevel
from pondsocket import (
    Channel,
    ChannelHandle,
    CloseCode,
    EventContext,
    JoinContext,
    LeaveContext,
    Options,
    OutgoingContext,
    PondError,
    PresenceMode,
)
from pondsocket._channel.member import Member
from pondsocket.adapter import Session
from pondsocket_common import ClientActions, ClientMessage, Payload, encode_client

from tests.core.model_peer import ModelPeer
from tests.core.model_script import (
    USERS,
    Close,
    Disconnect,
    Join,
    Leave,
    Op,
    Outside,
    Say,
    Setting,
    Step,
    Vanish,
    as_payload,
    from_payload,
    user_of,
)
from tests.core.ponds import admitted, build
from tests.live_objects import live_objects

_ACTIONS = {
    Join: ClientActions.JOIN_CHANNEL,
    Say: ClientActions.BROADCAST,
    Leave: ClientActions.LEAVE_CHANNEL,
}


async def settled() -> None:
    """Wait until nothing can go on by itself; ten thousand times, so it has to be quick."""
    try:
        ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]
    except RuntimeError:
        ready = ()  # trio's own way is quick, that of anyio on asyncio polls every 0.1 s
    while ready:
        await anyio.lowlevel.checkpoint()
    await anyio.wait_all_tasks_blocked()


class World:
    def __init__(self, setting: Setting, tasks: anyio.abc.TaskGroup) -> None:
        tick = 3_600.0 if setting.batches else 0.0
        options = Options(event_rate=None, control_rate=None, max_refusals=None, presence_tick=tick)
        self.setup = build(self._join, options=options)
        self.setup.lobby.on_message("act", self._say)
        self.setup.lobby.on_leave(self._leave)
        if setting.late:
            self.setup.lobby.on_outgoing("news", self._take_time)
        self.all_peers: list[ModelPeer] = []
        self.peers: dict[int, ModelPeer] = {}
        self.latches: dict[str, anyio.Event] = {}
        self.left: list[tuple[str, str, str]] = []
        # By mark, who must get it: each peer that was told that it is in, and nothing else since.
        self.audiences: dict[str, list[ModelPeer]] = {}
        self._numbers = itertools.count()
        self._tasks = tasks

    # --- operations ---------------------------------------------------------------------------

    async def apply(self, request: str, op: Op) -> None:
        match op:
            case Join() | Say() | Leave():
                self._send(await self._checked(op.peer), request, op)
            case Vanish():
                if op.peer in self.peers:
                    self.peers.pop(op.peer).vanish()
            case Close():
                if op.peer in self.peers:
                    self.peers.pop(op.peer).session.close(CloseCode.NORMAL)
            case Disconnect():
                await self._disconnect(op.user)
            case Outside():
                await self._from_outside(self.channel(op.channel), op.step, f"{request}.0")

    def go_on(self, request: str | None) -> None:
        if request is not None:
            self.latches[request].set()

    def channel(self, name: str) -> ChannelHandle:
        return self.setup.pond.channel("/socket", name)

    async def _checked(self, peer: int) -> ModelPeer:
        checked = self.peers.get(peer)
        if checked is None or not checked.session.is_open:
            checked = self.peers[peer] = ModelPeer(await admitted(self.setup.pond, user_of(peer)))
            self.all_peers.append(checked)
            self._tasks.start_soon(checked.session.run, checked, checked.pull)
            while not checked.has_begun:
                await anyio.lowlevel.checkpoint()
        return checked

    def _send(self, checked: ModelPeer, request: str, op: Join | Say | Leave) -> None:
        checked.asked[request] = op
        payload = {} if isinstance(op, Leave) else as_payload(op.script)
        presence = PresenceMode.DIFF if isinstance(op, Join) and op.diffs else None
        message = ClientMessage(
            _ACTIONS[type(op)], "act", op.channel, request, payload, presence=presence
        )
        checked.send_raw(encode_client(message))

    async def _disconnect(self, user: str) -> None:
        for peer in list(self.peers):
            if user_of(peer) == user:
                del self.peers[peer]
        await self.setup.pond.disconnect(user_id=user)

    async def _from_outside(self, channel: ChannelHandle, step: Step, mark: str) -> None:
        match step.verb:
            case "broadcast":
                await channel.broadcast("news", self._news(channel.name, mark))
            case "to":
                news = self._news(channel.name, mark, users=step.users)
                await channel.broadcast_to("news", news, *step.users)
            case "from":
                news = self._news(channel.name, mark, users=USERS[1:])
                await channel.broadcast_from("news", news, USERS[0])
            case "evict":
                await channel.evict_user((step.users or USERS)[0], "out")

    def _news(
        self,
        channel: str,
        mark: str,
        *,
        users: tuple[str, ...] = USERS,
        but: Session | None = None,
    ) -> Payload:
        self.audiences[mark] = [
            checked
            for checked in self.all_peers
            if checked.is_in(channel)
            and checked.session.user_id in users
            and checked.session is not but
        ]
        return self._numbered(mark)

    def _numbered(self, mark: str) -> Payload:
        return {"mark": mark, "number": next(self._numbers)}

    # --- handlers -----------------------------------------------------------------------------

    async def _join(self, ctx: JoinContext) -> None:
        for number, step in enumerate(from_payload(ctx.join_params)):
            mark = f"{ctx.request_id}.{number}"
            if step.verb == "accept":
                await ctx.accept()
            elif step.verb == "decline":
                await ctx.decline()
            else:
                await self._step(ctx, step, mark)

    async def _say(self, ctx: EventContext) -> None:
        for number, step in enumerate(from_payload(ctx.get_payload())):
            mark = f"{ctx.request_id}.{number}"
            if step.verb == "untrack":
                await ctx.untrack(*step.users)
            elif step.verb == "evict":
                await ctx.evict("out", *step.users)
            else:
                await self._step(ctx, step, mark)

    async def _step(self, ctx: JoinContext | EventContext, step: Step, mark: str) -> None:
        name = ctx.message.channel_name
        match step.verb:
            case "hold":
                await self._hold(ctx.request_id)
            case "yield":
                await anyio.lowlevel.checkpoint()
            case "raise":
                raise RuntimeError("as the script says")
            case "fail":
                raise PondError("as the script says", 418)
            case "kick":
                await self._disconnect((step.users or USERS)[0])
            case "broadcast":
                await ctx.broadcast("news", self._news(name, mark))
            case "to":
                news = self._news(name, mark, users=step.users)
                await ctx.broadcast_to("news", news, *step.users)
            case "from":
                await ctx.broadcast_from("news", self._news(name, mark, but=ctx.session))
            case "reply":
                await ctx.reply("answer", self._numbered(mark))
            case "track":
                await ctx.track({"mark": mark}, *step.users)
            case "same":
                await ctx.track({"mark": "same"}, *step.users)

    async def _hold(self, request: str) -> None:
        latch = self.latches[request] = anyio.Event()
        try:
            await latch.wait()
        finally:
            del self.latches[request]

    async def _leave(self, ctx: LeaveContext) -> None:
        self.left.append((ctx.channel.name, ctx.user.id, ctx.reason.value))

    async def _take_time(self, ctx: OutgoingContext) -> None:
        for _ in range(ctx.get_payload()["number"] % 5):
            await anyio.lowlevel.checkpoint()

    # --- what is there ------------------------------------------------------------------------

    async def users(self) -> dict[str, list[str]]:
        """Who is in which channel, by what the pond says."""
        channels = await self.setup.lobby.list_channels()
        return {each.name: sorted(await each.get_assigns()) for each in channels}

    async def presence(self, name: str) -> dict[str, str]:
        """Whose mark is listed in a channel."""
        listed = await self.channel(name).get_presence()
        return {user: shown["mark"] for user, shown in listed.items()}

    def faults(self) -> list[str]:
        return [fault for checked in self.all_peers for fault in checked.faults]


def remaining() -> set[int]:
    """Which parts of ponds there are in memory."""
    return {id(each) for each in live_objects(Session, Member, Channel)}


@asynccontextmanager
async def world(setting: Setting) -> AsyncIterator[World]:
    """Yield a pond and its peers; when it is left, everything has to be gone."""
    # What an earlier example has left in memory, held by its traceback, does not count here.
    tasks_before, things_before = len(anyio.get_running_tasks()), remaining()
    async with anyio.create_task_group() as tasks:
        made = World(setting, tasks)
        async with AsyncExitStack() as stack:
            if setting.hosted:
                await stack.enter_async_context(made.setup.pond)
            yield made
            with anyio.fail_after(5):
                if not setting.hosted:
                    await made.setup.pond.close()
    await settled()
    assert await made.setup.endpoint.connection_count() == 0
    assert await made.users() == {}
    assert len(anyio.get_running_tasks()) == tasks_before
    assert not made.latches
    made.all_peers.clear()
    made.peers.clear()
    made.audiences.clear()
    gc.collect()
    assert remaining() <= things_before
