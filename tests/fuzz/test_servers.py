"""Real servers that are fuzzed over raw sockets."""

import pytest

from tests.fuzz.fuzzed_server import FuzzedServer
from tests.fuzz.input_counts import InputCounts, share
from tests.fuzz.server_differences import (
    GRANIAN,
    HYPERCORN,
    LEGACY,
    SANSIO,
    TRIO,
    WSPROTO,
    ServerDifferences,
)
from tests.servers import DEFLATE_LANE, FAST_LANE, Serve, Setup

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
    (Setup("uvicorn-deflate", "uvicorn", (*DEFLATE_LANE, "--http", "h11", *QUIET)), SANSIO),
    (Setup("hypercorn-asyncio", "hypercorn", ("-w", "0", "--error-logfile", "-")), HYPERCORN),
    (
        Setup("hypercorn-trio", "hypercorn", ("-w", "0", "-k", "trio", "--error-logfile", "-")),
        TRIO,
    ),
    (Setup("granian", "granian", ("--workers", "1", *QUIET)), GRANIAN),
)


def test_uvicorn_is_as_it_was_after_the_inputs(serve: Serve, input_counts: InputCounts) -> None:
    websocket, http = input_counts.of("uvicorn: WebSocket"), input_counts.of("uvicorn: HTTP")
    server = serve(APP, "--ws", "websockets-sansio", *QUIET)
    fuzzed = FuzzedServer(server, websocket, http, SANSIO)
    fuzzed.warm_up()
    fuzzed.fuzz(share(websocket.name), share(http.name))
    fuzzed.assert_as_before()
    fuzzed.assert_quiet_log()
    assert websocket.count >= share(websocket.name)
    assert http.count >= share(http.name)


@pytest.mark.parametrize(
    ("setup", "differences"),
    OTHERS,
    ids=lambda value: str(value) if isinstance(value, Setup) else "",
)
def test_every_server_is_as_it_was_after_the_inputs(
    setup: Setup, differences: ServerDifferences, serve: Serve, input_counts: InputCounts
) -> None:
    websocket, http = (
        input_counts.of("every server: WebSocket"),
        input_counts.of("every server: HTTP"),
    )
    server = serve(APP, *setup.arguments, server=setup.server)
    fuzzed = FuzzedServer(server, websocket, http, differences)
    fuzzed.warm_up()
    fuzzed.fuzz(share(websocket.name) // len(OTHERS), share(http.name) // len(OTHERS))
    fuzzed.assert_as_before()
    fuzzed.assert_quiet_log()
