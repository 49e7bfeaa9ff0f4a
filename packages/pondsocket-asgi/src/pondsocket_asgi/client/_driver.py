"""Runs a machine: its timers, the tasks of its connections, and who waits for which answer.

One task owns everything: `run`. Each attempt to connect has a task of its own below it, which
reads; one more, below that, writes. Calls of the application wait for their answers in their own.
"""

import math
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, NamedTuple, assert_never

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup, TaskStatus
from pondsocket.adapter import get_log
from pondsocket_common import ClientMessage, InvalidMessage, decode_server

from pondsocket_asgi.client._machine.connection import CONNECT_SECONDS
from pondsocket_asgi.client._machine.errors import Ended, PondClientError, Refused
from pondsocket_asgi.client._machine.machine import Machine
from pondsocket_asgi.client._machine.values import (
    Answer,
    Changed,
    Connect,
    Disconnect,
    Effect,
    Failed,
    Joined,
    Outgoing,
    Over,
    Probe,
    Send,
    Tell,
    TokenReason,
    TransportName,
)

from ._transports import Link, Target, Transports, encoded

logger: Final = get_log("pondsocket.client")

# What one POST may hold; servers take 256 KiB of it unless they are told otherwise.
_MOST_AT_ONCE: Final = 64
_MOST_BYTES: Final = 200_000
# What may wait to be written: more would only wait for longer.
OUTBOX_MESSAGES: Final = 1_024
# How long the network may take for what is sent, or the server for a POST.
SEND_SECONDS: Final = 15.0


class Encoded(NamedTuple):
    """A message with its text."""

    message: Outgoing
    text: bytes


class Outbox:
    """What one connection has to send, in order."""

    def __init__(self) -> None:
        self._waiting: deque[Encoded] = deque()
        self._put = 0
        self._written = 0
        self._is_closed = False
        self._changed = anyio.Event()

    @property
    def is_full(self) -> bool:
        """Whether no more events may be added until some are written."""
        return len(self._waiting) >= OUTBOX_MESSAGES and not self._is_closed

    @property
    def count(self) -> int:
        """How many messages were added so far."""
        return self._put

    def put(self, messages: tuple[Outgoing, ...]) -> None:
        """Add messages."""
        self._waiting.extend(Encoded(each, encoded(each)) for each in messages)
        self._put += len(messages)
        self._notify()

    async def take(self) -> list[Encoded]:
        """Wait for messages, and return as many as may be sent together: one at least."""
        while not self._waiting:
            await self._changed.wait()
        waiting = self._waiting
        taken = [waiting.popleft()]
        size = len(taken[0].text)
        while waiting and len(taken) < _MOST_AT_ONCE:
            size += len(waiting[0].text)
            if size > _MOST_BYTES:
                break
            taken.append(waiting.popleft())
        return taken

    def wrote(self, count: int) -> None:
        """Note that the transport has taken so many."""
        self._written += count
        self._notify()

    def close(self) -> None:
        """Note that nothing more will be written."""
        self._is_closed = True
        self._notify()

    async def flushed(self) -> bool:
        """Wait until what is there now is written, or cannot be any more. Return whether it is."""
        put = self._put
        while self._written < put and not self._is_closed:
            await self._changed.wait()
        return self._written >= put

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


class Waiting:
    """One that waits for an answer."""

    def __init__(self) -> None:
        self.is_over = anyio.Event()
        self.value: Any = None
        self.error: Exception | None = None


