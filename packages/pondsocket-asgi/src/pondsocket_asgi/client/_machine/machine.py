"""What a client does, without I/O, tasks or a clock: events in, effects out.

The application's calls, the server's messages and the passing of time come in as calls of methods,
each with the time. What is to be done is in `effects`, in order. The scenarios in `tests/clients`
say what it does, and the client for browsers does the same.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from random import random
from typing import Any

from pondsocket_common import (
    GATEWAY,
    Acknowledged,
    ClientActions,
    ClientMessage,
    Connected,
    Evicted,
    Fault,
    Goodbye,
    NotFound,
    Payload,
    Pong,
    PresenceDiff,
    Refused,
    ServerActions,
    ServerMessage,
    fresh_id,
)

from .attempts import Attempts
from .connection import Connection, late, stopped_by
from .errors import UNSENT, Ended, PondClientError, told
from .memberships import Memberships
from .requests import QUEUED_MESSAGES, QUEUED_SECONDS, Request, Requests
from .values import Answer, Effect, Message, Send, Tell, TransportName


class Machine:
    """One client.

    Args:
        transports: Those that may be used, the preferred one first.
        has_token: Whether the application has a function that makes tokens.
        random: Returns a number from 0 to 1.

    Attributes:
        effects: What is to be done; the driver takes them out.
    """

    def __init__(
        self,
        transports: Sequence[TransportName] = ("websocket", "sse"),
        *,
        has_token: bool = False,
        random: Callable[[], float] = random,
        new_id: Callable[[], str] = fresh_id,
    ) -> None:
        self.effects: list[Effect] = []
        self.connected: Connected | None = None
        self.connection: Connection = Connection(
            Attempts(transports, random, has_token), self.effects, new_id
        )
        self._requests = Requests(self.effects)
        self.memberships: Memberships = Memberships(
            self.connection, self._requests, self.effects, random, new_id
        )
        self._new_id = new_id

    # --- the application --------------------------------------------------------------------

    def connect(self, now: float) -> None:
        """Open the connection, if the client is closed."""
        self.connection.start(now)

    def close(self) -> None:
        """Close the client: what was joined stays joined in intent, and is lost."""
        self.connection.stop()
        self._lose()
        self._requests.fail_all(stopped_by(self.connection.status))

    def emit(
        self,
        now: float,
        name: str,
        event: str,
        payload: Payload,
        *,
        seconds: float | None = None,
        may_wait: bool = True,
    ) -> tuple[str, bool]:
        """Send an event. Return its ticket, and whether it was handed over or queued.

        Args:
            seconds: How long the application waits for an answer; None: it wants none.
        """
        ticket = self._new_id()
        wants_answer = seconds is not None
        message = ClientMessage(
            ClientActions.BROADCAST, event, name, ticket, payload, confirm=wants_answer
        )
        request = Request(ticket, name, None if seconds is None else now + seconds, message)
        # Its reader may be the one that sends, and would wait for itself.
        self.memberships.resume(name)
        if self._can_send(name):
            if wants_answer:
                self._requests.add(request)
            self.effects.append(Send((message,)))
            return ticket, True
        why = self._why_not_queued(name, may_wait)
        if why is None:
            request.unsent_until = now + QUEUED_SECONDS
            self._requests.add(request)
        elif wants_answer:
            self._requests.fail(request, PondClientError(UNSENT, why))
        return ticket, why is None

    def forget(self, now: float, ticket: str) -> None:
        """Give up a request: if it is not sent yet, it will not be."""
        request = self._requests.take(ticket)
        if request is not None and request.message is None:
            self.memberships.leave(now, request.channel_name, seconds=0)

    def _can_send(self, name: str) -> bool:
        if not self.connection.is_open:
            return False
        return name == GATEWAY or self.memberships.joined(name) is not None

    def _why_not_queued(self, name: str, may_wait: bool) -> str | None:
        if name != GATEWAY and name not in self.memberships.channels:
            return "the channel is not joined"
        if self.connection.is_stopped:
            return "the client is closed"
        if not may_wait:
            return "the channel is not joined yet"
        if len(self._requests.queued(name)) >= QUEUED_MESSAGES:
            return f"{QUEUED_MESSAGES} messages are waiting already"
        return None

    # --- the transport ----------------------------------------------------------------------

    def alive(self, now: float) -> None:
        """Take a sign of life that is no message."""
        self.connection.heard(now)

    def ended(self, now: float, end: Ended) -> None:
        """Take the end of the connection, or of the attempt."""
        self._lose()
        self.connection.ended(now, end)
        if self.connection.is_stopped:
            self._requests.fail_all(stopped_by(self.connection.status))

    def probed(self, now: float) -> None:
        """Take the news that a WebSocket opens: use it, unless calls are under way."""
        if self.connection.probed(now, is_busy=bool(self._requests.sent())):
            self._lose()
            self.connection.begin(now)

    def refused(
        self, now: float, messages: Iterable[ClientMessage], error: PondClientError
    ) -> None:
        """Take the refusal of a POST, whose messages were not taken."""
        for message in messages:
            channel = self.memberships.channels.get(message.channel_name)
            if channel is not None and channel.join_id == message.request_id:
                self.memberships.refused(now, channel, error)
            elif message.action is not ClientActions.JOIN_CHANNEL:  # or it was left meanwhile
                self._requests.failed(message.channel_name, message.request_id, error)

    def received(self, now: float, message: ServerMessage, retry_ms: int | None = None) -> None:
        """Take a message of the server.

        Args:
            retry_ms: The `retry:` of its block of an event stream.
        """
        self.connection.heard(now)
        match message.payload:
            case Connected() as connected:
                self.connected = connected
                self.connection.opened(now)
                self.memberships.opened()
                self._requests.send_queued(now, GATEWAY)
            case Goodbye() as goodbye:
                self.connection.told_goodbye(now, goodbye, retry_ms or 0)
            case Pong():
                pass
            case Fault() as fault:
                error = told(fault.error, fault)
                self._requests.failed(message.channel_name, message.request_id, error)
            case Acknowledged() | Refused() | NotFound() | Evicted() | PresenceDiff():
                self.memberships.received(now, message)
            case payload if isinstance(payload, Mapping):
                self._event(message, payload)
            case _:
                self._requests.answered(message.request_id, None)

    def _event(self, message: ServerMessage, payload: Mapping[str, Any]) -> None:
        is_answer = message.action == ServerActions.SYSTEM
        if is_answer and self._requests.answered(message.request_id, payload):
            return
        name = message.channel_name
        channel = self.memberships.joined(name)
        if channel is not None:
            self.effects.extend(channel.event(message, payload))
        elif name == GATEWAY:
            self.effects.append(Tell(GATEWAY, Message(message.event, payload, GATEWAY)))

    def _lose(self) -> None:
        """Take the loss of the connection."""
        self._requests.lost()
        self.memberships.lost()

    # --- the clock --------------------------------------------------------------------------

    @property
    def wake_at(self) -> float | None:
        """When `tick` has something to do; None: nothing is due."""
        limits = [self.connection.wake_at, self._requests.next_limit()]
        limits += self.memberships.wake_at()
        return min((limit for limit in limits if limit is not None), default=None)

    def tick(self, now: float) -> None:
        """Do what is due."""
        for request in self._requests.take_over(now):
            # A join goes on: the channel is joined as soon as it can be.
            what = f"{request.channel_name} was not answered in time"
            error = late(what, self.connection.status)
            self.effects.append(Answer(request.ticket, error=error))
        self.memberships.tick(now)
        end = self.connection.tick(now)
        if end is not None:
            self.ended(now, end)
