"""A network that goes away, and what is said meanwhile."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import expect

from tests.browser.chat_window import Window
from tests.browser.proxies import Network, Proxy


@contextmanager
def cut_off(window: Window, proxy: Proxy, network: Network = "cut") -> Iterator[None]:
    """Yield a network that goes away and comes back, and a browser that knows of it.

    What the browser's own switch leaves alone are connections that are open already.
    """
    window.page.context.set_offline(True)
    proxy.set_network(network)
    yield
    proxy.set_network("up")
    window.page.context.set_offline(False)


def talk(window: Window, seconds: float) -> list[str]:
    """Write one message after the other in a window, for so many seconds; return their texts."""
    said: list[str] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end or not said:
        said.append(f"number {len(said)}")
        window.say(said[-1])
        expect(window.bubble(said[-1])).to_have_count(1)
        window.page.wait_for_timeout(200)
    return said
