"""Every limit, its default, and where the number comes from."""

import math
from dataclasses import dataclass, fields
from typing import Final

from pondsocket_common import AllowedOrigins

from ._errors import UsageError

_POSITIVE: Final = {
    "event_rate",
    "control_rate",
    "sse_keepalive_seconds",
    "heartbeat_seconds",
    "write_timeout",
    "post_timeout",
    "tcp_user_timeout",
    "max_new_histories",
    "max_threads",
    "max_connection_threads",
    "max_kept_threads",
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """The limits of one `PondSocket`. Times are in seconds. None, where allowed, means off.

    Raises:
        UsageError: A value is not a number, or is negative.

    Args:
        connect_timeout: How long a connection handler may take once it waits; then the answer is
            504.
        join_timeout: How long a join handler may take to decide once it waits; then the answer is
            408.
        leave_timeout: How long a leave handler may take; a disconnect handler, too.
        handler_grace: How long event handlers go on after their connection has ended.
        max_connections: Open connections of one endpoint; one more is refused with 503.
        max_channels: Channels of one connection; a join of one more is refused with 429.
        max_new_histories: Histories that joins of one connection may begin within a minute, in
            channels whose names have none; one more such join is refused with 429.
        max_name_chars: The longest channel or event name accepted from a client.
        max_message_bytes: The longest message accepted from a client.
        max_post_bytes: The longest body of an SSE POST, which may hold 64 messages.
        max_pending_messages: How many messages of one connection may wait to be handled.
        max_pending_bytes: The same, in bytes.
        event_rate, event_burst: Events a second and at once, of one connection.
        control_rate, control_burst: The same for joins, leaves and pings.
        max_refusals: As many refusals for rate, size or form within 10 s close the connection with
            4429: of SSE, answers of 400, 408, 413, 415 and 429.
        max_threads: Plain functions that run at once, in worker threads; one more waits.
        max_connection_threads: How many of these one connection may use; the same for kept ones.
        max_kept_threads: Threads that stay with a message, whose `async` and plain functions take
            turns; one more message is refused with 503.
        outbox_frames: How many frames may wait to be written to one connection.
        outbox_bytes: The same, in bytes.
        write_timeout: How long one write to a connection may hang until it counts as slow.
        max_presence_bytes: How long a presence object may be, as JSON.
        presence_tick: How long presence changes are collected for one diff.
        presence_leave_delay: How long the leave of a user whose last connection was lost is held
            back, so that the others do not see a reconnect. Only for users whose id the application
            gave.
        sse_keepalive_seconds: How often an idle event stream gets a comment.
        heartbeat_seconds: How often an idle WebSocket gets a message, unless the server is known to
            send pings.
        post_timeout: How long the body of a POST may take; then the answer is 408.
        drain_seconds: Over how long a drain spreads the closes of many connections.
        tcp_user_timeout: After how long the kernel drops a peer that acknowledges nothing. It is
            set on the process's listening sockets, which serve the host application as well. Linux
            only.
        gc_freeze: Whether to take what lives long out of the garbage collector's sight, and have it
            run rarely, from the start of `async with pond` to its end. It is the process's
            collector, which serves all other code as well.
        allowed_origins: Which web pages may connect besides those of the host itself, such as
            `https://app.example.com` or `https://*.example.com`. An endpoint may have its own.
    """

    # Longer than any lookup should take, shorter than a user is ready to wait.
    connect_timeout: float | None = 10.0
    join_timeout: float | None = 10.0
    leave_timeout: float | None = 5.0
    # A deploy waits for it; a handler that writes to a database is done by then.
    handler_grace: float = 5.0
    # Below 65,535, a common limit of a process's descriptors.
    max_connections: int | None = 50_000
    # A client with many channels open shows a dozen; a dashboard may show a hundred.
    max_channels: int | None = 128
    # As many as that: after a restart of the server a client joins all its channels anew.
    max_new_histories: int | None = 128
    # The protocol's own bound on every name.
    max_name_chars: int | None = 255
    # 64 KiB: asyncio's default high-water mark; a chat message is a hundredth of it.
    max_message_bytes: int | None = 65_536
    max_post_bytes: int | None = 262_144
    # Five seconds of events at the rate below.
    max_pending_messages: int = 256
    max_pending_bytes: int = 1_048_576
    # No user types, draws or steers faster than 50 times a second; ten seconds may come at once.
    event_rate: float | None = 50.0
    event_burst: int = 500
    # A client that reconnects joins its 128 channels at once, and may do it twice.
    control_rate: float | None = 50.0
    control_burst: int = 256
    # Ten a second: a client that waits as the answer says never reaches it.
    max_refusals: int | None = 100
    # The default of anyio, and of FastAPI.
    max_threads: int = 40
    # A fifth of these, so that one client with slow requests leaves most to the others.
    max_connection_threads: int = 8
    # Such threads mostly wait: one costs some 100 KiB of memory then, and no processor time.
    max_kept_threads: int = 256
    # One second of a busy channel; a thousand stalled peers then hold 2 GiB at the worst.
    outbox_frames: int = 1_024
    outbox_bytes: int = 1_048_576
    # Longer than any stall of a mobile network that a user would wait for.
    write_timeout: float = 10.0
    # A name, a status, a picture's address and a few words. It is sent to all members, and whole
    # lists send it again at every change of any other.
    max_presence_bytes: int | None = 4_096
    # Shorter than a user notices, longer than a burst of joins takes.
    presence_tick: float = 0.1
    # Off: while a leave is held back, the presence list is wrong.
    presence_leave_delay: float = 0.0
    # Proxies cut idle responses after 60 s (nginx) or 30 s (some load balancers).
    sse_keepalive_seconds: float = 15.0
    heartbeat_seconds: float | None = 25.0
    # For 256 KiB over a bad mobile link; a slower client only occupies a connection.
    post_timeout: float | None = 10.0
    # Less than service managers wait after SIGTERM: 30 s (Kubernetes) or 90 s (systemd).
    drain_seconds: float = 10.0
    tcp_user_timeout: float | None = None
    # Off: garbage in cycles of other code is found late, or not before the end.
    gc_freeze: bool = False
    allowed_origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_origins("Options.allowed_origins", self.allowed_origins)
        for field in fields(self):
            if field.name == "allowed_origins":
                continue
            if field.name == "gc_freeze":
                if not isinstance(self.gc_freeze, bool):
                    raise UsageError(f"Options.gc_freeze is True or False: {self.gc_freeze!r}.")
                continue
            value, may_be_off = getattr(self, field.name), "None" in str(field.type)
            if value is None and may_be_off:
                continue
            least = "above 0" if field.name in _POSITIVE else "0 or more"
            kinds = int | float if "float" in str(field.type) else int
            if (
                not isinstance(value, kinds)
                or isinstance(value, bool)
                or not 0 <= value < math.inf
                or (value == 0 and field.name in _POSITIVE)
            ):
                off = ", or None for no limit" if may_be_off else ""
                noun = "a number" if "float" in str(field.type) else "a whole number"
                raise UsageError(f"Options.{field.name} is {noun}, {least}{off}: {value!r}.")
            if value == 0 and field.name.endswith("_rate"):
                raise UsageError(f"Options.{field.name}: at a rate of 0 nothing ever passes.")


def check_origins(what: str, origins: object) -> None:
    """Check that these are origins.

    Raises:
        UsageError: They are not a collection of texts, or one would match no origin, or all.
    """
    if isinstance(origins, str) or not isinstance(origins, tuple | list | set | frozenset):
        raise UsageError(f"{what} is a tuple of origins, such as ('https://a.example',).")
    for origin in origins:
        if not isinstance(origin, str):
            raise UsageError(
                f"{what}: an origin is a text such as 'https://a.example': {origin!r}."
            )
    try:
        AllowedOrigins(origins)
    except ValueError as problem:
        raise UsageError(f"{what}: {problem}") from None


def checked(options: Options | None) -> Options:
    """Return options, or the defaults.

    Raises:
        UsageError: They are something else, such as a dict.
    """
    if options is not None and not isinstance(options, Options):
        raise UsageError(f"options: write `Options(event_rate=…)`, not {options!r}.")
    return options or Options()
