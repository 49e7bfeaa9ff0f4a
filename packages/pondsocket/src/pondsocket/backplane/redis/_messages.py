"""What the scripts publish, from bytes. Pure."""

from pondsocket_common import Position

from pondsocket.backplane._interface import Change, Entry, Listener, Topic


def tell(listener: Listener, topic: Topic, data: bytes) -> None:
    """Pass on one message of a topic.

    Raises:
        ValueError: It is none of ours.
    """
    head, _, rest = data.partition(b"\n")
    kind, *fields = head.split(b" ")
    if kind == b"A":
        epoch, offset, prev, spared = fields
        size = int(spared)
        entry = Entry(int(offset), rest[size:], rest[:size].decode())
        listener.appended(topic, epoch.decode(), int(prev), entry)
    elif kind == b"S":
        epoch, version = fields
        listener.shown(topic, Position(epoch.decode(), int(version)), changes_of(rest))
    elif kind == b"E":
        listener.emitted(topic, rest)
    else:
        raise ValueError(f"A message of another form: {head!r}.")


def changes_of(data: bytes) -> list[Change]:
    """Read the changes of a presence: their three sizes, a line break, and the three texts."""
    changes: list[Change] = []
    while data:
        head, _, data = data.partition(b"\n")
        ref_size, user_size, shown_size = map(int, head.split(b" "))
        ref, user = data[:ref_size], data[ref_size : ref_size + user_size]
        data = data[ref_size + user_size :]
        shown = None if shown_size < 0 else data[:shown_size]
        data = data[max(shown_size, 0) :]
        changes.append(Change(ref.decode(), user.decode(), shown))
    return changes
