"""One connected client, of any transport.

Messages come in through the adapter's `pull`, and frames go out through an `Outlet`. When reading
ends, memberships end in the same step, and handlers that still run get a grace period. Then `run`
returns, and nothing of the connection is left.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextvars import Context
from functools import partial
from typing import Any, Final

import anyio
from pondsocket_common import (
    GATEWAY,
    POND,
    ClientMessage,
    CloseCode,
    Codec,
    MessageParts,
    ServerMessage,
    fresh_id,
)

from pondsocket._delivery import replies
from pondsocket._delivery.frame import Batch, Frame
from pondsocket._delivery.sink import Outlet, offer_each
from pondsocket._environment import Environment
from pondsocket._errors import HeaderPairs
from pondsocket._options import Options
from pondsocket._runtime.tasks import Work
from pondsocket._state.lifecycle import SERVED
from pondsocket._state.request import ConnectRequest, Refusal

from .ending import Ending, restart_after
from .handle import ConnectionHandle, let_go
from .membership import Membership
from .opening import Opening
from .reading import Lender, Pull, Read, Reading
from .router import Router

_NO_NAMES: Final[frozenset[str]] = frozenset()


class Session:
    """One connection. Made by `PondSocket.connect`; the adapter calls `run`.

    It says who the client is. How it begins, is read and ends is in the objects beside it.
    """

    __slots__ = (
        "_ending",
        "_opening",
        "_reading",
        "assigns",
        "codec",
        "connection_id",
        "environment",
        "identity",
        "is_user_known",
        "memberships",
        "names_removed",
        "params",
        "request",
        "subprotocol",
        "user_id",
    )

    def __init__(
        self,
        router: "Router[Session]",
        request: ConnectRequest,
        environment: Environment,
        *,
        params: Mapping[str, str],
        user_id: str,
        is_user_known: bool,
        assigns: dict[str, Any],
        greeting: Sequence[ServerMessage],
        identity: object = None,
        subprotocol: str | None = None,
        answer_headers: HeaderPairs = (),
        codec: Codec = POND,
    ) -> None:
        self.codec: Codec = codec
        cluster = environment.cluster
        self.connection_id: str = fresh_id() if cluster is None else cluster.new_connection_id()
        self.user_id: str = user_id
        self.assigns: dict[str, Any] = assigns
        self.request: ConnectRequest = request
        self.params: Mapping[str, str] = params
        self.is_user_known: bool = is_user_known
        self.identity: object = identity
        self.subprotocol: str | None = subprotocol
        self.environment: Environment = environment
        self.memberships: dict[str, Membership] = {}
        self.names_removed: int = (
            0  # how many names have been removed from `memberships` or `resuming`
        )
        self._opening: Opening | None = Opening(
            greeting, headers=answer_headers
        )  # while any is left
        self._reading: Reading[Session] | None = None  # while it runs
        self._ending = Ending(router, environment.clock())

    @property
    def path(self) -> str:
        """The path at which it was admitted."""
        return self.request.path

    @property
    def options(self) -> Options:
        """The limits of its pond."""
        return self.environment.options

    @property
    def opened_at(self) -> float:
        """When it was admitted, on the pond's clock."""
        return self._ending.opened_at

    @property
    def scopes(self) -> dict[anyio.CancelScope, str | None]:
        """What is cancelled when it ends: undecided joins, by channel name, and spawned tasks."""
        return self._ending.scopes

    @property
    def resuming(self) -> frozenset[str]:
        """What a client that reconnects is to join, besides `memberships`; see `Opening`."""
        return _NO_NAMES if self._opening is None else self._opening.names

    @property
    def answer_headers(self) -> HeaderPairs:
        """The headers of the answer that admits it. To be read before `run`."""
        return () if self._opening is None else self._opening.headers

    @property
    def close_code(self) -> CloseCode:
        """Why it was closed; NORMAL: the client has closed it, or the server gave no reason."""
        return self._ending.code

    @property
    def may_return(self) -> bool:
        """Whether the client may reconnect after the end of the connection."""
        return self.close_code is CloseCode.NORMAL or self.close_code.reconnect

    @property
    def is_open(self) -> bool:
        """Whether it is being served: it has neither ended nor been closed."""
        return self._ending.life in SERVED

    @property
    def is_idle(self) -> bool:
        """Whether none of its messages is being handled."""
        return self._reading is None or self._reading.inbound.lanes.idle

    @property
    def closed_with(self) -> tuple[int, str]:
        """The code and the reason of its end: a `CloseCode`, or else the client's own number."""
        ending = self._ending
        if ending.peer is not None and ending.code is CloseCode.NORMAL:
            return ending.peer
        return ending.code, ending.reason

    @property
    def handle(self) -> ConnectionHandle:
        """What the application may keep of it: one object for each connection."""
        ending = self._ending
        handle = ending.handle
        if handle is None:
            handle = ending.handle = ConnectionHandle(self)
            if not self.is_open:
                let_go(handle)
        return handle

    # --- the adapter's side -------------------------------------------------------------------

    def resume(self, joins: Sequence[ClientMessage]) -> None:
        """Set the joins that `run` repeats for a client that reconnects, where that is possible.

        The client is told which were repeated. To be called before `run`.
        """
        if self._opening is not None:
            self._opening.joins = joins

    async def run(
        self,
        outlet: Outlet,
        pull: Pull,
        context: Context | None = None,
        read: Read | None = None,
        lender: Lender | None = None,
    ) -> None:
        """Serve the connection until `pull` returns None or it is closed.

        Args:
            context: The context that its tasks run in a copy of; None: the caller's.
            read: Returns the message in what `pull` has returned, or None; None: that is the
                message itself. So `pull` can be a server's own function.
            lender: Where `pull` is its own: what can have a message handled when it comes in.
        """
        self._ending.outlet = outlet
        reading = self._reading = Reading(self, self._ending, pull, context, read, lender)
        # All messages of a WebSocket come from its reader. So while this task reads, no handler
        # runs that may continue after the end, and the reader needs no cancel scope of its own.
        reads_alone = self.request.transport == "websocket" and (
            self._opening is None or self._opening.joins is None
        )
        try:
            async with self.environment.loop.new_group() as tasks:
                if reading.begin(tasks):
                    self._begin(reading)
                if reads_alone:
                    await reading.read_within(tasks.cancel_scope)
                else:
                    await reading.read()
        finally:
            reading.end()
            await self._ending.run_leave_work()
            if self.memberships:  # the adapter may still write, and list the channels
                self._opening = Opening(names=self.resuming.union(self.memberships))
            # Break the reference cycle that would keep channels until the next collection.
            self.memberships.clear()
            self._ending.finish()
            self._reading = None  # likewise, for the session itself

    def _begin(self, reading: "Reading[Session]") -> None:
        if (opening := self._opening) is not None:
            try:
                opening.begin(self, self._ending.router, reading)
            except BaseException as error:  # noqa: BLE001 - boundary: an application's codec
                reading.fail(error)
            if not opening.names:
                self._opening = None

    def post(self, body: bytes | Refusal) -> Refusal | None:
        """Accept a message, or a JSON array of up to 64, that does not come from `pull`.

        Not for a WebSocket: when it ends, handlers of such messages get no grace period.

        Args:
            body: A refusal if the transport refused it, which counts like any other.

        Returns:
            None if all of it is accepted; handlers may still run. Else a Refusal: none of it is.
        """
        reading = self._reading
        if not self.is_open or reading is None:
            return Refusal(404, "NOT_FOUND", "There is no such connection.")
        return reading.post(body)

    def close(self, code: CloseCode, reason: str = "") -> None:
        """End the connection. Its memberships end now, the transport as soon as it can.

        The client gets a GOODBYE. With NORMAL it gets none: it asked for the close itself, or is
        gone.
        """
        code = CloseCode(code)  # a plain integer would fail half-way
        loop_turn = self.environment.loop_turn
        if loop_turn.waiting:
            loop_turn.flush()  # while frames are still sent to it
        if self._ending.close(self, code, reason) and self._reading is not None:
            self._reading.stop()

    def closed_by_peer(self, code: int, reason: str = "") -> None:
        """Note how the client has closed the connection, before `pull` returns None."""
        self._ending.peer = code, reason

    def announce_restart(self, seconds: float) -> bool:
        """Tell the client that the server restarts, and will close the connection in `seconds`.

        Until then it is served as before. The caller has to close it.

        Returns:
            False if it was told before, or is not served.
        """
        return self._ending.announce_restart(self, seconds)

    def close_for_restart(self, seconds: float) -> None:
        """Call `announce_restart`, and close the connection after `seconds`."""
        if self.announce_restart(seconds):
            self.spawn(partial(restart_after, self, seconds))

    async def wait_ended(self) -> None:
        """Wait until nothing of the connection is left."""
        await self._ending.wait(self.environment.loop)

    def is_run_by(self, tasks: Collection[int]) -> bool:
        """Return whether one of these tasks, given by id, runs it."""
        return self._reading is not None and id(self._reading.host) in tasks

    # --- the handlers' side -------------------------------------------------------------------

    def send(self, message: MessageParts) -> None:
        """Send a message behind all that waits for this client. Does nothing after the end.

        Raises:
            EncodingError: The application's payload cannot be written as JSON.
        """
        self.send_frame(Frame.of(message, self.codec))

    def push(self, frame: Frame) -> bool:
        """Send a push of the endpoint, or of one of its channels, behind all that waits.

        Returns:
            False if it has ended, or is no member of the channel.

        Raises:
            UsageError: The lobby's conflation key of this payload is not hashable.
        """
        name = frame.message.channel_name
        if name == GATEWAY:
            self.send_frame(frame)
            return self.is_open
        member = self.memberships.get(name)
        return member is not None and self.is_open and member.push(frame)

    def serves(self, channel_name: str) -> bool:
        """Return whether a lobby of its endpoint serves channels of this name."""
        return self._ending.router.serves(channel_name)

    def send_frame(self, frame: Frame) -> None:
        """Send an encoded message; see `send`."""
        self.environment.loop_turn.send(frame, self)

    @property
    def sink(self) -> "Outlet | Session":
        """The sink of its broadcasts while it is open: the outlet if possible, else the session.

        It is possible if frames come in its wire format and are not counted.
        """
        outlet = self._ending.outlet
        is_plain = self.codec is POND and self.environment.counting is None
        return outlet if is_plain and outlet is not None else self

    def offer(self, frame: Frame) -> bool:
        """Queue `frame` without flushing gathered broadcasts. False if the outbox is full."""
        ending = self._ending
        outlet = ending.outlet
        if outlet is None or ending.life not in SERVED:
            return True
        if frame.codec is not self.codec:
            translated = frame.in_format(self.codec)
            if translated is None:
                return True
            frame = translated
        if not outlet.offer(frame):
            return False
        counting = self.environment.counting
        if counting is not None:
            counting.sent(len(frame.encoded), outlet.pending)  # `size` is not exact
        return True

    def offer_batch(self, batch: Batch) -> bool:
        """Queue the frames of a batch. False if not all were accepted."""
        outlet = self._ending.outlet
        if outlet is None or not self.is_open or self.environment.counting is not None:
            return offer_each(self.offer, batch)
        return outlet.offer_batch(batch.in_format(self.codec))

    def wait_for_room(self, callback: Callable[[], None], size: int) -> bool:
        """Ask for room, like `Outlet.wait_for_room`. False also after the end of the connection."""
        outlet = self._ending.outlet
        if outlet is None or not self.is_open:
            return False
        return outlet.wait_for_room(callback, size)

    def overflow(self) -> None:
        """Close the connection of a slow consumer."""
        if self.is_open:
            self._ending.router.overflow.close(self)

    def heartbeat(self) -> None:
        """Send a heartbeat, so that no proxy takes the connection for dead."""
        # Translated on its way, where a codec may fail: one task calls this for all connections.
        self.send_frame(Frame.of(replies.heartbeat()))

    def dropped(self, frames: int) -> None:
        """Count frames that the outlet has dropped, as their lobby allows."""
        if self.is_open:  # a client that has gone misses nothing
            self._ending.router.overflow.dropped(self, frames)

    def caught_up(self) -> None:
        """Note that the outlet, which has dropped frames, is empty again."""
        self._ending.router.overflow.caught_up(self)

    def remove_membership(self, channel_name: str) -> None:
        """Remove a membership that has ended."""
        del self.memberships[channel_name]
        self.names_removed += 1

    def charge(self, request: ClientMessage, error_count: int) -> None:
        """Charge the client's rate limits for a message with this many errors."""
        if self._reading is not None:
            self._reading.inbound.charge(request, error_count)

    def charge_bytes(self, size: int) -> None:
        """Charge the client's rate limits for a long frame that it has caused."""
        if self._reading is not None:
            self._reading.inbound.charge_bytes(size)

    def take_new_history(self) -> float:
        """Count a history that a join may begin. 0.0, or the seconds until it may."""
        return 0.0 if self._reading is None else self._reading.inbound.take_new_history()

    def spawn(self, work: Work) -> None:
        """Run `work` in a task that is cancelled when the connection ends."""
        if self.is_open and self._reading is not None:
            self._reading.spawn(work)
