"""A page with the client in it: what its script is told, and what it has heard."""

from collections.abc import Sequence
from typing import Any, Final, Protocol

import httpx
from playwright.sync_api import Page

from tests.servers import Server

APP: Final = "tests.browser.client_app:app"
# The longest wait of the client between two attempts while a page is visible, and a margin.
BACK_SECONDS: Final = 40.0


class ClientWindow:
    """A page of `client_app`.

    Args:
        page: An empty page.
        base: The address that it comes from: the server's, or that of a proxy in front.
        server: The server itself, which a test can talk to also while the page cannot.
    """

    def __init__(self, page: Page, base: str, server: Server) -> None:
        self.page = page
        self.base = base
        self.server = server
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def open(self, path: str = "/") -> "ClientWindow":
        """Load the page and wait for the module."""
        self.page.goto(self.base + path)
        self.page.wait_for_function("window.isReady")
        return self

    def start(self, query: dict[str, str] | None = None, **options: Any) -> "ClientWindow":
        self.page.evaluate("([query, options]) => start(query, options)", [query or {}, options])
        return self

    def enter(self, room: str, name: str = "Ann") -> Any:
        """Join a room; return what the join gave."""
        return self.page.evaluate("([room, name]) => enter(room, {name})", [room, name])

    def enter_anew(self, room: str, name: str = "Ann", **options: Any) -> "ClientWindow":
        """Load the page, connect and join."""
        self.open().start({"name": name}, **options).enter(room, name)
        return self

    def call(self, event: str, payload: dict[str, object]) -> Any:
        return self.page.evaluate(
            "([event, payload]) => room.call(event, payload)", [event, payload]
        )

    def heard(self, what: str) -> Any:
        return self.page.evaluate("(what) => heard[what]", what)

    @property
    def state(self) -> str:
        """The state of the connection."""
        return str(self.page.evaluate("heard.status.at(-1)?.state"))

    def wait(self, condition: str, seconds: float = 10.0) -> None:
        """Wait until an expression of JavaScript is true."""
        self.page.wait_for_function(condition, timeout=seconds * 1_000)

    def wait_open(self, over: str = "websocket", seconds: float = BACK_SECONDS) -> None:
        last = "heard.status.at(-1)"
        self.wait(f"{last}?.state === 'open' && {last}.transport === '{over}'", seconds)

    def wait_said(self, texts: Sequence[str], seconds: float = 10.0) -> None:
        """Wait for the last one; no other may have come, none twice, and in this order."""
        self.page.wait_for_function(
            "(text) => heard.said.includes(text)", arg=texts[-1], timeout=seconds * 1_000
        )
        assert self.heard("said") == list(texts)

    def tell(self, room: str, *texts: str) -> None:
        """Have another member say something."""
        for text in texts:
            self._post("tell", room=room, text=text)

    def disconnect(self, **query: str) -> None:
        """Have the application disconnect a user."""
        self._post("disconnect", **query)

    def _post(self, path: str, **query: str) -> None:
        httpx.post(f"{self.server.http_url}/{path}", params=query).raise_for_status()

    def at_the_server(self) -> Any:
        """Return how many connections there are, and all requests for one so far."""
        return httpx.get(f"{self.server.http_url}/state").json()


class OpenClient(Protocol):
    """The type of the `open_client` fixture."""

    def __call__(
        self, *, base: str | None = None, beside: ClientWindow | None = None
    ) -> ClientWindow: ...
