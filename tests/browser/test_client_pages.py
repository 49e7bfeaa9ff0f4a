"""The client for browsers in pages that sleep, come back, are open twice, or are React's."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final, cast

import pytest
from playwright.sync_api import Browser, Page, expect
from pondsocket_asgi.__main__ import main
from pondsocket_asgi._http.client_files import MODULE, read_file

from tests.browser.bare_page import BarePage
from tests.browser.client_window import APP, BACK_SECONDS, ClientWindow, OpenClient
from tests.browser.conftest import launch
from tests.browser.proxies import Proxy
from tests.servers import ROOT, Serve, Server, comes_true
from tests.test_readme import blocks

pytestmark = [pytest.mark.browser, pytest.mark.timeout(90)]

NPM: Final = Path(__file__).with_name("npm") / "node_modules"
PAGE: Final = '<!doctype html><div id="root"></div><script src="bundle.js"></script>'
# Shows the component of the documentation as React's strict mode does: everything twice.
MAIN: Final = """
import * as React from "react";
import {createRoot} from "react-dom/client";
import {Room} from "./Room.jsx";

const root = createRoot(document.getElementById("root"));
window.show = (...rooms) => {
  const shown = rooms.map((id, place) => <Room key={place} id={id} nick="Ann"/>);
  root.render(<React.StrictMode>{shown}</React.StrictMode>);
};
show(1);
"""
COUNT_TICKS: Final = "() => { window.ticks = 0; setInterval(() => { ticks += 1; }, 20); }"


@pytest.fixture
def bare_page(browser: Browser) -> Iterator[BarePage]:
    page = BarePage(browser)
    yield page
    page.close()


@pytest.mark.parametrize("transport", ["websocket", "sse"])
@pytest.mark.parametrize("is_cut", [False, True], ids=["connected", "cut meanwhile"])
def test_a_frozen_page_misses_nothing(
    bare_page: BarePage,
    client_proxy: Proxy,
    lasting_client_server: Server,
    is_cut: bool,
    transport: str,
) -> None:
    room = f"/room/frozen-{is_cut}-{transport}"
    window = ClientWindow(cast(Page, bare_page), client_proxy.url, lasting_client_server)
    window.enter_anew(room, transports=[transport])
    window.tell(room, "before")
    window.wait_said(["before"])
    texts = [f"number {number}" for number in range(10)]
    bare_page.evaluate(COUNT_TICKS)
    with bare_page.frozen():
        ticks = bare_page.evaluate("ticks")
        if is_cut:
            client_proxy.set_network("cut")
        window.tell(room, *texts)
        if is_cut:
            client_proxy.set_network("up")
        assert bare_page.evaluate("[ticks, frozen, heard.said]") == [ticks, 1, ["before"]]
    window.wait_said(["before", *texts])
    assert all(each["recovered"] for each in window.heard("rejoined"))
    assert window.state == "open"


@pytest.mark.parametrize("transport", ["websocket", "sse"])
def test_a_hidden_page_comes_back_after_a_loss(
    bare_page: BarePage, client_proxy: Proxy, lasting_client_server: Server, transport: str
) -> None:
    room = f"/room/hidden-{transport}"
    window = ClientWindow(cast(Page, bare_page), client_proxy.url, lasting_client_server)
    window.enter_anew(room, transports=[transport])
    with bare_page.frozen():
        pass  # it stays hidden
    window.wait_open(transport)
    assert bare_page.evaluate("document.visibilityState") == "hidden"
    before = len(window.heard("rejoined"))
    client_proxy.set_network("cut")
    window.wait("heard.status.at(-1).state !== 'open'")
    window.tell(room, "missed")
    client_proxy.set_network("up")
    window.wait(f"heard.rejoined.length > {before}", BACK_SECONDS)
    window.wait_said(["missed"])
    assert bare_page.evaluate("document.visibilityState") == "hidden"


def test_two_tabs_are_two_members_of_one_user(open_client: OpenClient) -> None:
    first = open_client()
    second = open_client(beside=first)
    for window in (first, second):
        window.enter_anew("/room/tabs", "Ann")
    first.wait("heard.people.at(-1)?.all.length === 2")
    assert first.call("say", {"text": "one"}) == {"number": 1}
    assert second.call("say", {"text": "two"}) == {"number": 2}
    for window in (first, second):
        window.wait_said(["one", "two"])
    second.page.close()
    first.wait("heard.people.at(-1)?.all.length === 1")
    assert first.heard("people")[-1]["leaves"] == ["Ann fine"]
    assert first.state == "open"


@pytest.fixture
def keeping_browser(browser: Browser) -> Iterator[Browser]:
    """A Chromium that keeps pages for its back button, which Playwright turns off by default."""
    chromium = launch(browser.browser_type, "--disable-back-forward-cache")
    yield chromium
    chromium.close()


@pytest.mark.parametrize("transport", ["websocket", "sse"])
def test_a_page_that_comes_back_by_the_back_button_misses_nothing(
    keeping_browser: Browser, lasting_client_server: Server, transport: str
) -> None:
    server = lasting_client_server
    room = f"/room/back-{transport}"
    window = ClientWindow(keeping_browser.new_page(), server.http_url, server)
    window.enter_anew(room, f"Bea-{transport}", transports=[transport])
    window.tell(room, "before")
    window.wait_said(["before"])
    window.page.evaluate(
        "addEventListener('pageshow', (event) => { window.kept = event.persisted; })"
    )
    before = window.at_the_server()["connections"]
    window.page.goto(f"{server.http_url}/state")
    # What lies in the cache holds no connection.
    assert comes_true(lambda: window.at_the_server()["connections"] == before - 1, 5)
    window.tell(room, "missed", "missed, too")
    window.page.go_back(wait_until="commit")
    assert window.page.evaluate("window.kept")
    window.wait_said(["before", "missed", "missed, too"])
    assert window.page.evaluate("heard.rejoined.map(({recovered}) => recovered)") == [True]
    assert window.errors == []


@pytest.fixture(scope="session")
def esbuild() -> Path:
    """Return the bundler."""
    found = NPM / ".bin" / "esbuild"
    if not found.exists() or shutil.which("node") is None:
        pytest.fail("React and esbuild are not installed: run `nox -s browser`", pytrace=False)
    return found


def bundle(esbuild: Path, folder: Path) -> None:
    """Bundle `main.jsx` with the client, which stands where npm would install it."""
    main(["client", "--to", str(folder / "node_modules" / "pondsocket")])
    done = subprocess.run(
        [
            esbuild, "main.jsx", "--bundle", "--outfile=bundle.js", "--log-level=warning",
            '--define:process.env.NODE_ENV="development"',
        ],
        cwd=folder, env={**os.environ, "NODE_PATH": str(NPM)}, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_in_reacts_strict_mode_there_is_one_connection_and_one_join(
    browser: Browser, serve: Serve, tmp_path: Path, esbuild: Path
) -> None:
    ((_, component),) = blocks((ROOT / "docs" / "browser.md").read_text(), "jsx")
    for name, text in [("Room.jsx", component), ("main.jsx", MAIN), ("index.html", PAGE)]:
        (tmp_path / name).write_text(text)
    bundle(esbuild, tmp_path)
    server = serve(APP, env={"POND_BUNDLE": str(tmp_path)})
    window = ClientWindow(browser.new_page(), server.http_url, server)
    page = window.page
    page.goto(f"{server.http_url}/bundled/index.html")
    expect(page.locator("p")).to_have_text("open, joined, 1 here")
    page.get_by_role("button").click()
    expect(page.locator("li")).to_have_text(["hi"])
    found = window.at_the_server()
    assert (len(found["asked"]), found["connections"]) == (1, 1)
    assert (found["joins"], found["leaves"]) == ({"/chat/1": 1}, {})

    # A second component of the channel is no second member, and the first may go.
    page.evaluate("show(1, 1)")
    page.get_by_role("button").first.click()
    expect(page.locator("li")).to_have_text(["hi", "hi", "hi"])
    page.evaluate("show(1)")
    expect(page.locator("p")).to_have_text("open, joined, 1 here")
    assert window.at_the_server()["joins"] == {"/chat/1": 1}

    # Another channel in its place: the first is left.
    page.evaluate("show(2)")
    expect(page.locator("p")).to_have_text("open, joined, 1 here")
    assert comes_true(lambda: window.at_the_server()["leaves"] == {"/chat/1": 1}, 5)
    assert window.at_the_server()["joins"] == {"/chat/1": 1, "/chat/2": 1}
    page.evaluate("show()")
    assert comes_true(lambda: len(window.at_the_server()["leaves"]) == 2, 5)

    # Mounted twice while the connection is open.
    page.evaluate("show(3)")
    expect(page.locator("p")).to_have_text("open, joined, 1 here")
    found = window.at_the_server()
    assert found["joins"] == {"/chat/1": 1, "/chat/2": 1, "/chat/3": 1}
    assert found["leaves"] == {"/chat/1": 1, "/chat/2": 1}
    assert (len(found["asked"]), found["connections"]) == (1, 1)
    assert window.errors == []
    page.close()


def test_the_browsers_that_the_documentation_names_can_parse_it(esbuild: Path) -> None:
    page = (ROOT / "docs" / "browser.md").read_text()
    named = re.search(
        r"Chrome and Edge from (\S+), Firefox from (\S+), Safari from (\S+)\.\s", page
    )
    assert named
    chrome, firefox, safari = named.groups()

    def written_for(target: str) -> str:
        """Return the module without comments, and without syntax that is too new."""
        command = [str(esbuild), f"--target={target}"]
        return subprocess.run(
            command, input=read_file(MODULE).decode(), capture_output=True, text=True, check=True
        ).stdout

    plain = written_for("esnext")
    assert written_for(f"chrome{chrome},edge{chrome},firefox{firefox},safari{safari}") == plain
    assert written_for("es2019") != plain
