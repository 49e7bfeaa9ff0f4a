"""Each mistake of docs/errors.md: what clients see, what the log says, what to write."""

import gc
import logging
import re
import warnings
from collections.abc import Sequence

import anyio
import pytest
from pondsocket import ConnectionContext, JoinContext, PondSocket, ServerMessage, UsageError
from pondsocket._log import FIELDS
from pondsocket.testing import ConnectionRefused, connect, settle
from pondsocket_asgi.testing import virtual_backend

from tests.core.mistakes import KINDS, MISTAKES, PAGE, Mistake, Scene, updated

ROOM = "/chat/1"
# What hangs takes as long as it would anywhere.
in_virtual_time = pytest.mark.parametrize(
    "anyio_backend",
    [virtual_backend(name) for name in ("asyncio", "trio")],
    ids=("asyncio", "trio"),
)


def of_kind(kind: str, *, hangs: bool = False) -> Sequence[object]:
    found = [each for each in MISTAKES if each.kind == kind and each.hangs is hangs]
    return [pytest.param(each, id=each.what) for each in found]


async def admit(ctx: ConnectionContext) -> None:
    ctx.accept(user_id="ann")


async def let_in(ctx: JoinContext) -> None:
    await ctx.accept()


def make_scene(mistake: Mistake | None = None) -> Scene:
    pond = PondSocket()
    kind = None if mistake is None else mistake.kind
    handler = None if mistake is None else mistake.attempt
    decide = handler if kind == "connect" else admit
    enter = handler if kind == "join" else let_in
    socket = pond.create_endpoint("/socket", decide)  # type: ignore[arg-type]
    return Scene(pond, socket, socket.create_channel("/chat/:room_id", enter))  # type: ignore[arg-type]


def check_log(mistake: Mistake, caplog: pytest.LogCaptureFixture) -> None:
    """Expect one line with all fields, at most one traceback, and what it is to say."""
    records = [each for each in caplog.records if each.name.startswith("pondsocket")]
    if not mistake.says:
        assert records == []
        return
    (record,) = [each for each in records if each.levelno >= logging.WARNING]
    said = logging.Formatter().format(record)
    assert mistake.says in said
    # Those of an exception group are inside of it.
    assert len(re.findall("^Traceback", said, re.MULTILINE)) <= 1
    assert all(getattr(record, field) for field in FIELDS)


@pytest.mark.parametrize("mistake", of_kind("import"))
def test_at_import(mistake: Mistake) -> None:
    with pytest.raises(UsageError) as raised:
        mistake.attempt(make_scene())
    assert mistake.says in str(raised.value)


@pytest.mark.parametrize("mistake", of_kind("call"))
async def test_from_outside(mistake: Mistake) -> None:
    with pytest.raises(UsageError) as raised:
        await mistake.attempt(make_scene())
    assert mistake.says in str(raised.value)


@pytest.mark.parametrize("mistake", of_kind("connect"))
async def test_in_connection_handlers(mistake: Mistake, caplog: pytest.LogCaptureFixture) -> None:
    await expect_in_connecting(mistake, caplog)


@in_virtual_time
@pytest.mark.parametrize("mistake", of_kind("connect", hangs=True))
async def test_a_connection_handler_that_hangs(
    mistake: Mistake, caplog: pytest.LogCaptureFixture
) -> None:
    await expect_in_connecting(mistake, caplog)


async def expect_in_connecting(mistake: Mistake, caplog: pytest.LogCaptureFixture) -> None:
    seen = "it is connected"
    try:
        async with connect(make_scene(mistake).pond, "/socket"):
            pass
    except ConnectionRefused as refused:
        seen = str(refused.code)
    assert seen == mistake.client
    check_log(mistake, caplog)


def answered(message: ServerMessage) -> str:
    event, payload = message.event, message.payload
    code = getattr(payload, "code", None)
    return str(event) if code is None else f"{event} {code}"


@pytest.mark.parametrize("mistake", of_kind("join"))
async def test_in_join_handlers(mistake: Mistake, caplog: pytest.LogCaptureFixture) -> None:
    await expect_in_joining(mistake, caplog)


@in_virtual_time
@pytest.mark.parametrize("mistake", of_kind("join", hangs=True))
async def test_a_join_handler_that_hangs(
    mistake: Mistake, caplog: pytest.LogCaptureFixture
) -> None:
    await expect_in_joining(mistake, caplog)


async def expect_in_joining(mistake: Mistake, caplog: pytest.LogCaptureFixture) -> None:
    async with connect(make_scene(mistake).pond, "/socket") as ann:
        assert answered(await ann.join(ROOM, wait=60)) == mistake.client
        await anyio.wait_all_tasks_blocked()
    check_log(mistake, caplog)


# What the table says in words, and what that is on the wire.
SEEN = {
    "the first": "go",
    "no reply": "go",
    "what it asked for does not happen": "go",
}


@pytest.mark.parametrize("mistake", of_kind("event"))
async def test_in_event_handlers(mistake: Mistake, caplog: pytest.LogCaptureFixture) -> None:
    scene = make_scene(mistake)
    if "HANDLER_NOT_FOUND" not in mistake.client:
        scene.chat.on_message("go", mistake.attempt)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        async with connect(scene.pond, "/socket") as ann:
            await ann.join(ROOM)
            request = ann.send("BROADCAST", ROOM, "go", confirm=True)
            seen = answered(await ann.answer(request))
            # The connection and the membership stay.
            assert (await ann.join(ROOM)).event == "ACKNOWLEDGE"
        gc.collect()
    assert seen == SEEN.get(mistake.client, mistake.client)
    if mistake.says == "was never awaited":
        assert [mistake.says in str(each.message) for each in warned] == [True]
    else:
        check_log(mistake, caplog)


@pytest.mark.parametrize("mistake", of_kind("later"))
async def test_later(mistake: Mistake, caplog: pytest.LogCaptureFixture) -> None:
    scene = make_scene()
    mistake.attempt(scene)
    async with connect(scene.pond, "/socket") as ann:
        await ann.join(ROOM)
        ann.drain()
        await scene.pond.channel("/socket", ROOM).broadcast("said", {})
        if mistake.client.startswith("INTERNAL"):
            seen = answered(await ann.answer(ann.send("BROADCAST", ROOM, "fails")))
            assert seen == mistake.client
            await settle(scene.pond)
            caplog.records[:] = [
                each for each in caplog.records if each.name != "pondsocket.events"
            ]
        await settle(scene.pond)
        if mistake.client.startswith("nothing") and "leave" not in mistake.what:
            assert ann.drain() == []
    check_log(mistake, caplog)


def test_the_page_has_the_tables_of_these_mistakes() -> None:
    page = PAGE.read_text()
    assert updated(page) == page, "Write them anew: python -m tests.core.mistakes"


def test_there_are_some_sixty_of_them_and_none_is_left_out() -> None:
    assert len(MISTAKES) >= 60
    assert {each.kind for each in MISTAKES} == set(KINDS)
    assert [each.kind for each in MISTAKES if each.hangs] == ["connect", "join"]
    assert len({(each.kind, each.what) for each in MISTAKES}) == len(MISTAKES)
    assert all(each.write for each in MISTAKES)
