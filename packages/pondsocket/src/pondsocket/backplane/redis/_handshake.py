"""How a link to Redis begins: who we are, and which Redis this is."""

from __future__ import annotations

import logging
import ssl
from typing import Final, NamedTuple

import anyio

from pondsocket.backplane._errors import BackplaneError

from ._address import Address
from ._link import Link, ReplyError, connect

_log: Final = logging.getLogger("pondsocket.cluster")


class Info(NamedTuple):
    """What is known of a Redis.

    Args:
        fence: It changes when Redis may have lost what it had: at a restart, and when a replica
            takes over. A failover from A to B and back to A changes only the second half.
    """

    fence: str
    role: str


async def greet(link: Link, address: Address) -> None:
    """Begin to speak RESP3, as the user of the address.

    Raises:
        BackplaneError: Redis does not speak it, or does not know the user.
    """
    credentials: tuple[str, ...] = ()
    if address.password is not None:
        credentials = ("AUTH", address.user or "default", address.password)
    try:
        await link.call("HELLO", 3, *credentials, "SETNAME", "pondsocket")
    except ReplyError as error:
        raise BackplaneError(str(error)) from error


async def read_info(link: Link) -> Info:
    """Return what is known of the Redis.

    Raises:
        BackplaneError: It is too old, or a replica.
    """
    try:
        text = b"\n".join(
            [bytes(await link.call("INFO", each)) for each in ("server", "replication", "memory")]
        )
    except ReplyError as error:
        raise BackplaneError(str(error)) from error
    fields = dict(line.split(":", 1) for line in text.decode().split() if ":" in line)
    version = fields.get("redis_version", "0")
    if int(version.split(".")[0]) < 7:
        raise BackplaneError(f"Redis 7 is needed, and this is {version}")
    role = fields.get("role", "master")
    if role != "master":
        raise BackplaneError("this is a replica, to which nothing can be written")
    policy = fields.get("maxmemory_policy", "noeviction")
    if policy.startswith("allkeys"):
        _log.warning(
            "Redis may drop any key (maxmemory-policy %s): histories and presence then begin anew;"
            " use noeviction, or a volatile policy.",
            policy,
        )
    return Info(f"{fields.get('run_id', '')}:{fields.get('master_replid', '')}", role)


async def find_master(
    address: Address, tls: ssl.SSLContext | None, seconds: float
) -> tuple[str, int]:
    """Ask the sentinels for the master.

    Raises:
        BackplaneError: None of them knows it.
    """
    troubles: list[str] = []
    for host, port in address.hosts:
        try:
            with anyio.fail_after(seconds):
                return await _ask_sentinel(address.master, host, port, tls, seconds)
        except (OSError, TimeoutError, ReplyError, BackplaneError) as error:
            troubles.append(f"{host}:{port}: {str(error) or type(error).__name__}")
    raise BackplaneError(f"no sentinel knows the master {address.master!r}: {'; '.join(troubles)}")


async def _ask_sentinel(
    master: str, host: str, port: int, tls: ssl.SSLContext | None, seconds: float
) -> tuple[str, int]:
    async with await connect(host, port, "", tls, seconds) as stream:
        link = Link(stream, lambda _: None)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(link.read)
            tasks.start_soon(link.write)
            found = await link.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", master)
            tasks.cancel_scope.cancel()
    if not found:
        raise BackplaneError(f"it knows no {master!r}")
    return found[0].decode(), int(found[1])
