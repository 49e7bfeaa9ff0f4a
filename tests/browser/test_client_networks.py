"""The client for browsers when the network, a proxy or the server fails."""

from typing import Any, Final

import pytest

from tests.browser.client_window import BACK_SECONDS, ClientWindow, OpenClient
from tests.browser.proxies import Network, OnUpgrade, Proxy
from tests.servers import Server

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

# Two handshakes that are let hang, ten seconds at most each, and a margin.
FALLBACK_SECONDS: Final = 30.0
TRANSPORTS: Final[dict[str, dict[str, Any]]] = {"websocket": {}, "sse": {"transports": ["sse"]}}


def cut(window: ClientWindow, proxy: Proxy, network: Network = "cut") -> None:
    """Take the network away, and tell the browser so."""
    window.page.context.set_offline(True)
    proxy.set_network(network)


def restore(window: ClientWindow, proxy: Proxy) -> None:
    proxy.set_network("up")
    window.page.context.set_offline(False)


@pytest.mark.parametrize("on_upgrade", ["refuse", "strip", "reset", "hang"])
def test_where_websockets_are_blocked_it_uses_event_streams(
    open_client: OpenClient, client_proxy: Proxy, on_upgrade: OnUpgrade
) -> None:
    client_proxy.on_upgrade = [on_upgrade]
    window = open_client(base=client_proxy.url).open().start({"name": "Ann"})
    room = f"/room/blocked-{on_upgrade}"
    window.page.evaluate("(room) => { failure(enter(room, {name: 'Ann'})); }", room)
    window.wait_open("sse", FALLBACK_SECONDS)
    window.wait("room.state === 'joined'")
    assert window.call("say", {"text": "over a stream"}) == {"number": 1}
    window.wait_said(["over a stream"])
    assert client_proxy.upgrades == 2


def test_it_returns_to_websockets_where_these_are_let_through_again(
    open_client: OpenClient, client_proxy: Proxy
) -> None:
    client_proxy.on_upgrade = ["refuse"]
    room = "/room/unblocked"
    window = open_client(base=client_proxy.url).enter_anew(room)
    window.wait_open("sse", FALLBACK_SECONDS)
    client_proxy.on_upgrade = ["pass"]
    window.tell(room, "over a stream")
    window.wait_said(["over a stream"])
    window.page.evaluate("window.dispatchEvent(new Event('online'))")
    window.wait_open("websocket")
    window.tell(room, "over a WebSocket")
    window.wait_said(["over a stream", "over a WebSocket"])
    assert all(each["recovered"] for each in window.heard("rejoined"))


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("network", ["cut", "deaf"])
def test_what_was_missed_comes_in_order(
    open_client: OpenClient, client_proxy: Proxy, network: Network, transport: str
) -> None:
    room = f"/room/missed-{network}-{transport}"
    window = open_client(base=client_proxy.url).enter_anew(room, **TRANSPORTS[transport])
    window.wait_open(transport)
    texts = [f"number {number}" for number in range(20)]
    window.tell(room, *texts[:5])
    window.wait_said(texts[:5])
    cut(window, client_proxy, network)
    window.tell(room, *texts[5:15])
    restore(window, client_proxy)
    window.wait("heard.rejoined.length === 1", BACK_SECONDS)
    window.tell(room, *texts[15:])
    window.wait_said(texts)
    offsets = window.heard("offsets")
    assert offsets == sorted(set(offsets))
    assert [each["recovered"] for each in window.heard("rejoined")] == [True]


def test_a_browser_that_is_online_again_is_back_within_a_second(
    open_client: OpenClient, client_proxy: Proxy
) -> None:
    window = open_client(base=client_proxy.url).enter_anew("/room/online")
    cut(window, client_proxy)
    window.wait("heard.status.at(-1).state === 'waiting'", FALLBACK_SECONDS)
    window.page.wait_for_timeout(6_000)  # some attempts fail: the waits between them grow
    window.tell("/room/online", "missed")
    client_proxy.set_network("up")
    window.page.evaluate("() => { window.wokenAt = null; }")
    window.page.context.set_offline(False)
    window.wait("heard.rejoined.length === 1")
    woken, back = window.page.evaluate("[wokenAt, heard.rejoined[0].at]")
    assert 0 <= back - woken < 1_000
    window.wait_said(["missed"])


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_attempts_in_vain_are_no_storm(
    open_client: OpenClient, client_proxy: Proxy, transport: str
) -> None:
    # Chromium itself slows WebSockets down that fail, but not requests.
    window = open_client(base=client_proxy.url).enter_anew("/room/storm", **TRANSPORTS[transport])
    client_proxy.set_network("cut")
    window.wait("heard.status.at(-1).state === 'waiting'", FALLBACK_SECONDS)
    before = len(window.heard("status"))
    window.page.wait_for_timeout(5_000)
    statuses = window.heard("status")[before:]
    # 0.5, 1, 2 and 4 s at most: often two or three, and a few more with much luck.
    assert 1 <= sum(status["state"] == "connecting" for status in statuses) < 12
    client_proxy.set_network("up")
    window.wait_open(transport)


def test_presence_tells_after_a_loss_only_what_has_changed(
    open_client: OpenClient, client_proxy: Proxy
) -> None:
    room = "/room/presence"
    ann = open_client(base=client_proxy.url).enter_anew(room, "Ann")
    bob = open_client().enter_anew(room, "Bob")
    cleo = open_client().enter_anew(room, "Cleo")
    ann.wait("heard.people.at(-1)?.all.length === 3")
    cut(ann, client_proxy)
    bob.call("mood", {"name": "Bob", "mood": "tired"})
    cleo.page.evaluate("() => room.leave()")
    dan = open_client().enter_anew(room, "Dan")
    dan.wait("heard.people.at(-1)?.all.includes('Bob tired')")
    before = len(ann.heard("people"))
    restore(ann, client_proxy)
    ann.wait("heard.rejoined.length === 1", BACK_SECONDS)
    # Her own entry comes when the join handler has tracked it anew.
    ann.wait("heard.people.at(-1).all.length === 3 && heard.people.at(-1).all[0] === 'Ann fine'")
    assert ann.heard("people")[-1]["all"] == ["Ann fine", "Bob tired", "Dan fine"]
    told = ann.heard("people")[before:]
    joins = [name for each in told for name in each["joins"]]
    assert [name for name in joins if not name.startswith("Ann")] == ["Dan fine"]
    assert [name for each in told for name in each["updates"]] == ["Bob tired"]


@pytest.mark.parametrize("graceful", [True, False], ids=["drained", "killed"])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_after_a_restart_it_is_back_and_says_what_is_lost(
    open_client: OpenClient, client_server: Server, transport: str, graceful: bool
) -> None:
    room = "/room/restart"
    window = open_client().enter_anew(room, **TRANSPORTS[transport])
    window.tell(room, "before")
    window.wait_said(["before"])
    client_server.restart(graceful=graceful)
    window.wait("heard.rejoined.length === 1", BACK_SECONDS)
    # The history was that of the process which has ended.
    assert [each["recovered"] for each in window.heard("rejoined")] == [False]
    window.tell(room, "after")
    window.wait_said(["before", "after"])
    codes = {each.get("code") for each in window.heard("status") if each["state"] == "waiting"}
    assert (1012 in codes) is graceful
