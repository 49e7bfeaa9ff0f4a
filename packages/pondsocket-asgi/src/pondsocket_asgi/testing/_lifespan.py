"""A test's lifespan."""

from typing import Any

from pondsocket_asgi._scope import Scope

from ._running import ASGIApp, RunningApp


class LifespanSession:
    """One lifespan of the app."""

    def __init__(self, app: ASGIApp, scope: Scope) -> None:
        self._answers: dict[str, dict[str, Any]] = {}
        self._running = RunningApp(app, scope, self._sent)

    def open(self) -> None:
        """Call the app."""
        self._running.start()

    def _sent(self, message: dict[str, Any]) -> None:
        self._answers[message["type"]] = message

    async def startup(self) -> dict[str, Any]:
        """Start the app. Return its answer, `lifespan.startup.complete`.

        Raises:
            RuntimeError: The app answered that its startup failed.
        """
        return await self._go_through("startup")

    async def shutdown(self) -> dict[str, Any]:
        """Shut the app down and wait for its end. Return its answer, `lifespan.shutdown.complete`.

        Raises:
            RuntimeError: The app answered that its shutdown failed.
        """
        answer = await self._go_through("shutdown")
        await self._running.finish()
        return answer

    async def _go_through(self, phase: str) -> dict[str, Any]:
        complete, failed = f"lifespan.{phase}.complete", f"lifespan.{phase}.failed"
        self._running.feed({"type": f"lifespan.{phase}"})
        await self._running.answered(
            lambda: self._answers.keys() & {complete, failed}, f"answer to lifespan.{phase}"
        )
        if failed in self._answers:
            await self._running.finish()
            reason = self._answers[failed].get("message", "")
            raise RuntimeError(f"The app's {phase} failed: {reason}")
        return self._answers[complete]
