"""Real servers under fire, over raw sockets."""

import pytest

from tests.fuzz.manners import GRANIAN, HYPERCORN, LEGACY, SANSIO, TRIO, WSPROTO, Manners
from tests.fuzz.range import Range
from tests.fuzz.tally import Tallies, share
from tests.servers import FAST_LANE, Serve, Setup

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(1_800)]

APP = "tests.fuzz.app:app"
QUIET = ("--log-level", "warning")
OTHERS = (
    (
        Setup("uvicorn-websockets", "uvicorn", ("--ws", "websockets", "--http", "h11", *QUIET)),
        LEGACY,
    ),
    (
        Setup("uvicorn-wsproto", "uvicorn", ("--ws", "wsproto", "--loop", "asyncio", *QUIET)),
        WSPROTO,
    ),
    (Setup("uvicorn-fastlane", "uvicorn", (*FAST_LANE, "--loop", "uvloop", *QUIET)), SANSIO),
    (Setup("hypercorn-asyncio", "hypercorn", ("-w", "0", "--error-logfile", "-")), HYPERCORN),
    (
        Setup("hypercorn-trio", "hypercorn", ("-w", "0", "-k", "trio", "--error-logfile", "-")),
        TRIO,
    ),
    (Setup("granian", "granian", ("--workers", "1", *QUIET)), GRANIAN),
)


def test_uvicorn_is_as_it_was_after_the_fire(serve: Serve, tallies: Tallies) -> None:
    websocket, http = tallies.of("uvicorn: WebSocket"), tallies.of("uvicorn: HTTP")
    server = serve(APP, "--ws", "websockets-sansio", *QUIET)
    under_fire = Range(server, websocket, http, SANSIO)
    under_fire.warm_up()
    under_fire.fire(share(websocket.name), share(http.name))
    under_fire.assert_as_before()
    under_fire.assert_quiet_log()
    assert websocket.count >= share(websocket.name)
    assert http.count >= share(http.name)


@pytest.mark.parametrize(
    ("setup", "manners"), OTHERS, ids=lambda value: str(value) if isinstance(value, Setup) else ""
)
def test_every_server_is_as_it_was_after_the_fire(
    setup: Setup, manners: Manners, serve: Serve, tallies: Tallies
) -> None:
    websocket, http = tallies.of("every server: WebSocket"), tallies.of("every server: HTTP")
    server = serve(APP, *setup.arguments, server=setup.server)
    under_fire = Range(server, websocket, http, manners)
    under_fire.warm_up()
    under_fire.fire(share(websocket.name) // len(OTHERS), share(http.name) // len(OTHERS))
    under_fire.assert_as_before()
    under_fire.assert_quiet_log()
