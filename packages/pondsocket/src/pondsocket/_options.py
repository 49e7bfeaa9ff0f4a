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
    "max_threads",
    "max_connection_threads",
    "max_kept_threads",
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """The limits of one `PondSocket`. Times are in seconds; where None may stand, it switches off.

    Raises:
        UsageError: A value is no number, or negative.

    Args:
        connect_timeout: How long a connection handler may take once it waits; then it is 504.
        join_timeout: The same of a join handler, until it decides; then it is 408.
        leave_timeout: How long a leave handler may take.
        handler_grace: How long event handlers go on after their connection has ended.
        max_connections: Open connections of one endpoint; one more is refused with 503.
        max_channels: Channels of one connection; a join of one more is refused with 429.
        max_name_chars: The longest channel or event name taken from a client.
        max_message_bytes: The longest message taken from a client.
        max_post_bytes: The longest body of an SSE POST, which may hold 64 messages.
        max_pending_messages: What one connection may have taken and not yet handled.
        max_pending_bytes: The same, in bytes.
        event_rate, event_burst: Events a second and at once, of one connection.
        control_rate, control_burst: The same for joins, leaves and pings.
        max_refusals: As many answers of 429 within 10 s close the connection with 4429.
        max_threads: Plain functions that run at once, in worker threads; one more waits.
        max_connection_threads: As many of these may be of one connection; the same for kept ones.
        max_kept_threads: Threads that stay with a message, whose `async` and plain functions take
            turns; one more message is refused with 503.
        outbox_frames: What may wait to be written to one connection.
        outbox_bytes: The same, in bytes.
        write_timeout: How long one write to a connection may hang until it counts as slow.
        presence_tick: How long presence diffs are gathered into one frame.
        presence_leave_delay: How long the leave of a user whose last connection was lost is held
            back, so that nobody sees a reconnect. For users whose id the application gave.
        sse_keepalive_seconds: How often an idle event stream carries a comment.
        heartbeat_seconds: How often an idle WebSocket carries a message, unless the server is known
            to ping by itself.
        post_timeout: How long the body of a POST may take; then the answer is 408.
        drain_seconds: Over how long a drain spreads the ends of many connections.
        tcp_user_timeout: After how long the kernel drops a peer that acknowledges nothing. It is
            set on the process's listening sockets, which serve the host application as well; Linux.
        allowed_origins: Which web pages may connect besides those of the host itself, such as
            `https://app.example.com` or `https://*.example.com`. An endpoint may have its own.
    """

    # Longer than any lookup should take, shorter than the patience of whoever waits for it.
    connect_timeout: float | None = 10.0
    join_timeout: float | None = 10.0
    leave_timeout: float | None = 5.0
    # A deploy waits for it; a handler that writes to a database is done by then.
    handler_grace: float = 5.0
    # Below the 65,535 descriptors that a process commonly may open.
    max_connections: int | None = 50_000
    # A client with many rooms open shows a dozen; a dashboard may show a hundred.
    max_channels: int | None = 128
    # The protocol's own bound on every name.
    max_name_chars: int | None = 255
    # 64 KiB: asyncio's default high-water mark; a chat message is a hundredth of it.
    max_message_bytes: int | None = 65_536
    max_post_bytes: int | None = 262_144
    # Five seconds of events at the rate below.
    max_pending_messages: int = 256
    max_pending_bytes: int = 1_048_576
    # Nobody types, draws or steers faster than 50 times a second; ten seconds may pile up.
    event_rate: float | None = 50.0
    event_burst: int = 500
    # A client that comes back joins its 128 channels at once, and may do it twice.
    control_rate: float | None = 50.0
    control_burst: int = 256
    # Ten a second: a client that backs off as it is told never gets there.
    max_refusals: int | None = 100
    # As many as anyio's own default, and FastAPI's.
    max_threads: int = 40
    # A fifth of them, so that one client with slow requests leaves most to the others.
    max_connection_threads: int = 8
    # They mostly wait: a thread costs some 100 KiB of memory then, and no processor time.
    max_kept_threads: int = 256
    # A second of a busy room; a thousand stalled peers then hold 1 GiB at the worst.
    outbox_frames: int = 1_024
    outbox_bytes: int = 1_048_576
    # Longer than any stall of a mobile network that people sit through.
    write_timeout: float = 10.0
    # Shorter than what eyes notice, longer than a burst of joins takes.
    presence_tick: float = 0.1
    # Off: a leave that is told late is a lie for as long.
    presence_leave_delay: float = 0.0
    # Proxies cut idle responses after 60 s (nginx) or 30 s (some load balancers).
    sse_keepalive_seconds: float = 15.0
    heartbeat_seconds: float | None = 25.0
    # 256 KiB over a bad mobile link; whoever needs longer holds a connection open for nothing.
    post_timeout: float | None = 10.0
    # Within what service managers wait after SIGTERM: 30 s (Kubernetes) or 90 s (systemd).
    drain_seconds: float = 10.0
    tcp_user_timeout: float | None = None
    allowed_origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_origins("Options.allowed_origins", self.allowed_origins)
        for field in fields(self):
            if field.name == "allowed_origins":
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
    """See that these can be meant as origins.

    Raises:
        UsageError: They are no collection of texts, or one of them can match nothing or everything.
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
