"""A router: channels and events that are registered in one module and included in endpoints."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload
from weakref import WeakSet

from pondsocket._channel.channel import Channel
from pondsocket._contexts import EventContext, GatewayContext, JoinContext
from pondsocket._delivery.slow_consumers import SlowConsumers
from pondsocket._handlers.events import F
from pondsocket._handlers.layers import Layer, uses_of
from pondsocket._handlers.parts import Layers, Part, Target, check_part, include
from pondsocket._handlers.registration import (
    NOT_GIVEN,
    Handler,
    Middleware,
    check_callable,
    check_is_bound,
    check_middleware,
)
from pondsocket._history.log import History
from pondsocket._state.patterns import Paths, Pattern, check_text

from ._environment import Environment
from ._errors import UsageError
from ._lobby import Lobby


class RouterLobby(Lobby):
    """A lobby of a router: each endpoint that includes the router gets a copy of it.

    It checks what is registered on it at once, keeps it for copies that are made later, and
    repeats it on those that there are.
    """

    def __init__(
        self,
        pattern: str,
        handler: Handler,
        middlewares: Sequence[Middleware[JoinContext]],
        options: Mapping[str, Any],
    ) -> None:
        super().__init__(pattern, handler, *middlewares, **options)
        self._steps: list[Callable[[Lobby], object]] = []
        # Weak: a router of a module must not keep every pond of a test suite.
        self._copies: WeakSet[Lobby] = WeakSet()

    def copy_to(self, target: Target, layers: Layers, prefix: str) -> None:
        """Make a copy at a target: with the same handlers, and channels of its own."""
        options = {"slow_consumers": self.slow_consumers, "history": self.history}
        name, inside = prefix + self.pattern, (*layers, self.events.layer)
        join = self._join
        copy = target.open_lobby(name, join.handler, join.middlewares, options, inside)
        if isinstance(copy, Lobby):
            for step in list(self._steps):
                step(copy)
            self._copies.add(copy)

    def _repeat(self, step: Callable[[Any], object]) -> None:
        for copy in list(self._copies):
            step(copy)
        self._steps.append(step)

    def attach(
        self,
        environment: Environment,  # noqa: ARG002
        on_concurrent: Callable[[], object],  # noqa: ARG002
        paths: Paths,  # noqa: ARG002
        find_channel: Callable[[str, str], Channel | None],  # noqa: ARG002
        layers: Sequence[Layer] = (),  # noqa: ARG002
    ) -> None:
        """Refuse to be included without its router.

        Raises:
            UsageError: Always.
        """
        raise UsageError(f"{self.events.what} is part of a router; include the router.")

    @property
    def served(self) -> Lobby:
        """Its copy, whose channels members join.

        Raises:
            UsageError: There is none, or there are several.
        """
        copies = list(self._copies)
        if len(copies) > 1:  # the ponds of earlier tests, for instance
            copies = [copy for copy in copies if not copy.environment.is_closed] or copies
        if len(copies) == 1:
            return copies[0]
        raise UsageError(
            f"{self.events.what}: its router is included "
            + (
                "in several endpoints, each with channels of its own; write"
                ' `pond.channel("/endpoint", "/name")`.'
                if copies
                else "nowhere yet; write `endpoint.include(router)` before."
            )
        )

    async def get_channel(self, name: str, *, path: str | None = None) -> Channel | None:
        """Return a channel by name; see `Lobby.get_channel`."""
        return await self.served.get_channel(name, path=path)

    async def has_channel(self, name: str, *, path: str | None = None) -> bool:
        """Return whether a channel has members; see `Lobby.has_channel`."""
        return await self.served.has_channel(name, path=path)

    def _find_to_send(self, name: str, path: str | None, event: str) -> Channel:
        return self.served._find_to_send(name, path, event)

    async def list_channels(self, *, path: str | None = None) -> list[Channel]:
        """Return the channels that have members; see `Lobby.list_channels`."""
        return await self.served.list_channels(path=path)


class Router(Part):
    """Channels and events of one module, to be included in endpoints, or in other routers.

    `endpoint.include(router)` makes its channels channels of the endpoint, and its events events of
    the endpoint itself. `lobby.include(router)` makes its events events of the lobby.

    Each endpoint that includes it has lobbies of its own. What is registered later counts there,
    too.

    Args:
        prefix: What all names of its channels begin with, for instance `/shop/:shop_id`.

    Raises:
        UsageError: The prefix cannot begin the name of a channel.
    """

    def __init__(self, *, prefix: str = "") -> None:
        super().__init__("this router")
        check_text('Router(prefix="/shop")', prefix)
        if prefix and (not prefix.startswith("/") or prefix.endswith("/") or "//" in prefix):
            raise UsageError(
                f"Router(prefix={prefix!r}): a prefix starts with '/' and ends without one."
            )
        if prefix and "*" in Pattern(prefix).text:
            raise UsageError(f"Router(prefix={prefix!r}): '*' stands for the rest, so write none.")
        self._prefix = prefix

    def channel(
        self,
        pattern: str,
        *,
        middlewares: Sequence[Middleware[JoinContext]] = (),
        slow_consumers: SlowConsumers = "close",
        history: History | None = None,
    ) -> Callable[[Handler], Lobby]:
        """Serve the channels whose names match a pattern: the decorated name is their lobby.

        Args:
            slow_consumers: The policy for a member whose outbox is full: see `Lobby`.
            history: What each channel keeps for clients that were away; None: nothing.

        Raises:
            UsageError: The pattern, the handler or the policy cannot work.
        """
        check_text('@router.channel("/name")', pattern)
        if self._prefix and not pattern.startswith("/"):
            raise UsageError(f"channel {pattern!r}: behind a prefix a name starts with '/'.")
        options = {"slow_consumers": slow_consumers, "history": history}

        def register(handler: Handler) -> Lobby:
            lobby = RouterLobby(self._prefix + pattern, handler, middlewares, options)
            self.add_step(lobby.copy_to)
            return lobby

        return register

    @overload
    def on_message(
        self,
        event_pattern: str,
        handler: F,
        *more: Middleware[EventContext],
        middlewares: Sequence[Middleware[EventContext]] = (),
        concurrent: bool = False,
        confirm: bool = False,
    ) -> F: ...
    @overload
    def on_message(
        self,
        event_pattern: str,
        *,
        middlewares: Sequence[Middleware[EventContext]] = (),
        concurrent: bool = False,
        confirm: bool = False,
    ) -> Callable[[F], F]: ...
    def on_message(
        self,
        event_pattern: str,
        handler: Any = NOT_GIVEN,
        *more: Middleware[EventContext],
        middlewares: Sequence[Middleware[EventContext]] = (),
        concurrent: bool = False,
        confirm: bool = False,
    ) -> Any:
        """Register a handler of events of what includes the router: an endpoint, or a lobby.

        Use it as a call or, without a handler, as a decorator. Its signature is read where the
        router is included, as only the pattern there says which parameters come from it.

        Args:
            concurrent: Whether matching events are handled at once; see `Lobby.on_message`.
            confirm: Whether events without a reply are answered; see `Lobby.on_message`.

        Raises:
            UsageError: The pattern or the handler cannot work.
        """
        check_text('@router.on_message("event")', event_pattern)
        Pattern(event_pattern)

        def register(function: F) -> F:
            what = f"router, event {event_pattern!r}"
            check_callable(what, function)
            check_is_bound(what, function)
            chain = [*middlewares, *more]
            for middleware in chain:
                check_middleware(what, middleware)

            def step(target: Target, layers: Layers, prefix: str) -> None:  # noqa: ARG001
                add = target.events.add
                add(
                    event_pattern,
                    function,
                    chain,
                    concurrent=concurrent,
                    confirm=confirm,
                    layers=layers,
                )

            self.add_step(step)
            return function

        return register if handler is NOT_GIVEN else register(handler)

    def use(self, *middlewares: Middleware[Any]) -> None:
        """Add middleware around all event handlers of the router, also around later ones.

        Those of its channels are among them. Middleware whose `ctx` is a `JoinContext` goes around
        the joins of its channels instead. It is called inside the middleware of the endpoint.

        Raises:
            UsageError: One of them has the wrong form, or asks for another context.
        """
        for middleware in middlewares:
            check_middleware("router", middleware)
        others = (GatewayContext, JoinContext)
        self.layer.add(uses_of("router", middlewares, EventContext, *others))

    def include(self, part: object) -> None:
        """Add what another router has, or an instance of a class with handlers.

        Raises:
            UsageError: It is something else, or this router itself.
        """
        check_part("router", part)
        if part is self:
            raise UsageError("A router cannot include itself.")

        def step(target: Target, layers: Layers, prefix: str) -> None:
            include(target, part, layers, prefix + self._prefix)

        self.add_step(step)
