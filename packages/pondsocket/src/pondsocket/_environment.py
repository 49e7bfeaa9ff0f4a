"""What the parts of one pond share."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from pondsocket._delivery import replies
from pondsocket._delivery.batching import LoopTurn
from pondsocket._log import explained, get_log
from pondsocket._runtime.loop import Loop
from pondsocket._runtime.tasks import Background
from pondsocket._runtime.threads import Threads
from pondsocket._state.lifecycle import Restart
from pondsocket._telemetry.failures import Failures
from pondsocket._telemetry.hooks import Observer

from ._options import Options

_log: Final = get_log("pondsocket.server")


class Cluster(Protocol):
    """The other nodes, as far as a pond's parts use them."""

    def new_store(self, history: Any) -> Any:
        """Return the store of a lobby's histories."""
        ...

    def new_channel(
        self, name: str, params: Mapping[str, str], owner: Any, path: str, key: str
    ) -> Any:
        """Return a channel whose members may be on any node."""
        ...

    async def command(self, do: str, /, **arguments: object) -> None:
        """Tell all other nodes what to do; see `PondActions`. It returns when the engine has it.

        Raises:
            PondError: They are not told, or it is not known whether they are.
        """
        ...

    def command_nowait(self, do: str, /, **arguments: object) -> None:
        """Tell all other nodes what to do. That it failed is logged."""
        ...

    async def connection_count(self, endpoint: str) -> int:
        """Return how many connections an endpoint has, on all nodes.

        Raises:
            PondError: Not all of them answer.
        """
        ...

    def new_connection_id(self) -> str:
        """Return a secret id of a connection here, which other nodes know to be one."""
        ...

    def node_of(self, connection_id: str) -> str | None:
        """Return the node that has made an id; None: none has."""
        ...

    async def ask(self, node: str, question: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Ask another node. None: it is gone.

        Raises:
            PondError: It does not answer.
        """
        ...


@dataclass(frozen=True)
class Environment:
    """What the parts of one pond share.

    Args:
        clock: Seconds, from any start; for rates and durations.
        observer: Hooks and metrics; None if both are unset.
        is_debug: Whether clients are told what handlers have raised.

    Attributes:
        failures: Tells hooks and error handlers what handlers have raised.
        overrides: What a test puts in the place of dependencies.
        counting: The observer, if it counts frames; else None.
        cluster: The pond as one of several; None: it is alone.
    """

    options: Options = field(default_factory=Options)
    clock: Callable[[], float] = time.monotonic
    observer: Observer | None = None
    is_debug: bool = False
    background: Background = field(default_factory=Background)
    loop: Loop = field(default_factory=Loop)
    loop_turn: LoopTurn = field(default_factory=LoopTurn)
    overrides: dict[Callable[..., Any], Callable[..., Any]] = field(default_factory=dict)
    threads: Threads = field(init=False)
    restart: Restart = field(init=False)
    failures: Failures = field(init=False)
    counting: Observer | None = field(init=False)
    cluster: "Cluster | None" = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "threads", Threads(self.options, self.loop))
        object.__setattr__(self, "restart", Restart(self.options.handler_grace))
        failures = Failures(self.observer, self.background, self.loop, self.threads)
        object.__setattr__(self, "failures", failures)
        observer = self.observer
        counts = observer is not None and observer.counts_frames
        object.__setattr__(self, "counting", observer if counts else None)
        if self.is_debug:
            _log.warning("debug=True: every client is told what handlers raise. Not in production.")
        if self.cluster is not None:
            self.loop.unserved.end()  # it refuses what no client can get

    def told(self, failure: BaseException) -> str:
        """Return what a client is told of a failure of the server."""
        return explained(failure) if self.is_debug else replies.INTERNAL

    @property
    def is_closed(self) -> bool:
        """Whether the pond is closed."""
        return self.restart.is_closed
