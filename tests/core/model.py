"""A simple model of channels: what every peer must hear if nothing is concurrent.

It carries out the same operations as the pond (`model_script`), one after the other, each to its
end or to where the script holds its handler. A line is what a peer hears, in short.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from pondsocket_common import GATEWAY

from tests.core.model_script import (
    ROOMS,
    USERS,
    Close,
    Disconnect,
    Join,
    Leave,
    Op,
    Open,
    Outside,
    Say,
    Setting,
    Step,
    Vanish,
    user_of,
)

Line: TypeAlias = tuple[object, ...]


class Raised(Exception):  # noqa: N818 - what a script does, no fault of the model
    """A script's handler raises; the code is that of a `PondError`, or 500."""

    def __init__(self, code: int = 500) -> None:
        self.code = code


@dataclass(eq=False)
class Job:
    """A message of a client; `play` is its handler, once it has begun."""

    request: str
    op: Join | Say | Leave
    play: Iterator[None] | None = None
    member: "Membership | None" = None
    decided: bool = False
    replied: bool = False

    @property
    def is_undecided(self) -> bool:
        return isinstance(self.op, Join) and self.play is not None and not self.decided


@dataclass(eq=False)
class Connection:
    user: str
    is_open: bool = True
    memberships: "dict[str, Membership]" = field(default_factory=dict)
    lanes: dict[str, deque[Job]] = field(default_factory=dict)
    heard: list[tuple[str, Line]] = field(default_factory=list)

    def hear(self, channel: str, *line: object) -> None:
        if self.is_open:
            self.heard.append((channel, line))


@dataclass(eq=False)
class Membership:
    connection: Connection
    wants_diffs: bool
    ref: object

    @property
    def user(self) -> str:
        return self.connection.user


