"""What a client does, without I/O, tasks or a clock: events in, effects out.

The application's calls, the server's messages and the passing of time come in as calls of methods,
each with the time. What is to be done is in `effects`, in order. The scenarios in `tests/clients`
say what it does, and the client for browsers does the same.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from random import random
from typing import Any

import pondsocket_common as common
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
    ServerMessage,
    fresh_id,
)

from .attempts import Attempts, jittered
from .channel import PASSING, Channel, ChannelState
from .connection import Connection
from .errors import CLOSED, EVICTED, LEFT, LOST, UNSENT, Ended, PondClientError
from .requests import QUEUED_MESSAGES, QUEUED_SECONDS, Request, Requests
from .values import Answer, Effect, Failed, Message, Over, Send, Tell, TransportName


class Machine:
    """One client.

    Args:
        transports: Those that may be used, the preferred one first.
        has_token: Whether the application has a function that makes tokens.
        random: Returns a number from 0 to 1.

    Attributes:
        effects: What is to be done; the driver takes them out.
        channels: What the application has joined, until it has ended.
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
        self.channels: dict[str, Channel] = {}
        self.connected: Connected | None = None
        self.connection: Connection = Connection(
            Attempts(transports, random, has_token), self.effects, new_id
        )
        self._requests = Requests()
        self._new_id = new_id
        self._random = random

    # --- the application --------------------------------------------------------------------

    def connect(self, now: float) -> None:
        """Open the connection, if the client is closed."""
        self.connection.start(now)

    def close(self) -> None:
        """Close the client: what was joined stays joined in intent, and is lost."""
        self.connection.stop()
        self._lose()
        self._fail_all(self._closed_error())

    def join(
        self, now: float, name: str, params: Payload, *, presence: bool, seconds: float
    ) -> str:
        """Join a channel. Return the ticket under which the answer comes."""
        ticket = self._new_id()
        channel = self.channels.get(name)
        if channel is None:
            channel = Channel(name, params, wants_presence=presence)
            self.channels[name] = channel
            is_new = True
        else:
            is_new = False
        channel.joins += 1
        if channel.state is ChannelState.JOINED:
            self.effects.append(Answer(ticket, channel.response))
            return ticket
        if self.connection.is_stopped:
            self.effects.append(Answer(ticket, error=self._closed_error()))
            return ticket
        self._requests.add(Request(ticket, name, now + seconds))
        if is_new and self.connection.is_open:
            self._send_joins([channel])
        return ticket

    def leave(self, now: float, name: str, *, seconds: float, wholly: bool = False) -> str:
        """Leave a channel, once for every join. Return the ticket of the answer."""
        ticket = self._new_id()
        channel = self.channels.get(name)
        if channel is None:
            self.effects.append(Answer(ticket))
            return ticket
        channel.joins = 0 if wholly else channel.joins - 1
        if channel.joins > 0:
            self.effects.append(Answer(ticket))
            return ticket
        is_member = channel.state is ChannelState.JOINED or channel.join_id is not None
        self._end(channel, ChannelState.LEFT, PondClientError(LEFT, "the channel was left"))
        self.effects.append(Over(name))
        if is_member and self.connection.is_open:
            message = self._leave_message(name, ticket)
            self._requests.add(Request(ticket, name, now + seconds, message))
            self.effects.append(Send((message,)))
        else:
            self.effects.append(Answer(ticket))
        return ticket

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
        self.resume(name)
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
            self._fail(request, PondClientError(UNSENT, why))
        return ticket, why is None

    def state_of(self, name: str) -> ChannelState:
        """Return what the client is in a channel: nothing, while it is closed."""
        channel = self.channels.get(name)
        if channel is None or self.connection.is_stopped:
            return ChannelState.LEFT
        return channel.state

    def forget(self, now: float, ticket: str) -> None:
        """Give up a request: if it is not sent yet, it will not be."""
        request = self._requests.take(ticket)
        if request is not None and request.message is None:
            self.leave(now, request.channel_name, seconds=0)

    def pause(self, name: str) -> None:
        """Leave a channel until the application has read what has come."""
        channel = self.channels.get(name)
        if channel is None or channel.state is not ChannelState.JOINED:
            return
        channel.pause()
        if self.connection.is_open:
            self.effects.append(Send((self._leave_message(name, self._new_id()),)))

    def resume(self, name: str) -> None:
        """Join a channel again, from where it was paused."""
        channel = self.channels.get(name)
        if channel is None or channel.state is not ChannelState.PAUSED:
            return
        channel.state = ChannelState.JOINING
        if self.connection.is_open:
            self._send_joins([channel])

    def _can_send(self, name: str) -> bool:
        if not self.connection.is_open:
            return False
        channel = self.channels.get(name)
        return name == GATEWAY or (channel is not None and channel.state is ChannelState.JOINED)

    def _why_not_queued(self, name: str, may_wait: bool) -> str | None:
        channel = self.channels.get(name)
        if name != GATEWAY and channel is None:
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
            self._fail_all(self._closed_error())

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
            channel = self.channels.get(message.channel_name)
            if channel is not None and channel.join_id == message.request_id:
                self._refused(now, channel, error)
            elif message.action is not ClientActions.JOIN_CHANNEL:  # or it was left meanwhile
                self._failed(message.channel_name, message.request_id, error)

    def received(self, now: float, message: ServerMessage, retry_ms: int | None = None) -> None:
        """Take a message of the server.

        Args:
            retry_ms: The `retry:` of its block of an event stream.
        """
        self.connection.heard(now)
        match message.payload:
            case Connected() as connected:
                self._opened(now, connected)
            case Goodbye() as goodbye:
                self.connection.told_goodbye(now, goodbye, retry_ms or 0)
            case Pong():
                pass
            case Fault() as fault:
                error = PondClientError(
                    fault.error,
                    fault.message,
                    fault.code,
                    details=fault.details or (),
                    retry_after=_seconds(fault.retry_after_ms),
                )
                self._failed(message.channel_name, message.request_id, error)
            case _:
                self._of_channel(now, message)

    def _opened(self, now: float, connected: Connected) -> None:
        self.connected = connected
        self.connection.opened(now)
        joining = [each for each in self.channels.values() if each.state is ChannelState.JOINING]
        self._send_joins(joining)
        self._send_queued(now, GATEWAY)

    def _of_channel(self, now: float, message: ServerMessage) -> None:
        name, request_id = message.channel_name, message.request_id
        channel = self.channels.get(name)
        is_answer = channel is not None and channel.join_id == request_id
        match message.payload:
            case Acknowledged() as answer:
                if channel is not None and is_answer:
                    self._acknowledged(now, channel, answer)
                elif channel is not None and channel.state is ChannelState.JOINED:
                    self.effects.extend(channel.begun_anew(answer))
            case common.Refused() as refusal:
                if channel is not None and is_answer:
                    self._refused(now, channel, _refusal(refusal))
            case NotFound() as refusal:
                error = PondClientError("NOT_FOUND", refusal.message, refusal.code)
                if channel is not None and is_answer:
                    self._end_told(channel, ChannelState.REFUSED, error)
                else:
                    self._failed(name, request_id, error)
            case Evicted(reason):
                if channel is not None and channel.state is ChannelState.JOINED:
                    self._end_told(channel, ChannelState.EVICTED, PondClientError(EVICTED, reason))
            case PresenceDiff() as diff:
                if channel is not None and channel.state is ChannelState.JOINED:
                    self.effects.extend(channel.changed(diff))
            case payload if isinstance(payload, Mapping):
                self._event(message, channel, payload)
            case _:
                self._answered(request_id, None)

    def _event(
        self, message: ServerMessage, channel: Channel | None, payload: Mapping[str, Any]
    ) -> None:
        if message.action == common.ServerActions.SYSTEM and self._answered(
            message.request_id, payload
        ):
            return
        if channel is not None:
            if channel.state is ChannelState.JOINED:
                self.effects.extend(channel.event(message, payload))
        elif message.channel_name == GATEWAY:
            self.effects.append(Tell(GATEWAY, Message(message.event, payload, GATEWAY)))

    # --- the clock --------------------------------------------------------------------------

    @property
    def wake_at(self) -> float | None:
        """When `tick` has something to do; None: nothing is due."""
        limits = [self.connection.wake_at, self._requests.next_limit()]
        limits += [channel.retry_at for channel in self.channels.values()]
        return min((limit for limit in limits if limit is not None), default=None)

    def tick(self, now: float) -> None:
        """Do what is due."""
        for request in self._requests.take_over(now):
            # A join goes on: the channel is joined as soon as it can be.
            error = TimeoutError(f"{request.channel_name} was not answered in time")
            self.effects.append(Answer(request.ticket, error=error))
        for channel in list(self.channels.values()):
            if channel.retry_at is not None and channel.retry_at <= now:
                self._send_joins([channel])
        end = self.connection.tick(now)
        if end is not None:
            self.ended(now, end)

    # --- what both sides cause --------------------------------------------------------------

    def _acknowledged(self, now: float, channel: Channel, answer: Acknowledged) -> None:
        self.effects.extend(channel.acknowledged(answer))
        for request in self._requests.joins(channel.name):
            self._requests.take(request.ticket)
            self.effects.append(Answer(request.ticket, channel.response))
        self._send_queued(now, channel.name)
        self.effects.extend(channel.told_joined(answer))

    def _refused(self, now: float, channel: Channel, error: PondClientError) -> None:
        """Take the refusal of a join: by its answer, or of the POST that has held it."""
        # A new member is told at once; one that comes back has nothing to be told.
        if channel.was_joined and (error.code in PASSING or error.code >= 500):
            delay = jittered(self._random, channel.refusals)
            channel.refused_for_now(now + (error.retry_after or 0.0) + delay)
        else:
            self._end_told(channel, ChannelState.REFUSED, error)

    def _end_told(self, channel: Channel, state: ChannelState, error: PondClientError) -> None:
        self._end(channel, state, error)
        self.effects.append(Over(channel.name, error))

    def _end(self, channel: Channel, state: ChannelState, error: PondClientError) -> None:
        is_refused = state is ChannelState.REFUSED
        channel.end(state)
        del self.channels[channel.name]
        left = PondClientError(LEFT, "the channel was left")
        for request in self._requests.joins(channel.name):
            self._requests.take(request.ticket)
            self._fail(request, error if is_refused else left)
        unsent = PondClientError(UNSENT, "the channel was not joined in the end")
        for request in self._requests.queued(channel.name):
            self._requests.take(request.ticket)
            self._fail(request, unsent)

    def _send_joins(self, channels: Iterable[Channel]) -> None:
        messages = tuple(channel.join_message(self._new_id()) for channel in channels)
        if messages:
            self.effects.append(Send(messages))

    def _send_queued(self, now: float, name: str) -> None:
        messages: list[ClientMessage] = []
        too_old = PondClientError(UNSENT, f"it has waited for more than {QUEUED_SECONDS:g} s")
        for request in self._requests.queued(name):
            if request.message is None or request.unsent_until is None:
                continue
            if now > request.unsent_until:
                self._requests.take(request.ticket)
                self._fail(request, too_old)
            else:
                messages.append(request.message)
                self._requests.mark_sent(request)
        if messages:
            self.effects.append(Send(tuple(messages)))

    def _leave_message(self, name: str, request_id: str) -> ClientMessage:
        return ClientMessage(ClientActions.LEAVE_CHANNEL, "leave", name, request_id, {})

    def _answered(self, request_id: str, value: Any) -> bool:
        if self._requests.take(request_id) is None:
            return False
        self.effects.append(Answer(request_id, value))
        return True

    def _failed(self, name: str, request_id: str, error: PondClientError) -> None:
        request = self._requests.take(request_id)
        if request is not None:
            self._fail(request, error)
        else:
            self.effects.append(Failed(name, error))

    def _fail(self, request: Request, error: PondClientError) -> None:
        if request.deadline is not None:
            self.effects.append(Answer(request.ticket, error=error))

    def _lose(self) -> None:
        """Take the loss of the connection."""
        error = PondClientError(LOST, "the connection ended before the answer")
        for request in self._requests.sent():
            self._requests.take(request.ticket)
            if request.is_leave:
                self.effects.append(Answer(request.ticket))
            else:
                self._fail(request, error)
        for channel in self.channels.values():
            channel.lost()

    def _closed_error(self) -> PondClientError:
        status = self.connection.status
        return PondClientError(CLOSED, status.reason or "the client is closed", status.code)

    def _fail_all(self, error: PondClientError) -> None:
        """Fail all that waits, as the client has stopped. It stays joined in intent."""
        unsent = PondClientError(UNSENT, error.message)
        for request in self._requests.take_all():
            self._fail(request, error if request.message is None else unsent)


def _refusal(refusal: common.Refused) -> PondClientError:
    return PondClientError(
        "UNAUTHORIZED",
        refusal.message,
        refusal.code,
        details=refusal.details or (),
        retry_after=_seconds(refusal.retry_after_ms),
    )


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
