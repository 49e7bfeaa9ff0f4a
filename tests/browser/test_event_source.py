"""The browser's own `EventSource`, which reconnects by itself, in a page that does nothing for it.

It drops what comes twice as docs/history.md shows, by the very code of that page.
"""

import re
from typing import Any, Final

import pytest
from playwright.sync_api import expect

from tests.browser.chat_window import BACK_SECONDS, OpenWindow
from tests.browser.network_outages import cut_off, talk
from tests.browser.proxies import Network, Proxy
from tests.servers import ROOT, Serve

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

DROPPING: Final = re.search(
    r"```javascript\n(const known = .*?)```", (ROOT / "docs" / "history.md").read_text(), re.DOTALL
)
# Joins once, by POST, and from then on only listens.
LISTEN: Final = """async (channel) => {
  %s
  const heard = window.heard = {connected: [], answers: [], texts: [], cursors: []};
  const source = new EventSource("/socket?name=Eve&sse=unnamed");
  source.onmessage = (event) => {
    const message = JSON.parse(event.data);
    if (message.action === "CONNECT") heard.connected.push(message.payload);
    if (message.channelName !== channel || !isNew(message)) return;
    heard.cursors.push(event.lastEventId);
    if (message.event === "ACKNOWLEDGE") heard.answers.push(message.payload);
    if (message.event === "message") heard.texts.push(message.payload.text);
  };
  const until = async (condition) => {
    while (!condition()) await new Promise((resume) => setTimeout(resume, 20));
  };
  await until(() => heard.connected.length);
  const join = {
    action: "JOIN_CHANNEL", event: "join", channelName: channel, requestId: "1", payload: {},
  };
  const {status} = await fetch("/socket?name=Eve", {
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      "X-Connection-ID": heard.connected[0].connectionId,
    },
    body: JSON.stringify(join),
  });
  await until(() => heard.answers.length);
  return status;
}"""

# Only listens, and notes whatever a browser tells a page of a stream.
WATCH: Final = """async () => {
  const seen = window.seen = {events: [], errors: []};
  const source = window.source = new EventSource("/socket?sse=unnamed");
  source.onmessage = (event) => seen.events.push(JSON.parse(event.data).event);
  source.onerror = (event) => seen.errors.push(event.data ?? source.readyState);
}"""
CONNECTING: Final = 0


@pytest.mark.parametrize("network", ["cut", "deaf"])
def test_it_misses_nothing_and_needs_no_code_for_it(
    open_window: OpenWindow, proxy: Proxy, network: Network
) -> None:
    assert DROPPING is not None
    bea = open_window().enter("Bea")
    eve = open_window(base=proxy.url)
    # Of the same origin, and without the chat's policy, which forbids what the tests evaluate.
    eve.page.goto(f"{proxy.url}/pondsocket.js")
    channel = f"/chat/{eve.room}"
    assert eve.page.evaluate(LISTEN.replace("%s", DROPPING[1]), channel) == 204
    bea.say("Before.")
    expect(bea.bubble("Before.")).to_have_count(1)
    with cut_off(eve, proxy, network):
        said = talk(bea, 2.0)
    bea.say("After.")
    eve.page.wait_for_function(
        "window.heard.texts.at(-1) === 'After.'", timeout=BACK_SECONDS * 1_000
    )
    heard: dict[str, Any] = eve.page.evaluate("window.heard")
    assert heard["texts"] == ["Before.", *said, "After."]
    assert [connected.get("resumed") for connected in heard["connected"]] == [None, [channel]]
    assert [answer.get("recovered") for answer in heard["answers"]] == [None, True]
    assert heard["cursors"][-1]


def test_one_that_is_opened_during_a_restart_comes_back_by_itself(
    open_window: OpenWindow, serve: Serve
) -> None:
    server = serve("tests.browser.restarting_app:app")
    page = open_window(base=server.http_url).page
    page.goto(server.http_url)
    page.evaluate(WATCH)
    page.wait_for_function("window.seen.events.length > 3", timeout=BACK_SECONDS * 1_000)
    seen = page.evaluate("window.seen")
    # The application's own events are none of the browser's.
    assert seen["events"] == ["GOODBYE", "CONNECTION", "error", "open"]
    assert seen["errors"] == [CONNECTING]
    assert page.evaluate("window.source.readyState") == 1
