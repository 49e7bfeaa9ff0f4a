"""What random peers do: the words of the programs that the model and the pond both carry out."""

import random
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

from pondsocket_common import Payload

USERS: Final = ("ann", "bob", "cat")
PEERS: Final = 6
ROOMS: Final = ("/room/1", "/room/2")
NOWHERE: Final = "/nowhere"


def user_of(peer: int) -> str:
    """Every user has two peers."""
    return USERS[peer % len(USERS)]


class Step(NamedTuple):
    """One thing that a handler does, or that is done to a channel from outside."""

    verb: str
    users: tuple[str, ...] = ()


class Join(NamedTuple):
    """A peer asks to join; the handler does as the script says."""

    peer: int
    channel: str
    script: tuple[Step, ...]
    diffs: bool = False


class Say(NamedTuple):
    """A peer sends an event; the handler does as the script says."""

    peer: int
    channel: str
    script: tuple[Step, ...]


class Leave(NamedTuple):
    """A peer asks to leave."""

    peer: int
    channel: str


class Vanish(NamedTuple):
    """A peer disconnects without a leave or a close."""

    peer: int


class Close(NamedTuple):
    """A peer's connection is closed as it asked for."""

    peer: int


class Disconnect(NamedTuple):
    """The application ends every connection of a user."""

    user: str


class Outside(NamedTuple):
    """Something is done to a channel from outside of it."""

    channel: str
    step: Step


class Open(NamedTuple):
    """One of the handlers that are held may go on."""

    which: int


Op: TypeAlias = Join | Say | Leave | Vanish | Close | Disconnect | Outside | Open


class Setting(NamedTuple):
    """What the pond is like.

    Args:
        hosted: Whether the application is within `async with pond`.
        gathers: Whether presence diffs wait until something else is sent; else they hardly wait.
        late: Whether every broadcast passes an outgoing handler that waits.
    """

    hosted: bool
    batches: bool
    late: bool


def as_payload(script: Sequence[Step]) -> Payload:
    return {"script": [[step.verb, list(step.users)] for step in script]}


def from_payload(payload: Payload) -> list[Step]:
    return [Step(verb, tuple(users)) for verb, users in payload["script"]]


_chance: Final = random.Random(3)
_NAMED: Final = frozenset({"to", "track", "same", "untrack", "evict", "kick"})
_ANYWHERE: Final = [
    "broadcast",
    "from",
    "to",
    "reply",
    "track",
    "track",
    "same",
    "hold",
    "hold",
    "raise",
]
_MEMBERS_ALONE: Final = ["untrack", "evict", "fail"]
_DECISIONS: Final = [
    "accept",
    "accept",
    "accept",
    "accept",
    "accept",
    "accept",
    "decline",
    "raise",
    "fail",
    "silent",
]
_RACY: Final = ["yield", "yield", "yield", "kick"]
_LET_IN: Final = (Step("accept"), Step("track"))


def _step(*verbs: str) -> Step:
    verb = _chance.choice(verbs)
    users = _chance.choices(USERS, k=_chance.choice((0, 0, 1, 2))) if verb in _NAMED else ()
    return Step(verb, tuple(users))


def _steps(most: int, *verbs: str) -> tuple[Step, ...]:
    return tuple(_step(*verbs) for _ in range(_chance.randint(0, most)))


def _channel() -> str:
    # Most of it happens in one room, so that something does.
    return _chance.choices((*ROOMS, NOWHERE), (30, 8, 1))[0]


def _op(more: list[str]) -> Op:
    peer, user = _chance.randrange(PEERS), _chance.choice(USERS)
    match _chance.choices(range(9), (16, 8, 7, 22, 4, 1, 1, 1, 3))[0]:
        case 0:
            return Join(peer, _channel(), _LET_IN, _chance.random() < 0.5)
        case 1:
            before = _steps(1, "hold", "hold", "hold", "broadcast", "reply", *more)
            after = _steps(2, *_ANYWHERE, *more)
            decision = Step(_chance.choice(_DECISIONS))
            return Join(peer, _channel(), (*before, decision, *after), _chance.random() < 0.5)
        case 2:
            return Open(_chance.randrange(6))
        case 3:
            return Say(peer, _channel(), _steps(4, *_ANYWHERE, *_MEMBERS_ALONE, *more))
        case 4:
            return Leave(peer, _channel())
        case 5:
            return Vanish(peer)
        case 6:
            return Close(peer)
        case 7:
            return Disconnect(user)
        case _:
            return Outside(_chance.choice(ROOMS), _step("broadcast", "to", "from", "evict"))


_OPS: Final = [_op([]) for _ in range(3_000)]
_RACY_OPS: Final = [_op(_RACY) for _ in range(3_000)]


def program_of(seed: int, *, racy: bool = False) -> tuple[Setting, list[Op]]:
    """Return a pond and what happens in it; a racy program may have several right outcomes.

    The drawing is not left to hypothesis: of some hundred draws a program it takes more time than
    the pond, and comes up with the same few again and again.
    """
    chance = random.Random(seed)
    setting = Setting(*(chance.random() < 0.5 for _ in Setting._fields))
    ops = chance.choices(_RACY_OPS if racy else _OPS, k=chance.randint(1, 60))
    return setting, ops


def smallest(ops: list[Op], fails: Callable[[list[Op]], bool]) -> list[Op]:
    """Leave out operations as long as it still fails."""
    size = len(ops)
    while size:
        start = 0
        while start < len(ops):
            fewer = ops[:start] + ops[start + size :]
            if fails(fewer):
                ops = fewer
            else:
                start += size
        size //= 2
    return ops
