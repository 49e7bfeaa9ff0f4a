"""How long a database connection of Django stays open that a plain function has opened."""

import asyncio
import sqlite3
import sys
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.conf import UserSettingsHolder, global_settings, settings
from django.db import connections, transaction
from django.db.backends.signals import connection_created
from django.db.backends.sqlite3.base import DatabaseWrapper
from django.utils.functional import empty
from pondsocket import Depends, EventContext, Options, SyncEventContext
from pondsocket._runtime.django_connections import close_connections, close_old_connections
from pondsocket_common import Fault

from tests.core.members import member
from tests.core.ponds import ROOM, PondSetup, build

WAIT = 5.0
# One thread at a time, so that one message after another is handled by the same one.
ONE_THREAD = Options(max_threads=1, max_connection_threads=1)


ALIASES = (f"db{number}" for number in count())


class Database:
    """A real database file, the settings of Django for it, and all connections ever made to it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
        self._monkeypatch = monkeypatch
        self._path = path
        # Another one for each test, since trio's threads, and what they keep, outlive a test.
        self.alias = next(ALIASES)
        self._threads: dict[Any, int] = {}
        self.times_connected = 0

    def configure(self, **options: Any) -> None:
        given = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(self._path), **options}
        settings._wrapped = UserSettingsHolder(global_settings)
        databases = connections.configure_settings({"default": {}, self.alias: given})
        self._monkeypatch.setitem(vars(connections), "settings", databases)

    def note(self, connection: Any, **_: Any) -> None:
        self._threads[connection] = threading.get_ident()
        self.times_connected += 1

    @property
    def connection(self) -> Any:
        """This thread's own."""
        return connections[self.alias]

    def query(self) -> int:
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT 7")
            value: int = cursor.fetchone()[0]
            return value

    def ask(self, ctx: SyncEventContext) -> int:
        return self.query()

    def in_a_transaction(self) -> Iterator[int]:
        with transaction.atomic(using=self.alias):
            yield self.query()

    @property
    def threads(self) -> list[int]:
        """The threads that have had a connection."""
        return list(self._threads.values())

    @property
    def open(self) -> list[int]:
        """The threads of the connections that are open."""
        return [thread for each, thread in self._threads.items() if each.connection is not None]

    def shut_down(self) -> None:
        """End all connections, as a database does that restarts."""
        for each in self._threads:
            each.connection.close()

    def close(self) -> None:
        for each in self._threads:
            each.inc_thread_sharing()
            each.close()


@pytest.fixture(autouse=True)
def settings_of_other_tests() -> Iterator[None]:
    held = settings._wrapped
    settings._wrapped = empty
    yield
    settings._wrapped = held


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Database]:
    monkeypatch.setattr(apps, "ready", True)  # or Django warns at the first query
    database = Database(monkeypatch, tmp_path / "db.sqlite3")
    database.configure()
    connection_created.connect(database.note)
    yield database
    connection_created.disconnect(database.note)
    database.close()


def serves(database: Database, **options: Any) -> PondSetup:
    database.configure(**options)
    setup = build(options=ONE_THREAD)
    setup.lobby.on_message("ask", database.ask)
    return setup


def is_usable(connection: Any) -> bool:
    """As Django asks servers; a file is always usable to it."""
    try:
        connection.connection.execute("SELECT 1")
    except sqlite3.Error:
        return False
    return True


async def asked(peer: Any, event: str = "ask") -> Any:
    return (await peer.answer(peer.send("BROADCAST", ROOM, event), wait=WAIT)).payload


async def test_a_connection_of_a_plain_function_is_closed_behind_it(database: Database) -> None:
    setup = serves(database, CONN_MAX_AGE=0)
    async with member(setup, "ann") as ann:
        for number in range(1, 4):
            assert await asked(ann) == {"result": 7}
            assert database.times_connected == number
            assert database.open == []
    assert threading.get_ident() not in database.threads


@pytest.mark.parametrize("age", [60, None])
async def test_a_connection_that_may_last_is_used_again_in_its_thread(
    database: Database, age: int | None
) -> None:
    setup = serves(database, CONN_MAX_AGE=age)
    async with member(setup, "ann") as ann:
        for _ in range(3):
            assert await asked(ann) == {"result": 7}
        # Which of its threads is taken is the decision of the event loop's library.
        assert database.open == database.threads
        assert database.times_connected == len(set(database.threads))


async def test_a_connection_that_is_too_old_is_not_used_again(database: Database) -> None:
    setup = serves(database, CONN_MAX_AGE=60)

    def aged(ctx: SyncEventContext) -> int:
        value = database.query()
        database.connection.close_at = 0.0
        return value

    setup.lobby.on_message("aged", aged)
    async with member(setup, "ann") as ann:
        assert await asked(ann, "aged") == {"result": 7}
        assert database.open == []


