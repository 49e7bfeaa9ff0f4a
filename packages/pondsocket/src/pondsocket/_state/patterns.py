"""Patterns for the names of endpoints, channels and events.

`:name` stands for one segment, `prefix:name` for the end of one (never empty), a final `*` for the
rest, and `::` for a literal colon. Of the patterns that match, the first one registered wins.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from pondsocket_common import QueryParams

from pondsocket._errors import UsageError

from .overlap import covers

V = TypeVar("V")

_NO_QUERY: Final = QueryParams()
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# How other frameworks write parameters: `{id}`, `{id:int}`, `/<id>`, `/<int:id>`.
_FOREIGN: Final = re.compile(r"\{([A-Za-z_]\w*)(?::\w+)?\}|(?<=/)<(?:\w+:)?([A-Za-z_]\w*)>")


def check_text(example: str, pattern: object) -> None:
    """Refuse what is no text where a pattern belongs: a decorator without parentheses.

    Args:
        example: What to write.

    Raises:
        UsageError: It is no text.
    """
    if not isinstance(pattern, str):
        raise UsageError(f"Write `{example}`: a pattern is a text, not {pattern!r}.")


@dataclass(frozen=True, slots=True)
class Route:
    """How a name matched.

    Args:
        pattern: The pattern as registered.
        params: The values of its parameters.
        rest: The value of a final `*`.
    """

    pattern: str
    params: Mapping[str, str] = field(default_factory=dict)
    rest: str | None = None

    def param(self, name: str) -> str:
        """Return the value of a parameter.

        Raises:
            UsageError: The pattern has no parameter of this name.
        """
        value = self.params.get(name)
        if value is None:
            known = ", ".join(map(repr, self.params)) or "none"
            raise UsageError(
                f"The pattern {self.pattern!r} has no parameter {name!r}; it has {known}."
            )
        return value

    @property
    def wildcard(self) -> str | None:
        """The value of a final `*`; the same as `rest`."""
        return self.rest

    @property
    def query(self) -> QueryParams:
        """The query of a request to connect. Names of channels and events have none."""
        return _NO_QUERY

    def with_query(self, query: QueryParams) -> "Route":
        """Return it with the query of a request."""
        return _Requested(self.pattern, self.params, self.rest, query) if query else self


@dataclass(frozen=True, slots=True)
class _Requested(Route):
    """How the path of a request matched. Of its own: an event's route would grow by the query."""

    _query: QueryParams = field(default_factory=QueryParams)

    @property
    def query(self) -> QueryParams:
        """The query of the request."""
        return self._query


class Pattern:
    """One compiled pattern.

    Raises:
        UsageError: The text is not a valid pattern; the message says why.
    """

    __slots__ = ("_names", "_regex", "_route", "literal", "text")

    def __init__(self, text: str) -> None:
        foreign = _FOREIGN.search(text)
        if foreign is not None:
            raise UsageError(
                f"{text!r}: write ':{foreign[1] or foreign[2]}' for the parameter {foreign[0]!r}."
            )
        self.text: str = text
        self._names: list[str] = []
        regex: list[str] = []
        literal: list[str] = []
        position = 0
        while position < len(text):
            char = text[position]
            if text.startswith("::", position):
                regex.append(":")
                literal.append(":")
                position += 2
            elif char == ":":
                name = self._parameter(position + 1)
                regex.append(f"(?P<{name}>[^/]+)")
                position += 1 + len(name)
            elif char == "*":
                if position != len(text) - 1:
                    raise UsageError(f"{text!r}: '*' stands for the rest, so it must be last.")
                regex.append("(.+)")
                position += 1
            else:
                regex.append(re.escape(char))
                literal.append(char)
                position += 1
        if not text:
            raise UsageError("A pattern must not be empty.")
        self._regex = re.compile("".join(regex), re.DOTALL)
        plain = not self._names and not text.endswith("*")
        self.literal: str | None = "".join(literal) if plain else None
        self._route = Route(text)

    def _parameter(self, position: int) -> str:
        found = _NAME.match(self.text, position)
        if found is None:
            raise UsageError(
                f"{self.text!r}: ':' starts a parameter, so a name must follow it;"
                " write '::' for the character itself."
            )
        name = found.group()
        if self.text[found.end() : found.end() + 1] not in ("", "/"):
            # One parameter in a segment, at its end: so that a name matches in one way only.
            raise UsageError(
                f"{self.text!r}: the parameter ':{name}' must end its segment;"
                " names have letters, digits and '_'."
            )
        if name in self._names:
            raise UsageError(f"{self.text!r}: the parameter ':{name}' stands there twice.")
        self._names.append(name)
        return name

    @property
    def names(self) -> frozenset[str]:
        """The names of its parameters."""
        return frozenset(self._names)

    def match(self, name: str) -> Route | None:
        """Match a name. None if it does not match."""
        if self.literal is not None:
            return self._route if name == self.literal else None
        found = self._regex.fullmatch(name)
        if found is None:
            return None
        # The group of a final `*` has no name.
        rest = found[found.re.groups] if found.re.groups > len(self._names) else None
        return Route(self.text, found.groupdict(), rest)


