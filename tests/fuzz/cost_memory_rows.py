"""What clients do to take a server's memory, and the most that it may take. A new one is a row.

Each limit is the documented bound (docs/limits.md), times what Python's objects take beyond the
bytes that it counts, with room for what differs from run to run. `why` says which bound it is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tests.fuzz.cost_inputs import DEFAULTS
from tests.fuzz.cost_memory_app import HISTORY_BYTES, POSITIONS
from tests.fuzz.cost_memory_clients import Crowd, Hostile, event, join, leave
from tests.fuzz.raw_sockets import PING, frame

KIB: Final = 1024
MIB: Final = 1024 * KIB
# What is left of nothing: lists that have grown, and what a server keeps for the next connection.
NOTHING: Final = 48 * KIB
ALL: Final = ("plain", "fast lane", "SSE")
# Where what is taken does not depend on the server's protocol.
EITHER: Final = ("fast lane", "SSE")


@dataclass(frozen=True, kw_only=True)
class Deed:
    """One row.

    Args:
        name: What the table calls it.
        do: What the clients do.
        peak: How much more memory the server may take meanwhile, in bytes.
        held: How much it may use while the clients stay and are silent.
        left: How much it may use for ever, after they have gone.
        why: Where the limits come from.
        servers: On which it is tried.
        is_fresh: Whether it is measured without having been done before.
        pause: How many seconds after that the server is given for a look at its clients.
    """

    name: str
    do: Callable[[Crowd], None]
    peak: int
    held: int
    left: int = NOTHING
    why: str
    servers: tuple[str, ...] = EITHER
    is_fresh: bool = False
    pause: float = 0.0


def _listening(client: Hostile, messages: list[bytes]) -> None:
    """Say it and read all the while, as far as a client that talks can."""
    for at in range(0, len(messages), 32):
        client.say(messages[at : at + 32])
        client.read(0.002)


# --- pings ----------------------------------------------------------------------------------------

PINGS: Final = 400_000


def _ping(crowd: Crowd) -> None:
    (client,) = crowd.come()
    client.write(frame(b"p" * 125, PING) * PINGS, stuck_seconds=1.0)


def _ping_by_message(crowd: Crowd) -> None:
    # More answers than the system takes for a client that does not read.
    for client in crowd.come(2):
        client.say([b'{"action":"ping","requestId":"%b"}' % (b"r" * 200)] * 40_000)


# --- answers and events ---------------------------------------------------------------------------

UNREAD: Final = 4
LONG: Final = "x" * 64_000


def _ask(crowd: Crowd) -> None:
    for client in crowd.come(UNREAD):
        client.say([join("/room/1"), *[event("echo", "/room/1", {"a": LONG})] * 300])


def _wait(crowd: Crowd) -> None:
    for client in crowd.come(UNREAD):
        client.say([join("/room/1"), *[event("hang", "/room/1", {"a": LONG})] * 60])


def _nest() -> object:
    value: object = []
    for _ in range(50):
        value = [value]
    return [value] * 600


NESTS: Final = _nest()


def _wait_with_nests(crowd: Crowd) -> None:
    for client in crowd.come(2):
        client.say([join("/room/1"), *[event("hang", "/room/1", {"a": NESTS})] * 12])


def _wait_to_join(crowd: Crowd) -> None:
    for client in crowd.come(UNREAD):
        names = crowd.names("slow", 60)
        client.say([join(name, {"a": LONG}) for name in names])


# --- presence -------------------------------------------------------------------------------------

ROOMS: Final = 100
# Too long are the last two.
SHOWN: Final = (500, 4_000, 16_000, 60_000)
MEMBERS: Final = 12
CHANGES: Final = 60


def _track(crowd: Crowd) -> None:
    (client,) = crowd.come()
    names = crowd.names("room", ROOMS)
    _listening(client, [join(name) for name in names])
    for size in SHOWN:
        _listening(client, [event("show", name, {"a": "p" * size}) for name in names])


def _track_rows(crowd: Crowd) -> None:
    (client,) = crowd.come()
    names = crowd.names("room", ROOMS)
    _listening(client, [join(name) for name in names])
    for count in (10, 1_300, 5_000):
        lists: list[object] = [[] for _ in range(count)]
        _listening(client, [event("show", name, {"a": lists}) for name in names])


def _track_among_many(crowd: Crowd) -> None:
    clients = crowd.come(MEMBERS)
    for client in clients:
        client.say([join("/room/1")])
    for number in range(CHANGES):
        for client in clients:
            client.say([event("show", "/room/1", {"n": number, "a": "p" * 4_000})])


def _track_and_vanish(crowd: Crowd) -> None:
    for _ in range(6):
        (client,) = crowd.come(user="eve")
        names = crowd.names("room", ROOMS)
        _listening(client, [join(name) for name in names])
        _listening(client, [event("show", name, {"a": "p" * 4_000}) for name in names])
        client.read(0.1)  # so that the server has taken it
        crowd.go(client)


# --- names ----------------------------------------------------------------------------------------

NAMES: Final = 128


def _join_many(crowd: Crowd) -> None:
    for number, client in enumerate(crowd.come(4)):
        _listening(client, [join(name) for name in crowd.names("room", 200, number)])


def _join_and_leave(crowd: Crowd) -> None:
    for number, client in enumerate(crowd.come(8)):
        names = crowd.names("room", NAMES, number)
        _listening(client, [message for name in names for message in (join(name), leave(name))])


def _begin_histories(crowd: Crowd) -> None:
    for number, client in enumerate(crowd.come(3)):
        names = crowd.names("kept", 190, number)
        _listening(client, [join(name) for name in names[:126]])
        _listening(client, [leave(name) for name in names[:64]])
        _listening(client, [join(name) for name in names[126:]])


def _begin_more_histories(crowd: Crowd) -> None:
    for number, client in enumerate(crowd.come(16)):
        names = crowd.names("kept", 127, number)
        _listening(client, [message for name in names for message in (join(name), leave(name))])


def _fill_histories(crowd: Crowd) -> None:
    for number, client in enumerate(crowd.come(3)):
        for name in crowd.names("kept", 20, number):
            said = event("say", name, {"a": LONG})
            _listening(client, [join(name), *[said] * 8, leave(name)])


# --- connections ----------------------------------------------------------------------------------

OPEN: Final = 100
CLOSED: Final = 300


def _stay(crowd: Crowd) -> None:
    for client in crowd.come(OPEN):
        client.say([join("/room/1")])


def _come_and_go(crowd: Crowd) -> None:
    for number in range(CLOSED):
        (client,) = crowd.come()
        client.say([join("/room/1")])
        crowd.go(client, by_close_frame=number % 2 == 0)


# --- refusals and ends ----------------------------------------------------------------------------


def _be_refused(crowd: Crowd) -> None:
    for number, client in enumerate(crowd.come(4)):
        names = [*crowd.names("no", 100, number), *crowd.names("nowhere", 100, number)]
        _listening(client, [join(name) for name in names])
        _listening(client, [event("say", name) for name in names])


def _be_evicted(crowd: Crowd) -> None:
    for client in crowd.come(4):
        turn = [join("/room/1"), event("go", "/room/1")]
        _listening(client, turn * 200)


def _post_to_the_dead(crowd: Crowd) -> None:
    for client in crowd.come(4):
        client.delete()
        for _ in range(60):
            client.post(event("say", "/room/1", {"a": LONG}))


OUTBOX: Final = DEFAULTS.outbox_bytes
PENDING: Final = DEFAULTS.max_pending_bytes
PRESENCE: Final = DEFAULTS.max_presence_bytes or 0
# A server reads so much at once, and Python keeps a few such texts until they are collected.
READ: Final = 256 * KIB
# What Python's objects take beyond the text of which they were made: texts, and lists in lists.
TEXT: Final = 2
LISTS: Final = 28
# A name of 250 characters, the channel, its member, and where they are listed.
MEMBERSHIP: Final = 6 * KIB
# An empty history, with such a name: 0.95 KiB.
POSITION: Final = 5 * KIB // 4
# A connection in one channel, with what uvicorn and asyncio keep for it.
CONNECTION: Final = 48 * KIB
# What is still there when the peak is over: garbage, and what the allocator keeps.
SLACK: Final = 2 * MIB

DEEDS: Final = (
    Deed(
        name="pings, nothing read",
        do=_ping,
        peak=128 * MIB,
        held=2 * MIB,
        servers=("plain",),
        why="what one client writes in two seconds: it is looked at once a second",
        is_fresh=True,
        pause=1.2,
    ),
    Deed(
        name="pings to the fast lane",
        do=_ping,
        peak=SLACK + 4 * READ,
        held=READ,
        why="64 KiB of answers, and one read",
        servers=("fast lane",),
    ),
    Deed(
        name="pings by message",
        servers=ALL,
        do=_ping_by_message,
        peak=SLACK + 2 * MIB,
        held=2 * MIB,
        why="control_burst and max_refusals, or outbox_bytes, of 2 clients",
    ),
    Deed(
        name="answers, nothing read",
        servers=ALL,
        do=_ask,
        peak=SLACK + UNREAD * (2 * OUTBOX + READ),
        held=UNREAD * 2 * OUTBOX,  # a full outbox, and the write that is in progress
        why="outbox_bytes and one write, of 4 clients",
    ),
    Deed(
        name="events that wait",
        do=_wait,
        peak=SLACK + UNREAD * (PENDING + 2 * READ),
        held=UNREAD * (PENDING + READ),
        why="max_pending_bytes and one read, of 4 clients",
    ),
    Deed(
        name="events that wait, of lists",
        do=_wait_with_nests,
        held=2 * 12 * PENDING,
        peak=SLACK + 2 * 20 * PENDING,
        is_fresh=True,
        why="max_pending_bytes, or one post of lists, of 2 clients",
    ),
    Deed(
        name="joins that wait",
        do=_wait_to_join,
        peak=SLACK + UNREAD * (PENDING + 2 * READ),
        held=UNREAD * (PENDING + 2 * READ),
        why="max_pending_bytes and one read, of 4 clients",
    ),
    Deed(
        name="tracks, growing",
        do=_track,
        peak=SLACK + ROOMS * TEXT * (MEMBERSHIP + PRESENCE),
        held=ROOMS * (MEMBERSHIP + TEXT * PRESENCE),
        why="max_presence_bytes, in 100 channels",
    ),
    Deed(
        name="tracks of lists",
        do=_track_rows,
        held=ROOMS * LISTS * PRESENCE,
        peak=SLACK + ROOMS * LISTS * 2 * PRESENCE,
        why="max_presence_bytes, in 100 channels, as lists of lists",
    ),
    Deed(
        name="tracks, many members",
        servers=ALL,
        do=_track_among_many,
        peak=SLACK + MEMBERS * 2 * OUTBOX,
        held=MEMBERS * 2 * OUTBOX,
        why="outbox_bytes and one write, of 12 clients",
    ),
    Deed(
        name="tracks, leaves held back",
        do=_track_and_vanish,
        left=NOTHING,
        peak=SLACK + ROOMS * 4 * PRESENCE,
        held=ROOMS * (MEMBERSHIP + 3 * PRESENCE),
        why="one leave for each user and channel",
    ),
    Deed(
        name="new names",
        do=_join_many,
        peak=SLACK + 4 * NAMES * MEMBERSHIP,
        held=4 * NAMES * MEMBERSHIP,
        why="max_channels, of 4 clients",
    ),
    Deed(
        name="new names, left again",
        do=_join_and_leave,
        peak=SLACK,
        held=8 * CONNECTION,
        why="nothing is kept of a channel without members",
    ),
    Deed(
        name="new histories",
        do=_begin_histories,
        is_fresh=True,
        peak=SLACK + 2 * MIB,
        held=3 * NAMES * (MEMBERSHIP + POSITION),
        left=3 * NAMES * POSITION,
        why="max_new_histories, of 3 clients",
    ),
    Deed(
        name="new histories, coming again",
        do=_begin_more_histories,
        is_fresh=True,
        peak=SLACK + 2 * MIB,
        held=POSITIONS * POSITION + 16 * CONNECTION,
        left=POSITIONS * POSITION,
        why=f"positions of a pattern, here {POSITIONS:,}",
    ),
    Deed(
        name="histories, filled",
        do=_fill_histories,
        is_fresh=True,
        peak=SLACK + 2 * HISTORY_BYTES,
        held=HISTORY_BYTES * 5 // 4,
        left=HISTORY_BYTES * 5 // 4,
        why="History.max_total_bytes, here 4 MiB",
    ),
    Deed(
        name="connections, open",
        servers=ALL,
        do=_stay,
        peak=SLACK + OPEN * CONNECTION,
        held=OPEN * CONNECTION,
        why="what a member costs that does nothing",
    ),
    Deed(
        name="connections, closed again",
        servers=ALL,
        do=_come_and_go,
        peak=SLACK,
        held=NOTHING,
        why="nothing is kept of a connection",
    ),
    Deed(
        name="joins and events refused",
        do=_be_refused,
        peak=SLACK,
        held=4 * CONNECTION + NOTHING,
        why="nothing is kept of what is refused",
    ),
    Deed(
        name="evicted again and again",
        do=_be_evicted,
        peak=SLACK,
        held=4 * CONNECTION + NOTHING,
        why="nothing is kept of a membership that has ended",
    ),
    Deed(
        name="posts to ended streams",
        do=_post_to_the_dead,
        peak=SLACK + 4 * READ,
        held=4 * CONNECTION,
        why="nothing is kept of a stream that has ended",
        servers=("SSE",),
    ),
)
