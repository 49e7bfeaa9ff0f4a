"""A loop whose turns a test makes by hand, and random programs that must not notice when it does.

A program is carried out twice: once with broadcasts batched until the loop is turned, and
once with everything sent at once. `differences` says what a peer could tell them apart by.
"""

import json
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from contextvars import Context
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import anyio.lowlevel
from pondsocket import (
    EventContext,
    History,
    JoinContext,
    OutgoingContext,
    PondSocket,
    ServerMessage,
)
from pondsocket._history.log import HistoryLog
from pondsocket.testing import MemoryPeer, connect
from pondsocket_common import Position, PresenceMode, encode_server

from tests.array_codec import ARRAY
from tests.core.ponds import UNLIMITED, admit

Op: TypeAlias = tuple[Any, ...]


class ManualLoop:
    """An event loop that runs its callbacks when a test says so."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], object]] = []

    def call_soon(self, callback: Callable[[], object], /, *, context: Context) -> None:
        """Have a function called in the next turn."""
        self.calls.append(partial(context.run, callback))

    def turn(self) -> None:
        """Call everything that was there before."""
        calls, self.calls = self.calls, []
        for call in calls:
            call()


def batch_by_hand(pond: PondSocket) -> ManualLoop:
    """Have a pond batch until the loop is turned."""
    loop = ManualLoop()
    pond.enable_batching(lambda: loop)
    return loop


# --- programs ---------------------------------------------------------------------------------

USERS = ("ann", "bob", "cat", "cat")  # the last one has two connections
ROOMS = ("/plain/1", "/plain/2", "/kept/1", "/made/1")
SLOW_ROOM = "/late/1"


@dataclass
class Program:
    """What happens to four peers.

    Attributes:
        ops: In order; each is a peer's or the server's.
        is_loose: Whether replies may come later than other channels' frames for another reason:
            in a room whose outgoing handlers wait, or to a member that is still behind.
    """

    ops: list[Op] = field(default_factory=list)
    is_loose: bool = False


def random_program(seed: int) -> Program:
    """Return the program of this seed."""
    chance = random.Random(seed)
    program = Program(is_loose=seed % 4 == 0)
    rooms = [*chance.sample(ROOMS, chance.choice([2, 3]))]
    if program.is_loose:
        rooms[0] = SLOW_ROOM
    numbers = iter(range(1, 1_000))

    def act() -> Op:
        kind = chance.choice(
            ["all"] * 4 + ["but", "to", "from", "track", "elsewhere", "elsewhere", "shout", "evict"]
        )
        return (kind, next(numbers), chance.choice(USERS), chance.choice(rooms))

    for peer in range(len(USERS)):
        program.ops.append(("join", peer, rooms[0], -1))
        program.ops.append(("join", peer, chance.choice(rooms), -1))
    for _ in range(40):
        peer, room = chance.randrange(len(USERS)), chance.choice(rooms)
        kind = chance.choice(["event"] * 8 + ["tell"] * 4 + ["turn", "turn", "join", "join"]
            + ["leave", "ping", "evict", "wrong", "close", "busy", "free"])  # fmt: skip
        match kind:
            case "event":
                acts = [act() for _ in range(chance.choice([1, 1, 2, 3, 5]))]
                if chance.random() < 0.6:  # once, as an event may be answered
                    place = chance.randrange(len(acts) + 1)
                    acts.insert(place, ("reply", next(numbers), "", ""))
                program.ops.append((kind, peer, room, acts))
            case "tell" | "evict":
                program.ops.append((kind, room, next(numbers), chance.choice(USERS)))
            case "join":
                program.ops.append((kind, peer, room, chance.randrange(-1, 5)))
            case "busy" | "free" | "close" if not program.is_loose and kind != "close":
                pass  # a member that is behind gets its replies later than other rooms' frames
            case "close":
                if chance.random() < 0.4:
                    program.ops.append((kind, USERS[peer]))
            case _:
                program.ops.append((kind, peer, room))
    program.ops += [("free", peer, "") for peer in range(len(USERS))]
    program.ops.append(("turn", 0, ""))
    return program


class Player:
    """Carries out one program."""

    def __init__(self, *, batches: bool) -> None:
        self.pond = PondSocket(options=UNLIMITED)
        self.endpoint = endpoint = self.pond.create_endpoint("/socket", admit, codecs=[ARRAY])
        for pattern in ("/plain/:id", "/kept/:id", "/made/:id", "/late/:id"):
            history = History(size=50) if pattern in ("/kept/:id", "/late/:id") else None
            lobby = endpoint.create_channel(pattern, self._join, history=history)
            lobby.on_message("do", self._do)
            if pattern == "/made/:id":
                lobby.on_outgoing("shout", _make)
            if pattern == "/late/:id":
                lobby.on_outgoing("shout", _make_late)
        self.loop = batch_by_hand(self.pond) if batches else None
        self.peers: list[MemoryPeer] = []
        self.behind: dict[int, list[Callable[[], None]]] = {}

    async def _join(self, ctx: JoinContext) -> None:
        await ctx.accept(response={"hello": ctx.user.id})
        if ctx.join_params.get("greet"):
            await ctx.broadcast("greet", {"n": ctx.join_params["greet"]})

    async def _do(self, ctx: EventContext) -> None:
        for kind, number, user, room in ctx.get_payload()["acts"]:
            payload = {"n": number}
            if kind == "all":
                await ctx.broadcast("all", payload)
            elif kind == "shout":
                await ctx.broadcast("shout", payload)
            elif kind == "but":
                await ctx.broadcast_from("but", payload)
            elif kind == "to":
                await ctx.broadcast_to("to", payload, user)
            elif kind == "from":
                await ctx.channel.broadcast_from("from", payload, user)
            elif kind == "reply":
                await ctx.reply("answer", payload)
            elif kind == "track":
                await ctx.track(payload)
            elif kind == "elsewhere":
                await self.pond.channel("/socket", room).broadcast("elsewhere", payload)
            elif kind == "evict" and user != ctx.user.id:
                await ctx.channel.evict_user(user, str(number))

    async def play(self, program: Program) -> list[list[ServerMessage]]:
        """Give what each peer was sent."""
        async with AsyncExitStack() as connections:
            for place, user in enumerate(USERS):
                peer = await connections.enter_async_context(
                    # Every other one speaks arrays: one with differences, and one of two of a user.
                    connect(self.pond, f"/socket?user={user}", codec=ARRAY if place % 2 else None)
                )
                self.peers.append(peer)
                peer.wait_for_room = self._waits_for(place)  # type: ignore[assignment,method-assign]
            for op in program.ops:
                await self._carry_out(op)
                for _ in range(12):
                    await anyio.lowlevel.checkpoint()
            return [peer.drain() for peer in self.peers]

    def _waits_for(self, place: int) -> Callable[[Callable[[], None], int], bool]:
        def wait_for_room(callback: Callable[[], None], size: int) -> bool:
            if place not in self.behind:
                return False
            self.behind[place].append(callback)
            return True

        return wait_for_room

    async def _carry_out(self, op: Op) -> None:
        match op:
            case ("turn", _, _):
                if self.loop is not None:
                    self.loop.turn()
            case ("join", peer, room, missed):
                mode = PresenceMode.DIFF if peer == 1 else None
                position = self._position(room, missed)
                self.peers[peer].send("JOIN_CHANNEL", room, "join", {"greet": 7},
                    presence=mode, since=position)  # fmt: skip
            case ("leave", peer, room):
                self.peers[peer].send("LEAVE_CHANNEL", room, "leave")
            case ("event", peer, room, acts):
                self.peers[peer].send("BROADCAST", room, "do", {"acts": acts})
            case ("wrong", peer, room):
                self.peers[peer].send("BROADCAST", room, "unhandled")
            case ("ping", peer, _):
                self.peers[peer].send_raw('{"action": "ping"}')
            case ("tell", room, number, _):
                await self.pond.channel("/socket", room).broadcast("tell", {"n": number})
            case ("evict", room, number, user):
                await self.pond.channel("/socket", room).evict_user(user, str(number))
            case ("close", user):
                await self.pond.disconnect(user_id=user, reason="out")
            case ("busy", peer, _):
                self.behind.setdefault(peer, [])
            case ("free", peer, _):
                for callback in self.behind.pop(peer, []):
                    callback()
            case unknown:
                raise AssertionError(unknown)

    def _position(self, room: str, missed: int) -> Position | None:
        """Return where a client stands that has missed so many; they may still be waiting."""
        kept = self.pond.channel("/socket", room)._find().channel_history
        if kept is None or missed < 0:
            return None
        log = kept.open()
        assert isinstance(log, HistoryLog)
        return Position(log.epoch, max(0, log.top - missed))


def _make(ctx: OutgoingContext) -> None:
    ctx.transform({**ctx.get_payload(), "for": ctx.get_user().id})


async def _make_late(ctx: OutgoingContext) -> None:
    await anyio.lowlevel.checkpoint()
    _make(ctx)


# --- what a peer sees ---------------------------------------------------------------------------


def _shown(value: object) -> object:
    """Return a payload without what differs at each run."""
    if isinstance(value, dict):
        made_up = ("id", "connectionId", "ref", "epoch")
        return {key: _shown(each) for key, each in value.items() if key not in made_up}
    if isinstance(value, list):
        return [_shown(each) for each in value]
    return value


def _seen(message: ServerMessage) -> str:
    offset = message.position and message.position.offset
    payload = _shown(json.loads(encode_server(message))["payload"])
    return f"{message.action} {message.event} {message.channel_name} {payload} @{offset}"


def _before_answers(seen: list[str]) -> list[tuple[str, list[str]]]:
    """Return what came before each frame that may not change its place."""
    answers = ("SYSTEM", "CONNECT", "ERROR")
    return [(each, sorted(seen[:i])) for i, each in enumerate(seen) if each.startswith(answers)]


def _by_channel(seen: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in seen:
        found.setdefault(each.split()[2], []).append(each)
    return found


async def differences(program: Program) -> list[str]:
    """Return by what peers could tell whether what they are sent was batched."""
    batched = await Player(batches=True).play(program)
    plain = await Player(batches=False).play(program)
    found: list[str] = []
    for place, (mine, theirs) in enumerate(zip(batched, plain, strict=True)):
        with_it, without = [_seen(each) for each in mine], [_seen(each) for each in theirs]
        ours, other = _by_channel(with_it), _by_channel(without)
        found += [
            f"peer {place}, {name}: {ours.get(name)} instead of {other.get(name)}"
            for name in ours | other
            if ours.get(name) != other.get(name)
        ]
        if not program.is_loose and _before_answers(with_it) != _before_answers(without):
            found.append(f"peer {place}, answers: {with_it} instead of {without}")
    return found
