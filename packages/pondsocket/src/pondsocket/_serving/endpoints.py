"""The endpoints of a pond: which one serves a path, and what connects to it."""

from collections.abc import Iterator
from functools import partial

from pondsocket_common import is_name

from pondsocket._channel.channel import Channel
from pondsocket._channel.handle import ChannelHandle
from pondsocket._connection.session import Session
from pondsocket._endpoint import Endpoint
from pondsocket._environment import Environment
from pondsocket._errors import UsageError
from pondsocket._state.patterns import PatternMap, Route
from pondsocket._state.request import Refusal


class Endpoints:
    """The endpoints of a pond, by path; the first registered path that matches wins."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._table: PatternMap[Endpoint] = PatternMap()
        self._by_path: dict[str, Endpoint] = {}

    def __iter__(self) -> Iterator[Endpoint]:
        return iter(self._table)

    def sessions(self) -> list[Session]:
        """Return the open connections of all endpoints."""
        return [session for endpoint in self._table for session in endpoint.sessions]

    def connection_count(self) -> int:
        """Return how many connections of all endpoints are open."""
        return sum(len(endpoint.sessions) for endpoint in self._table)

    def check_reachable(self, path: str) -> None:
        """Refuse a path that an earlier one hides.

        Raises:
            UsageError: No connection would ever reach it.
        """
        self._table.check_reachable(f"endpoint {path!r}", path)

    def add(self, endpoint: Endpoint) -> None:
        """Serve an endpoint's path."""
        path = endpoint.path
        self._table.add(path, endpoint, is_final=not endpoint.admission.is_selective)
        self._by_path.setdefault(path, endpoint)

    def at(self, path: str) -> tuple[Endpoint, str]:
        """Return the endpoint that serves a path, and what stands for the path.

        Raises:
            UsageError: There is none, or the path is the pattern of several.
        """
        endpoint = self._by_path.get(path)
        if endpoint is None or endpoint.paths.pattern.literal == path:
            # As clients find it: another pattern that matches may be registered before it.
            endpoint = self.find(path) or endpoint
        if endpoint is None:
            known = ", ".join(self._by_path) or "none"
            raise UsageError(f"There is no endpoint {path!r}; registered: {known}.")
        return endpoint, endpoint.paths.resolve(path)

    def chosen(self, path: str | None) -> list[Endpoint]:
        """Return the endpoint that has a path; None: all.

        Raises:
            UsageError: None has it, or it is the pattern of several paths.
        """
        return [*self._table] if path is None else [self.at(path)[0]]

    def named(self, pattern: str) -> Endpoint | None:
        """Return the endpoint that was registered with this path or pattern; None: none was."""
        return self._by_path.get(pattern)

    def channel(self, endpoint_path: str, name: str) -> ChannelHandle:
        """Return a channel by name; see `PondSocket.channel`."""
        endpoint, path = self.at(endpoint_path)
        if not endpoint.routing.serves(name):
            explanation = endpoint.routing.explain(name) if is_name(name) else ""
            raise UsageError(
                f"No channel pattern of {endpoint_path!r} matches {name!r}.{explanation}"
            )
        find = partial(_channel_of, endpoint, name, path)
        return ChannelHandle(name, path, find, self._environment.loop)

    def find(self, path: str) -> Endpoint | None:
        """Return the endpoint that serves a path; None if there is none."""
        found = self.match(path)
        return None if found is None else found[0]

    def match(self, path: str) -> tuple[Endpoint, Route] | None:
        """Return the endpoint that serves a path, and how the path matched; None if none does."""
        found = self._table.match(path)
        if found is None or found[0].fits(found[1]):
            return found
        first = found[0]  # which has been asked, and may have logged why it does not fit
        matches = self._table.matches(path)
        return next(
            (each for each in matches if each[0] is not first and each[0].fits(each[1])), None
        )

    def not_found(self, path: str) -> Refusal:
        """Return the refusal of a connection to a path that no endpoint serves."""
        sentences = (
            endpoint.admission.explain(route.params)
            for endpoint, route in self._table.matches(path)
        )
        explanation = next(filter(None, sentences), "")
        text = f"Endpoint not found: {path}"
        return Refusal(404, "NOT_FOUND", f"{text}.{explanation}" if explanation else text)


def _channel_of(endpoint: Endpoint, name: str, path: str) -> Channel:
    channel = endpoint.routing.find_channel(name, path)
    if channel is None:
        raise UsageError(f"No channel pattern of {endpoint.path!r} matches {name!r}.")
    return channel
