"""The chat on networks that let no WebSocket through, and on a server that refuses connections."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Request, expect

from tests.browser.chat_window import BLOCKED, OpenWindow
from tests.browser.proxies import OnUpgrade, Proxy
from tests.nginx import DEPLOYED, Nginx
from tests.servers import Serve, Server

pytestmark = [pytest.mark.browser, pytest.mark.timeout(90)]

BOTH = pytest.mark.parametrize("via", ["websocket", "sse"])


@pytest.fixture
def proxy(lasting_server: Server) -> Iterator[Proxy]:
    """Yield a proxy before the chat that all tests share; strips the headers of WebSockets."""
    with Proxy(lasting_server, "strip") as proxy:
        yield proxy


@pytest.mark.parametrize("on_upgrade", ["strip", "refuse", "reset"])
def test_where_no_websocket_gets_through_the_page_changes_to_sse_and_says_so(
    open_window: OpenWindow, proxy: Proxy, on_upgrade: OnUpgrade
) -> None:
    proxy.on_upgrade = [on_upgrade]
    ann = open_window(base=proxy.url)
    ann.open(name="Ann", room=ann.room)
    ann.expect_fallen_back()
    bea = open_window().enter("Bea", "websocket")
    ann.expect_people("Ann (you)", "Bea")

    ann.say("Can you hear me?")
    expect(bea.bubble("Can you hear me?")).to_have_count(1)
    bea.say("Loud and clear.")
    expect(ann.bubble("Loud and clear.")).to_have_count(1)
    assert proxy.upgrades == 2


def test_an_nginx_that_was_not_told_to_pass_upgrades_on_is_a_blocked_network(
    open_window: OpenWindow, lasting_server: Server
) -> None:
    deployed = DEPLOYED.read_text()
    with Nginx(lasting_server, deployed) as nginx:
        open_window(base=nginx.http_url).enter("Ann", "websocket")
    headers = re.compile(r"proxy_set_header (?:Upgrade|Connection) .*;")
    without, count = headers.subn("", deployed)
    assert count == 2
    with Nginx(lasting_server, without) as nginx:
        bea = open_window(base=nginx.http_url)
        console: list[str] = []
        bea.page.on("console", lambda message: console.append(message.text))
        bea.open(name="Bea", room=bea.room)
        bea.expect_fallen_back()
        bea.say("Through all the same.")
        expect(bea.bubble("Through all the same.")).to_have_count(1)
    # What the page cannot read stands in the server's log, where its operator looks first.
    assert "Unexpected response code: 426" in " ".join(console)


def test_a_network_that_swallows_websockets_is_noticed_within_15_seconds(
    open_window: OpenWindow, proxy: Proxy
) -> None:
    proxy.on_upgrade = ["hang"]
    ann = open_window(base=proxy.url)
    ann.page.clock.install()
    with ann.page.expect_event("websocket"):
        ann.open(name="Ann", room=ann.room)
    with ann.page.expect_event("websocket"):
        ann.page.clock.fast_forward(10_000)
    ann.page.clock.fast_forward(5_000)
    ann.expect_fallen_back()


def test_a_blocked_network_is_remembered_until_the_user_picks_websocket(
    open_window: OpenWindow, proxy: Proxy
) -> None:
    ann = open_window(base=proxy.url)
    ann.open(name="Ann", room=ann.room, via="websocket")
    ann.expect_fallen_back()
    ann.page.reload()
    ann.expect_fallen_back()
    assert proxy.upgrades == 2

    ann.choose("websocket")
    ann.expect_fallen_back()
    assert proxy.upgrades == 4

    proxy.on_upgrade = ["pass"]
    ann.switch("websocket")
    ann.page.reload()
    ann.expect_here("websocket")
    ann.switch("sse")  # chosen, not forced: nothing is said of a blocked network


def test_who_leaves_a_blocked_network_and_picks_websocket_when_entering_gets_it(
    open_window: OpenWindow, proxy: Proxy
) -> None:
    ann = open_window(base=proxy.url)
    ann.open(name="Ann", room=ann.room)
    ann.expect_fallen_back()
    ann.page.get_by_role("link", name="Leave").click()
    expect(ann.page.get_by_role("heading", name="Join the chat")).to_be_visible()
    ann.expect_chosen("sse")
    proxy.on_upgrade = ["pass"]
    ann.choose("websocket")
    ann.page.get_by_label("Your name").fill("Ann")
    ann.page.get_by_role("button", name="Join").click()
    ann.expect_here("websocket")


def test_one_websocket_that_does_not_open_is_no_blocked_network(
    open_window: OpenWindow, proxy: Proxy
) -> None:
    proxy.on_upgrade = ["reset", "pass"]
    ann = open_window(base=proxy.url).enter("Ann", "websocket")
    ann.expect_people("Ann (you)")
    assert proxy.upgrades == 2


@pytest.mark.parametrize("behind_proxy", [False, True], ids=["direct", "behind a proxy"])
def test_a_server_that_is_away_changes_no_transport(
    open_window: OpenWindow, server: Server, behind_proxy: bool
) -> None:
    with Proxy(server, "pass") as proxy:
        ann = open_window(base=proxy.url if behind_proxy else None).enter("Ann", "websocket")
        server.stop(graceful=False)
        words = (
            "The server answered 502. Retrying" if behind_proxy else "The server is away. Retrying"
        )
        for _ in range(4):
            with ann.page.expect_event("websocket"):
                pass  # another attempt
            expect(ann.status).to_have_text(words)
        ann.expect_chosen("websocket")
        server.start()
        ann.expect_here("websocket")


@BOTH
@pytest.mark.parametrize(
    ("name", "why"),
    [("Eve", "Sign in first, please."), ("Mallory", "You may not come in here.")],
    ids=["401", "403"],
)
def test_who_is_refused_is_told_why_and_nothing_is_tried_again(
    open_window: OpenWindow, serve: Serve, via: str, name: str, why: str
) -> None:
    ann = open_window(base=serve("tests.browser.refusing_app:app").http_url)
    requests = count_requests(ann.page)
    ann.open(name=name, room=ann.room, via=via)
    expect(ann.page.get_by_role("alert")).to_have_text(why)
    ann.expect_chosen(via)
    assert len(requests) == (2 if via == "websocket" else 1)


def test_who_is_refused_while_changing_the_transport_is_told_why(
    open_window: OpenWindow, serve: Serve
) -> None:
    base = serve("tests.browser.refusing_app:app").http_url
    for first, second in (("websocket", "sse"), ("sse", "websocket")):
        ann = open_window(base=base).enter(f"{first} once", first)
        ann.choose(second)
        expect(ann.status).to_have_text("Your ticket was for one visit.")
        expect(ann.page.get_by_role("button", name="Connect again")).to_be_visible()
        ann.expect_chosen(second)


def test_a_page_that_the_server_does_not_trust_is_told_so_and_is_on_no_blocked_network(
    open_window: OpenWindow, lasting_server: Server
) -> None:
    # The page's own GET names no origin, and is let in; its WebSockets and its POSTs do.
    with Proxy(lasting_server, "pass", host="chat.internal") as proxy:
        for via in ("websocket", "sse"):
            ann = open_window(base=proxy.url)
            ann.open(name="Ann", room=ann.room, via=via)
            expect(ann.page.get_by_role("alert")).to_contain_text("origin")
            ann.expect_chosen(via)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_what_a_blocked_network_looks_like(
    open_window: OpenWindow, proxy: Proxy, pictures: Path, dark: bool
) -> None:
    bea = open_window().enter("Bea", "websocket")
    for size, (width, height) in {"desktop": (1000, 640), "phone": (360, 640)}.items():
        ann = open_window(base=proxy.url, width=width, height=height, dark=dark)
        ann.open(name="Ann", room=ann.room)
        ann.expect_fallen_back()
        ann.say(f"Hello from a {size} behind a strict proxy.")
        expect(bea.log).to_contain_text(f"a {size} behind")
        bea.say("And from a WebSocket without one.")
        expect(ann.log).to_contain_text("And from a WebSocket")
        expect(ann.page.get_by_text(BLOCKED)).to_be_in_viewport(ratio=1)
        expect(ann.message_box).to_be_in_viewport(ratio=1)
        ann.expect_no_sideways_scroll()
        ann.keep_picture(pictures, f"{size}-blocked{'-dark' if dark else ''}")
        ann.page.close()


def count_requests(page: Page) -> list[str]:
    """Return the connections the page opens from now on, of either transport."""
    seen: list[str] = []

    def note(request: Request) -> None:
        if "/socket" in request.url:
            seen.append(request.method)

    page.on("websocket", lambda _: seen.append("websocket"))
    page.on("request", note)
    return seen
