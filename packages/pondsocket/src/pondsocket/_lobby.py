"""A lobby: the handlers of one channel pattern, and its live channels."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import CoroutineType
from typing import Any, Final, NamedTuple
from weakref import WeakValueDictionary

import anyio
from pondsocket_common import (
    ClientMessage,
    ErrorTypes,
    Left,
    ServerMessage,
    SystemEvents,
    fresh_epoch,
    is_channel_name,
    is_name,
)

from pondsocket._channel.bound_event import BindsEvents
from pondsocket._channel.channel import Channel, ChannelMember
from pondsocket._connection.session import Session
from pondsocket._contexts import EventContext, JoinContext
from pondsocket._delivery import replies
from pondsocket._delivery.frame import Frame
from pondsocket._delivery.slow_consumers import SlowConsumers, check_policy
from pondsocket._handlers.answers import answer_of
from pondsocket._handlers.events import Events, TakesEvents
from pondsocket._handlers.interception import InterceptsOutgoing
from pondsocket._handlers.kinds import JOIN
from pondsocket._handlers.layers import Layer, uses_of
from pondsocket._handlers.leaving import HandlesLeaves
from pondsocket._handlers.parts import include
from pondsocket._handlers.registration import Handler, Middleware, Registration, check_middleware
from pondsocket._history.log import History
from pondsocket._history.memory import MemoryStore
from pondsocket._history.store import HistoryStore
from pondsocket._log import about, get_log
from pondsocket._runtime.driving import drive
from pondsocket._runtime.loop import failure_of
from pondsocket._state.lifecycle import Admission
from pondsocket._state.patterns import Paths, Pattern, Route, check_text
from pondsocket._state.user import LeaveReason
from pondsocket._telemetry.failures import ErrorContext

from ._environment import Environment
from ._errors import PondError, UsageError

_log: Final = get_log("pondsocket.lobby")
# By a name of its own: before Python 3.12 reading a member of an enum costs 0.3 us.
_PENDING: Final = Admission.PENDING
_REFUSED: Final = Admission.REFUSED


class _Home(NamedTuple):
    """What a lobby knows of its endpoint.

    Args:
        paths: Those of the endpoint.
        find_channel: Returns the endpoint's channel of a name at a path; None if there is none.
    """

    paths: Paths
    find_channel: Callable[[str, str], Channel | None]


_NOWHERE: Final = _Home(Paths("*", shared=True), lambda _name, _path: None)


class Lobby(TakesEvents[EventContext], HandlesLeaves, InterceptsOutgoing, BindsEvents):
    """The handlers of one channel pattern, and its live channels.

    Made by `Endpoint.create_channel` or its decorator `channel`; or made in another module, and
    attached with `Endpoint.include`.

    Args:
        pattern: What channel names look like, for instance `/chat/:room_id`.
        handler: Decides who may join.
        slow_consumers: The policy for a member whose outbox is full: it is closed, or it misses
            this lobby's oldest broadcasts, or those that later ones replace (`conflate`).
        history: What each channel keeps for clients that were away; None: nothing.

    Raises:
        UsageError: The pattern, the handler or the policy cannot work.
    """

    def __init__(
        self,
        pattern: str,
        handler: Handler,
        *middlewares: Middleware[JoinContext],
        slow_consumers: SlowConsumers = "close",
        history: History | None = None,
    ) -> None:
        check_text('@endpoint.channel("/name")', pattern)
        if not pattern.startswith("/") and pattern != "*":
            raise UsageError(f"channel {pattern!r}: the names of channels start with '/'.")
        if pattern.endswith("/") or "//" in pattern:
            raise UsageError(
                f"channel {pattern!r}: no channel's name has an empty segment or a '/' at its end."
            )
        self.pattern = pattern
        self.environment: Environment = Environment()
        what = f"channel {pattern!r}"
        check_policy(what, slow_consumers)
        self.slow_consumers: SlowConsumers = slow_consumers
        if history is not None and not isinstance(history, History):
            raise UsageError(f"{what}: history is a `History(…)`: {history!r}.")
        if history is not None and slow_consumers != "close":
            raise UsageError(
                f"{what}: with a history nothing is dropped, so slow_consumers is 'close'."
            )
        self.history = history
        self.history_store: HistoryStore | None = None
        if history is not None:
            self.history_store = MemoryStore(history, fresh_epoch)
        names = Pattern(pattern).names
        self.events: Events[ChannelMember] = Events(
            what, names, ErrorTypes.CHANNEL_ERROR, EventContext
        )
        layers = (self.events.layer,)
        self._join = Registration(what, handler, middlewares, JOIN, names, layers=layers)
        InterceptsOutgoing.__init__(self)
        HandlesLeaves.__init__(self)
        self._home = _NOWHERE  # its endpoint's, once it is part of one
        # By key, and weak: a channel exists as long as a member or other object refers to it. So
        # there is one object for a channel at any time, no code has to decide when it ends, and a
        # join that races the last leave cannot meet a channel that is about to be dropped.
        self._channels: WeakValueDictionary[str, Channel] = WeakValueDictionary()

    # --- for applications ---------------------------------------------------------------------

    async def get_channel(self, name: str, *, path: str | None = None) -> Channel | None:
        """Return a channel by name; None if it has no members.

        Args:
            path: The path that its clients connect to. To be given if the endpoint's pattern has
                parameters, because each path has channels of its own.

        Raises:
            UsageError: The path is missing, or is none of the endpoint.
        """
        self.environment.loop.check("get_channel")
        place = self._place_of(path, f"get_channel({name!r}, path=…)")
        channel = self._channels.get(self._home.paths.key(place, name))
        return channel if channel is not None and len(channel.roster) else None

    async def has_channel(self, name: str, *, path: str | None = None) -> bool:
        """Return whether a channel of this name has members; see `get_channel`."""
        self.environment.loop.check("has_channel")
        place = self._place_of(path, f"has_channel({name!r}, path=…)")
        channel = self._channels.get(self._home.paths.key(place, name))
        return channel is not None and len(channel.roster) > 0

    async def list_channels(self, *, path: str | None = None) -> list[Channel]:
        """Return the channels that have members: those of one path, or of all.

        Raises:
            UsageError: It is no path of the endpoint.
        """
        self.environment.loop.check("list_channels")
        place = None if path is None else self._home.paths.resolve(path)
        return [
            channel
            for channel in self._live()
            if len(channel.roster) and place in (None, channel.path)
        ]

    def use(self, *middlewares: Middleware[Any]) -> None:
        """Add middleware around all event handlers of the lobby, also around later ones.

        Middleware whose `ctx` is a `JoinContext` goes around the join handler instead. It is called
        before the handlers' own middleware, the one that was added first outermost.

        Raises:
            UsageError: One of them has the wrong form, or asks for another context.
        """
        what = self.events.what
        for middleware in middlewares:
            check_middleware(what, middleware)
        self.events.layer.add(uses_of(what, middlewares, EventContext, JoinContext))

    def include(self, part: object) -> None:
        """Add the event handlers of a `Router`, or the handlers of an instance of a class.

        Raises:
            UsageError: It is something else, has channels, or is included already.
        """
        include(self, part)
        self._repeat(lambda copy: copy.include(part))

    # --- for the endpoint ---------------------------------------------------------------------

    @property
    def served(self) -> "Lobby":
        """The lobby whose channels members join: itself, unless it is a router's."""
        return self

    @property
    def is_attached(self) -> bool:
        """Whether it is part of an endpoint."""
        return self._home is not _NOWHERE

    def attach(
        self,
        environment: Environment,
        on_concurrent: Callable[[], object],
        paths: Paths,
        find_channel: Callable[[str, str], Channel | None],
        layers: Sequence[Layer] = (),
    ) -> None:
        """Become part of an endpoint.

        Args:
            on_concurrent: Called once a concurrent handler is registered.
            paths: Those of the endpoint.
            find_channel: Returns the endpoint's channel of a name at a path; None if there is none.
            layers: The middleware of the endpoint and of its routers, the outermost first.

        Raises:
            UsageError: It is part of one already.
        """
        if self.is_attached:
            what = self.events.what
            raise UsageError(f"{what} is part of an endpoint already; make another lobby.")
        self._home = _Home(paths, find_channel)
        self.environment = environment
        cluster = environment.cluster
        if cluster is not None and self.history is not None:
            self.history_store = cluster.new_store(self.history)
        self.events.watch(on_concurrent)
        self.events.surround(layers)
        self._join.surround(layers)

    def open_lobby(
        self,
        pattern: str,
        handler: Handler,  # noqa: ARG002
        middlewares: Sequence[Middleware[JoinContext]],  # noqa: ARG002
        options: Mapping[str, Any],  # noqa: ARG002
        layers: Sequence[Layer],  # noqa: ARG002
    ) -> "Lobby":
        """Refuse to have channels inside of channels.

        Raises:
            UsageError: Always.
        """
        raise UsageError(
            f"{self.events.what}: what is included has channels of its own, {pattern!r}; include it"
            " in the endpoint."
        )

    @property
    def is_selective(self) -> bool:
        """Whether the join handler asks for types that a channel's name may not have."""
        return self._join.is_selective

    def fits(self, route: Route) -> bool:
        """Return whether the parameters have the types that the join handler asks for."""
        return self._join.fits(route.params)

    def explain(self, route: Route) -> str:
        """Return what a client should know about parameters that do not fit; mostly nothing."""
        return self._join.explain(route.params)

    def _place_of(self, path: str | None, call: str) -> str:
        """Return what stands for a path that may be left out where there is only one.

        Args:
            call: What to write where it is missing.

        Raises:
            UsageError: The path is missing, or is none of the endpoint.
        """
        paths = self._home.paths
        if path is not None:
            return paths.resolve(path)
        if paths.only is None:
            raise UsageError(
                f"{self.events.what}: each path of {paths.pattern.text!r} has channels of its own;"
                f" write {call}."
            )
        return ""

    def _find_to_send(self, name: str, path: str | None, event: str) -> Channel:
        self.environment.loop.check("broadcast")
        if not self.is_attached:
            raise UsageError(
                f"{self.events.what} is part of no endpoint yet, so the event {event!r} reaches no"
                " channel: write `endpoint.include(lobby)` first."
            )
        place = self._place_of(path, f'it with the path: `await …({name!r}, …, path="/…")`')
        is_valid = is_name(name) and is_channel_name(name)
        channel = self._home.find_channel(name, place) if is_valid else None
        if channel is None or channel.owner is not self:
            raise UsageError(
                f"The event {event!r} goes to channels of {self.pattern!r}, and {name!r} is none."
            )
        return channel

    def open_channel(self, name: str, params: Mapping[str, str], path: str = "") -> Channel:
        """Return the channel of this name at a path, new if there is none."""
        paths = self._home.paths
        only = paths.only
        # As `key` and `of`, without their calls: microbench.py, "join and leave; core".
        key = paths.key(path, name) if only is None else name
        channel = self._channels.get(key)
        if channel is None:
            cluster = self.environment.cluster
            new = Channel if cluster is None else cluster.new_channel
            channel = self._channels[key] = new(name, params, self, only or path, key)
        return channel

    def answer(self, session: Session, name: str, message: ServerMessage) -> None:
        """Send a message to a client that is not a member, after those of a past membership."""
        channel = self._channels.get(self._home.paths.key(session.path, name))
        if channel is None:
            session.send(message)
        else:
            channel.answer(session, Frame.of(message, session.codec))

    async def handle_join(self, session: Session, message: ClientMessage, route: Route) -> None:
        """Call the join handler, and answer the request, once."""
        if not session.is_open:
            return
        if self.history_store is not None and (wait := self._take_new_history(session, message)):
            self.answer(session, message.channel_name, replies.too_many_new(message, wait))
            return
        timeout = self.environment.options.join_timeout
        path = session.request.path
        find_channel = partial(self.open_channel, message.channel_name, route.params, path)
        limit = self.environment.loop.new_scope()
        context = JoinContext(session, message, route, find_channel, limit)
        with limit:
            try:
                await self._decide(context, partial(_limit, context, limit, timeout))
            except BaseException as error:  # noqa: BLE001 - boundary: a handler
                self._join_failed(context, failure_of(error))
            finally:
                session.scopes.pop(limit, None)
        if context.decision.state is _PENDING and session.is_open:
            if limit.cancelled_caught:
                text, extra = "A join handler took over %s s (%s).", _fields(context)
                _log.warning(text, timeout, _where(context), extra=extra)
                context.refuse(408, "The join took too long to decide.")
            else:
                _log.error(
                    "A join handler neither accepted nor declined (%s). Without `await`,"
                    " `ctx.accept()` and `ctx.decline()` do nothing.",
                    _where(context),
                    extra=_fields(context),
                )
                context.refuse(401, "The handler neither accepted nor declined the join.")
        if context.decision.state is _REFUSED:
            await context.run_leave_work()

    def _take_new_history(self, session: Session, message: ClientMessage) -> float:
        """Count the history that a join may begin. 0.0, or the seconds until it may."""
        # Also if the handler will refuse the join: it may ask a database whether the name is good.
        store, name = self.history_store, message.channel_name
        if store is None or not store.is_new(name, self.environment.clock()):
            return 0.0
        return session.take_new_history()

    async def _decide(self, context: JoinContext, on_wait: Callable[[], None]) -> None:
        """Call the join handler; call `on_wait` if it waits, at its first wait."""
        rest: Any = self._join.begin(context)
        # Driven here, as events are: most handlers need no coroutine around their own.
        waited_for: object = None
        returned: Any = None
        if type(rest) is CoroutineType:
            try:
                waited_for = rest.send(None)
            except StopIteration as done:
                returned = done.value
                rest = None
        first_wait: Callable[[], object] | None = on_wait
        if rest is not None:
            on_wait()
            first_wait = None
            returned = await (
                drive(rest, waited_for=waited_for) if type(rest) is CoroutineType else rest
            )
        if returned is not None and self._join.finish is not None:
            await drive(self._join.finish(context, returned), first_wait)

    def _join_failed(self, context: JoinContext, error: BaseException) -> None:
        # After the decision a failure changes nothing: the answer has been sent.
        undecided = context.decision.state is _PENDING
        told, failure = answer_of(error)
        if not undecided:
            failure = error
        if failure is not None:
            text, extra = "A join handler failed (%s).", _fields(context)
            _log.error(text, _where(context), exc_info=failure, extra=extra)
            name, user_id = context.message.channel_name, context.session.user_id
            failed = context, name, "JOIN", user_id, self._home.paths.of(context.session.path)
            self.environment.failures.report(ErrorContext(failure, "join", *failed))
        if not undecided:
            return
        if isinstance(told, PondError):
            context.refuse(told.code, told.message, told.retry_after_ms)
        elif told is not None:
            context.session.charge(context.message, told.count)
            context.refuse_unfit(told)
        else:
            context.refuse(500, self.environment.told(failure or error))

    # --- for channels (ChannelOwner) ----------------------------------------------------------

    async def handle_leave(self, member: ChannelMember, message: ClientMessage) -> None:
        """End a membership, and acknowledge the leave."""
        name = message.channel_name
        answer = replies.system(SystemEvents.EXIT_ACKNOWLEDGE, name, Left(), message.request_id)
        frame = Frame.of(answer, member.session.codec)  # first: a codec may fail
        # Also if the connection has ended: what the client sent after a leave is not a member's.
        member.session.remove_membership(name)
        leave_work = member.leave(LeaveReason.EXPLICIT_LEAVE)
        member.send_frame(frame)
        if leave_work is not None:
            await leave_work()

    def _has_members(self) -> bool:
        return any(len(channel.roster) for channel in self._live())

    def _live(self) -> list[Channel]:
        return list(self._channels.values())


def _limit(context: JoinContext, scope: anyio.CancelScope, seconds: float | None) -> None:
    """Start the time limit of an undecided handler, and cancel it if the connection ends."""
    if context.decision.state is _PENDING:
        context.session.scopes[scope] = context.message.channel_name
        if seconds is not None:
            scope.deadline = anyio.current_time() + seconds


def _fields(context: JoinContext) -> dict[str, str]:
    return about(context.session, channel=context.message.channel_name, event="JOIN")


def _where(context: JoinContext) -> str:
    return (
        f"channel={context.message.channel_name!r} user={context.session.user_id!r}"
        f" request={context.request_id!r} path={context.session.path!r}"
    )
