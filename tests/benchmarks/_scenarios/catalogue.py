"""All scenarios: of a whole run, and of a quick run."""

from collections.abc import Callable
from typing import Final

from tests.benchmarks._contenders import CONTENDERS, Contender, Kind
from tests.benchmarks._scenarios.closed import echo_of, echo_of_one, fan_out_to
from tests.benchmarks._scenarios.growth import (
    with_channels,
    with_members,
    with_payload,
)
from tests.benchmarks._scenarios.joining import idle, join_of
from tests.benchmarks._scenarios.limit import rate_limit
from tests.benchmarks._scenarios.nodes import crossing, fan_out_over_two, publishing
from tests.benchmarks._scenarios.open import keeps_up, open_loop
from tests.benchmarks._scenarios.presence import presence_of
from tests.benchmarks._scenarios.scenario import Scenario, most_members
from tests.benchmarks._scenarios.stops import stops_of
from tests.benchmarks._scenarios.streams import streams_of

# PondSocket with an option on; only some scenarios measure these.
_HOSTED: Final = {"ours-session", "ours-lane-session"}
_VARIANTS: Final = {"ours-gc", "ours-lane-gc", "ours-limited", "ours-history", *_HOSTED}
_OTHER_SERVERS: Final = ("-hypercorn", "-granian")
_GROWING: Final = ("bare", "ours", "ours-lane")
# Those whose clients in browsers send the same messages.
_BROWSED: Final = ("limit", "bare", "ours", "ours-lane", "pypi", "node")
_JOINED: Final = (*_BROWSED[:4], "ours-gc", "ours-lane-gc", *_BROWSED[4:])
_STOPPED: Final = ("bare", "ours", "ours-gc", "ours-lane", "ours-lane-gc", "pypi")
_QUICK: Final = ("bare", "ours", "ours-lane")
_QUICK_SECONDS: Final = 0.3
_QUICK_MEMBERS: Final = 2_000


def _keys(kind: Kind, choose: Callable[[Contender], bool]) -> tuple[str, ...]:
    return tuple(key for key, own in CONTENDERS.items() if kind in own.kinds and choose(own))


def _is_plain(contender: Contender) -> bool:
    return contender.key not in _VARIANTS


def _is_on_first_server(contender: Contender) -> bool:
    return _is_plain(contender) and not contender.key.endswith(_OTHER_SERVERS)


def whole() -> tuple[Scenario, ...]:
    """Return the scenarios of the page, in its order."""
    sockets = _keys(Kind.WEBSOCKET, _is_plain)
    first = _keys(Kind.WEBSOCKET, _is_on_first_server)
    tuned = _keys(Kind.WEBSOCKET, lambda own: _is_plain(own) or own.key.endswith("-gc"))
    hosted = _keys(Kind.WEBSOCKET, lambda own: _is_plain(own) or own.key in _HOSTED)
    also = {"ours-history", "ours-session"}
    nodes = _keys(Kind.NODES, lambda _: True)
    streams = _keys(Kind.SSE, lambda own: _is_plain(own) or own.key in also)
    return (
        fan_out_to(1_000, hosted),
        fan_out_to(1_000, first, window=4),
        *(open_loop(rate, 100, first) for rate in (250, 1_000, 5_000)),
        keeps_up(100, first),
        echo_of(100, sockets),
        echo_of_one(("limit", "bare", "ours", "ours-lane", "node")),
        join_of(300, tuned),
        join_of(300, _JOINED, browsers=True),
        idle(5_000, first),
        idle(5_000, _BROWSED, browsers=True),
        stops_of(_STOPPED),
        streams_of(1_000, streams),
        presence_of(200, _keys(Kind.PRESENCE, lambda _: True)),
        rate_limit(),
        crossing(1_000, nodes),
        *(publishing(at_once, nodes) for at_once in (1, 64)),
        fan_out_over_two(1_000, nodes),
        *(with_members(count, _GROWING) for count in (10, 100, 1_000, most_members(10_000))),
        *(with_payload(size, _GROWING) for size in (100, 1_024, 8_192, 65_536)),
        *(with_channels(count, _GROWING) for count in (1, 100, 10_000)),
    )


def quick() -> tuple[Scenario, ...]:
    """Return shorter scenarios, whose ratios are compared with those of the page."""
    return (
        fan_out_to(1_000, _QUICK, _QUICK_SECONDS),
        echo_of(100, _QUICK, _QUICK_SECONDS),
        join_of(300, _QUICK),
        join_of(300, _QUICK, browsers=True),
        # Fewer than on the page: their ratio is the same, and five thousand take too long.
        idle(_QUICK_MEMBERS, _QUICK),
        idle(_QUICK_MEMBERS, _QUICK, browsers=True),
        streams_of(1_000, ("bare", "ours"), _QUICK_SECONDS),
    )
