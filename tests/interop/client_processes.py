"""Published clients as processes that print what they saw, one JSON object a line."""

import json
import queue
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Self

import httpx
from websockets.sync.client import connect

from tests.servers import Server

HERE: Final = Path(__file__).resolve().parent
APP: Final = "tests.interop.server:app"

# More than the longest single wait inside a peer (10 s), so that the peer says what is missing;
# less than the suite's limit of 30 s for a test.
SCENARIO_SECONDS: Final = 25.0
# A peer waits 20 s to be joined again; an ordinary stop takes 5 s, a start a few more.
RESTART_SECONDS: Final = 45.0
RESTART_TEST_SECONDS: Final = 60

SCENARIOS: Final = [
    "connects",
    "is refused with a bad token",
    "joins",
    "joins before it is connected",
    "broadcasts",
    "gets the response to its own request",
    "sees who comes changes and goes",
    "is declined by one channel and joins another",
    "hears nothing after it left",
    "uses the endpoint itself",
    "works on between a goodbye and the end",
]
# No client asks for them, and none says that it has seen them.
HEARTBEATS: Final = "is not disturbed by heartbeats"
BEAT_SECONDS: Final = 0.2
LATE: Final = "hears what was said before it came"
MANY_BEATS: Final = 6
RESTART: Final = "rejoins after a restart"


class ClientProcess:
    """One scenario under way.

    Raises:
        AssertionError: From its methods: the peer failed or was too slow; holds all that it and
            the server printed.
    """

    def __init__(self, command: list[str], server: Server, *, within: float) -> None:
        self._server = server
        self._deadline = time.monotonic() + within
        self._printed: list[str] = []
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, daemon=True)

    def wait_for(self, step: str) -> None:
        """Read on until the peer has printed this step."""
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, self._deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(self._story(f"did not come to {step!r} in time")) from None
            if line is None:
                raise AssertionError(self._story(f"ended before {step!r}"))
            if is_step(line, step):
                return

    def tell(self, line: str) -> None:
        """Write a line to the peer, which may listen or not."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def finish(self) -> None:
        """Wait until the peer has passed and ended."""
        self.wait_for("passed")
        try:
            code = self._process.wait(max(0.0, self._deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise AssertionError(self._story("passed but did not end in time")) from None
        assert code == 0, self._story(f"ended with {code}")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._printed.append(line)
            self._lines.put(line)
        self._lines.put(None)

    def _story(self, what: str) -> str:
        return f"the peer {what}\n{''.join(self._printed)}\nThe server:\n{self._server.log()}"

    def __enter__(self) -> Self:
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def is_step(line: str, step: str) -> bool:
    """Whether a printed line announces this step; what else a runtime prints is none."""
    try:
        printed = json.loads(line)
    except ValueError:
        return False
    return isinstance(printed, dict) and printed.get("step") == step


def run(command: list[str], server: Server) -> None:
    """Run a scenario to its end."""
    with ClientProcess(command, server, within=SCENARIO_SECONDS) as peer:
        peer.finish()


def run_with_heartbeats(command: list[str], server: Server) -> None:
    """Run a scenario that is idle, once it has joined, until many heartbeats have been sent."""
    with ClientProcess(command, server, within=SCENARIO_SECONDS) as peer:
        peer.wait_for("joined")
        expect_heartbeats(server, MANY_BEATS)
        peer.tell("go on")
        peer.finish()


def expect_heartbeats(server: Server, count: int) -> None:
    """Be idle on the same server until it has sent so many, each with an id of its own."""
    ids: set[str] = set()
    with connect(f"{server.ws_url}/socket?token=secret") as witness:
        assert json.loads(witness.recv(timeout=5))["action"] == "CONNECT"
        for _ in range(count):
            beat = json.loads(witness.recv(timeout=5))
            ids.add(beat.pop("requestId"))
            expected = {"action": "SYSTEM", "event": "PONG", "channelName": "GATEWAY"}
            assert beat == {**expected, "payload": {}}
    assert len(ids) == count


def expect_positions(server: Server) -> None:
    """See that this server's messages say where they stand, and its streams as well."""
    url, channel = f"{server.http_url}/socket?token=secret", "/room/witness"
    join = {"action": "JOIN_CHANNEL", "event": "join", "channelName": channel, "requestId": "1"}
    say = {**join, "action": "BROADCAST", "event": "say", "payload": {}}
    with httpx.stream("GET", url, headers={"accept": "text/event-stream"}, timeout=5) as stream:
        known = {"x-connection-id": stream.headers["x-connection-id"]}
        httpx.post(url, json=[{**join, "payload": {}}, say], headers=known).raise_for_status()
        lines = iter(stream.iter_lines())
        frames: list[dict[str, Any]] = []
        while not frames or frames[-1]["action"] != "BROADCAST":
            line = next(lines)
            if line.startswith("data: "):
                frames.append(json.loads(line.removeprefix("data: ")))
        next(line for line in lines if line.startswith("id: "))
    connected, acknowledged, said = frames[0], frames[1], frames[-1]
    assert connected["payload"]["supports"] == ["history"]
    assert acknowledged["payload"]["offset"] == 0
    assert said["offset"] == 1
    assert said["epoch"] == acknowledged["payload"]["epoch"]


def run_with_restart(command: list[str], server: Server, restart: Callable[[], None]) -> None:
    """Run a scenario that waits, once it has joined, for the server to be restarted."""
    with ClientProcess(command, server, within=RESTART_SECONDS) as peer:
        peer.wait_for("joined")
        restart()
        peer.tell("restarted")
        peer.wait_for("rejoined")
        peer.finish()
