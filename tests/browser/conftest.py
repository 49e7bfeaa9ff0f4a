"""Headless Chromium, the chat's server, and windows in which people talk."""

import os
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, BrowserType, expect, sync_playwright

from tests.browser import client_window
from tests.browser.chat_window import OpenWindow, Window, new_window
from tests.browser.client_window import ClientWindow, OpenClient
from tests.browser.proxies import Proxy
from tests.servers import ROOT, Serve, Server

CHROMIUM: Final = os.environ.get("POND_CHROMIUM") or shutil.which("chromium")
CHAT: Final = "examples.chat:app"
ROOMS: Final = count(1)
ARGUMENTS: Final = [
    "--headless=new",
    "--no-sandbox",  # Chromium refuses to run as root, which is what a build container has
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests; each window has a context of its own in it."""
    if CHROMIUM is None:
        pytest.fail("There is no `chromium` on the PATH: install it, or set POND_CHROMIUM to one.")
    # Slow machines paint late; a wait that is met returns at once all the same.
    expect.set_options(timeout=10_000)
    with sync_playwright() as playwright:
        chromium = launch(playwright.chromium)
        yield chromium
        chromium.close()


def launch(chromium: BrowserType, *without: str) -> Browser:
    """Start a Chromium, without some of the arguments that Playwright gives it."""
    return chromium.launch(
        executable_path=CHROMIUM, args=ARGUMENTS, ignore_default_args=["--headless", *without]
    )


@pytest.fixture(scope="session")
def pictures() -> Path:
    """Return the folder that keeps the screenshots."""
    folder = Path(os.environ.get("POND_ARTEFACTS", ROOT / "artefacts")) / "browser"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def server(serve: Serve) -> Server:
    """Return the chat in a server of its own, for a test that stops it."""
    return serve(CHAT)


@pytest.fixture(scope="session")
def lasting_server() -> Iterator[Server]:
    """Yield the chat for all tests that leave the server alone: each has a room of its own."""
    with Server(CHAT) as server:
        yield server


@pytest.fixture
def proxy(lasting_server: Server) -> Iterator[Proxy]:
    """Yield the way to the chat that all tests share."""
    with Proxy(lasting_server, "pass") as proxy:
        yield proxy


@pytest.fixture
def open_window(browser: Browser, request: pytest.FixtureRequest) -> Iterator[OpenWindow]:
    """Open windows, as `ann = open_window().enter("Ann", "sse")`; none may raise a script error."""
    own = "server" in request.fixturenames
    server: Server = request.getfixturevalue("server" if own else "lasting_server")
    room = f"room {next(ROOMS)}"
    windows: list[Window] = []

    def start(
        *, width: int = 1000, height: int = 640, dark: bool = False, base: str | None = None
    ) -> Window:
        address = base or server.http_url
        window = new_window(browser, address, room, width=width, height=height, dark=dark)
        windows.append(window)
        return window

    yield start
    for window in windows:
        window.page.context.close()
    assert [error for window in windows for error in window.errors] == []


@pytest.fixture(scope="session")
def lasting_client_server() -> Iterator[Server]:
    """Yield the server of `client_app` for all tests that leave it alone."""
    with Server(client_window.APP) as server:
        yield server


@pytest.fixture
def client_server(serve: Serve) -> Server:
    """Return a server of its own, for a test that stops it."""
    return serve(client_window.APP)


@pytest.fixture
def client_proxy(lasting_client_server: Server) -> Iterator[Proxy]:
    """Yield a way to `client_app`."""
    with Proxy(lasting_client_server, "pass") as proxy:
        yield proxy


@pytest.fixture
def open_client(browser: Browser, request: pytest.FixtureRequest) -> Iterator[OpenClient]:
    """Open pages of `client_app`, as `open_client().enter_anew("/room/1")`."""
    own = "client_server" in request.fixturenames
    server: Server = request.getfixturevalue("client_server" if own else "lasting_client_server")
    windows: list[ClientWindow] = []

    def start(*, base: str | None = None, beside: ClientWindow | None = None) -> ClientWindow:
        context = beside.page.context if beside else browser.new_context()
        context.set_default_timeout(10_000)
        windows.append(ClientWindow(context.new_page(), base or server.http_url, server))
        return windows[-1]

    yield start
    for window in windows:
        window.page.context.close()
    assert [error for window in windows for error in window.errors] == []
