"""Runs the shared scenarios against the client in Python; `README.md` says what they are."""

import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup
from pondsocket_asgi.client import PondClientError, Room
from pondsocket_asgi.client._machine.errors import Ended, Refused
from pondsocket_asgi.client._room import Sender
from pondsocket_asgi.client._transports import Received
from pondsocket_asgi.testing import JumpingLoop

from tests.clients.fakes import FakeLink, ScenarioClient, request_ids

FOLDER: Final = Path(__file__).parent / "scenarios"
# More turns than any chain of tasks here needs.
TURNS: Final = 60
# Timers at the very end of a step belong to it, and a span is never shorter for rounding.
ROUNDING_SECONDS: Final = 1e-7

OWN_ERRORS: Final = {"LOST", "UNSENT", "LEFT", "CLOSED", "EVICTED"}
NEVER_UNNAMED: Final = ("since", "confirm", "payload")


@dataclass(frozen=True)
class Scenario:
    """One scenario over one transport."""

    rule: str
    over: str
    definition: dict[str, Any] = field(repr=False)

    def __str__(self) -> str:
        return f"{self.rule}: {self.definition['name']} ({self.over})"


def all_scenarios(client: str = "py") -> list[Scenario]:
    """Read those for a client."""
    found: list[Scenario] = []
    for path in sorted(FOLDER.glob("*.json")):
        file = json.loads(path.read_text())
        for definition in file["scenarios"]:
            if client in definition.get("clients", (client,)):
                overs = definition.get("over", ("websocket", "sse"))
                found += [Scenario(file["rule"], over, definition) for over in overs]
    return found


