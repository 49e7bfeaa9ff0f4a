"""Requests that wait for their answers, each with a time limit; pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any, Final

from pondsocket_common import ClientActions, ClientMessage

from .errors import LOST, UNSENT, PondClientError
from .values import Answer, Effect, Failed, Send

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
        """Whether it is a leave."""
        return self.message is not None and self.message.action is ClientActions.LEAVE_CHANNEL


class Requests:
    """All requests of one client, by their tickets and in the order of their making.

    Args:
        effects: Where their answers are written.
    """

    def __init__(self, effects: list[Effect]) -> None:
        self._effects = effects
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

    def send_queued(self, now: float, channel_name: str) -> None:
        """Send the events of a channel that have waited for it, but for those that are too old."""
        messages: list[ClientMessage] = []
        too_old = PondClientError(UNSENT, f"it has waited for more than {QUEUED_SECONDS:g} s")
        for request in self.queued(channel_name):
            if request.message is None or request.unsent_until is None:
                continue
            if now > request.unsent_until:
                self._give_up(request, too_old)
                continue
            messages.append(request.message)
            request.unsent_until = None
            if request.deadline is None:  # it wants no answer
                self.take(request.ticket)
        if messages:
            self._effects.append(Send(tuple(messages)))

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

    # --- answers ----------------------------------------------------------------------------

    def answered(self, ticket: str, value: Any) -> bool:
        """Answer a request. Return whether there is one."""
        if self.take(ticket) is None:
            return False
        self._effects.append(Answer(ticket, value))
        return True

    def answer_joins(self, channel_name: str, value: Any) -> None:
        """Answer the joins of a channel."""
        for request in self._joins(channel_name):
            self.answered(request.ticket, value)

    def failed(self, channel_name: str, ticket: str, error: PondClientError) -> None:
        """Take an error of the server. If no answer is awaited, the application is told of it."""
        request = self.take(ticket)
        if request is None:
            self._effects.append(Failed(channel_name, error))
        else:
            self.fail(request, error)

    def fail(self, request: Request, error: PondClientError) -> None:
        """Answer a request with an error; but not a leave: the client has left in any case."""
        if request.is_leave:
            self._effects.append(Answer(request.ticket))
        elif request.deadline is not None:
            self._effects.append(Answer(request.ticket, error=error))

    def fail_of(self, channel_name: str, error: PondClientError) -> None:
        """Fail the joins of a channel that has ended, and what has waited for them."""
        for request in self._joins(channel_name):
            self._give_up(request, error)
        unsent = PondClientError(UNSENT, "the channel was not joined in the end")
        for request in self.queued(channel_name):
            self._give_up(request, unsent)

    def fail_all(self, error: PondClientError) -> None:
        """Fail all, as the client has stopped."""
        unsent = PondClientError(UNSENT, error.message)
        for request in list(self._by_ticket.values()):
            self._give_up(request, error if request.message is None else unsent)

    def lost(self) -> None:
        """Fail what was sent, as the connection has ended. What has not been sent waits on."""
        error = PondClientError(LOST, "the connection ended before the answer")
        for request in self.sent():
            self._give_up(request, error)

    def _joins(self, channel_name: str) -> list[Request]:
        return [each for each in self._of(channel_name) if each.message is None]

    def _give_up(self, request: Request, error: PondClientError) -> None:
        self.take(request.ticket)
        self.fail(request, error)
