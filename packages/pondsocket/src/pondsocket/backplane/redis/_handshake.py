"""Which Redis a link has reached, and whether it can be used."""

from __future__ import annotations

from typing import NamedTuple

from pondsocket.backplane._errors import BackplaneError

from ._link import Link

_EVICTING = "allkeys"


class Info(NamedTuple):
    """What is known of a Redis.

    Args:
        fence: It changes when Redis may have lost what it had: at a restart, and when a replica
            takes over. A failover from A to B and back to A changes only the second half.
        warning: What should be changed in its configuration; empty: nothing.
    """

    fence: str
    warning: str


async def read_info(link: Link) -> Info:
    """Return what is known of the Redis.

    Raises:
        BackplaneError: It is too old, or a replica.
        ReplyError: The user may not ask.
        LinkLost: The link has ended.
    """
    sections = [await link.call("INFO", each) for each in ("server", "replication", "memory")]
    text = b"\n".join(map(bytes, sections)).decode(errors="replace")
    fields = dict(line.split(":", 1) for line in text.split() if ":" in line)
    version = fields.get("redis_version", "0")
    if int(version.split(".")[0]) < 7:
        raise BackplaneError(f"Redis 7 is needed, and this is {version}")
    if fields.get("role", "master") != "master":
        raise BackplaneError("this is a replica, to which nothing can be written")
    policy = fields.get("maxmemory_policy", "noeviction")
    warning = ""
    if policy.startswith(_EVICTING):
        warning = (
            f"Redis may drop any key (maxmemory-policy {policy}): histories and presence then begin"
            " anew; use noeviction, or a volatile policy."
        )
    return Info(f"{fields.get('run_id', '')}:{fields.get('master_replid', '')}", warning)
