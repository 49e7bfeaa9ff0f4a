"""The scripts, which the engine runs as one step each."""

from collections.abc import Sequence
from hashlib import sha1
from importlib.resources import files
from typing import Final

from pondsocket_common import fresh_epoch

from pondsocket.backplane._interface import Append, Drop, Emit, Op

from ._keys import Keys
from ._link import Argument

NAMES: Final = ("apply", "read", "roster", "count", "beat", "held", "leave")


class Scripts:
    """The text and the digest of each script."""

    def __init__(self) -> None:
        folder = files(__package__)
        self.texts = {name: folder.joinpath(f"{name}.lua").read_text() for name in NAMES}
        # The name that Redis gives it; no secret is made of it.
        self.digests = {
            name: sha1(text.encode(), usedforsecurity=False).hexdigest()
            for name, text in self.texts.items()
        }


def apply_arguments(
    keys: Keys, node: str, lease: str, seq: int, ops: Sequence[Op]
) -> list[Argument]:
    """Return what `apply.lua` takes: the number of keys, the keys, and the arguments."""
    named: dict[str, int] = {keys.run: 1, keys.seq(node): 2, keys.nodes: 3}
    topics: dict[str, int] = {}
    arguments: list[Argument] = [seq, lease, fresh_epoch()]

    def key_of(key: str) -> int:
        return named.setdefault(key, len(named) + 1)

    def keys_of(topic: str) -> int:
        """Return the index of the first of a topic's keys."""
        place = topics.get(topic)
        if place is None:
            # They follow each other: no other operation may have named one of them before.
            place = topics[topic] = len(named) + 1
            for key in keys.of(topic):
                named[key] = len(named) + 1
        return place

    for op in ops:
        topic = op.topic
        channel = keys.channel(topic)
        if isinstance(op, Append):
            keep = op.keep
            once = key_of(keys.once(topic, op.once)) if op.once else 0
            arguments += ("A", keys_of(topic), channel, op.data, keep.size, milliseconds(keep.ttl))
            arguments += (keep.max_bytes, milliseconds(keep.position_ttl), op.spare, once)
        elif isinstance(op, Emit):
            arguments += ("E", channel, op.data)
        elif isinstance(op, Drop):
            holder = key_of(keys.held(op.owner or lease))
            arguments += ("D", keys_of(topic), channel, topic, holder, op.owner, len(op.refs))
            arguments += op.refs
        else:
            holder = key_of(keys.held(lease))
            arguments += ("P", keys_of(topic), channel, topic, holder, op.ref, op.user)
            arguments.append(op.shown or b"")
    return [len(named), *named, *arguments]


def publish_command(keys: Keys, op: Op) -> tuple[Argument, ...]:
    """Return the command that sends what nothing keeps, as `apply.lua` would."""
    return ("PUBLISH", keys.channel(op.topic), b"E\n" + op.data) if isinstance(op, Emit) else ()


def milliseconds(seconds: float) -> int:
    """Return a duration as Redis counts it."""
    return max(1, round(seconds * 1_000))
