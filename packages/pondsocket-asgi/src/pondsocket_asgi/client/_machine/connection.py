"""The connection of a client, through all its attempts: when it is open, and when it is dead; pure.

Time is compared, never counted in ticks: a program that was stopped, or a computer that slept, sees
its timers late. Then the server is asked before the connection is given up.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from pondsocket_common import Goodbye, Ping

from .attempts import Attempts
from .errors import CLOSED, Ended, PondClientError
from .values import Changed, Connect, Disconnect, Effect, Probe, Send, State, Status

# From the first step of a handshake to the server's first message.
CONNECT_SECONDS: Final = 10.0
# The server says something every 25 s over a WebSocket, and every 15 s on a stream.
SILENT_SECONDS: Final = 27.5
PONG_SECONDS: Final = 10.0
# What a network blocks, it mostly blocks for longer; but a laptop may have moved to another.
PROBE_SECONDS: Final = 600.0
# A WebSocket opens, but calls are under way on the stream.
BUSY_SECONDS: Final = 10.0
# What a server asks for beyond this is a mistake.
LONGEST_SECONDS: Final = 86_400.0
# A timer as late as this was not the loop's: the program or the computer has stood still.
LATE_SECONDS: Final = 5.0


class Connection:
    """The one connection of a client.

    Args:
        effects: Where what has to be done is written.

    Attributes:
        number: The number of the attempt; what an earlier one still says counts no more.
    """

    def __init__(
        self, attempts: Attempts, effects: list[Effect], fresh_id: Callable[[], str]
    ) -> None:
        self.number: int = 0
        self.status: Status = Status(State.STOPPED)
        self._attempts = attempts
        self._effects = effects
        self._fresh_id = fresh_id
        self._goodbye: Goodbye | None = None
        self._closes_at = 0.0
        # One limit at a time: of an attempt, of a silence, of an answer, or of waiting.
        self._limit: float | None = None
        self._probe_at: float | None = None
        self._has_asked = False

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        return self.status.state in (State.OPEN, State.LEAVING)

    @property
    def is_stopped(self) -> bool:
        """Whether it stays as it is until the application connects."""
        return self.status.state is State.STOPPED

    @property
    def wake_at(self) -> float | None:
        """When `tick` has something to do."""
        limits = [each for each in (self._limit, self._probe_at) if each is not None]
        return min(limits, default=None)

    def start(self, now: float) -> None:
        """Connect, if it is stopped."""
        if self.is_stopped:
            self._attempts.begin_anew()
            self._attempt(now)

    def stop(self) -> None:
        """Close the connection for good."""
        if not self.is_stopped:
            self._let_go()
            self._change(Status(State.STOPPED, self.status.transport))

    def heard(self, now: float) -> None:
        """Note a sign of life."""
        if self.is_open:
            self._has_asked = False
            self._limit = now + SILENT_SECONDS

    def opened(self, now: float) -> None:
        """Note that the server's first message has come."""
        self._attempts.opened(now, self.status.transport)
        self._change(Status(State.OPEN, self.status.transport))
        self.heard(now)
        if self._attempts.is_fallen_back:
            self._probe_at = now + PROBE_SECONDS

    def told_goodbye(self, now: float, goodbye: Goodbye, retry_ms: int) -> None:
        """Note that the server will close, and go on until then."""
        self._goodbye = goodbye
        # Its `retry:` is for a stream that was not open yet: it is longer, by the server's grace.
        after_ms = goodbye.after_ms if self.is_open else max(goodbye.after_ms, retry_ms)
        self._closes_at = now + after_ms / 1000
        if self.is_open and goodbye.reconnect:
            self._change(
                replace(
                    self.status,
                    state=State.LEAVING,
                    code=goodbye.code,
                    reason=goodbye.reason,
                    until=self._closes_at,
                )
            )

    def ended(self, now: float, end: Ended) -> None:
        """Note the end of the connection or of an attempt, and decide what follows."""
        transport, goodbye = self.status.transport, self._goodbye
        verdict = self._attempts.ended(now, transport, end, goodbye)
        after = max(verdict.after, self._closes_at - now if goodbye else 0.0, 0.0)
        self._goodbye = None
        self._limit = self._probe_at = None
        code = goodbye.code if goodbye else end.code
        reason = goodbye.reason if goodbye else end.reason
        if verdict.stops:
            self._change(Status(State.STOPPED, transport, code, reason))
            return
        self._limit = due = now + self._attempts.delay(min(after, LONGEST_SECONDS))
        self._change(Status(State.WAITING, transport, code, reason, due))

    def probed(self, now: float, *, is_busy: bool) -> bool:
        """Take the news that a WebSocket opens. Return whether it is to be used at once."""
        if not self.is_open or not self._attempts.is_fallen_back:
            return False
        if is_busy:
            self._probe_at = now + BUSY_SECONDS
            return False
        self._attempts.prefer_websocket()
        self._let_go()
        return True

    def begin(self, now: float) -> None:
        """Connect, without a delay."""
        self._attempt(now)

    def tick(self, now: float) -> Ended | None:
        """Do what is due. Return the end of the connection, if it is given up."""
        if self._probe_at is not None and now >= self._probe_at:
            self._probe_at = now + PROBE_SECONDS
            self._effects.append(Probe())
        limit = self._limit
        if limit is None or now < limit:
            return None
        match self.status.state:
            case State.WAITING:
                self._attempt(now)
            case State.CONNECTING:
                self._let_go()
                return Ended(0, f"not open within {CONNECT_SECONDS:g} s")
            case State.OPEN | State.LEAVING:
                is_late = now - limit >= LATE_SECONDS
                if self._has_asked and not is_late:
                    self._let_go()
                    return Ended(0, "the server is silent")
                self._has_asked = True
                self._limit = now + (LATE_SECONDS if is_late else PONG_SECONDS)
                self._effects.append(Send((Ping(self._fresh_id()),)))
            case State.STOPPED:
                self._limit = None
        return None

    def _attempt(self, now: float) -> None:
        self.number += 1
        self._goodbye = None
        self._has_asked = False
        self._limit = now + CONNECT_SECONDS
        transport = self._attempts.next_transport()
        self._change(replace(self.status, state=State.CONNECTING, transport=transport, until=None))
        self._effects.append(Connect(self.number, transport, self._attempts.take_token_reason()))

    def _let_go(self) -> None:
        self._limit = self._probe_at = None
        self._effects.append(Disconnect())

    def _change(self, status: Status) -> None:
        self.status = status
        self._effects.append(Changed(status))


def stopped_by(status: Status) -> PondClientError:
    """Return why a connection is stopped, as an error."""
    return PondClientError(CLOSED, status.reason or "the client is closed", status.code)


def late(what: str, status: Status) -> TimeoutError:
    """Return the error of what took too long; it says why there is no connection."""
    return TimeoutError(f"{what}: {status.reason}" if status.reason else what)
