"""Requests that wait for their answers, each with a time limit; pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Final

from pondsocket_common import ClientActions, ClientMessage

# What the design of others' clients teaches: without a bound, stale messages go out in a burst.
QUEUED_MESSAGES: Final = 64
QUEUED_SECONDS: Final = 30.0


@dataclass(slots=True)
class Request:
    """A request of the application.

    Args:
        ticket: The name under which the application waits.
        deadline: When its time is over; None: nothing waits for an answer.
        message: What was sent, or is to be sent; None: it is a join, which its channel sends.
        unsent_until: How old it may become before it is sent; None: it was sent.
    """

    ticket: str
    channel_name: str
    deadline: float | None
    message: ClientMessage | None = None
    unsent_until: float | None = None

    @property
    def is_leave(self) -> bool:
        """Whether it is a leave, which the end of the connection answers, too."""
        return self.message is not None and self.message.action is ClientActions.LEAVE_CHANNEL


class Requests:
    """All requests of one client, by their tickets and in the order of their making."""

    def __init__(self) -> None:
        self._by_ticket: dict[str, Request] = {}
        self._limits: list[tuple[float, str]] = []

    def add(self, request: Request) -> None:
        """Keep a request until it is taken."""
        self._by_ticket[request.ticket] = request
        if request.deadline is not None:
            heappush(self._limits, (request.deadline, request.ticket))

    def take(self, ticket: str) -> Request | None:
        """Return a request, and keep it no longer."""
        return self._by_ticket.pop(ticket, None)

    def take_all(self) -> Iterator[Request]:
        """Take all that are there now."""
        for ticket in list(self._by_ticket):
            if (request := self.take(ticket)) is not None:
                yield request

    def joins(self, channel_name: str) -> list[Request]:
        """Return the joins of a channel."""
        of_channel = self._of(channel_name)
        return [each for each in of_channel if each.message is None]

    def queued(self, channel_name: str) -> list[Request]:
        """Return the events of a channel that were not sent."""
        return [each for each in self._of(channel_name) if each.unsent_until is not None]

    def _of(self, channel_name: str) -> list[Request]:
        return [each for each in self._by_ticket.values() if each.channel_name == channel_name]

    def sent(self) -> list[Request]:
        """Return the events that were sent and not answered."""
        return [
            each
            for each in self._by_ticket.values()
            if each.message is not None and each.unsent_until is None
        ]

    def mark_sent(self, request: Request) -> None:
        """Note that a queued request is sent. One that wants no answer is kept no longer."""
        request.unsent_until = None
        if request.deadline is None:
            self.take(request.ticket)

    def next_limit(self) -> float | None:
        """Return when the next request is over."""
        while self._limits:
            at, ticket = self._limits[0]
            request = self._by_ticket.get(ticket)
            if request is not None and request.deadline == at:
                return at
            heappop(self._limits)  # answered
        return None

    def take_over(self, now: float) -> Iterator[Request]:
        """Take the requests whose time is over."""
        while (at := self.next_limit()) is not None and at <= now:
            request = self.take(heappop(self._limits)[1])
            if request is not None:
                yield request
