"""Origins: which site's web page a request comes from (RFC 6454, section 7)."""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

# Host names as browsers send them: in lower case, and in the xn-- form if they are not ASCII.
_HOST: Final = r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::([0-9]{1,5}))?"
_ORIGIN: Final = re.compile(rf"([a-z][a-z0-9+.-]*)://{_HOST}")
_AUTHORITY: Final = re.compile(_HOST)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_WILDCARD: Final = "://*."


class Origin(NamedTuple):
    """The origin of a web page; `port` is None if it is the scheme's default port."""

    scheme: str
    host: str
    port: int | None


def parse_origin(text: str) -> Origin | None:
    """Parse an `Origin` header's value. None if it is not an origin; `null` is not."""
    found = _ORIGIN.fullmatch(text.lower())
    if found is None:
        return None
    scheme, host, digits = found.groups()
    port = int(digits) if digits else None
    if port is not None and port > 65_535:
        return None
    return Origin(scheme, host, None if port == _DEFAULT_PORTS.get(scheme) else port)


def is_own_origin(origin: Origin, host: str) -> bool:
    """Return whether a page comes from the host and port that a `Host` header names."""
    found = _AUTHORITY.fullmatch(host.lower())
    if found is None or found[1] != origin.host:
        return False
    port = int(found[2]) if found[2] else None
    return _unless_usual(port) == _unless_usual(origin.port)


def _unless_usual(port: int | None) -> int | None:
    # The scheme does not count: TLS commonly ends at a proxy, and no header says so reliably. So
    # the two default ports count as the same one.
    return None if port in _DEFAULT_PORTS.values() else port


class AllowedOrigins:
    """The origins that an application lists: exact ones, `https://*.example.com`, or `null`.

    A wildcard stands for one label or more, not for none.

    Raises:
        ValueError: An entry would match no origin, or every origin. The text says what to write.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        self._exact: set[Origin] = set()
        self._below: list[Origin] = []
        self._has_null = False
        for entry in entries:
            origin = parse_origin(entry.replace(_WILDCARD, "://", 1))
            if entry == "null":
                self._has_null = True
            elif origin is None:
                raise ValueError(_what_to_write(entry))
            elif _WILDCARD in entry:
                self._below.append(origin._replace(host="." + origin.host))
            else:
                self._exact.add(origin)

    def allows(self, text: str) -> bool:
        """Return whether an `Origin` header's value is listed."""
        origin = parse_origin(text)
        if origin is None:
            return self._has_null and text == "null"
        return origin in self._exact or any(_is_below(origin, each) for each in self._below)


def _is_below(origin: Origin, above: Origin) -> bool:
    return (
        origin.scheme == above.scheme
        and origin.port == above.port
        and origin.host.endswith(above.host)
        and origin.host != above.host
    )


def _what_to_write(entry: str) -> str:
    scheme, separator, rest = entry.rpartition("://")
    host = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if host == "*":
        return (
            f"{entry!r} would let every web page speak for those who visit it. Name the origins:"
            " 'https://app.example.com', or 'https://*.example.com' for all below a name."
        )
    suggestion = f"{scheme or 'https'}://{host}"
    if suggestion != entry and parse_origin(suggestion.replace(_WILDCARD, "://", 1)):
        wrong = "a path, which no origin has" if separator else "no scheme"
        return f"{entry!r} has {wrong}: write {suggestion!r}."
    return (
        f"{entry!r} is no origin: write a scheme and a host, and a port if it is not the usual one,"
        " such as 'https://app.example.com'; names in other letters as browsers send them (xn--)."
    )
