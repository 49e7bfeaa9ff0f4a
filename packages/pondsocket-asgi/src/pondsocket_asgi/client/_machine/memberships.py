"""The channels of one client: joined and left, and joined again after a loss; pure.

A channel lasts from its first join until it is left, refused or evicted from. In between it is
joined again as often as it has to be, from where it was.
"""

from collections.abc import Callable, Iterable

from pondsocket_common import (
    Acknowledged,
    ClientActions,
    ClientMessage,
    Evicted,
    NotFound,
    Payload,
    PresenceDiff,
    Refused,
    ServerMessage,
)

from .attempts import jittered
from .channel import PASSING, Channel, ChannelState
from .connection import Connection, stopped_by
from .errors import EVICTED, LEFT, PondClientError, told
from .requests import Request, Requests
from .values import Answer, Effect, Over, Send


class Memberships:
    """The channels of one client.

    Args:
        connection: Says whether messages can be sent.
        requests: Where joins and leaves wait for their answers.
        effects: Where what has to be done is written.
        random: Returns a number from 0 to 1.

    Attributes:
        channels: What the application has joined, until it has ended.
    """

    def __init__(
        self,
        connection: Connection,
        requests: Requests,
        effects: list[Effect],
        random: Callable[[], float],
        new_id: Callable[[], str],
    ) -> None:
        self.channels: dict[str, Channel] = {}
        self._connection = connection
        self._requests = requests
        self._effects = effects
        self._random = random
        self._new_id = new_id

    # --- the application --------------------------------------------------------------------

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
            self._effects.append(Answer(ticket, channel.response))
            return ticket
        if self._connection.is_stopped:
            self._effects.append(Answer(ticket, error=stopped_by(self._connection.status)))
            return ticket
        self._requests.add(Request(ticket, name, now + seconds))
        if is_new and self._connection.is_open:
            self._send_joins([channel])
        return ticket

    def leave(self, now: float, name: str, *, seconds: float, wholly: bool = False) -> str:
        """Leave a channel, once for every join. Return the ticket of the answer."""
        ticket = self._new_id()
        channel = self.channels.get(name)
        if channel is None:
            self._effects.append(Answer(ticket))
            return ticket
        channel.joins = 0 if wholly else channel.joins - 1
        if channel.joins > 0:
            self._effects.append(Answer(ticket))
            return ticket
        is_member = channel.state is ChannelState.JOINED or channel.join_id is not None
        self._end(channel, ChannelState.LEFT, PondClientError(LEFT, "the channel was left"))
        self._effects.append(Over(name))
        if is_member and self._connection.is_open:
            message = _leave_message(name, ticket)
            self._requests.add(Request(ticket, name, now + seconds, message))
            self._effects.append(Send((message,)))
        else:
            self._effects.append(Answer(ticket))
        return ticket

    def pause(self, name: str) -> None:
        """Leave a channel until the application has read what has come."""
        channel = self.joined(name)
        if channel is not None:
            channel.pause()
            if self._connection.is_open:
                self._effects.append(Send((_leave_message(name, self._new_id()),)))

    def resume(self, name: str) -> None:
        """Join a channel again, from where it was paused."""
        channel = self.channels.get(name)
        if channel is None or channel.state is not ChannelState.PAUSED:
            return
        channel.state = ChannelState.JOINING
        if self._connection.is_open:
            self._send_joins([channel])

    def state_of(self, name: str) -> ChannelState:
        """Return what the client is in a channel: nothing, while it is closed."""
        channel = self.channels.get(name)
        if channel is None or self._connection.is_stopped:
            return ChannelState.LEFT
        return channel.state

    def joined(self, name: str) -> Channel | None:
        """Return a channel if the client is a member of it now."""
        channel = self.channels.get(name)
        is_joined = channel is not None and channel.state is ChannelState.JOINED
        return channel if is_joined else None

    # --- the connection ---------------------------------------------------------------------

    def opened(self) -> None:
        """Join what has to be joined, as the connection is open."""
        channels = self.channels.values()
        self._send_joins([each for each in channels if each.state is ChannelState.JOINING])

    def lost(self) -> None:
        """Note that the connection has ended."""
        for channel in self.channels.values():
            channel.lost()

    def wake_at(self) -> list[float]:
        """Return when joins are tried again."""
        channels = self.channels.values()
        return [each.retry_at for each in channels if each.retry_at is not None]

    def tick(self, now: float) -> None:
        """Try again what is due."""
        for channel in list(self.channels.values()):
            if channel.retry_at is not None and channel.retry_at <= now:
                self._send_joins([channel])

    # --- the server -------------------------------------------------------------------------

    def received(self, now: float, message: ServerMessage) -> None:
        """Take what the server says of a membership: its begin, its end, who else is there."""
        channel = self.channels.get(message.channel_name)
        is_answer = channel is not None and channel.join_id == message.request_id
        match message.payload:
            case Acknowledged() as answer:
                if channel is not None and is_answer:
                    self._acknowledged(now, channel, answer)
                elif channel is not None and channel.state is ChannelState.JOINED:
                    self._effects.extend(channel.begun_anew(answer))
            case Refused() as refusal:
                if channel is not None and is_answer:
                    self.refused(now, channel, told("UNAUTHORIZED", refusal))
            case NotFound() as refusal:
                error = PondClientError("NOT_FOUND", refusal.message, refusal.code)
                if channel is not None and is_answer:
                    self._end_told(channel, ChannelState.REFUSED, error)
                else:
                    self._requests.failed(message.channel_name, message.request_id, error)
            case Evicted(reason):
                if channel is not None and channel.state is ChannelState.JOINED:
                    self._end_told(channel, ChannelState.EVICTED, PondClientError(EVICTED, reason))
            case PresenceDiff() as diff:
                if channel is not None and channel.state is ChannelState.JOINED:
                    self._effects.extend(channel.changed(diff))

    def refused(self, now: float, channel: Channel, error: PondClientError) -> None:
        """Take the refusal of a join: by its answer, or of the POST that has held it."""
        # A new member is told at once; one that comes back has nothing to be told.
        if channel.was_joined and (error.code in PASSING or error.code >= 500):
            delay = jittered(self._random, channel.refusals)
            channel.refused_for_now(now + (error.retry_after or 0.0) + delay)
        else:
            self._end_told(channel, ChannelState.REFUSED, error)

    def _acknowledged(self, now: float, channel: Channel, answer: Acknowledged) -> None:
        self._effects.extend(channel.acknowledged(answer))
        self._requests.answer_joins(channel.name, channel.response)
        self._requests.send_queued(now, channel.name)
        self._effects.extend(channel.told_joined(answer))

    # --- what both sides cause --------------------------------------------------------------

    def _end_told(self, channel: Channel, state: ChannelState, error: PondClientError) -> None:
        self._end(channel, state, error)
        self._effects.append(Over(channel.name, error))

    def _end(self, channel: Channel, state: ChannelState, error: PondClientError) -> None:
        is_refused = state is ChannelState.REFUSED
        channel.end(state)
        del self.channels[channel.name]
        left = PondClientError(LEFT, "the channel was left")
        self._requests.fail_of(channel.name, error if is_refused else left)

    def _send_joins(self, channels: Iterable[Channel]) -> None:
        messages = tuple(channel.join_message(self._new_id()) for channel in channels)
        if messages:
            self._effects.append(Send(messages))


def _leave_message(name: str, request_id: str) -> ClientMessage:
    return ClientMessage(ClientActions.LEAVE_CHANNEL, "leave", name, request_id, {})