class Room:
    """Members in the order of their joining, and what they show in the order of showing it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: list[Membership] = []
        self.shown: dict[object, tuple[str, str]] = {}
        self.told: dict[object, tuple[str, str]] = {}

    def of_users(self, users: Iterable[str]) -> list[Membership]:
        return [each for user in dict.fromkeys(users) for each in self.members if each.user == user]

    def has_user(self, user: str) -> bool:
        return any(each.user == user for each in self.members)

    def listed(self) -> dict[str, str]:
        return dict(self.shown.values())

    def send(self, members: Iterable[Membership], *line: object) -> None:
        """Tell what waits to be told before anything else."""
        self.flush()
        for member in members:
            member.connection.hear(self.name, *line)

    def flush(self) -> None:
        if self.shown != self.told:
            old, new = self.told, self.shown
            joins = sorted(new[ref] for ref in new.keys() - old.keys())
            updates = sorted(new[ref] for ref in new.keys() & old.keys() if new[ref] != old[ref])
            leaves = sorted(old[ref] for ref in old.keys() - new.keys())
            for member in self.members:
                if member.wants_diffs:
                    member.connection.hear(self.name, "DIFF", joins, updates, leaves)
            self.told = dict(self.shown)

    def forget_what_is_not_wanted(self) -> None:
        if not any(each.wants_diffs for each in self.members):
            self.told = dict(self.shown)

    def show(self, member: Membership, mark: str) -> None:
        before = self.listed().get(member.user)
        self.shown.pop(member.ref, None)
        self.shown[member.ref] = (member.user, mark)
        if before != mark:
            self._list("JOIN" if before is None else "UPDATE", mark)
        self.forget_what_is_not_wanted()

    def hide(self, member: Membership) -> None:
        if member.ref not in self.shown:
            return
        before = self.listed()
        _, mark = self.shown.pop(member.ref)
        after = self.listed()
        if member.user not in after:
            self._list("LEAVE", mark)
        elif before != after:
            self._list("UPDATE", after[member.user])
        self.forget_what_is_not_wanted()

    def _list(self, kind: str, changed: str) -> None:
        for member in self.members:
            if not member.wants_diffs:
                listed = sorted(self.listed().values())
                member.connection.hear(self.name, kind, listed, changed)


class Model:
    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.connections: list[Connection] = []
        self.peers: dict[int, Connection] = {}
        self.rooms = {name: Room(name) for name in ROOMS}
        self.left: list[tuple[str, str, str]] = []
        self.held: dict[str, Connection] = {}
        self.lane_of: dict[str, str] = {}

    # --- operations ---------------------------------------------------------------------------

    def apply(self, request: str, op: Op) -> None:
        match op:
            case Join() | Say() | Leave():
                self._enter(self._connection(op.peer), Job(request, op))
            case Vanish() | Close():
                if op.peer in self.peers:
                    self._end(self.peers[op.peer])
            case Disconnect():
                for connection in list(self.peers.values()):
                    if connection.user == op.user:
                        self._end(connection, 4403)
            case Outside():
                self._from_outside(self.rooms[op.channel], op.step, f"{request}.0")
            case Open():
                self.go_on(self.choose(op))
        self._tick()

    def is_racy(self, op: Op) -> bool:
        """Whether there is more than one right outcome: then the model is no help."""
        if not isinstance(op, Disconnect):
            return False
        ending = [each for each in self.peers.values() if each.user == op.user]
        return sum(bool(self._awaits_a_join(connection)) for connection in ending) > 1

    @staticmethod
    def _awaits_a_join(connection: Connection) -> list[deque[Job]]:
        lanes = connection.lanes.values()
        return [lane for lane in lanes if lane and lane[0].is_undecided and len(lane) > 1]

    def choose(self, op: Open) -> str | None:
        waiting = sorted(self.held)
        return waiting[op.which % len(waiting)] if waiting else None

    def go_on(self, request: str | None) -> None:
        if request is not None:
            connection = self.held.pop(request)
            self._work(connection, self.lane_of.pop(request))

    def close(self) -> None:
        """Close the pond."""
        for connection in list(self.peers.values()):
            self._end(connection, 1001)
        self._tick()

    def _tick(self) -> None:
        if not self.setting.batches:
            for room in self.rooms.values():
                room.flush()

    def _connection(self, peer: int) -> Connection:
        if peer not in self.peers:
            connection = self.peers[peer] = Connection(user_of(peer))
            self.connections.append(connection)
            connection.hear(GATEWAY, "CONNECTION")
        return self.peers[peer]

    def _from_outside(self, room: Room, step: Step, mark: str) -> None:
        match step.verb:
            case "broadcast":
                room.send(room.members, "news", mark)
            case "to":
                room.send(room.of_users(step.users), "news", mark)
            case "from":
                others = [each for each in room.members if each.user != USERS[0]]
                room.send(others, "news", mark)
            case "evict":
                self._evict(room, room.of_users((step.users or USERS)[:1]))

    # --- connections and lanes ----------------------------------------------------------------

    def _end(self, connection: Connection, code: int | None = None) -> None:
        del self.peers[next(peer for peer, each in self.peers.items() if each is connection)]
        goodbye = connection.heard
        connection.is_open = False
        for name, member in connection.memberships.items():
            self._remove(self.rooms[name], member, "connection_closed")
        if code is not None:
            goodbye.append((GATEWAY, ("GOODBYE", code)))
        for name, lane in connection.lanes.items():
            if lane and lane[0].is_undecided:  # no connection is left to be admitted
                self.held.pop(lane[0].request)
                lane.popleft()
                self._work(connection, name)

    def _enter(self, connection: Connection, job: Job) -> None:
        lane = connection.lanes.setdefault(job.op.channel, deque())
        lane.append(job)
        if len(lane) == 1:
            self._work(connection, job.op.channel)

    def _work(self, connection: Connection, name: str) -> None:
        lane = connection.lanes[name]
        while lane:
            job = lane[0]
            if job.play is None:
                job.play = self._handle(connection, job)
            for _ in job.play:
                self.held[job.request] = connection
                self.lane_of[job.request] = name
                return
            lane.popleft()

    def _handle(self, connection: Connection, job: Job) -> Iterator[None]:
        name = job.op.channel
        job.member = connection.memberships.get(name)
        match job.op:
            case Join():
                yield from self._join(connection, job, job.op)
            case Say() if job.member is not None:
                try:
                    for number, step in enumerate(job.op.script):
                        yield from self._step(connection, job, step, f"{job.request}.{number}")
                except Raised as error:
                    kind = "INTERNAL_SERVER_ERROR" if error.code == 500 else "CHANNEL_ERROR"
                    self.rooms[name].send([job.member], kind, job.request)
            case Say():
                kind = "UNAUTHORIZED_BROADCAST" if name in self.rooms else "NOT_FOUND"
                connection.hear(name, kind, job.request)
            case Leave() if job.member is not None:
                del connection.memberships[name]
                self._remove(self.rooms[name], job.member, "explicit_leave")
                self.rooms[name].send([job.member], "EXIT_ACKNOWLEDGE", job.request)
            case Leave():
                connection.hear(name, "EXIT_ACKNOWLEDGE", job.request)

    # --- scripts ------------------------------------------------------------------------------

    def _join(self, connection: Connection, job: Job, op: Join) -> Iterator[None]:
        if op.channel not in self.rooms:
            connection.hear(op.channel, "NOT_FOUND", job.request)
            return
        if not connection.is_open:
            return
        job.member = None
        try:
            for number, step in enumerate(op.script):
                yield from self._step(connection, job, step, f"{job.request}.{number}")
        except Raised as error:
            self._refuse(connection, job, error.code)
        else:
            self._refuse(connection, job, 401)

    def _accept(self, connection: Connection, job: Job, room: Room) -> None:
        job.decided = True
        wants_diffs = isinstance(job.op, Join) and job.op.diffs
        replaced = connection.memberships.get(room.name)
        ref = object()
        if replaced is not None:
            room.members.remove(replaced)
            ref = replaced.ref
        state = sorted(room.told.values()) if wants_diffs else None
        job.member = Membership(connection, wants_diffs, ref)
        room.members.append(job.member)
        connection.memberships[room.name] = job.member
        connection.hear(room.name, "ACKNOWLEDGE", job.request, state)
        room.forget_what_is_not_wanted()

    def _refuse(self, connection: Connection, job: Job, code: int) -> None:
        if job.decided:
            return
        job.decided = True
        room = self.rooms[job.op.channel]
        old = connection.memberships.get(room.name)
        if old is not None:
            self._remove(room, old, "evicted")
            room.flush()
        connection.hear(room.name, "UNAUTHORIZED", job.request, code)

    def _step(self, connection: Connection, job: Job, step: Step, mark: str) -> Iterator[None]:
        room = self.rooms[job.op.channel]
        match step.verb:
            case "hold":
                yield
            case "accept":
                if not job.decided:
                    self._accept(connection, job, room)
            case "decline":
                self._refuse(connection, job, 403)
            case "raise":
                raise Raised
            case "fail":
                raise Raised(418)
            case "broadcast":
                room.send(room.members, "news", mark)
            case "to":
                room.send(room.of_users(step.users), "news", mark)
            case "from":
                others = [each for each in room.members if each.connection is not connection]
                room.send(others, "news", mark)
            case "reply":
                self._reply(job, room, mark)
            case "track" | "same":
                mark = mark if step.verb == "track" else "same"
                for member in self._addressed(job, room, step):
                    if member in room.members:
                        room.show(member, mark)
            case "untrack":
                for member in self._addressed(job, room, step):
                    room.hide(member)
            case "evict":
                self._evict(room, self._addressed(job, room, step))

    @staticmethod
    def _reply(job: Job, room: Room, mark: str) -> None:
        if job.member is None:
            raise Raised
        if not job.replied:
            room.send([job.member], "answer", job.request, mark)
        job.replied = isinstance(job.op, Say)

    @staticmethod
    def _addressed(job: Job, room: Room, step: Step) -> list[Membership]:
        if not all(map(room.has_user, step.users)):
            raise Raised
        if step.users:
            return room.of_users(step.users)
        if job.member is None:
            raise Raised
        return [job.member]

    def _evict(self, room: Room, members: list[Membership]) -> None:
        for member in members:
            if member in room.members:
                self._remove(room, member, "evicted")
                room.send([member], "EVICTED", "out")

    def _remove(self, room: Room, member: Membership, reason: str) -> None:
        if member not in room.members:
            return
        connection = member.connection
        room.members.remove(member)
        if connection.is_open and connection.memberships.get(room.name) is member:
            del connection.memberships[room.name]
        room.hide(member)
        room.forget_what_is_not_wanted()
        if not room.has_user(member.user):
            self.left.append((room.name, member.user, reason))
