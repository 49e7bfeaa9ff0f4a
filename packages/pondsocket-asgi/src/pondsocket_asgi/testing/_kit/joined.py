"""A channel that a client has joined."""

from collections.abc import Mapping
from typing import Any, cast

from pondsocket import UsageError
from pondsocket_common import (
    Acknowledged,
    ClientActions,
    ClientMessage,
    Evicted,
    Fault,
    NotFound,
    Payload,
    Position,
    PresenceDiff,
    PresenceEntry,
    PresenceMode,
    Refused,
    ServerActions,
    ServerMessage,
    fresh_id,
)

from .errors import CallFailed, JoinRefused, refusal
from .link import Link
from .matching import ANYTHING, expectation, fits, shown

_BROADCAST = ServerActions.BROADCAST


class Destination:
    """What a client sends events to: a channel, or the endpoint itself."""

    def __init__(self, link: Link, name: str) -> None:
        self._link = link
        self.name: str = name

    async def send(self, event: str, payload: Payload | None = None) -> str:
        """Send an event without waiting for an answer. Return its request id."""
        message = self._event(event, payload, confirm=False)
        await self._link.send(message)
        return message.request_id

    async def call(
        self, event: str, payload: Payload | None = None, *, wait: float | None = None
    ) -> Any:
        """Send an event, and return the payload of its answer; `{}` if the handler has no reply.

        Raises:
            CallFailed: It was answered with an error.
            AssertionError: There was no answer in time; it says what came instead.
            BaseException: What the handler has raised, unless the test expects it.
        """
        answer = await self._link.ask(self._event(event, payload, confirm=True), wait)
        if isinstance(answer.payload, Fault):
            raise CallFailed(event, answer.payload)
        return answer.payload

    async def assert_error(
        self,
        event: str,
        payload: Payload | None = None,
        *,
        code: int | None = None,
        message: str | None = None,
        loc: tuple[str | int, ...] | None = None,
        wait: float | None = None,
    ) -> CallFailed:
        """Send an event, and expect that it is answered with an error, which is returned.

        Args:
            code: The code that it must have. With 500, what the handler has raised is expected.
            message: What the client must be told, or a part of it.
            loc: A field that must be among its details.

        Raises:
            AssertionError: The answer is no error, or another one.
            BaseException: What the handler has raised, unless `code` is 500.
        """

        def otherwise(reply: object) -> str:
            return f"{event!r} was answered with {reply!r}, and with no error."

        call = self.call(event, payload, wait=wait)
        failed = await refusal(
            CallFailed, call, self._link.ponds, otherwise, code=code, message=message
        )
        if loc is not None and loc not in [each.loc for each in failed.details]:
            raise AssertionError(f"No detail is of {loc!r}. {failed}")
        return failed

    async def _assert_sent(
        self, what: str, event: str, payload: object, match: Payload | None, wait: float | None
    ) -> ServerMessage:
        def is_it(message: ServerMessage) -> bool:
            return self._is_broadcast(message, event) and fits(message.payload, payload, match)

        told = f"{what} {event!r}{expectation(payload, match)}"
        return await self._link.find(is_it, told, wait)

    async def _assert_not_sent(
        self, what: str, event: str | None, match: Payload | None, wait: float | None
    ) -> None:
        await self._link.nothing_left(wait)
        for message in self._link.unread:
            if self._is_broadcast(message, event) and fits(message.payload, ANYTHING, match):
                raise AssertionError(f"There was a {what}: {shown(message)}")

    def _is_broadcast(self, message: ServerMessage, event: str | None) -> bool:
        is_here = message.action is _BROADCAST and message.channel_name == self.name
        return is_here and event in (None, message.event)

    def _event(self, event: str, payload: Payload | None, *, confirm: bool) -> ClientMessage:
        action, request_id = ClientActions.BROADCAST, fresh_id()
        return ClientMessage(action, event, self.name, request_id, payload or {}, confirm=confirm)


