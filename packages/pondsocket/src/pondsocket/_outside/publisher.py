"""What sends to a pond's clients from a process that serves none."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self, TypeVar, overload

from pondsocket_common import CloseCode, Payload, dump_json, fresh_id

from pondsocket._cluster.commands import KEPT, encode, topic_of
from pondsocket._delivery.pushes import encode_push
from pondsocket._errors import UsageError, readable_text
from pondsocket._history.slice import Audience
from pondsocket._replica.application import Application
from pondsocket._replica.envelope import Envelope, pack
from pondsocket._state.named_event import Event, named
from pondsocket._state.payloads import as_payload
from pondsocket._state.user import UserId, as_user_id, as_user_ids
from pondsocket.backplane import Append, Backplane, Emit
from pondsocket.backplane._interface import check_backplane

from .portal import Portal
from .sender import Sender

T = TypeVar("T")

_MOST_OF_ONCE: Final = 255


class Publisher:
    """Sends to the clients of a pond, from a process that serves none of them.

    For a Celery task, a cron job, a management command or a plain script: its methods block, and
    any thread may call them. It needs the backplane that the servers share.

        with Publisher("redis://localhost") as publisher:
            publisher.broadcast("/socket", "/orders/7", "paid", {"by": "ann"})

    It may be made at the top of a module: the first call of each process connects, and the end of
    the process closes it. A process that forks must not have called it before.

    Args:
        backplane: The URL of a Redis; or a backplane object of its own, for instance
            `RedisBackplane(url, prefix="shop")` or, in a test, `hub.backplane()`.

    Raises:
        UsageError: The URL cannot work, or it is neither a URL nor a backplane.
    """

    def __init__(self, backplane: str | Backplane) -> None:
        if isinstance(backplane, str):
            # Only here: hiredis is an extra.
            from pondsocket.backplane.redis import RedisBackplane

            backplane = RedisBackplane(backplane)
        check_backplane(backplane)
        self._backplane = backplane
        self._lock = threading.Lock()
        self._portal: Portal[Sender] | None = None
        self._is_closed = False

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the link, once what other threads are sending is sent. Idempotent."""
        with self._lock:
            self._is_closed = True
            portal, self._portal = self._portal, None
        if portal is not None:
            atexit.unregister(self.close)
            portal.close()

    @overload
    def broadcast(
        self,
        endpoint_path: str,
        channel: str,
        event: str,
        payload: object = None,
        *,
        history: bool = True,
        once: str = "",
    ) -> None: ...
    @overload
    def broadcast(
        self,
        endpoint_path: str,
        channel: str,
        event: Event[T],
        payload: T,
        *,
        history: bool = True,
        once: str = "",
    ) -> None: ...
    def broadcast(
        self,
        endpoint_path: str,
        channel: str,
        event: str | Event[Any],
        payload: object = None,
        *,
        history: bool = True,
        once: str = "",
    ) -> None:
        """Send an event to every member of a channel. It returns when the engine has it.

        Args:
            endpoint_path: The path that the channel's members connect to; for an endpoint with
                `shared_channels` its pattern.
            history: Whether the channel's history keeps it, if there is one.
            once: What names this event, for instance the id of a task that may run twice: a second
                one of the same name is not sent, for an hour, unless the engine restarts meanwhile.
                It needs the history.

        Raises:
            BackplaneUnavailable: Nothing was sent: the engine cannot be reached, or no server has
                started yet. It may be tried again.
            PublishUncertain: It may have been sent, or not. With `once`, it may be tried again.
            UsageError: There is no such endpoint or channel, the event's name is not valid, the
                payload is not an object, or `once` cannot be kept.
            EncodingError: The payload cannot be written as JSON.
        """
        self._broadcast(endpoint_path, channel, event, payload, None, history, once)

    def broadcast_to(
        self,
        endpoint_path: str,
        channel: str,
        event: str | Event[T],
        payload: T,
        *user_ids: UserId,
        history: bool = True,
        once: str = "",
    ) -> None:
        """Send an event to every connection of these users in a channel; see `broadcast`."""
        audience = Audience(as_user_ids(user_ids))
        self._broadcast(endpoint_path, channel, event, payload, audience, history, once)

    def broadcast_from(
        self,
        endpoint_path: str,
        channel: str,
        event: str | Event[T],
        payload: T,
        user_id: UserId,
        *,
        history: bool = True,
        once: str = "",
    ) -> None:
        """Send an event to every member of a channel but this user; see `broadcast`."""
        audience = Audience((as_user_id(user_id),), is_exclusion=True)
        self._broadcast(endpoint_path, channel, event, payload, audience, history, once)

    @overload
    def push(
        self,
        user_id: UserId,
        event: str,
        payload: object = None,
        *,
        path: str | None = None,
        once: str = "",
    ) -> None: ...
    @overload
    def push(
        self,
        user_id: UserId,
        event: Event[T],
        payload: T,
        *,
        path: str | None = None,
        once: str = "",
    ) -> None: ...
    def push(
        self,
        user_id: UserId,
        event: str | Event[Any],
        payload: object = None,
        *,
        path: str | None = None,
        once: str = "",
    ) -> None:
        """Send an event to every connection of a user; see `PondSocket.push`, and `broadcast`."""
        known, push = as_user_id(user_id), encode_push(event, payload)
        self._command("push", path, once, user=known, **push.arguments())

    def disconnect(
        self,
        *,
        user_id: UserId,
        reason: str = "",
        code: CloseCode = CloseCode.DISCONNECTED,
        path: str | None = None,
    ) -> None:
        """Close every connection of a user; see `PondSocket.disconnect`, and `broadcast`."""
        known, told = as_user_id(user_id), readable_text("disconnect: the reason", reason)
        self._command("disconnect", path, "", user=known, reason=told, code=CloseCode(code))

    def evict_user(
        self, endpoint_path: str, channel: str, user_id: UserId, reason: str = ""
    ) -> None:
        """End every membership of a user in a channel; see `Channel.evict_user`, `broadcast`."""
        known, told = as_user_id(user_id), readable_text("evict: the reason", reason)
        topic, _ = self._ask(lambda app: app.find(endpoint_path, channel))
        self._command("evict", None, "", topic=topic, user=known, reason=told)

    # --- its thread -----------------------------------------------------------------------------

    def _open(self) -> Portal[Sender]:
        with self._lock:
            if self._is_closed:
                raise UsageError("This publisher is closed.")
            if self._portal is None:
                self._portal = Portal(lambda: Sender(self._backplane))
                atexit.register(self.close)
            return self._portal

    def _ask(self, find: Callable[[Application], T]) -> T:
        """Ask the description of the application, and a newer one if there is no such name."""
        portal = self._open()
        known = portal.inside.application
        if known is not None:
            try:
                return find(known)
            except UsageError:
                pass  # a newer server may have it
        return find(portal.call(portal.inside.read_application))

    def _broadcast(
        self,
        endpoint_path: str,
        channel: str,
        event: object,
        payload: object,
        audience: Audience | None,
        history: bool,
        once: str,
    ) -> None:
        name, given = named(event, payload)
        shown: Payload = as_payload(given)
        envelope = Envelope("", 0, name, fresh_id(), audience, dump_json(shown))
        _check_once(once)
        topic, keep = self._ask(lambda app: app.find(endpoint_path, channel))
        if keep is not None and history:
            self._send(Append(topic, pack(envelope), keep, once=once))
        elif once:
            raise UsageError(
                f"once={once!r}: the engine remembers what a history keeps, and nothing keeps"
                " events of this channel, or this one."
            )
        else:
            self._send(Emit(topic, pack(envelope)))

    def _command(self, do: str, path: str | None, once: str, **arguments: object) -> None:
        _check_once(once)
        if path is not None:
            self._ask(lambda app: app.check_path(path))
        data = encode(self._open().inside.name, do, {**arguments, "path": path})
        self._send(Append(topic_of(do), data, KEPT, once=once))

    def _send(self, op: Append | Emit) -> None:
        portal = self._open()
        portal.call(lambda: portal.inside.send(op))


def _check_once(once: object) -> None:
    if not isinstance(once, str) or len(once) > _MOST_OF_ONCE:
        raise UsageError(f"once is a text of at most {_MOST_OF_ONCE} characters, not {once!r}.")
