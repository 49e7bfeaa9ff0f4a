"""A browser window with the chat in it: what a person sees and does."""

import re
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlencode

from playwright.sync_api import Browser, Locator, Page, expect

# The page waits up to 15 s between attempts when a server takes long to come back.
BACK_SECONDS: Final = 30.0
WORDS: Final = {"websocket": "WebSocket", "sse": "SSE"}
BLOCKED: Final = "WebSocket is blocked on this network: using Server-Sent Events"


class Window:
    """One page of the chat.

    Args:
        page: A page that shows the chat, or will.
        base: The server's address, without a final slash.
        room: Where `enter` goes unless told otherwise.
    """

    def __init__(self, page: Page, base: str, room: str) -> None:
        self.page = page
        self.base = base
        self.room = room
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def enter(self, name: str, via: str = "websocket", room: str | None = None) -> "Window":
        """Open a room by its address and wait until it is joined."""
        self.open(name=name, via=via, room=room or self.room)
        self.expect_here(via)
        return self

    def open(self, **query: str) -> None:
        self.page.goto(f"{self.base}/?{urlencode(query)}")

    @property
    def status(self) -> Locator:
        return self.page.get_by_role("status")

    @property
    def countdown(self) -> Locator:
        return self.page.locator("#countdown")

    @property
    def log(self) -> Locator:
        return self.page.get_by_role("log")

    @property
    def people(self) -> Locator:
        """The people's names; on a phone they are in a sheet, which may be closed."""
        here = self.page.get_by_role("list", name=re.compile("^Here now"), include_hidden=True)
        return here.get_by_role("listitem", include_hidden=True)

    @property
    def earlier(self) -> Locator:
        """What was said before this window came."""
        return self.page.get_by_role("list", name="Earlier in this room")

    @property
    def texts(self) -> Locator:
        """The texts of all messages in the log."""
        return self.log.locator(".text")

    @property
    def conversation(self) -> Locator:
        return self.page.get_by_role("region", name="Conversation")

    @property
    def drawer(self) -> Locator:
        return self.page.get_by_role("complementary", name="Connection")

    @property
    def plug(self) -> Locator:
        return self.drawer.get_by_role("switch", name="Plugged in")

    @property
    def frames(self) -> Locator:
        """The frames that went through the connection, in the drawer."""
        return self.drawer.get_by_role("region", name="Frames").get_by_role("listitem")

    @property
    def message_box(self) -> Locator:
        return self.page.get_by_label("Message", exact=True)

    def bubble(self, text: str) -> Locator:
        """Return a message in the log, by its whole text."""
        return self.log.get_by_text(text, exact=True)

    def say(self, text: str) -> None:
        self.message_box.fill(text)
        self.message_box.press("Enter")

    def switch(self, via: str) -> None:
        """Choose another transport and wait until the room is joined over it."""
        self.choose(via)
        self.expect_here(via)

    def open_drawer(self) -> None:
        if not self.drawer.is_visible():
            self.page.get_by_role("button", name="Connection").click()

    def is_at_the_form(self) -> bool:
        """Whether the form to join is shown, and not a room; waits until one of them is."""
        form = self.page.get_by_role("heading", name="Join the chat")
        expect(form.or_(self.page.get_by_role("button", name="Connection"))).to_be_visible()
        return form.is_visible()

    def choose(self, via: str) -> None:
        """Choose a transport, in the form to join or in the drawer."""
        if not self.is_at_the_form():
            self.open_drawer()
        self.page.get_by_role("group").get_by_text(WORDS[via], exact=True).click()

    def expect_here(self, via: str) -> None:
        words = f"Connected over {WORDS[via]}"
        expect(self.status).to_have_text(words, timeout=BACK_SECONDS * 1000)

    def expect_fallen_back(self) -> None:
        """Expect the page to have found by itself that WebSockets do not get through."""
        expect(self.status).to_have_text(BLOCKED, timeout=BACK_SECONDS * 1000)
        self.expect_chosen("sse")

    def expect_chosen(self, via: str) -> None:
        if not self.is_at_the_form():
            self.open_drawer()
        expect(self.page.get_by_role("radio", name=WORDS[via])).to_be_checked()

    def expect_people(self, *names: str, within: float = 10.0) -> None:
        lines = [re.compile(rf"^{re.escape(name)}$") for name in names]
        expect(self.people).to_have_text(lines, timeout=within * 1000)

    def expect_no_sideways_scroll(self) -> None:
        widths = self.page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert widths[0] <= widths[1]

    def keep_picture(self, folder: Path, name: str) -> None:
        self.page.screenshot(path=folder / f"{name}.png")


class OpenWindow(Protocol):
    """The type of the `open_window` fixture."""

    def __call__(
        self, *, width: int = 1000, height: int = 640, dark: bool = False, base: str | None = None
    ) -> Window: ...


def new_window(
    browser: Browser, base: str, room: str, *, width: int, height: int, dark: bool
) -> Window:
    """Open an empty window in a context of its own, as another person's browser would be."""
    context = browser.new_context(
        viewport={"width": width, "height": height},
        device_scale_factor=2,
        color_scheme="dark" if dark else "light",
        locale="en-GB",
    )
    context.set_default_timeout(10_000)
    return Window(context.new_page(), base, room)
