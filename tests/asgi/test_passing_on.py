"""What is read from the source of a function that wraps `send`."""

import functools
import linecache
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any, Final, TypeAlias

import pytest
from pondsocket_asgi._sending.passing_on import passes_on

Make: TypeAlias = Callable[[str], FunctionType]
PIECE: Final = {"type": "http.response.body", "more_body": True}
START: Final = '"http.response.start"'


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Make a wrapper of these lines, with a closure, in a file of its own."""

    def made(body: str, argument: str = "message") -> FunctionType:
        lines = "\n".join(f"        {line}" for line in body.splitlines())
        source = (
            "BODY = 'http.response.body'\n"
            "NUMBER = 3\n"
            "def wrap(send, flag, log):\n"
            f"    count = 0\n    async def wrapper({argument}):\n{lines}\n    return wrapper\n"
        )
        file = tmp_path / f"{len(list(tmp_path.iterdir()))}.py"
        file.write_text(source)
        space: dict[str, Any] = {"__name__": "made"}
        exec(compile(source, file, "exec"), space)  # noqa: S102
        function = space["wrap"](print, True, [])
        assert isinstance(function, FunctionType)
        return function

    return made


PASSING: Final = (
    "await send(message)",
    "return await send(message)",
    '"""Say what it is."""\npass\nawait send(message)\nreturn',
    f'if message["type"] == {START}:\n    log.append(1)\nawait send(message)',
    f'if message["type"] != {START}:\n    await send(message)\n    return\nlog.append(1)',
    f'if message.get("type") == {START}:\n    log.append(1)\nelse:\n    await send(message)',
    (f'kind = message["type"]\nif kind in ("websocket.accept", {START}):\n    log.append(1)\n'
    "await send(message)"),
    f'if flag is None and message["type"] == {START}:\n    log.append(1)\nawait send(message)',
    f'if message["type"] == {START} and (found := log.pop()):\n    pass\nawait send(message)',
    f'nonlocal count\nif message["type"] == {START}:\n    count = 1\nawait send(message)',
    'if message["type"] == BODY:\n    await send(message)\nelse:\n    log.append(1)',
    'if not message["type"] == BODY or flag:\n    pass\nawait send(message)',
    ('await send(message)\nif message["type"] == BODY and not message.get("more_body"):\n'
    "    log.append(1)"),
    (f'if flag is not None:\n    is_start = message["type"] == {START} and "status" in message\n'
    "    if is_start:\n        log.append(1)\nawait send(message)"),
    'if message["type"] not in (BODY, "x") and flag:\n    log.append(1)\nawait send(message)',
)  # fmt: skip
OTHERS: Final = (
    "pass",
    "log.append(1)\nawait send(message)",
    "await send(message)\nawait send(message)",
    "await send(dict(message))",
    "await send(message, 1)",
    "await send(message=message)",
    "await log.send(message)",
    "send(message)",
    "nonlocal count\ncount = 1\nawait send(message)",
    "nonlocal count\ncount += 1\nawait send(message)",
    'message["x"] = 1\nawait send(message)',
    "message = {}\nawait send(message)",
    "if flag:\n    await send(message)",
    "if flag:\n    return\nawait send(message)",
    "if flag:\n    log.append(1)\nawait send(message)",
    f'if message["type"] == {START}:\n    await send(message)',
    f'if message["type"] != {START}:\n    log.append(1)\nawait send(message)',
    'if message["type"].startswith("http"):\n    pass\nawait send(message)',
    f'if log.pop() and message["type"] == {START}:\n    pass\nawait send(message)',
    f'if flag or message["type"] == {START}:\n    log.append(1)\nawait send(message)',
    'if message["other"] == 1:\n    log.append(1)\nawait send(message)',
    'if NUMBER == 3:\n    await send(message)',
    'if message["type"] is BODY:\n    await send(message)',
    ('kind = message["type"]\nif flag:\n    kind = "x"\nif kind == "x":\n    log.append(1)\n'
    "await send(message)"),
    "try:\n    await send(message)\nfinally:\n    log.append(1)",
    "for each in log:\n    await each(message)\nawait send(message)",
    "async with log:\n    await send(message)",
    "send = log\nawait send(message)",
    # The start is held back until the first piece.
    "if not flag:\n    await send(log)\nawait send(message)",
    "x = y = 1\nawait send(message)",
    'if (1 < 2 < 3) is True:\n    pass\nawait send(message)',
)  # fmt: skip


@pytest.mark.parametrize("body", PASSING)
def test_a_message_that_is_passed_on_as_it_is(make: Make, body: str) -> None:
    assert passes_on(make(body), PIECE, "send", {})


@pytest.mark.parametrize("body", OTHERS)
def test_anything_else_is_not_trusted(make: Make, body: str) -> None:
    assert not passes_on(make(body), PIECE, "send", {})


def test_what_is_known_is_taken_into_account(make: Make) -> None:
    function = make("if self.off or flag:\n    await self.send(message)\nelse:\n    log.pop()")
    assert not passes_on(function, PIECE, "self.send", {})
    assert passes_on(function, PIECE, "self.send", {"self.off": True})
    assert not passes_on(function, PIECE, "self.send", {"self.off": False})
    assert not passes_on(function, PIECE, "send", {"self.off": True})


def test_the_message_is_the_first_argument(tmp_path: Path) -> None:
    file = tmp_path / "made.py"
    source = (
        "class Sender:\n"
        "    async def whole(self, message, send): await send(message)\n"
        "    async def other(self, message, send): await send(self)\n"
        "    async def none(self): await send(message)\n"
        "    def plain(self, message, send): return send(message)\n"
    )
    file.write_text(source)
    space: dict[str, Any] = {"__name__": "made"}
    exec(compile(source, file, "exec"), space)  # noqa: S102
    sender = space["Sender"]
    assert passes_on(sender.whole, PIECE, "send", {})
    for each in (sender.other, sender.none, sender.plain):
        assert not passes_on(each, PIECE, "send", {})


def test_a_decorated_function_is_read_as_it_is_written(tmp_path: Path) -> None:
    file = tmp_path / "made.py"
    source = (
        "import functools\n"
        "def wrap(send):\n"
        "    @functools.wraps(send)\n"
        "    async def wrapper(message):\n"
        "        await send(message)\n"
        "    return wrapper\n"
    )
    file.write_text(source)
    space: dict[str, Any] = {"__name__": "made"}
    exec(compile(source, file, "exec"), space)  # noqa: S102
    assert passes_on(space["wrap"](functools.partial), PIECE, "send", {})


def test_a_function_whose_source_is_not_there_or_another_is_not_trusted(
    make: Make, tmp_path: Path
) -> None:
    function = make("await send(message)")
    assert passes_on(function, PIECE, "send", {})
    file = Path(function.__code__.co_filename)
    for text in (file.read_text().replace("send(message)", "(send)(message)"), "not Python", "\0"):
        file.write_text(text)
        linecache.checkcache(str(file))
        assert not passes_on(function, PIECE, "send", {})
    file.unlink()
    linecache.checkcache(str(file))
    assert not passes_on(function, PIECE, "send", {})
