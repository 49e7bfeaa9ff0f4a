"""A real server that is fuzzed: what it held before, who listens, and what it holds afterwards."""

import json
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, Final

import pytest

from tests.fuzz.good_clients import SHARED, GoodClient, ListeningMember
from tests.fuzz.http_fuzzer import HTTPFuzzer
from tests.fuzz.input_counts import InputCount
from tests.fuzz.raw_sockets import WAIT_SECONDS, ask, request
from tests.fuzz.server_differences import ServerDifferences
from tests.fuzz.websocket_fuzzer import WebSocketFuzzer
from tests.servers import Server, comes_true

TRANSPORTS: Final = ("websocket", "sse")
# Before anything is measured: by then everything is imported.
WARM_UP: Final = 500
# What is free is given back before it is measured (see `own_state`); what is in use then grows by
# less than 2 MiB. A leak of 130 bytes an input would be more than this.
RSS_TOLERANCE_KIB: Final = 8 * 1024
ROUNDS: Final = 4
# Nothing of these may be more than before: our own objects by class, tasks, descriptors.
WATCHED: Final = ("connections", "channels", "tasks", "objects", "files")
# Signs of an exception that was not caught.
ALARMS: Final = (
    "Exception in ASGI application",
    "Task exception was never retrieved",
    "exception was never retrieved",
    "never awaited",
    "Error in ASGI Framework",
    "Application callable raised an exception",
    "socket.send() raised",
    "pondsocket_asgi/src",
    "pondsocket/src",
)


class FuzzedServer:
    """One server, members that listen, and fuzzers that use both transports at once."""

    def __init__(
        self,
        server: Server,
        websocket: InputCount,
        http: InputCount,
        differences: ServerDifferences,
    ) -> None:
        self._server = server
        self._port = server.port
        self._differences = differences
        self._websocket = WebSocketFuzzer(server.port, websocket, differences)
        self._http = HTTPFuzzer(server.port, http, differences)
        self._marks = 0
        self._before: dict[str, Any] = {}

    def warm_up(self) -> None:
        """Send a little, and remember how things are after it."""
        self._websocket.send_all(WARM_UP)
        self._http.send_all(WARM_UP)
        self.remember()

    def remember(self) -> None:
        """Have good clients come and go, and remember how things are."""
        self.welcome()
        if not comes_true(lambda: self.state()["connections"] == 0, WAIT_SECONDS):
            pytest.fail(f"connections that do not end: {self.state()}")
        self._before = self.state()

    def fuzz(self, websocket: int, http: int) -> None:
        """Send so many inputs, with members that listen in the room they are sent to."""
        unheard = self._websocket.said + self._http.said
        with ExitStack() as stack:
            listeners = [
                stack.enter_context(ListeningMember(self._port, transport))
                for transport in TRANSPORTS
            ]
            for _ in range(ROUNDS):
                self._round(websocket // ROUNDS + 1, http // ROUNDS + 1)
                self._checkpoint(listeners)
            # Everything that its senders were told was taken has been heard.
            said = self._websocket.said + self._http.said - unheard
            for listener in listeners:
                assert listener.heard == said + self._marks, (
                    listener.transport,
                    listener.heard,
                    said,
                )

    def _round(self, websocket: int, http: int) -> None:
        with ThreadPoolExecutor(2) as threads:
            runs = [
                threads.submit(self._websocket.send_all, websocket),
                threads.submit(self._http.send_all, http),
            ]
        for run in runs:
            run.result()

    def _checkpoint(self, listeners: Iterable[ListeningMember]) -> None:
        """Have good clients come, be heard by all, and go."""
        for transport in TRANSPORTS:
            self._marks += 1
            mark = f"mark {self._marks}"
            client = GoodClient(self._port, transport)
            client.join(SHARED)
            assert client.call("BROADCAST", SHARED, "say", {"mark": mark})["event"] == "taken"
            echoed = client.call("BROADCAST", SHARED, "echo", {"text": "žába", "n": 1.5})
            assert echoed["payload"] == {"text": "žába", "n": 1.5}
            for listener in listeners:
                listener.expect(mark)
            client.leave()

    def welcome(self) -> None:
        """Have good clients come and go, over either transport."""
        for transport in TRANSPORTS:
            client = GoodClient(self._port, transport)
            client.join(SHARED)
            client.leave()

    def state(self) -> dict[str, Any]:
        """Return what the server says of itself."""
        state: dict[str, Any] = ask(self._port, request("GET", "/state")).json()
        return state

    def assert_as_before(self) -> None:
        """Check that nothing is left of all this."""
        now: dict[str, Any] = {}

        def is_as_before() -> bool:
            now.update(self.state())
            return not self._more_than_before(now)

        if not comes_true(is_as_before, WAIT_SECONDS):
            more = self._more_than_before(now)
            pytest.fail(f"left over (before, now): {json.dumps(more, indent=1)}")
        grown = now["rss"] - self._before["rss"]
        print(f"memory: {self._before['rss']} KiB, grown by {grown} KiB")
        assert grown < RSS_TOLERANCE_KIB, f"grown by {grown} KiB from {self._before['rss']}"
        assert now["errors"] == [], now["errors"]

    def _more_than_before(self, now: dict[str, Any]) -> dict[str, Any]:
        more: dict[str, Any] = {}
        for name in WATCHED:
            before = self._before[name]
            if name == "objects":
                left = Counter(now[name]) - Counter(before)
                is_more = bool(left)
            else:
                is_more = now[name] > before
            if is_more:
                more[name] = (before, now[name])
        return more

    def assert_quiet_log(self) -> None:
        """Check that the server's log holds no traceback that it should not."""
        log = self._server.log()
        found = [alarm for alarm in ALARMS if alarm in log]
        tracebacks = log.count("Traceback (most recent call last)")
        known = sum(log.count(words) * count for words, count in self._differences.noise)
        if found or tracebacks > known:
            at = log.find(found[0]) if found else log.find("Traceback (most recent")
            pytest.fail(f"{found}, {tracebacks} tracebacks: {log[max(0, at - 1500) : at + 3000]}")
