"""Every limit, its default, and where the number comes from."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Options:
    """The limits of one `PondSocket`. Times are in seconds; None switches a time limit off.

    Args:
        connect_timeout: How long a connection handler may take; then the answer is 504.
        join_timeout: How long a join handler may take to decide; then the answer is 408.
        leave_timeout: How long a leave handler may take.
        handler_grace: How long event handlers go on after their connection has ended.
        max_message_bytes: The longest message taken from a client.
        max_post_bytes: The longest body of an SSE POST, which may hold 64 messages.
        max_pending_messages: What one connection may have taken and not yet handled.
        max_pending_bytes: The same, in bytes.
        outbox_frames: What may wait to be written to one connection.
        outbox_bytes: The same, in bytes.
        sse_keepalive_seconds: How often an idle event stream carries a comment.
    """

    # Two thirds of the 15 s after which people are known to press reload.
    connect_timeout: float | None = 10.0
    join_timeout: float | None = 10.0
    leave_timeout: float | None = 5.0
    handler_grace: float = 5.0
    # 64 KiB: asyncio's default high-water mark; a chat message is a hundredth of it.
    max_message_bytes: int = 65_536
    max_post_bytes: int = 262_144
    # Five seconds of the busiest client that is still a person's.
    max_pending_messages: int = 256
    max_pending_bytes: int = 1_048_576
    # A second of a busy room; a thousand stalled peers then hold 1 GiB at the worst.
    outbox_frames: int = 1_024
    outbox_bytes: int = 1_048_576
    # Proxies cut idle responses after 60 s (nginx) or 30 s (some load balancers).
    sse_keepalive_seconds: float = 15.0
