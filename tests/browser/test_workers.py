"""Two windows on two workers behind nginx, which passes each request to the next worker."""

import re
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import httpx
import pytest
from playwright.sync_api import expect

from examples.chat import PAGE
from tests.browser.chat_window import OpenWindow, Window
from tests.browser.redis_app import LEASE_SECONDS
from tests.cluster.redis_server import RedisServer
from tests.nginx import Nginx
from tests.servers import RECOMMENDED, Server

pytestmark = [pytest.mark.browser, pytest.mark.timeout(90)]

# Of the survivors' sweep, after the lease has ended.
SWEEP_SECONDS: Final = 1.5


class Workers:
    """Two workers, and the nginx in front of them."""

    def __init__(self, servers: list[Server], nginx: Nginx) -> None:
        self.servers = servers
        self.url = nginx.http_url

    def of(self, name: str, kind: str) -> Server:
        """Return which worker has the latest connection of a window."""
        line = rf"(?m)^{kind} /socket {name}$"
        counts = [len(re.findall(line, server.log())) for server in self.servers]
        assert sum(counts) == 1, counts
        return self.servers[counts.index(1)]

    def posts(self, server: Server, name: str) -> int:
        return len(re.findall(rf"(?m)^POST /socket {name}$", server.log()))

    def turn_to(self, server: Server) -> None:
        """Make the request after the next one this worker's."""
        for _ in self.servers:
            known = server.log().count("HEAD / ?\n")
            httpx.head(f"{self.url}/")
            if server.log().count("HEAD / ?\n") > known:
                return


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer(tmp_path / "redis"))
        servers = [
            stack.enter_context(
                Server(
                    "tests.browser.redis_app:app",
                    *RECOMMENDED["uvicorn"],
                    env={"CHAT_REDIS": redis.url},
                )
            )
            for _ in range(2)
        ]
        yield Workers(servers, stack.enter_context(Nginx(servers)))


def test_the_chat_goes_on_when_a_worker_is_killed(
    open_window: OpenWindow, workers: Workers
) -> None:
    ann = open_window(base=workers.url).enter("Ann", "sse")
    doomed = workers.of("Ann", "GET")
    (other,) = (server for server in workers.servers if server is not doomed)
    bea = enter_at(other, "Bea", open_window, workers)
    cid = enter_at(doomed, "Cid", open_window, workers)
    for window in (ann, bea):
        names = {"Ann", "Bea", "Cid"}
        me = "Ann" if window is ann else "Bea"
        window.expect_people(f"{me} (you)", *sorted(names - {me}))
    before = workers.posts(other, "Ann")
    texts = [f"Number {number}." for number in range(6)]
    for text in texts:
        ann.say(text)
        expect(ann.bubble(text)).to_have_count(1)
    expect(bea.texts).to_have_text(texts)
    assert workers.posts(other, "Ann") > before, "no POST has landed on the other worker"

    # Frozen first, so that it does not notice that Cid's window is closed.
    doomed.group_signal(signal.SIGSTOP)
    cid.page.context.close()
    doomed.stop(graceful=False)
    killed = time.monotonic()
    bea.say("Is Ann still there?")
    bea.expect_people("Bea (you)", "Ann", within=LEASE_SECONDS + SWEEP_SECONDS)
    print(f"gone after {time.monotonic() - killed:.1f} s")
    ann.expect_here("sse")
    expect(ann.bubble("Is Ann still there?")).to_have_count(1)
    ann.say("Here I am.")
    expect(bea.bubble("Here I am.")).to_have_count(1)
    ann.expect_people("Ann (you)", "Bea")
    # Ann was on the worker that died, and was never gone.
    expect(bea.log).to_contain_text("Cid left.")
    assert "Ann left." not in bea.log.inner_text()
    assert "Some messages may be missing" not in ann.log.inner_text()


def enter_at(server: Server, name: str, open_window: OpenWindow, workers: Workers) -> Window:
    """Enter the room over a WebSocket to a given worker."""
    (other,) = (each for each in workers.servers if each is not server)
    # The page's files and the client, turn by turn, and then the WebSocket.
    workers.turn_to(other if (len(PAGE) + 1) % 2 == 0 else server)
    window = open_window(base=workers.url).enter(name)
    assert workers.of(name, "websocket") is server
    return window
