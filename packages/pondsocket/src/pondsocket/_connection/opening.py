"""How a connection begins: with a greeting and, after a reconnect, with joins that are repeated."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from pondsocket_common import ClientMessage, ServerMessage

from pondsocket._errors import HeaderPairs

from .lanes import PendingMessage
from .reading import Reading
from .router import Connection, Router


class Resumable(Connection, Protocol):
    """A connection whose client may resume channels."""

    names_removed: int

    @property
    def is_open(self) -> bool:
        """Whether it is being served."""
        ...


S = TypeVar("S", bound=Resumable)


class Opening:
    """What is left of the beginning of one connection.

    Args:
        greeting: What the connection handler has replied.
        names: The channels that a client that reconnects is to join, besides the memberships.
            After the end, these are also the memberships that there were at the end.
        headers: The headers of the answer that admits the client.
    """

    __slots__ = ("_greeting", "headers", "joins", "names")

    def __init__(
        self,
        greeting: Sequence[ServerMessage] = (),
        names: frozenset[str] = frozenset(),
        headers: HeaderPairs = (),
    ) -> None:
        self._greeting = greeting
        self.headers = headers
        self.names = names
        # What a client that reconnects joins again; None: it does not resume.
        self.joins: Sequence[ClientMessage] | None = None

    def begin(self, session: S, router: Router[S], reading: Reading[S]) -> None:
        """Greet the client, and repeat its joins."""
        greeting, self._greeting = self._greeting, ()
        if self.joins is None:
            router.opened(session, greeting, None, None)
            return
        pending, others = reading.inbound.resume(self.joins)
        names = tuple(message.channel_name for _, message, *_ in pending)
        self.joins, self.names = None, frozenset(names)
        session.names_removed += 1
        router.opened(session, greeting, names, others)
        for each in pending:
            reading.start(self._join, session, reading, each)

    async def _join(self, session: S, reading: Reading[S], pending: PendingMessage) -> None:
        try:
            await reading.inbound.lanes.finish(*pending)
        finally:
            # If the connection has ended, the join may be undecided: the next one repeats it.
            if session.is_open:
                self.names -= {pending[1].channel_name}
                session.names_removed += 1
