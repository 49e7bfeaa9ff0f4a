"""A channel for use outside of its handlers: by a web request, another thread, or a job."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar, overload

from pondsocket_common import Payload, Position, ServerMessage, dump_json

from pondsocket._errors import UsageError
from pondsocket._history.slice import Audience
from pondsocket._log import about, get_log
from pondsocket._runtime.loop import Loop, failure_of
from pondsocket._state.named_event import Event, named
from pondsocket._state.payloads import as_payload
from pondsocket._state.user import UserId, as_user_id, as_user_ids

from .channel import Channel, find_host
from .late import LateBroadcast

_log: Final = get_log("pondsocket.channel")

T = TypeVar("T")


class ChannelHandle:
    """A channel by path and name, with or without members. Made by `PondSocket.channel`.

    The `async` methods are for coroutines of the pond's event loop; elsewhere they raise a
    `UsageError`. Those that end in `_nowait` may be called from any thread, the loop's included;
    what one thread sends keeps its order.
    """

    def __init__(self, name: str, path: str, find: Callable[[], Channel], loop: Loop) -> None:
        self.name = name
        self.path = path
        self._find = find
        self._loop = loop

    @overload
    async def broadcast(
        self, event: str, payload: object = None, *, history: bool = True
    ) -> None: ...
    @overload
    async def broadcast(self, event: Event[T], payload: T, *, history: bool = True) -> None: ...
    async def broadcast(
        self, event: str | Event[Any], payload: object = None, *, history: bool = True
    ) -> None:
        """Send an event to every member; see `Channel.broadcast`."""
        await self._here("broadcast").broadcast(event, payload, history=history)

    async def broadcast_to(
        self, event: str | Event[T], payload: T, *user_ids: UserId, history: bool = True
    ) -> None:
        """Send an event to every connection of these users."""
        await self._here("broadcast_to").broadcast_to(event, payload, *user_ids, history=history)

    async def broadcast_from(
        self, event: str | Event[T], payload: T, user_id: UserId, *, history: bool = True
    ) -> None:
        """Send an event to every member but this user."""
        await self._here("broadcast_from").broadcast_from(event, payload, user_id, history=history)

    async def history(
        self, since: Position | None = None, *, limit: int = 100
    ) -> list[ServerMessage] | None:
        """Return messages of the channel's history; see `Channel.history`."""
        return await self._here("history").history(since, limit=limit)

    async def evict_user(self, user_id: UserId, reason: str = "") -> None:
        """End every membership of a user. The user's clients are told the reason."""
        await self._here("evict_user").evict_user(user_id, reason)

    async def get_presence(self) -> dict[str, Payload]:
        """Return the presence of each user, by user id."""
        return await self._here("get_presence").get_presence()

    async def get_assigns(self) -> dict[str, dict[str, Any]]:
        """Return the assigns of each user, by user id."""
        return await self._here("get_assigns").get_assigns()

    async def user_count(self) -> int:
        """Return how many users are in the channel."""
        return await self._here("user_count").user_count()

    async def has_user(self, user_id: UserId) -> bool:
        """Return whether a user is in the channel."""
        return await self._here("has_user").has_user(user_id)

    def _here(self, name: str) -> Channel:
        self._loop.check(name)
        return self._find()

    @overload
    def broadcast_nowait(
        self, event: str, payload: object = None, *, history: bool = True
    ) -> None: ...
    @overload
    def broadcast_nowait(self, event: Event[T], payload: T, *, history: bool = True) -> None: ...
    def broadcast_nowait(
        self, event: str | Event[Any], payload: object = None, *, history: bool = True
    ) -> None:
        """Call `broadcast` from any thread. Errors in the arguments are raised here."""
        self._publish(event, payload, None, history)

    def broadcast_to_nowait(
        self, event: str | Event[T], payload: T, *user_ids: UserId, history: bool = True
    ) -> None:
        """Call `broadcast_to` from any thread. Errors in the arguments are raised here."""
        self._publish(event, payload, Audience(as_user_ids(user_ids)), history)

    def broadcast_from_nowait(
        self, event: str | Event[T], payload: T, user_id: UserId, *, history: bool = True
    ) -> None:
        """Call `broadcast_from` from any thread. Errors in the arguments are raised here."""
        self._publish(event, payload, Audience((as_user_id(user_id),), is_exclusion=True), history)

    def _publish(
        self, event: str | Event[Any], payload: object, audience: Audience | None, keep: bool
    ) -> None:
        name, given = named(event, payload)

        def publish(shown: Payload) -> None:
            channel = self._find()
            rest = channel.publishing.publish(name, shown, audience, keep=keep)
            if rest is not None:  # the history answers late
                _finish_later(channel, rest)

        if self._loop.is_here:
            publish(as_payload(given))
            return
        shown = as_payload(given)
        dump_json(shown)
        # A copy: the caller may change its object before the loop encodes it.
        self._loop.call_soon(partial(publish, copy.deepcopy(shown)))


def _finish_later(channel: Channel, rest: LateBroadcast) -> None:
    """Run the rest of a broadcast in a task of its own.

    Raises:
        UsageError: Neither the pond nor a member has a task that could run it.
    """

    async def finish() -> None:
        try:
            await rest
        except BaseException as error:  # noqa: BLE001 - boundary: the task of the pond
            failure = failure_of(error)
            text, extra = "A broadcast was not kept (channel=%r).", about(channel=channel.name)
            _log.error(text, channel.name, exc_info=failure, extra=extra)

    host = find_host(channel.owner.environment, channel.roster)
    if host is None:
        rest.give_up()
        raise UsageError("This needs `async with pond`, for a history that answers late.")
    host(finish)
