"""Where an engine is, as a URL says it. Pure."""

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from pondsocket._errors import UsageError

_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_FORMS: Final = (
    "redis://host, redis://user:password@host:6379, rediss://host (TLS), unix:///path/to/socket"
    " or redis+sentinel://host1,host2/name-of-the-master; after a slash, the number of a database"
)


@dataclass(frozen=True)
class Address:
    """Where an engine is.

    Args:
        hosts: One host and port; several sentinels.
        path: Of a unix socket, instead.
        master: The name that the sentinels know it by; empty: there are none.
        database: Its number. Pub/sub knows none, so two applications need two prefixes.
        user, password: None: the engine asks for none.
    """

    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    master: str = ""
    database: int = 0
    is_secure: bool = False
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        """Return it without the password, for the log."""
        hosts = ",".join(f"{host}:{port}" for host, port in self.hosts)
        return self.path or (f"{hosts}/{self.master}" if self.master else hosts)


def parse(url: str) -> Address:
    """Read a URL.

    Raises:
        UsageError: It cannot be an engine's.
    """
    parts = urlsplit(url)
    kind, _, has_sentinels = parts.scheme.partition("+")
    if kind not in ("redis", "rediss", "unix") or has_sentinels not in ("", "sentinel"):
        raise UsageError(f"An engine's URL is {_FORMS}; not {parts.scheme!r}://….")
    credentials, _, hosts = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    known = {
        "user": unquote(user) or None,
        "password": unquote(password) or None,
    }
    if kind == "unix":
        query = parse_qs(parts.query)
        if not parts.path:
            raise UsageError("unix:// needs the path of a socket: unix:///run/redis.sock.")
        password_of_query = query.get("password", [None])[0]
        return Address(
            path=unquote(parts.path),
            user=known["user"],
            password=known["password"] or password_of_query,
        )
    port = _SENTINEL_PORT if has_sentinels else _PORT
    places = tuple(_place(each, port) for each in hosts.split(",") if each) or (
        ("127.0.0.1", port),
    )
    segments = [unquote(each) for each in parts.path.split("/") if each]
    if has_sentinels and not segments:
        raise UsageError("redis+sentinel:// needs the master's name: redis+sentinel://host/name.")
    if not has_sentinels and len(places) > 1:
        raise UsageError(f"{parts.scheme}:// takes one host; several are sentinels: {_FORMS}.")
    master = segments.pop(0) if has_sentinels else ""
    database = segments.pop(0) if segments else "0"
    if segments or not database.isdecimal():
        raise UsageError(f"The number of a database ends an engine's URL: {_FORMS}.")
    return Address(
        hosts=places,
        master=master,
        database=int(database),
        is_secure=kind == "rediss",
        user=known["user"],
        password=known["password"],
    )


def _place(text: str, port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    try:
        return parts.hostname or "127.0.0.1", parts.port or port
    except ValueError:
        raise UsageError(f"{text!r} is no host and port of an engine.") from None
