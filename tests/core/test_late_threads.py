"""Plain functions and other threads, in a channel whose history answers late."""

import threading
from typing import Any

import anyio
import anyio.to_thread
from pondsocket import SyncEventContext, SyncJoinContext

from tests.core.histories import heard, reconnect
from tests.core.late_store import build_late
from tests.core.members import members
from tests.core.ponds import ROOM


async def test_plain_handlers_wait_for_the_history_in_their_threads() -> None:
    def join(ctx: SyncJoinContext) -> None:
        ctx.accept()

    setup, store = build_late(join)
    found: list[Any] = []

    @setup.lobby.on_message("plain")
    def plain(ctx: SyncEventContext) -> None:
        ctx.broadcast("said", {"n": 1})
        ctx.broadcast_from("said", {"n": 2})
        found.extend(ctx.history() or ())
        ctx.reply("done")

    with anyio.fail_after(5):
        async with reconnect(setup) as ann:
            ann.send("JOIN_CHANNEL", ROOM, "join")
            await store.asked(reads=1)
            store.answer_all()
            await ann.receive_event("ACKNOWLEDGE")
            ann.send("BROADCAST", ROOM, "plain")
            for count in (1, 2):
                await store.asked(appends=count)
                store.answer_all()
            await store.asked(reads=2)
            store.answer_all()
            assert (await ann.receive()).payload == {"n": 1}
            assert (await ann.receive()).event == "done"
    assert [each.payload for each in found] == [{"n": 1}, {"n": 2}]


async def test_broadcast_nowait_of_a_thread_keeps_its_order() -> None:
    setup, store = build_late()
    store.reads_at_once = True
    handle = setup.pond.channel("/socket", ROOM)

    def speak() -> None:
        for number in (1, 2, 3):
            handle.broadcast_nowait("said", {"n": number})

    with anyio.fail_after(5):
        async with members(setup, "ann", "bob") as (ann, bob):
            thread = threading.Thread(target=speak)
            thread.start()
            await anyio.to_thread.run_sync(thread.join)
            await store.asked(appends=3)
            for append in store.appends:
                append.apply()
            for append in reversed(store.appends):
                append.answer()
            for peer in (ann, bob):
                got = [(await peer.receive()).payload for _ in range(3)]
                assert got == [{"n": 1}, {"n": 2}, {"n": 3}]
                assert heard(peer) == []
