"""Floods against the default limits: told to slow down, then closed; no other client notices."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.fuzz.corpus import Corpus
from tests.fuzz.fuzzed_server import FuzzedServer
from tests.fuzz.good_clients import JSON, SHARED, message
from tests.fuzz.input_counts import InputCount, InputCounts, share
from tests.fuzz.oracle import well_formed
from tests.fuzz.raw_sockets import Ended, RawEventStream, RawSocket, RawWebSocket, frame, request
from tests.fuzz.server_differences import SANSIO
from tests.fuzz.websocket_fuzzer import explained
from tests.servers import Serve

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(1_800)]

GOODBYE = {"code": 4429, "reason": "too many requests over the limits"}
# More than are taken at once: of events 500, and of refusals 99 within 10 s.
MANY = 1_200


@pytest.fixture
def limited(serve: Serve, input_counts: InputCounts) -> Iterator[tuple[int, InputCount]]:
    """Yield the port of a server with default limits, which is as it was after the test."""
    input_count = input_counts.of("floods")
    server = serve("tests.fuzz.app:limited", "--ws", "websockets-sansio", "--log-level", "warning")
    under_fire = FuzzedServer(server, input_count, input_count, SANSIO)
    under_fire.remember()
    with explained(input_count):
        yield server.port, input_count
    under_fire.welcome()
    under_fire.assert_as_before()
    under_fire.assert_quiet_log()


def flood(
    sock: RawWebSocket, inputs: list[bytes], input_count: InputCount
) -> Iterator[dict[str, Any]]:
    """Send all of it at once; gives what comes until the server closes."""
    for data in inputs:
        input_count.add("flood", data)
    try:
        sock.send(b"".join(frame(data, 2) for data in inputs))
    except Ended:
        pass  # closed before it was all sent
    try:
        while True:
            yield well_formed(sock.text())
    except Ended:
        return


def test_a_flood_of_nonsense_is_closed_with_4429(limited: tuple[int, InputCount]) -> None:
    port, input_count = limited
    corpus = Corpus(input_count.random, [SHARED], "f")
    while input_count.count < share(input_count.name) // 2:
        with RawWebSocket(port) as sock:
            inputs = [corpus.message()[1] for _ in range(MANY)]
            frames = list(flood(sock, inputs, input_count))
        came = Counter(each["event"] for each in frames)
        assert came["GOODBYE"] == 1, came
        goodbye = next(each for each in frames if each["event"] == "GOODBYE")
        assert goodbye["payload"] | GOODBYE == goodbye["payload"], goodbye
        assert frames[-1] == goodbye
        assert sock.closed == 4429
        # A hundred refusals, and what is no nonsense among it.
        assert 100 < len(frames) < MANY


def test_a_flood_of_events_is_told_when_to_come_back(limited: tuple[int, InputCount]) -> None:
    port, input_count = limited
    with RawWebSocket(port) as sock:
        inputs = [message("JOIN_CHANNEL", SHARED, "join", "j", {})]
        inputs += [message("BROADCAST", SHARED, "echo", f"e{n}", {}) for n in range(MANY)]
        frames = list(flood(sock, inputs, input_count))
    limited_ones = [each for each in frames if each["event"] == "RATE_LIMITED"]
    assert len(limited_ones) == 100
    for each in limited_ones:
        assert each["payload"]["code"] == 429
        assert each["payload"]["retryAfterMs"] > 0
        assert each["requestId"].startswith("e")
    assert sock.closed == 4429


def test_a_join_of_too_many_channels_is_refused_and_no_error(
    limited: tuple[int, InputCount],
) -> None:
    port, input_count = limited
    with RawWebSocket(port) as sock:
        inputs = [message("JOIN_CHANNEL", f"/room/{n}", "join", f"j{n}", {}) for n in range(140)]
        frames = {each["requestId"]: each for each in flood_and_leave(sock, inputs, input_count)}
    for number in range(140):
        answer = frames[f"j{number}"]
        if number < 128:
            assert answer["event"] == "ACKNOWLEDGE", answer
        else:
            assert (answer["event"], answer["payload"]["code"]) == ("UNAUTHORIZED", 429), answer


def flood_and_leave(
    sock: RawWebSocket, inputs: list[bytes], input_count: InputCount
) -> list[dict[str, Any]]:
    """Return the same, where nothing of it ends the connection."""
    close = frame((1000).to_bytes(2), 8)
    for data in inputs:
        input_count.add("flood", data)
    ping = b'{"action":"ping","requestId":"last"}'
    sock.send(b"".join(map(frame, [*inputs, ping])))
    frames = [well_formed(sock.text())]
    while frames[-1]["requestId"] != "last":
        frames.append(well_formed(sock.text()))
    sock.send(close)
    return frames


def test_more_than_can_wait_is_refused_at_once(limited: tuple[int, InputCount]) -> None:
    port, input_count = limited
    with RawWebSocket(port) as sock:
        inputs = [message("JOIN_CHANNEL", SHARED, "join", "j", {})]
        inputs += [message("BROADCAST", SHARED, "hang", f"h{n}", {}) for n in range(300)]
        frames = flood_and_leave(sock, inputs, input_count)
    refused = [each["requestId"] for each in frames if each["event"] == "RATE_LIMITED"]
    assert refused == [f"h{n}" for n in range(256, 300)]


def test_a_flood_of_posts_is_refused_and_then_answered_404(limited: tuple[int, InputCount]) -> None:
    port, input_count = limited
    corpus = Corpus(input_count.random, [SHARED], "f")
    with RawEventStream(port) as stream, RawSocket(port) as sock:
        headers = JSON | {"X-Connection-ID": stream.connection_id}
        statuses: list[int] = []
        while 404 not in statuses:
            assert len(statuses) < 3 * MANY
            bodies = [corpus.message()[1] for _ in range(50)]
            for body in bodies:
                input_count.add("flood of POSTs", body)
            sock.send(b"".join(request("POST", "/socket", headers, body) for body in bodies))
            for _ in bodies:
                answer = sock.response()
                statuses.append(answer.status)
                if answer.status == 429:
                    assert int(answer.headers["retry-after"]) >= 1
        assert {400, 404} <= set(statuses) <= {204, 400, 404, 429}
        assert statuses.index(404) >= 100
        frames: list[dict[str, Any]] = []
        try:
            while True:
                frames.append(well_formed(stream.text()))
        except Ended:
            assert frames[-1]["payload"] | GOODBYE == frames[-1]["payload"], frames[-1]


def test_slow_bodies_are_answered_408_and_the_stream_goes_on(
    limited: tuple[int, InputCount],
) -> None:
    port, input_count = limited
    with RawEventStream(port) as stream, ExitStack() as lines:
        body = message("BROADCAST", "GATEWAY", "echo", "slow", {})
        headers = JSON | {"X-Connection-ID": stream.connection_id}
        text = request("POST", "/socket", headers, body)
        slow = [lines.enter_context(RawSocket(port)) for _ in range(40)]
        for sock in slow:
            cut = input_count.random.randrange(text.index(b"\r\n\r\n") + 4, len(text))
            input_count.add("slow POST", text[:cut])
            sock.send(text[:cut])
        for sock in slow[::2]:
            sock.abort()
        for sock in slow[1::2]:
            assert sock.response().status == 408
        with RawSocket(port) as sock:
            sock.send(text)
            assert sock.response().status == 204
        while (answer := well_formed(stream.text()))["requestId"] != "slow":
            assert answer["event"] == "CONNECTION", answer
        assert answer["event"] == "echoed"