class Runner:
    """Runs one scenario."""

    def __init__(self, scenario: Scenario, tasks: TaskGroup) -> None:
        definition = scenario.definition
        self._tasks = tasks
        self._steps: list[dict[str, Any]] = definition["steps"]
        self._known: dict[str, Any] = {}
        self._done: dict[str, Any] = {}
        self._scopes: dict[str, anyio.CancelScope] = {}
        self._rooms: dict[str, Room] = {}
        self._seen_attempts = 0
        self._has_begun = False
        options = definition.get("options", {})
        self._tokens = iter(options.get("tokens", ()))
        self.client = ScenarioClient(
            definition.get("random", 0.5),
            params=options.get("params"),
            token=self._token if "tokens" in options else None,
            transports=["sse"] if scenario.over == "sse" else ["websocket", "sse"],
        )

    async def run(self) -> None:
        """Go through the steps."""
        self._until = anyio.current_time()
        try:
            for place, step in enumerate(self._steps, 1):
                await self._cause(step)
                await self._settle()
                if "given" not in step:
                    try:
                        self._compare(step.get("expect", {}))
                    except AssertionError as error:
                        raise AssertionError(f"step {place}, {_short(step)}: {error}") from error
                self._forget()
        finally:
            for scope in self._scopes.values():
                scope.cancel()
            if self._has_begun:
                await self.client.__aexit__(None, None, None)
            assert not self.client.transports.open_links

    # --- causes -----------------------------------------------------------------------------

    async def _cause(self, step: dict[str, Any]) -> None:
        if "do" in step:
            for each in step["do"] if isinstance(step["do"], list) else [step]:
                await self._do(each)
        elif "server" in step:
            self._server(step["server"], step.get("on"))
        elif "clock" in step:
            self._until += step["clock"] / 1000 + ROUNDING_SECONDS
            await anyio.sleep_until(self._until)
        elif "sleep" in step:
            self._until += step["sleep"] / 1000 + ROUNDING_SECONDS
            _jump(step["sleep"] / 1000 + ROUNDING_SECONDS)
        elif "given" in step:
            await self._given(step)
        else:
            assert "expect" in step, f"unknown step {step}"

    async def _begin(self) -> None:
        if not self._has_begun:
            self._has_begun = True
            await self.client.__aenter__()

    async def _do(self, step: dict[str, Any]) -> None:
        client, channel = self.client, step.get("channel", "")
        queue = step.get("queue", True)
        payload = step.get("payload", {})
        timeout = step.get("timeout", 10_000) / 1000
        if step["do"] not in ("abort", "close"):
            if self._has_begun and step["do"] == "connect":
                client.connect()
            await self._begin()
        call: Callable[[], Awaitable[Any]]
        match step["do"]:
            case "connect":
                return
            case "close":
                await client.close()
                return
            case "abort":
                self._scopes[step["as"]].cancel()
                return
            case "join":
                params = step.get("params", {})
                call = partial(self._join, channel, params, timeout)
            case "leave":
                call = partial(self._leave, channel)
            case "call":
                sender = self._sender(channel)
                call = partial(sender.call, step["event"], payload, timeout=timeout, queue=queue)
            case "send":
                sender = self._sender(channel)
                call = partial(sender.send, step["event"], payload, queue=queue)
            case unknown:
                raise AssertionError(f"unknown {unknown}")
        name = step.get("as", f"unnamed-{len(self._scopes)}")
        scope = self._scopes[name] = anyio.CancelScope()
        self._tasks.start_soon(self._call, name, scope, call)
        await self._settle()

    def _sender(self, channel: str) -> Sender:
        # A room needs a join, and the scenarios know what happens without one.
        return self.client.sender(channel) if channel else self.client

    async def _join(self, channel: str, params: dict[str, Any], timeout: float) -> Any:
        room = await self.client.join(channel, params, presence=True, timeout=timeout)
        return room.response

    async def _leave(self, channel: str) -> None:
        try:
            room = self.client.room(channel)
        except KeyError:
            return  # it has ended already
        await room.leave()

    async def _call(
        self, name: str, scope: anyio.CancelScope, call: Callable[[], Awaitable[Any]]
    ) -> None:
        outcome: dict[str, Any] = {"error": "aborted"}
        with scope:
            try:
                outcome = {"ok": await call()}
            except PondClientError as error:
                is_own = error.error in OWN_ERRORS and not error.code
                outcome = {"error": error.error.lower() if is_own else error.code}
            except TimeoutError:
                outcome = {"error": "timeout"}
        if not name.startswith("unnamed-"):
            self._done[name] = outcome

    def _token(self, reason: str) -> str | None:
        token = next(self._tokens, "none left")
        assert token != "none left", "asked for a token once too often"
        if isinstance(token, dict):
            raise RuntimeError(token["error"])
        return None if token is None else str(token)

    def _server(self, what: Any, on: int | None = None) -> None:
        links = self.client.transports.links
        assert links, "nothing was tried"
        link = links[-1] if on is None else links[on - 1]
        match what:
            case "open":
                link.say(None)
            case "connect":
                link.say(None)
                payload = {"id": "ann", "connectionId": f"secret-{link.number}"}
                self._say(link, _message("CONNECT", "CONNECTION", payload))
            case "comment" if link.name == "sse":
                link.say([])
            case "comment":
                self._say(link, _message("SYSTEM", "PONG", {}))
            case "cut":
                link.say(Ended(1006 if link.name == "websocket" else 0, ""))
            case "swallow":
                link.is_swallowing = True
            case "unreachable" | "block":
                link.say(Ended(0, ""))
            case {"message": message}:
                self._say(link, message)
            case {"messages": messages}:
                self._say(link, *messages)
            case {"goodbye": goodbye}:
                defaults: dict[str, Any] = {"reason": "", "reconnect": True, "afterMs": 0}
                payload = {**defaults, **goodbye}
                goodbye = _message("SYSTEM", "GOODBYE", payload)
                self._say(link, goodbye, retry_ms=what.get("retry"))
            case {"close": code}:
                link.say(Ended(code if link.name == "websocket" else 0, ""))
            case {"refuse": refusal}:
                link.say(
                    Refused(
                        refusal["status"],
                        refusal.get("message", ""),
                        retry_after=refusal.get("retryAfter"),
                    )
                )
            case {"posts": posts}:
                link.posts = posts
            case unknown:
                raise AssertionError(f"unknown {unknown}")

    def _say(self, link: FakeLink, *messages: dict[str, Any], retry_ms: int | None = None) -> None:
        received = []
        for message in messages:
            whole = {"requestId": next(request_ids), "payload": {}, **message}
            whole.setdefault("channelName", "GATEWAY")
            text = json.dumps({key: self._filled(each) for key, each in whole.items()})
            received.append(Received(text, retry_ms))
        if link.name == "sse":
            link.say(received)
        else:
            for each in received:
                link.say([each])

    def _filled(self, value: Any) -> Any:
        return self._known[value] if isinstance(value, str) and value.startswith("$") else value

    async def _given(self, step: dict[str, Any]) -> None:
        if not self.client.machine.connection.is_open:
            await self._begin()
            await self._settle()
            self._server("connect")
            await self._settle()
        if step["given"] == "joined":
            await self._do({"do": "join", "channel": step["channel"]})
            link = self.client.transports.links[-1]
            answer = {"channelName": step["channel"], "requestId": link.sent[-1]["requestId"]}
            payload = step.get("ack", {})
            self._say(link, {**_message("SYSTEM", "ACKNOWLEDGE", payload), **answer})

    async def _settle(self) -> None:
        for _ in range(TURNS):
            await anyio.lowlevel.checkpoint()

    # --- what is expected -------------------------------------------------------------------

    def _compare(self, expected: dict[str, Any]) -> None:
        transports = self.client.transports
        attempts = transports.links[self._seen_attempts :]
        self._equal("attempts", expected.get("attempts", []), [_attempt(each) for each in attempts])
        sent = [message for link in transports.links for message in link.sent]
        self._equal("sent", expected.get("sent", []), sent)
        for wanted, message in zip(expected.get("sent", []), sent, strict=True):
            unnamed = [key for key in NEVER_UNNAMED if message.get(key) and key not in wanted]
            assert not unnamed, f"sent with {unnamed}: {message}"
        heard = expected.get("heard", [])
        self._equal("heard", heard, self.client.heard)
        for wanted, told in zip(heard, self.client.heard, strict=True):
            if wanted["is"] == "presence":
                wanted = {key: each for key, each in wanted.items() if each != []}
                assert wanted == told, f"heard {told}, not {wanted}"
            assert wanted.get("channel") == told.get("channel"), f"heard {told}"
        done = expected.get("done", {})
        assert self._fits(done, self._done, is_exact=True), f"done {self._done}, not {done}"
        if "status" in expected:
            self._equal("status", expected["status"], self._status())
        if "letGo" in expected:
            assert sorted(transports.let_go) == expected["letGo"], f"let go {transports.let_go}"
        for name, wanted in expected.get("rooms", {}).items():
            self._compare_room(name, wanted)
        unknown = expected.keys() - {
            *("attempts", "sent", "heard", "done", "status", "letGo", "rooms")
        }
        assert not unknown, f"unknown {unknown}"

    def _compare_room(self, name: str, wanted: dict[str, Any]) -> None:
        channel = self.client.machine.memberships.channels.get(name)
        state = self.client.machine.memberships.state_of(name).value
        people = [] if channel is None else sorted(channel.people)
        if channel is None and name in self.client.ended:
            ended = self.client.ended[name]
            state, people = ended.state.value, sorted(ended.presence)
        assert wanted.get("state", state) == state, f"{name} is {state}"
        assert sorted(wanted.get("people", people)) == people, f"in {name} are {people}"

    def _status(self) -> dict[str, Any]:
        status = self.client.status
        waits = None
        if status.until is not None:
            waits = round((status.until - anyio.current_time()) * 1000)
        return {
            "state": status.state.value,
            "transport": status.transport,
            "code": status.code,
            "reason": status.reason,
            "waits": waits,
        }

    def _equal(self, what: str, expected: Any, found: Any) -> None:
        assert self._fits(expected, found), f"{what}: {found}\nnot {expected}"

    def _fits(self, expected: Any, found: Any, *, is_exact: bool = False) -> bool:
        if isinstance(expected, str) and expected.startswith("$"):
            return bool(self._known.setdefault(expected, found) == found)
        if isinstance(expected, dict) and isinstance(found, dict):
            if is_exact and expected.keys() != found.keys():
                return False
            return all(
                key in found and self._fits(each, found[key], is_exact=is_exact or key == "payload")
                for key, each in expected.items()
                if each is not None or found.get(key) is not None
            )
        if isinstance(expected, list) and isinstance(found, list):
            return len(expected) == len(found) and all(
                self._fits(each, other, is_exact=is_exact)
                for each, other in zip(expected, found, strict=True)
            )
        return bool(expected == found and isinstance(expected, bool) == isinstance(found, bool))

    def _forget(self) -> None:
        self._seen_attempts = len(self.client.transports.links)
        for link in self.client.transports.links:
            link.sent.clear()
        self.client.heard.clear()
        self._done.clear()


def _attempt(link: FakeLink) -> dict[str, Any]:
    return {"to": link.name, "query": dict(link.target.params), "token": link.target.token}


def _message(action: str, event: str, payload: object) -> dict[str, Any]:
    return {"action": action, "event": event, "channelName": "GATEWAY", "payload": payload}


def _short(step: dict[str, Any]) -> str:
    return json.dumps({key: each for key, each in step.items() if key != "expect"})[:200]


def _jump(seconds: float) -> None:
    """Let time pass in which no timer runs."""
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        trio.lowlevel.current_clock().jump(seconds)
        return
    loop = sys.modules["asyncio"].get_running_loop()
    assert isinstance(loop, JumpingLoop)
    loop.jump(seconds)


async def run_scenario(scenario: Scenario) -> None:
    """Run one.

    Raises:
        AssertionError: The client has done something else.
    """
    try:
        async with anyio.create_task_group() as tasks:
            await Runner(scenario, tasks).run()
    except BaseExceptionGroup as group:
        if len(group.exceptions) != 1:
            raise
        raise group.exceptions[0] from None