class Driver:
    """Runs one machine.

    Args:
        make_target: Returns where to connect, with a new token if there is a reason for one.
        told: Called with what the application is to know. It must not raise.
    """

    def __init__(
        self,
        machine: Machine,
        make_target: Callable[[TokenReason | None], Awaitable[Target]],
        told: Callable[[Joined | Tell | Failed | Over | Changed], None],
    ) -> None:
        self.machine = machine
        self.outbox: Outbox = Outbox()
        self._make_target = make_target
        self._told = told
        self._waiting: dict[str, Waiting] = {}
        self._tasks: TaskGroup | None = None
        self._transports: Transports | None = None
        self._scope: anyio.CancelScope | None = None
        self._probing: anyio.CancelScope | None = None
        self._woken = anyio.Event()
        self._wakes_at = math.inf
        self._is_performing = False

    # --- the application --------------------------------------------------------------------

    async def answer(self, ticket: str) -> Any:
        """Perform what the request has caused, and wait for its answer.

        Raises:
            PondClientError: It has failed.
            TimeoutError: Its time was over.
        """
        waiting = self._waiting[ticket] = Waiting()
        try:
            self.perform()
            await waiting.is_over.wait()
        finally:
            if self._waiting.pop(ticket, None) is not None:
                self.machine.forget(anyio.current_time(), ticket)
                self.perform()
        if waiting.error is not None:
            raise waiting.error
        return waiting.value

    async def written(self) -> bool:
        """Perform what an event has caused, and wait until it is written, if it is not queued.

        Returns:
            False: the connection has ended before.
        """
        outbox = self.outbox
        before = outbox.count
        self.perform()
        return await outbox.flushed() or outbox.count == before

    # --- effects ----------------------------------------------------------------------------

    def perform(self) -> None:
        """Do what the machine asks for. What it asks for meanwhile is done in its turn."""
        if self._is_performing:
            return
        self._is_performing = True
        effects = self.machine.effects
        try:
            while effects:
                self._perform(effects.pop(0))
        finally:
            self._is_performing = False
        wakes_at = self.machine.wake_at
        if wakes_at is not None and wakes_at < self._wakes_at:
            self._woken.set()

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Connect():
                self._connect(effect)
            case Disconnect():
                self._let_go()
            case Probe():
                if self._tasks is not None:
                    self._tasks.start_soon(self._probe)
            case Send(messages):
                self.outbox.put(messages)
            case Answer(ticket, value, error):
                waiting = self._waiting.pop(ticket, None)
                if waiting is not None:
                    waiting.value, waiting.error = value, error
                    waiting.is_over.set()
            case Joined() | Tell() | Failed() | Over() | Changed():
                self._told(effect)
            case _:
                assert_never(effect)

    def _connect(self, connect: Connect) -> None:
        self._let_go()
        if self._tasks is not None:
            scope = self._scope = anyio.CancelScope()
            self.outbox = Outbox()
            self._tasks.start_soon(self._attempt, connect, scope, self.outbox)

    def _let_go(self) -> None:
        self.outbox.close()
        if self._probing is not None:
            self._probing.cancel()
        if self._scope is not None:
            self._scope.cancel()
            self._scope = None

    # --- tasks ------------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """Whether something that is asked for will be done."""
        return self._tasks is not None

    async def run(
        self, transports: Transports, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Run the timers, until it is cancelled."""
        async with anyio.create_task_group() as tasks:
            self._transports = transports
            self._tasks = tasks
            try:
                self.perform()
                task_status.started()
                while True:
                    wakes_at = self.machine.wake_at
                    self._wakes_at = math.inf if wakes_at is None else wakes_at
                    with anyio.CancelScope(deadline=self._wakes_at):
                        await self._woken.wait()
                    self._woken = anyio.Event()
                    self.machine.tick(anyio.current_time())
                    self.perform()
            finally:
                self._tasks = None

    async def _attempt(self, connect: Connect, scope: anyio.CancelScope, outbox: Outbox) -> None:
        number = connect.attempt
        with scope:
            try:
                target = await self._make_target(connect.token_reason)
                async with self._open(connect.transport, target) as link:
                    await self._serve(link, number, outbox, scope)
            except Ended as end:
                self._ended(number, end)
            except Exception as error:
                logger.exception("A connection has failed.")
                self._ended(number, Ended(0, str(error) or type(error).__name__))

    async def _probe(self) -> None:
        """Open a WebSocket beside the stream, up to the first message of the server."""
        has_opened = False
        with anyio.move_on_after(CONNECT_SECONDS) as scope:
            self._probing = scope
            try:
                target = await self._make_target(None)
                async with self._open("websocket", target) as link:
                    has_opened = await _says_something(link)
            except Ended:
                pass  # not yet
            except Exception:
                logger.exception("A WebSocket could not be tried.")
        if has_opened and not scope.cancel_called:
            self.machine.probed(anyio.current_time())
            self.perform()

    def _open(self, name: TransportName, target: Target) -> AbstractAsyncContextManager[Link]:
        assert self._transports is not None  # noqa: S101 - `run` has set it
        return self._transports.open(name, target)

    def _ended(self, number: int, end: Ended) -> None:
        if number == self.machine.connection.number and self._scope is not None:
            self._scope = None
            self.outbox.close()
            self.machine.ended(anyio.current_time(), end)
            self.perform()

    async def _serve(
        self, link: Link, number: int, outbox: Outbox, scope: anyio.CancelScope
    ) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._write, link, number, outbox, tasks.cancel_scope)
            try:
                await self._read(link, scope)
            except Ended as end:
                self._ended(number, end)
            tasks.cancel_scope.cancel()

    async def _read(self, link: Link, scope: anyio.CancelScope) -> None:
        while True:
            received = await link.receive()
            # It has been let go of meanwhile: what it still says does not count.
            if scope.cancel_called:
                return
            now = anyio.current_time()
            if not received:
                self.machine.alive(now)
            for text, retry_ms in received:
                try:
                    message = decode_server(text)
                except InvalidMessage as error:
                    logger.warning("The server has sent what is no message: %s", error)
                else:
                    self.machine.received(now, message, retry_ms)
                # After each: a channel that is full must not take the next one.
                self.perform()
                if scope.cancel_called:
                    return

    async def _write(
        self, link: Link, number: int, outbox: Outbox, scope: anyio.CancelScope
    ) -> None:
        while True:
            taken = await outbox.take()
            try:
                with anyio.fail_after(SEND_SECONDS):
                    await link.send([each.text for each in taken])
            except TimeoutError:
                self._ended(number, Ended(0, f"nothing was taken within {SEND_SECONDS:g} s"))
                scope.cancel()
                return
            except Refused as refused:
                error = PondClientError(
                    refused.error or "REFUSED",
                    refused.reason,
                    refused.code,
                    retry_after=refused.retry_after,
                )
                sent = [message for message, _ in taken]
                messages = [each for each in sent if isinstance(each, ClientMessage)]
                self.machine.refused(anyio.current_time(), messages, error)
                self.perform()
            except Ended as end:
                self._ended(number, end)
                scope.cancel()
                return
            outbox.wrote(len(taken))


async def _says_something(link: Link) -> bool:
    # Within its session: httpx2 would put an `Ended` that passes through into a group.
    try:
        while not await link.receive():
            pass
    except Ended:
        return False
    return True