class JoinedChannel(Destination):
    """A channel that a client has joined.

    Attributes:
        response: What the join was answered with.
        recovered: Whether all that the client had missed has come, or is about to.
        position: Up to where the client knows the channel's history; None if it has none.
        is_joined: Whether it is neither left nor evicted from: a new connection joins it again.
    """

    def __init__(
        self,
        link: Link,
        name: str,
        params: Payload | None,
        *,
        presence: bool,
        since: Position | None,
    ) -> None:
        super().__init__(link, name)
        self.response: Any = None
        self.recovered: bool = False
        self.position: Position | None = since
        self.is_joined: bool = False
        self._params = params or {}
        self._mode = PresenceMode.DIFF if presence else None
        self._shown: dict[str, PresenceEntry] = {}  # by membership

    async def join(self, wait: float | None = None) -> None:
        """Ask to join, for the first time or after a new connection.

        Raises:
            JoinRefused: The channel did not admit the client, or there is none.
        """
        action, since, mode = ClientActions.JOIN_CHANNEL, self.position, self._mode
        message = ClientMessage(
            action, "join", self.name, fresh_id(), self._params, since=since, presence=mode
        )
        if self._note not in self._link.listeners:
            self._link.listeners.append(self._note)
        answer = await self._link.ask(message, wait)
        if isinstance(answer.payload, Refused | NotFound):
            self._forget()
            raise JoinRefused(self.name, answer.payload)

    async def leave(self, *, wait: float | None = None) -> None:
        """Leave the channel, and wait until the server says so."""
        message = ClientMessage(ClientActions.LEAVE_CHANNEL, "leave", self.name, fresh_id(), {})
        await self._link.ask(message, wait)
        self._forget()

    @property
    def present(self) -> Mapping[str, list[Payload]]:
        """What each user shows in the channel; the join must ask for it by `presence=True`."""
        self._check_presence()
        self._link.take()
        shown: dict[str, list[Payload]] = {}
        for entry in self._shown.values():
            shown.setdefault(entry.user, []).append(entry.presence)
        return shown

    async def assert_broadcast(
        self,
        event: str,
        payload: object = ANYTHING,
        *,
        match: Payload | None = None,
        wait: float | None = None,
    ) -> ServerMessage:
        """Wait for a broadcast or push in this channel, and return it; others stay unread.

        Args:
            payload: What its payload must be equal to; `unittest.mock.ANY` may stand in it.
            match: What its payload must have, besides anything else.
        """
        return await self._assert_sent(f"broadcast in {self.name!r}:", event, payload, match, wait)

    async def assert_no_broadcast(
        self,
        event: str | None = None,
        *,
        match: Payload | None = None,
        wait: float | None = None,
    ) -> None:
        """Check that no broadcast is unread, once all that clients have sent is handled.

        Args:
            event: Its name; None: no broadcast at all.
            match: What its payload would have.
        """
        await self._assert_not_sent(f"broadcast in {self.name!r}", event, match, wait)

    async def assert_presence(
        self,
        *,
        joined: str | None = None,
        updated: str | None = None,
        left: str | None = None,
        shown: object = ANYTHING,
        wait: float | None = None,
    ) -> None:
        """Wait until a user is shown, is shown with another object, or is shown no more.

        The join must ask for it by `presence=True`.

        Args:
            joined, updated, left: A user's id; one of the three at least.
            shown: The object that the user shows.

        Raises:
            UsageError: It is not said which user is meant.
        """
        self._check_presence()
        changes = {"joins": joined, "updates": updated, "leaves": left}
        if joined is updated is left is None:
            raise UsageError("assert_presence: say which user, by joined=, updated= or left=.")

        def is_it(message: ServerMessage) -> bool:
            diff = self._diff_of(message)
            return diff is not None and all(
                user is None
                or any(
                    user == each.user and fits(each.presence, shown, None)
                    for each in cast(tuple[PresenceEntry, ...], getattr(diff, kind))
                )
                for kind, user in changes.items()
            )

        named = [(kind, user) for kind, user in changes.items() if user is not None]
        told = " and ".join(f"{kind} of {user!r}" for kind, user in named)
        what = f"presence in {self.name!r}: {told}{expectation(shown, None)}"
        await self._link.find(is_it, what, wait)

    async def assert_evicted(self, *, reason: str | None = None, wait: float | None = None) -> None:
        """Wait until the server has ended this membership."""

        def is_it(message: ServerMessage) -> bool:
            payload = message.payload
            is_here = isinstance(payload, Evicted) and message.channel_name == self.name
            return is_here and reason in (None, cast(Evicted, payload).reason)

        told = "" if reason is None else f" with the reason {reason!r}"
        await self._link.find(is_it, f"eviction from {self.name!r}{told}", wait)

    def move(self, link: Link) -> None:
        """Go on over a new connection of the client."""
        self._link = link
        link.listeners.append(self._note)

    async def wait_resumed(self) -> None:
        """Wait until the server has joined the channel again by itself, as for event streams.

        Raises:
            JoinRefused: The channel does not admit the client any more.
        """
        answer = (Acknowledged, Refused)

        def is_it(message: ServerMessage) -> bool:
            return message.channel_name == self.name and isinstance(message.payload, answer)

        found = await self._link.find(is_it, f"answer for {self.name!r}")
        if isinstance(found.payload, Refused):
            raise JoinRefused(self.name, found.payload)

    def _diff_of(self, message: ServerMessage) -> PresenceDiff | None:
        if message.channel_name != self.name:
            return None
        payload = message.payload
        if isinstance(payload, Acknowledged):
            payload = payload.presence or PresenceDiff()
        return payload if isinstance(payload, PresenceDiff) else None

    def _forget(self) -> None:
        self.is_joined = False
        if self._note in self._link.listeners:
            self._link.listeners.remove(self._note)

    def _check_presence(self) -> None:
        if self._mode is None:
            raise AssertionError(f"Ask for presence: `join({self.name!r}, presence=True)`.")

    def _note(self, message: ServerMessage) -> None:
        if message.channel_name != self.name:
            return
        if message.position is not None:
            self.position = message.position
        payload = message.payload
        if isinstance(payload, Evicted):
            self.is_joined = False
        elif isinstance(payload, Acknowledged):
            self.is_joined = True
            self._shown.clear()
            self.response, self.recovered = payload.response, payload.recovered is True
            # If it recovers, what was missed follows, each with its position.
            if payload.epoch is not None and not (self.recovered and self.position):
                self.position = Position(payload.epoch, payload.offset or 0)
        diff = self._diff_of(message)
        if diff is not None:
            self._shown |= {each.ref: each for each in (*diff.joins, *diff.updates)}
            for each in diff.leaves:
                self._shown.pop(each.ref, None)
