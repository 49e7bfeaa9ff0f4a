"""The cost of presence, when users join one tracked channel one after the other.

`python -m tests.benchmarks.presence` prints all bytes sent and the CPU time per user, for
members that ask for diffs and for members that get the whole list at every change.
"""

import argparse
import time
from typing import Final, NamedTuple

import anyio
import anyio.lowlevel
from pondsocket import (
    ConnectionContext,
    ConnectRequest,
    Headers,
    JoinContext,
    Lobby,
    Options,
    PondSocket,
    PresenceMode,
    QueryParams,
)
from pondsocket.adapter import Frame, Session
from pondsocket_common import ClientActions, ClientMessage, encode_client

from tests.benchmarks._machine import machine
from tests.benchmarks._outlets import EndlessOutlet

USERS: Final = 200
ROOM: Final = "/room/1"
SHOWN: Final = {"status": "online"}
# A join takes a millisecond, and the default tick is 0.1 s.
PER_TICK: Final = 100
# Phoenix sends 5.0 MB; the presence of every user to every other is 1.6 MB. The bound on bytes
# holds only where joins share ticks: if each join has its own tick, every member gets a frame for
# each, 20,100 frames of 185 bytes, however they are made. The CPU time stays low even then.
MOST_BYTES_IN_DIFF_MODE: Final = 2_500_000


class Cost(NamedTuple):
    """The cost until the last user has joined and every user knows of it."""

    users: int
    bytes_sent: int
    frames: int
    cpu_seconds: float


class User(EndlessOutlet):
    """A client that joins once, and whose outlet counts what is sent to it."""

    def __init__(self, presence: PresenceMode | None) -> None:
        message = ClientMessage(
            ClientActions.JOIN_CHANNEL, "join", ROOM, "r1", {}, presence=presence
        )
        self._said = [encode_client(message)]
        self.bytes_sent = 0
        self.frames = 0

    async def pull(self) -> bytes:
        """Return the client's next text; wait forever after the join."""
        if not self._said:
            await anyio.sleep_forever()
        return self._said.pop()

    def offer(self, frame: Frame) -> bool:
        """Count a frame."""
        self.bytes_sent += frame.size
        self.frames += 1
        return True


class PondSetup(NamedTuple):
    """A pond whose members show that they are online."""

    pond: PondSocket
    lobby: Lobby


def build() -> PondSetup:
    """Make the pond; the benchmark makes the ticks, so that bytes do not depend on time."""
    pond = PondSocket(options=Options(presence_tick=3_600))

    @pond.endpoint("/socket")
    async def socket(ctx: ConnectionContext) -> None:
        ctx.accept(user_id=ctx.query["user"])

    @socket.channel("/room/:id")
    async def room(ctx: JoinContext) -> None:
        await ctx.accept()
        await ctx.track(SHOWN)

    return PondSetup(pond, room)


async def admitted(pond: PondSocket, user: str) -> Session:
    """Connect a user, and return the session; the pond accepts every user."""
    query = QueryParams([("user", user)])
    outcome = await pond.connect(ConnectRequest("/socket", Headers(), query, None, "websocket"))
    assert isinstance(outcome, Session)
    return outcome


async def join_in_turn(
    presence: PresenceMode | None, users: int = USERS, per_tick: int = PER_TICK
) -> Cost:
    """Join users one after the other; diffs are sent after every `per_tick` joins."""
    setup = build()
    room = [User(presence) for _ in range(users)]
    async with setup.pond, anyio.create_task_group() as served:
        started = time.process_time()
        for number, user in enumerate(room, start=1):
            session = await admitted(setup.pond, f"u{number - 1}")
            served.start_soon(session.run, user, user.pull)
            while not session.memberships:
                await anyio.lowlevel.checkpoint()
            if number % per_tick == 0 or number == users:
                await _tick(setup)
        spent = time.process_time() - started
        cost = Cost(users, sum(u.bytes_sent for u in room), sum(u.frames for u in room), spent)
        assert len(await setup.pond.channel("/socket", ROOM).get_presence()) == users
        served.cancel_scope.cancel()
    return cost


async def _tick(setup: PondSetup) -> None:
    channel = await setup.lobby.get_channel(ROOM)
    assert channel is not None
    channel.presence.flush()


def line(title: str, cost: Cost) -> str:
    """Format one line of the table."""
    return (
        f"{title:<34}{cost.bytes_sent / 1e6:8.2f} MB{cost.frames:9,} frames"
        f"{cost.cpu_seconds / cost.users * 1e3:8.2f} ms CPU per user"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=USERS)
    users = parser.parse_args().users
    print(machine("anyio", "orjson"))
    print(f"\n{users} users join one tracked channel, one after the other")
    for per_tick in (PER_TICK, PER_TICK // 2, 1):
        cost = anyio.run(join_in_turn, PresenceMode.DIFF, users, per_tick)
        print(line(f"diffs, {per_tick} joins a tick", cost))
    print(line("whole lists", anyio.run(join_in_turn, None, users)))


if __name__ == "__main__":
    main()