@pytest.mark.parametrize("is_checked", [False, True])
async def test_a_connection_that_broke_between_messages_is_replaced(
    database: Database, monkeypatch: pytest.MonkeyPatch, is_checked: bool
) -> None:
    monkeypatch.setattr(DatabaseWrapper, "is_usable", is_usable)
    setup = serves(database, CONN_MAX_AGE=None, CONN_HEALTH_CHECKS=is_checked)
    async with member(setup, "ann") as ann:
        assert await asked(ann) == {"result": 7}
        database.shut_down()
        answers = [await asked(ann) for _ in range(4)]
    # Unchecked, Django finds out by a query; that thread's next one has a new connection.
    failed = [answer for answer in answers if isinstance(answer, Fault)]
    assert len(failed) <= (0 if is_checked else 1)
    assert [answer for answer in answers if answer not in failed] == [{"result": 7}] * (
        4 - len(failed)
    )


@pytest.mark.parametrize("age", [0, 60])
async def test_a_generator_of_an_async_handler_keeps_its_connection_until_its_end(
    database: Database, age: int
) -> None:
    setup = serves(database, CONN_MAX_AGE=age)
    seen: list[Any] = []

    async def slow(ctx: EventContext, value: int = Depends(database.in_a_transaction)) -> int:
        seen.append(database.open)
        return value

    setup.lobby.on_message("slow", slow)
    async with member(setup, "ann") as ann:
        for number in range(1, 3):
            assert await asked(ann, "slow") == {"result": 7}
            assert database.times_connected == number
            assert [len(threads) for threads in seen] == [1] * number
            assert database.open == []  # a kept thread leaves none, however long it might last


async def test_a_generator_of_a_plain_handler_shares_its_connection(database: Database) -> None:
    setup = serves(database, CONN_MAX_AGE=0)

    def plain(value: int = Depends(database.in_a_transaction)) -> int:
        assert database.connection.in_atomic_block
        return value + database.query()

    setup.lobby.on_message("plain", plain)
    async with member(setup, "ann") as ann:
        assert await asked(ann, "plain") == {"result": 14}
    assert database.times_connected == 1
    assert database.open == []


async def test_a_connection_that_cannot_be_closed_is_logged_and_the_answer_is_sent(
    database: Database, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = serves(database, CONN_MAX_AGE=0)
    left: list[sqlite3.Connection] = []

    def fragile(ctx: SyncEventContext) -> int:
        def cannot() -> None:
            raise OSError("the network is unreachable")

        value = database.query()
        left.append(database.connection.connection)
        monkeypatch.setattr(database.connection, "_close", cannot)
        return value

    setup.lobby.on_message("fragile", fragile)
    async with member(setup, "ann") as ann:
        assert await asked(ann, "fragile") == {"result": 7}
    assert database.open == []
    assert caplog.text.count("A database connection could not be closed in order.") == 1
    left.pop().close()  # from Python 3.13 on, sqlite3 warns of one that is not


def test_connections_are_closed_in_threads_that_end_with_the_event_loop(
    database: Database,
) -> None:
    setup = serves(database, CONN_MAX_AGE=None)

    async def program() -> list[threading.Thread]:
        async with member(setup, "ann") as ann:
            assert await asked(ann) == {"result": 7}
            return [each for each in threading.enumerate() if each.ident in database.open]

    (thread,) = asyncio.run(program())
    thread.join(WAIT)
    assert database.times_connected == 1
    assert database.open == []


def test_connections_are_closed_in_any_thread_that_ends(database: Database) -> None:
    database.configure(CONN_MAX_AGE=None)

    def thread() -> None:
        close_old_connections()
        database.query()
        close_old_connections()
        assert database.open == [threading.get_ident()]

    ending = threading.Thread(target=thread)
    ending.start()
    ending.join(WAIT)
    assert database.times_connected == 1
    assert database.open == []


async def test_without_settings_of_django_nothing_is_asked_of_it() -> None:
    setup = build()
    setup.lobby.on_message("plain", lambda: 1)
    async with member(setup, "ann") as ann:
        assert await asked(ann, "plain") == {"result": 1}
    close_connections()
    assert not settings.configured


@pytest.mark.parametrize("module", [None, object()])
def test_without_django_or_while_it_is_imported_nothing_is_done(
    monkeypatch: pytest.MonkeyPatch, module: object
) -> None:
    if module is None:
        monkeypatch.delitem(sys.modules, "django.db")
    else:
        monkeypatch.setitem(sys.modules, "django.db", module)
    close_old_connections()
    close_connections()
