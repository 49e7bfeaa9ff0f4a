"""Commands to all nodes: what a node that was cut off has to do on its return, too. Pure.

They are messages of two topics with a history, in which every node is. What is sent to connections
has one of its own: the most pushes must not make the engine drop the command that closes one.
"""

from collections.abc import Mapping
from typing import Any, Final

from pondsocket_common import InvalidMessage, Payload, dump_json, load_json

from pondsocket.backplane import SEPARATOR, Keep, Topic

COMMANDS: Final[Topic] = f"{SEPARATOR}commands"
PUSHES: Final[Topic] = f"{SEPARATOR}pushes"
# In the order in which a node reads them that was cut off: what a user is sent comes before the
# command that closes the user's connections.
COMMAND_TOPICS: Final[tuple[Topic, ...]] = (PUSHES, COMMANDS)
# An hour: a node that was cut off for longer has restarted, or its clients have gone.
KEPT: Final = Keep(1_000, 3_600.0, 16_777_216, 86_400.0)
VERSION: Final = 1

Command = Mapping[str, Any]
"""`do` names it; the rest are its arguments."""


def topic_of(do: str) -> Topic:
    """Return the topic of a command."""
    return PUSHES if do in ("push", "broadcast") else COMMANDS


def encode(origin: str, do: str, arguments: Payload) -> bytes:
    """Encode a command.

    Raises:
        EncodingError: An argument cannot be written as JSON.
    """
    return dump_json({"v": VERSION, "from": origin, **arguments, "do": do})


def decode(data: bytes) -> Command | None:
    """Decode a command. None: it is of another version."""
    try:
        command = load_json(data)
    except InvalidMessage:
        return None
    known = isinstance(command, dict) and command.get("v") == VERSION
    return command if known and isinstance(command, dict) else None
