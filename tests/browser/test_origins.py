"""Pages of other origins, in a real browser: what it lets them do and read."""

from typing import Any, Final

import pytest
from playwright.sync_api import Browser

from tests.servers import Serve

pytestmark = [pytest.mark.browser, pytest.mark.timeout(60)]

APP: Final = "tests.integration.secure_app:app"
# A server whose pages have no policy of their own; that of the chat forbids all other hosts.
PLAIN: Final = "examples.quickstart:app"
# What a page can do with an endpoint, and what came of it.
TRY_EVERYTHING: Final = """
async (url) => {
  const websocket = () => new Promise((done) => {
    const socket = new WebSocket(url.replace("http", "ws"));
    socket.onopen = () => { socket.close(); done("open"); };
    socket.onerror = () => done("refused");
  });
  const events = () => new Promise((done) => {
    const source = new EventSource(url, {withCredentials: true});
    source.addEventListener("CONNECTION", () => { source.close(); done("open"); });
    source.onerror = () => { source.close(); done("refused"); };
  });
  const ask = (method, headers, body, mode = "cors") =>
    fetch(url, {method, headers, body, mode, credentials: "include"}).catch(() => null);
  const stream = await ask("GET", {Accept: "text/event-stream"});
  const id = stream?.headers.get("X-Connection-ID") ?? "unknown";
  const message = {"Content-Type": "application/json", "X-Connection-ID": id};
  const post = await ask("POST", {...message, "X-Tenant": "1"}, '{"action": "ping"}');
  const wrong = await ask("POST", message, "nonsense");
  const remove = await ask("DELETE", {"X-Connection-ID": id});
  // The form of an old page: no preflight is asked for this one.
  const simple = await ask("POST", {"Content-Type": "text/plain"}, "{}");
  // This way a page cannot read the answer, and the browser does not say whose page it is.
  await ask("GET", {Accept: "text/event-stream"}, null, "no-cors");
  return {
    websocket: await websocket(),
    events: await events(),
    stream: stream?.status ?? "refused",
    hasId: id !== "unknown",
    post: post?.status ?? "refused",
    wrong: (await wrong?.json())?.error ?? "refused",
    remove: remove?.status ?? "refused",
    simple: simple?.status ?? "refused",
  };
}
"""


def attempt(browser: Browser, page_url: str, url: str) -> Any:
    """Return what a page at one address can do with an endpoint at another."""
    page = browser.new_page()
    page.goto(page_url)
    found = page.evaluate(TRY_EVERYTHING, url)
    page.close()
    return found


def test_a_listed_page_can_do_everything_and_another_one_nothing(
    browser: Browser, serve: Serve
) -> None:
    page = serve(PLAIN)
    listing = serve(APP, env={"POND_PAGES": page.http_url})
    assert attempt(browser, page.http_url, f"{listing.http_url}/socket") == {
        "websocket": "open",
        "events": "open",
        "stream": 200,
        "hasId": True,
        "post": 204,
        "wrong": "INVALID_MESSAGE",
        "remove": 204,
        "simple": 400,
    }
    other = serve(APP)
    assert attempt(browser, page.http_url, f"{other.http_url}/socket") == {
        "websocket": "refused",
        "events": "refused",
        "stream": "refused",
        "hasId": False,
        "post": "refused",
        "wrong": "refused",
        "remove": "refused",
        "simple": "refused",
    }
    assert f"A page of '{page.http_url}' may not connect" in other.log()
    for server in (listing, other):
        assert "A page of an origin that it hides may not connect" in server.log()
    assert '" 200' not in other.log()


def test_a_page_of_the_host_itself_can_do_everything(browser: Browser, serve: Serve) -> None:
    chat = serve("examples.chat:app")
    found = attempt(browser, chat.http_url, f"{chat.http_url}/socket?name=Ann")
    assert found["websocket"] == found["events"] == "open"
    assert [found["stream"], found["post"], found["remove"]] == [200, 204, 204]
