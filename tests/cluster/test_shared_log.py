"""A node's copy of the end of a history that the engine keeps."""

import inspect
from typing import Any

import pytest
from pondsocket import History, Position
from pondsocket._cluster.shared_log import SharedHistory, SharedLog, copy_of, keep_of
from pondsocket._history.slice import Audience, HistorySlice
from pondsocket._replica.envelope import Envelope, pack
from pondsocket.backplane import Entry, Slice

OPTIONS = History(size=5)


def entry(offset: int, *, spared: str = "", audience: Audience | None = None) -> Entry:
    envelope = Envelope("node", offset, "said", f"r{offset}", audience, b"{}")
    return Entry(offset, pack(envelope), spared)


def offsets(found: HistorySlice, after: int = 0, user: str | None = None) -> list[int]:
    return [each.offset for each in found.after(after, user)]


def test_a_copy_begins_anywhere_and_grows() -> None:
    log = SharedLog(OPTIONS, Position("a", 1_000), 0.0)
    assert (log.top, log.first) == (1_000, 1_001)
    for number in range(20):
        at = log.deliver("said", "r", b"{}", float(number), None)
        assert at == Position("a", 1_001 + number)
    log.expire(20.0)
    assert offsets(log) == [1_016, 1_017, 1_018, 1_019, 1_020]


def test_what_is_sent_is_not_in_the_copy_until_the_engine_has_placed_it() -> None:
    log = SharedLog(OPTIONS, Position("a", 3), 0.0)
    assert inspect.isawaitable(log.append("said", "r", b"{}", 0.0))
    assert log.top == 3


def test_a_copy_of_what_the_engine_keeps_has_its_audiences() -> None:
    kept = (
        entry(7),
        entry(8, audience=Audience(("ann",))),
        entry(9, spared="bob"),
        entry(10, spared="bob", audience=Audience(("ann",))),
    )
    log = copy_of(Slice("a", 10, kept), OPTIONS, 0.0)
    assert (log.epoch, log.top) == ("a", 10)
    assert offsets(log, user="ann") == [7, 8, 9, 10]
    assert offsets(log, user="bob") == [7]


def test_what_comes_before_a_message_of_another_version_is_not_recovered() -> None:
    kept = (entry(7), Entry(8, b"[99]\n"), entry(9))
    log = copy_of(Slice("a", 9, kept), OPTIONS, 0.0)
    assert offsets(log) == [9]
    assert (log.first, log.top) == (9, 9)


@pytest.mark.anyio
async def test_a_node_without_a_copy_asks_the_engine() -> None:
    async def read() -> Slice:
        return Slice("a", 8, (entry(7), entry(8)))

    history = SharedHistory("/room/1", OPTIONS, lambda: 0.0, read)
    found: Any = history.find(None, 10)
    assert offsets(await found) == [7, 8]
    history.begin(Slice("a", 7, (entry(7),)))
    here = history.find(None, 10)
    assert isinstance(here, HistorySlice)
    assert offsets(here) == [7]
    history.end()
    assert history.copy is None
    assert history.log is None


def test_members_read_the_copy_that_has_begun_anew() -> None:
    async def read() -> Slice:
        raise AssertionError

    history = SharedHistory("/room/1", OPTIONS, lambda: 0.0, read)
    history.begin(Slice("a", 7, (entry(7),)))
    history.enter()
    history.begin_after(Position("b", 4))
    assert history.log is not None
    assert history.copy is history.log
    assert (history.copy.epoch, history.copy.top) == ("b", 4)
    history.leave()
    assert history.log is None


def test_the_engine_keeps_what_the_lobby_says() -> None:
    assert keep_of(History(size=3, ttl=4, max_bytes=5, position_ttl=6)) == (3, 4, 5, 6)
