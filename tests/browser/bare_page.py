"""A page that the browser may freeze.

Playwright makes every page of its own believe that it has the focus, and such a page is never
hidden. So this one is opened behind its back.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from playwright.sync_api import Browser

from tests.servers import comes_true

SECONDS: Final = 10.0


class BarePage:
    """A page, with the few methods of Playwright's that the tests of the client use."""

    def __init__(self, browser: Browser) -> None:
        # What the browser says arrives while Playwright waits for something.
        self._waiting = browser.new_context().new_page()
        self._session = browser.new_browser_cdp_session()
        self._session.on("Target.receivedMessageFromTarget", self._take)
        self._answers: dict[int, Any] = {}
        self._count = 0
        target = self._session.send("Target.createTarget", {"url": "about:blank"})
        self._target = {"targetId": target["targetId"]}
        attached = self._session.send("Target.attachToTarget", {**self._target, "flatten": False})
        self._name: str = attached["sessionId"]

    def on(self, event: str, handler: object) -> None:
        """Ignore what Playwright would tell of errors."""

    def goto(self, url: str) -> None:
        self._send("Page.navigate", url=url)

    def evaluate(self, expression: str, arg: object = None) -> Any:
        """Return the value of an expression, or what a function returns."""
        code = (
            f"(async (it) => typeof it === 'function' ? it({json.dumps(arg)}) : it)({expression})"
        )
        answer = self._send(
            "Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for_function(
        self, expression: str, arg: object = None, timeout: float = 10_000
    ) -> None:
        assert comes_true(lambda: bool(self.evaluate(expression, arg)), timeout / 1_000), expression

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Freeze it for a while, as the browser does with a tab in the background."""
        self._send("Page.setWebLifecycleState", state="frozen")
        yield
        self._send("Page.setWebLifecycleState", state="active")

    def close(self) -> None:
        self._session.send("Target.closeTarget", self._target)
        self._session.detach()
        self._waiting.context.close()

    def _send(self, method: str, **params: object) -> Any:
        self._count += 1
        number = self._count
        message = json.dumps({"id": number, "method": method, "params": params})
        self._session.send(
            "Target.sendMessageToTarget", {"sessionId": self._name, "message": message}
        )

        def is_answered() -> bool:
            self._waiting.wait_for_timeout(5)
            return number in self._answers

        assert comes_true(is_answered, SECONDS), method
        return self._answers.pop(number)

    def _take(self, event: Any) -> None:
        message = json.loads(event["message"])
        if event["sessionId"] == self._name and "id" in message:
            self._answers[message["id"]] = message.get("result", message)
