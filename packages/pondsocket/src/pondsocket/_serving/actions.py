"""What a pond does for the other nodes: it carries out their commands, and answers them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pondsocket_common import GATEWAY, CloseCode

from pondsocket._channel.channel import Channel
from pondsocket._cluster.commands import Command
from pondsocket._cluster.shared_channel import SharedChannel
from pondsocket._cluster.shared_log import keep_of
from pondsocket._delivery.pushes import Push
from pondsocket._endpoint import Endpoint
from pondsocket._environment import Environment
from pondsocket._errors import UsageError
from pondsocket._replica.application import Application, Opened, Served
from pondsocket._runtime.tasks import Work
from pondsocket._state.user import LeaveReason, User
from pondsocket.backplane import SEPARATOR, Topic

from .endpoints import Endpoints
from .streams import Streams


class PondActions:
    """Carries out what other nodes ask of this pond."""

    def __init__(self, endpoints: Endpoints, streams: Streams, environment: Environment) -> None:
        self._endpoints = endpoints
        self._streams = streams
        self._environment = environment

    def now(self) -> float:
        """Return the pond's time; see `Actions.now`."""
        return self._environment.clock()

    async def execute(self, command: Command, older_than: float | None) -> None:
        """Carry out a command; see `Actions.execute`."""
        match command:
            case {"do": "evict", "topic": str(topic), "user": str(user), "reason": str(reason)}:
                channel = self._find(topic)
                if isinstance(channel, SharedChannel):
                    await channel.evict_here(user, reason, older_than)
            case {"do": "disconnect", "user": str(user), "reason": str(reason), "code": int(code)}:
                for endpoint in self._meant(command):
                    path = command.get("path")
                    endpoint.drop_user(user, reason, CloseCode(code), path, older_than)
            case {"do": "push", "user": str(user)}:
                frame = Push.of(command).frame(GATEWAY)
                for endpoint in self._meant(command):
                    endpoint.routing.push(frame, user, command.get("path"), older_than)
            case {"do": "broadcast"}:
                frame = Push.of(command).frame(GATEWAY)
                for endpoint in self._meant(command):
                    endpoint.routing.broadcast(frame, command.get("path"), older_than)
            case _:
                raise ValueError(f"There is no command {command.get('do')!r}.")

    async def answer(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """Answer a question; see `Actions.answer`."""
        match question:
            case {"do": "assigns", "topic": str(topic)}:
                channel = self._find(topic)
                return await channel.assigns_here() if isinstance(channel, SharedChannel) else {}
            case {"do": "connections", "endpoint": str(pattern)}:
                named = self._endpoints.named(pattern)
                return {"count": 0 if named is None else len(named.sessions)}
            case {"do": "post" | "end"}:
                return self._streams.answer(question)
            case _:
                raise ValueError(f"There is no question {question.get('do')!r}.")

    def describe(self) -> bytes:
        """Describe the endpoints for publishers; see `Application`."""
        return Application(map(_opened, self._endpoints)).to_bytes()

    def swept(self, topic: Topic, user: str) -> Work | None:
        """Return what is to be done after a user's last membership has ended with its node."""
        channel = self._find(topic)
        if channel is None:
            return None
        gone = User(user, {}, None)
        return channel.owner.left(channel, gone, LeaveReason.CONNECTION_CLOSED)

    def _meant(self, command: Command) -> list[Endpoint]:
        """Return the endpoints that a command names, by their pattern, by a path, or not at all."""
        pattern, path = command.get("endpoint"), command.get("path")
        if pattern is not None:
            endpoint = self._endpoints.named(pattern)
        elif path is not None:
            endpoint = self._at(path)
        else:
            return [*self._endpoints]
        return [] if endpoint is None else [endpoint]

    def _at(self, path: str) -> Endpoint | None:
        try:
            return self._endpoints.at(path)[0]
        except UsageError:
            return None  # another version of the application

    def _find(self, topic: Topic) -> Channel | None:
        """Return the channel of a topic; None if no lobby here serves it."""
        path, _, name = topic.partition(SEPARATOR)
        try:
            endpoint, path = self._endpoints.at(path)
        except UsageError:
            return None  # another version of the application
        return endpoint.routing.find_channel(name, path) if endpoint.routing.serves(name) else None


def _opened(endpoint: Endpoint) -> Opened:
    lobbies = tuple(
        Served(
            lobby.pattern,
            None if lobby.history is None else keep_of(lobby.history),
            lobby.is_selective,
        )
        for lobby in endpoint.routing.lobbies
    )
    is_shared = endpoint.paths.only is not None
    return Opened(endpoint.path, is_shared, endpoint.admission.is_selective, lobbies)