class Paths:
    """The paths of an endpoint, and which of their channels are the same.

    Channels of one name at two paths are two channels, unless all paths share their channels.

    Args:
        text: The endpoint's pattern.

    Attributes:
        only: What stands for every path: the only path that there is, or the pattern of an endpoint
            whose paths share their channels. None: each path has channels of its own.

    Raises:
        UsageError: It is not a valid pattern of paths.
    """

    __slots__ = ("only", "pattern")

    def __init__(self, text: str, *, shared: bool = False) -> None:
        if not text.startswith("/") and text != "*":
            raise UsageError(f"endpoint {text!r}: a path starts with '/'.")
        if text != "/" and text.endswith("/"):
            raise UsageError(
                f"endpoint {text!r}: write {text.rstrip('/')!r}, which answers with a '/' as well."
            )
        self.pattern: Pattern = Pattern(text)
        self.only: str | None = text if shared else self.pattern.literal

    def of(self, path: str) -> str:
        """Return what stands for the path that a client has connected to."""
        return path if self.only is None else self.only

    def key(self, path: str, name: str) -> str:
        """Return what no other channel of the endpoint is known by."""
        # The last control character separates the two: a path may have some, but a name has none.
        return name if self.only is not None else f"{path}\x1f{name}"

    def resolve(self, path: str) -> str:
        """Return what stands for a path that the application names.

        Raises:
            UsageError: It is no path of this endpoint, or is the pattern of several.
        """
        text = self.pattern.text
        if path == text and self.only is None:
            raise UsageError(
                f"{path!r} is a pattern, and each of its paths has channels of its own: write the"
                " path that clients connect to, or register the endpoint with shared_channels=True."
            )
        if path != text and self.pattern.match(path) is None:
            raise UsageError(f"{path!r} is no path of the endpoint {text!r}.")
        return self.of(path)


class PatternMap(Generic[V]):
    """Values by pattern."""

    __slots__ = ("_entries", "_final", "_open", "exact")

    def __init__(self) -> None:
        self._entries: list[tuple[Pattern, V]] = []
        # An index; the order of registration decides. It has a name if no pattern registered before
        # matches it. What is registered later cannot change that.
        self.exact: dict[str, tuple[V, Route]] = {}
        self._open: list[tuple[Pattern, V]] = []
        # The patterns whose values take every name that matches.
        self._final: list[str] = []

    def check_reachable(self, what: str, text: str) -> None:
        """Refuse a pattern of which every name goes to what was registered before.

        Raises:
            UsageError: It is one, or not a valid pattern.
        """
        Pattern(text)
        for before in self._final:
            if before == text:
                raise UsageError(f"{what}: this is registered already, and the first one is used.")
            if covers(before, text):
                raise UsageError(
                    f"{what}: it is never reached, as {before!r}, registered before, matches all of"
                    " its names; register this one first."
                )

    def add(self, text: str, value: V, *, is_final: bool = False) -> None:
        """Register `value` under a pattern.

        Args:
            is_final: Whether it takes every name that matches: no type of a parameter refuses one.

        Raises:
            UsageError: It is not a valid pattern.
        """
        pattern = Pattern(text)
        self._entries.append((pattern, value))
        if is_final:
            self._final.append(text)
        literal = pattern.literal
        if literal is None:
            self._open.append((pattern, value))
        elif literal not in self.exact and self.match(literal) is None:
            self.exact[literal] = value, Route(text)

    def match(self, name: str) -> tuple[V, Route] | None:
        """Return the value of the first registered pattern that matches, and how it matches."""
        if (exact := self.exact.get(name)) is not None:
            return exact
        for pattern, value in self._open:
            if (route := pattern.match(name)) is not None:
                return value, route
        return None

    def matches(self, name: str) -> Iterator[tuple[V, Route]]:
        """Yield every value whose pattern matches, in the order of registration, and how."""
        for pattern, value in self._entries:
            if (route := pattern.match(name)) is not None:
                yield value, route

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[V]:
        return (value for _, value in self._entries)
