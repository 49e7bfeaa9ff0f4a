"""The client for browsers: who is admitted, and when it stops."""

from typing import Any, Final

import pytest

from tests.browser.client_window import ClientWindow, OpenClient
from tests.browser.proxies import Proxy
from tests.servers import Server

pytestmark = [pytest.mark.browser, pytest.mark.timeout(90)]

TRANSPORTS: Final[dict[str, dict[str, Any]]] = {"websocket": {}, "sse": {"transports": ["sse"]}}


def asked_by(window: ClientWindow, name: str) -> list[Any]:
    """Return a client's requests to connect."""
    asked = window.at_the_server()["asked"]
    return [each for each in asked if each["query"].get("name") == name]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_token_is_in_no_address_and_is_fetched_anew_where_it_was_refused(
    open_client: OpenClient, transport: str
) -> None:
    name = f"Tom-{transport}"
    window = open_client().open().start({"name": name}, guarded=True, **TRANSPORTS[transport])
    window.enter(f"/room/{name}", name)
    window.wait_open(transport)
    asked = asked_by(window, name)
    way = "subprotocol" if transport == "websocket" else "authorization"
    assert (asked[0]["token"], asked[0]["by"]) == ("old-1/ü", way)
    assert (asked[-1]["token"], asked[-1]["by"]) == ("new-1/ü", way)
    # A refused WebSocket says nothing to a script: it asks why, with the same token.
    assert {each["token"] for each in asked} == {"old-1/ü", "new-1/ü"}
    assert all(set(each["query"]) <= {"name", "guarded", "sse"} for each in asked)
    # POSTs, too.
    assert window.call("say", {"text": "hi"}) == {"number": 1}
    for text in ("old-1", "new-1"):
        assert text not in window.server.log()


def test_who_is_refused_is_told_why_and_stops(open_client: OpenClient) -> None:
    window = open_client().open().start({"name": "Mallory", "banned": "1"})
    failure = window.page.evaluate("failure(enter('/room/refused'))")
    assert failure["message"] == "Your account is locked."
    assert failure["code"] == 403
    window.wait("heard.status.at(-1).state === 'stopped'")
    status = window.heard("status")[-1]
    assert (status["code"], status["reason"]) == (403, "Your account is locked.")
    asked = len(asked_by(window, "Mallory"))
    window.page.evaluate("window.dispatchEvent(new Event('online'))")
    window.page.wait_for_timeout(3_000)
    assert len(asked_by(window, "Mallory")) == asked


def test_a_join_that_is_refused_says_why(open_client: OpenClient) -> None:
    window = open_client().open().start({"name": "Ann"})
    failure = window.page.evaluate("failure(enter('/closed/1'))")
    assert (failure["name"], failure["code"]) == ("PondError", 403)
    assert failure["message"] == "For members only."
    missing = window.page.evaluate("failure(enter('/nowhere/1'))")
    assert (missing["name"], missing["code"]) == ("PondError", 404)
    # The connection itself goes on.
    window.enter("/room/refusals")
    assert window.state == "open"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_one_whose_connection_the_application_ends_stays_away(
    open_client: OpenClient, transport: str
) -> None:
    name = f"Eve-{transport}"
    window = open_client().enter_anew(f"/room/{name}", name, **TRANSPORTS[transport])
    window.disconnect(name=name, reason="Be kind.")
    window.wait("heard.status.at(-1).state === 'stopped'")
    status = window.heard("status")[-1]
    assert (status["code"], status["reason"]) == (4403, "Be kind.")
    window.page.wait_for_timeout(3_000)
    assert len(asked_by(window, name)) == 1
    # Until it is told to come back.
    window.page.evaluate("pond.connect()")
    window.wait_open(transport)
    window.wait("room.state === 'joined'")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_one_that_is_to_log_in_again_comes_back(open_client: OpenClient, transport: str) -> None:
    name = f"Pia-{transport}"
    window = open_client().enter_anew(f"/room/{name}", name, **TRANSPORTS[transport])
    window.disconnect(name=name, code="4401")
    window.wait("heard.rejoined.length === 1", 15)
    assert window.state == "open"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_close_is_final_and_leaves_nothing_behind(
    open_client: OpenClient, client_server: Server, transport: str
) -> None:
    window = open_client().open()
    listeners = window.page.evaluate("live.listeners")
    window.start({"name": "Ann"}, **TRANSPORTS[transport]).enter("/room/close")
    assert window.page.evaluate("live.listeners") > listeners
    window.call("say", {"text": "hi"})
    assert window.at_the_server()["connections"] == 1
    window.page.evaluate("pond.close()")
    window.wait("heard.status.at(-1).state === 'stopped'")
    window.wait("live.timers.size === 0 && live.sockets.size === 0")
    fetches = window.page.evaluate("live.fetches")
    for event in ("online", "focus", "pageshow"):
        window.page.evaluate("(name) => window.dispatchEvent(new Event(name))", event)
    for event in ("visibilitychange", "resume"):
        window.page.evaluate("(name) => document.dispatchEvent(new Event(name))", event)
    window.page.wait_for_timeout(2_000)
    left = "[live.timers.size, live.sockets.size, live.listeners]"
    assert window.page.evaluate(left) == [0, 0, listeners]
    assert window.page.evaluate("live.fetches") == fetches
    found = window.at_the_server()
    assert (found["connections"], len(found["asked"])) == (0, 1)
    assert window.page.evaluate("failure(room.call('say', {text: 'late'}))")["code"] == "unsent"
    window.page.evaluate("pond.connect()")
    window.wait_open(transport)


def test_a_page_of_another_origin_has_the_module_but_not_the_connection(
    open_client: OpenClient, client_proxy: Proxy
) -> None:
    # Another port is another origin, and the proxy passes the host on.
    window = open_client().open()
    window.page.evaluate(
        """async (url) => {
          const {connect} = await import(`${url}/ws/pondsocket.js`);
          window.other = connect(`${url}/ws/socket`, {params: {name: "Zoe"}});
          other.connect();
        }""",
        client_proxy.url,
    )
    window.wait("other.status.state === 'waiting'")
    assert asked_by(window, "Zoe") == []
    assert f"A page of '{window.base}' may not connect" in window.server.log()


def test_the_module_is_compressed_and_asked_for_anew_by_its_tag(
    open_client: OpenClient, client_server: Server
) -> None:
    window = open_client().open()
    entry = "performance.getEntriesByName(location.origin + '/ws/pondsocket.js')[0]"
    packed, whole = window.page.evaluate(f"[{entry}.encodedBodySize, {entry}.decodedBodySize]")
    assert 0 < packed <= 8_192 < whole
    line = '"GET /ws/pondsocket.js HTTP/1.1" '
    assert f"{line}200" in client_server.log()
    assert f"{line}304" not in client_server.log()
    window.page.reload()
    window.wait("window.isReady")
    assert f"{line}304" in client_server.log()
    assert client_server.log().count(f"{line}200") == 1
    # With its version it is not asked for at all.
    url = window.page.evaluate(
        "async () => `/ws/pondsocket.js?v=${(await fetch('/ws/pondsocket.js'))"
        ".headers.get('etag').slice(3, -1)}`"
    )
    for _ in range(2):
        window.page.reload()
        window.wait("window.isReady")
        window.page.evaluate("(url) => import(url)", url)
    assert client_server.log().count(f"GET {url}") == 1
