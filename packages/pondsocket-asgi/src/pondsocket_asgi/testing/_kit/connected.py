"""One connected client."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

from pondsocket.adapter import Refusal
from pondsocket.testing import ConnectionRefused
from pondsocket_common import GATEWAY, Connected, Headers, Payload, Position, ServerMessage

from pondsocket_asgi.testing._session import Session
from pondsocket_asgi.testing._websocket import WebSocketSession

from .errors import CallFailed, JoinRefused, refusal
from .joined import Destination, JoinedChannel
from .link import Link
from .matching import ANYTHING
from .ponds import Ponds


class ConnectedClient:
    """One client of an app: `async with pond_client.connect(url) as ann:`.

    Another task may end the block, and several may end in any order.

    Args:
        open_session: Connects, with the last event id that the client knows.
        wait: How many seconds each wait may last.
    """

    def __init__(
        self,
        open_session: Callable[[str], Awaitable[Session]],
        ponds: Ponds,
        url: str,
        wait: float,
    ) -> None:
        self._open_session = open_session
        self._ponds = ponds
        self._url = url
        self._wait = wait
        self._opened: Link | None = None
        self._endpoint: Destination | None = None
        self._channels: dict[str, JoinedChannel] = {}

    async def __aenter__(self) -> Self:
        await self._open(self._ponds)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.session.disconnect()
        if exc is None:
            self._ponds.raise_failure()

    async def _open(self, ponds: Ponds, last_event_id: str = "") -> Link:
        ponds.watch()
        session = await self._open_session(last_event_id)
        if not session.accepted:
            ponds.raise_failure()
            raise ConnectionRefused(
                self._url, _refusal(session), headers=session.headers, body=session.body
            )
        link = self._opened = Link(session, ponds, self._wait)
        self._endpoint = Destination(link, GATEWAY)
        self._channels = {name: each for name, each in self._channels.items() if each.is_joined}
        for joined in self._channels.values():
            joined.move(link)
        try:
            await link.find(lambda message: isinstance(message.payload, Connected), "greeting")
        except BaseException:
            await session.disconnect()  # the block never begins, so it does not end either
            raise
        if link.greeting is not None:
            ponds.meet(link.greeting.connection_id)
        return link

    @property
    def _link(self) -> Link:
        if self._opened is None:
            raise RuntimeError("Connect first: `async with client.connect(url) as ann:`.")
        return self._opened

    # --- what it is -------------------------------------------------------------------------

    @property
    def session(self) -> Session:
        """The session of the driver below."""
        return self._link.session

    @property
    def user_id(self) -> str:
        """The user's id, as the client was told it."""
        greeting = self._link.greeting
        return "" if greeting is None else greeting.id

    @property
    def headers(self) -> Headers:
        """The headers of the answer that admitted it."""
        return self.session.headers

    @property
    def unread(self) -> list[ServerMessage]:
        """What has come and was not asked for, oldest first."""
        self._link.take()
        return list(self._link.unread)

    # --- what it does -----------------------------------------------------------------------

    async def join(
        self,
        name: str,
        params: Payload | None = None,
        *,
        presence: bool = False,
        since: Position | None = None,
        wait: float | None = None,
    ) -> JoinedChannel:
        """Join a channel.

        Args:
            presence: Ask for presence, as differences: see `JoinedChannel.present`.
            since: Up to where the client knows the channel's history.

        Raises:
            JoinRefused: The channel did not admit the client, or there is none.
            BaseException: What the handler has raised, unless the test expects it.
        """
        joined = JoinedChannel(self._link, name, params, presence=presence, since=since)
        await joined.join(wait)
        self._channels[name] = joined
        return joined

    @asynccontextmanager
    async def joined(
        self,
        name: str,
        params: Payload | None = None,
        *,
        presence: bool = False,
        since: Position | None = None,
    ) -> AsyncIterator[JoinedChannel]:
        """Connect and join: `async with pond_client.connect(url).joined("/chat/1") as room:`.

        Raises:
            ConnectionRefused: The app did not admit it.
            JoinRefused: The channel did not admit the client, or there is none.
        """
        async with self:
            yield await self.join(name, params, presence=presence, since=since)

    async def assert_refused(
        self, *, code: int | None = None, message: str | None = None
    ) -> ConnectionRefused:
        """Connect, and expect a refusal: `await pond_client.connect(url).assert_refused(code=401)`.

        Args:
            code: The status that it must have. With 500, what the handler has raised is expected.
            message: What the client must be told, or a part of it.

        Raises:
            AssertionError: The app admits it, or does not refuse it so.
            BaseException: What the handler has raised, unless `code` is 500.
        """

        def otherwise(_: Link) -> str:
            return f"The connection to {self._url!r} was admitted."

        opening, ponds = self._open(self._ponds), self._ponds
        try:
            return await refusal(
                ConnectionRefused, opening, ponds, otherwise, code=code, message=message
            )
        finally:
            if self._opened is not None:
                await self.session.disconnect()

    async def assert_join_refused(
        self,
        name: str,
        params: Payload | None = None,
        *,
        code: int | None = None,
        message: str | None = None,
        wait: float | None = None,
    ) -> JoinRefused:
        """Join a channel, and expect a refusal, which is returned.

        Args:
            code: The code that it must have. With 500, what the handler has raised is expected.
            message: What the client must be told, or a part of it.

        Raises:
            AssertionError: The client has joined, or is not refused so.
            BaseException: What the handler has raised, unless `code` is 500.
        """

        def otherwise(joined: JoinedChannel) -> str:
            return f"The join of {name!r} was accepted, with {joined.response!r}."

        join = self.join(name, params, wait=wait)
        return await refusal(JoinRefused, join, self._ponds, otherwise, code=code, message=message)

    async def send(self, event: str, payload: Payload | None = None) -> str:
        """Send an event to the endpoint itself; see `JoinedChannel.send`."""
        return await self._own.send(event, payload)

    async def call(
        self, event: str, payload: Payload | None = None, *, wait: float | None = None
    ) -> Any:
        """Send an event to the endpoint itself, and return its answer; as `JoinedChannel.call`."""
        return await self._own.call(event, payload, wait=wait)

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
        """Expect an error from the endpoint itself; as `JoinedChannel.assert_error`."""
        return await self._own.assert_error(
            event, payload, code=code, message=message, loc=loc, wait=wait
        )

    async def assert_push(
        self,
        event: str,
        payload: object = ANYTHING,
        *,
        match: Payload | None = None,
        wait: float | None = None,
    ) -> ServerMessage:
        """Wait for what the endpoint sends outside of channels; as `assert_broadcast`."""
        return await self._own._assert_sent("push", event, payload, match, wait)

    async def assert_no_push(
        self, event: str | None = None, *, match: Payload | None = None, wait: float | None = None
    ) -> None:
        """Check that no push is unread, once all is handled; as `assert_no_broadcast`."""
        await self._own._assert_not_sent("push", event, match, wait)

    async def assert_closed(
        self, code: int | None = None, *, reason: str | None = None, wait: float | None = None
    ) -> None:
        """Wait until the server has closed the connection.

        Args:
            code: The code that the client must have been told.
            reason: The reason that it must have been told.

        Raises:
            AssertionError: It is still open, or was closed with another code or reason.
            BaseException: What a handler has raised, unless the test expects it.
        """
        link = self._link
        seconds = link.wait if wait is None else wait
        try:
            await self.session.wait_until(lambda: self.session.closed, "close", wait=seconds)
        except TimeoutError:
            link.take()
            raise AssertionError(f"It is open after {seconds:g} s; {link.what_came()}") from None
        link.take()
        link.ponds.raise_failure()
        told = (1000, "") if link.goodbye is None else (link.goodbye.code, link.goodbye.reason)
        if link.goodbye is None and isinstance(self.session, WebSocketSession):
            told = (self.session.close_code or 1000, self.session.close_reason)
        if code not in (None, told[0]) or reason not in (None, told[1]):
            raise AssertionError(f"It was closed with {told[0]} {told[1]!r}; {link.what_came()}")

    # --- how it is lost ---------------------------------------------------------------------

    async def lose(self) -> None:
        """Lose the connection without a close, and wait until the app has noticed."""
        self.session.lose()
        await self.session.disconnect()

    async def reconnect(self) -> None:
        """Connect again, as client libraries do: joins its channels again where it left them.

        Raises:
            ConnectionRefused: The app does not admit it any more.
            JoinRefused: A channel does not admit it any more.
        """
        before = self._link
        before.take()
        last_event_id = getattr(before.session, "last_event_id", "")
        link = await self._open(before.ponds, last_event_id)
        link.unread[:0] = before.unread
        resumed = () if link.greeting is None else link.greeting.resumed or ()
        for name, joined in self._channels.items():
            if name in resumed:
                await joined.wait_resumed()
            else:
                await joined.join()

    @property
    def _own(self) -> Destination:
        if self._endpoint is None:
            raise RuntimeError("Connect first: `async with client.connect(url) as ann:`.")
        return self._endpoint


def _refusal(session: Session) -> Refusal:
    """Return a refusal as a client can read it: of the pond, or of its host."""
    try:
        told = json.loads(session.body)
        return Refusal(int(told["code"]), str(told.get("error", "")), str(told["message"]))
    except (ValueError, KeyError, TypeError):
        reason = getattr(session, "close_reason", "") or session.body.decode(errors="replace")
        return Refusal(session.status or 403, "", reason)
