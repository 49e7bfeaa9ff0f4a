"""Request headers, queries and cookies, whose names may occur more than once."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Self

CONNECTION_ID_HEADER: Final = "x-connection-id"
"""The header that carries the secret id of a connection, in requests and in responses."""

EVENT_STREAM: Final = "text/event-stream"
"""The media type of Server-Sent Events."""


class QueryParams(Mapping[str, str]):
    """An immutable mapping of a name to its first value; `getall` returns all values."""

    __slots__ = ("_values",)

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        values: dict[str, list[str]] = {}
        for name, value in pairs:
            values.setdefault(self._key(name), []).append(value)
        self._values = values

    @staticmethod
    def _key(name: str) -> str:
        return name

    def getall(self, name: str) -> list[str]:
        """Return every value of `name`, in the order of the request; empty if there is none."""
        return list(self._values.get(self._key(name), ()))

    def get_all(self, name: str) -> list[str]:
        """Return every value of `name`; the same as `getall`."""
        return self.getall(name)

    def __getitem__(self, name: str) -> str:
        return self._values[self._key(name)][0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._key(name) in self._values

    def __repr__(self) -> str:
        # Names only: values are tokens and connection ids, and reprs end up in logs.
        return f"<{type(self).__name__} {', '.join(self._values)}>"


class Headers(QueryParams):
    """A `QueryParams` of HTTP headers: names are case-insensitive (RFC 9110, section 5.1)."""

    __slots__ = ("_raw",)
    _raw: Sequence[tuple[bytes, bytes]]

    @classmethod
    def of_bytes(cls, raw: Sequence[tuple[bytes, bytes]]) -> Self:
        """Wrap a server's list of headers, which must not change.

        Most connections live long, and look at two or three of their headers once. So these are
        searched in the list; only to go through all of them decodes them. Decoded, those of a
        browser would take 3 KiB for as long as its connection lasts.
        """
        headers = cls.__new__(cls)
        headers._raw = raw
        return headers

    def has_any(self, names: frozenset[bytes]) -> bool:
        """Return whether one of these lower-case names occurs; does not decode the headers."""
        try:
            raw = self._raw
        except AttributeError:
            return any(name.decode("latin-1") in self._values for name in names)
        return not names.isdisjoint([key.lower() for key, _ in raw])

    def getall(self, name: str) -> list[str]:
        """Return every value of `name`, in the order of the request; empty if there is none."""
        try:
            raw = self._raw
        except AttributeError:
            return super().getall(name)
        if not name.isascii():
            return super().getall(name)
        wanted = name.lower().encode()
        return [value.decode("latin-1") for key, value in raw if key.lower() == wanted]

    def __getitem__(self, name: str) -> str:
        values = self.getall(name)
        if not values:
            raise KeyError(name.lower())
        return values[0]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self.getall(name))

    def __getattr__(self, name: str) -> dict[str, list[str]]:
        # Python calls this only for an attribute that is not set (yet).
        if name != "_values":
            raise AttributeError(name)
        # latin-1 has a character for every byte (RFC 9110, section 5.5).
        text = ((key.decode("latin-1"), value.decode("latin-1")) for key, value in self._raw)
        super().__init__(text)
        return self._values

    @staticmethod
    def _key(name: str) -> str:
        return name.lower()


def parse_cookies(headers: Headers) -> dict[str, str]:
    """Parse the cookies of a request; of a repeated name, keep the first, the most specific one.

    They are split by hand, after RFC 6265, section 5.4: `http.cookies` drops every cookie that
    follows an invalid name, so that a stranger's cookie could hide the session's.
    """
    cookies: dict[str, str] = {}
    for header in headers.getall("cookie"):
        for pair in header.split(";"):
            name, equals, value = pair.strip().partition("=")
            if equals and name:
                value = value.strip()
                if len(value) > 1 and value[0] == value[-1] == '"':
                    value = value[1:-1]
                cookies.setdefault(name.strip(), value)
    return cookies
