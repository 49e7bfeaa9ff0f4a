"""What is special about Redis: its scripts, its users, and how it is reached."""

from __future__ import annotations

import logging
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from hashlib import sha1
from pathlib import Path
from random import Random
from typing import Final

import anyio
import pytest
import trustme
from pondsocket import UsageError
from pondsocket._replica.replica import Replica
from pondsocket.backplane import (
    SEPARATOR,
    Append,
    BackplaneUnavailable,
    Change,
    Drop,
    Emit,
    LinkLost,
    PublishUncertain,
    Put,
)
from pondsocket.backplane.redis import RedisBackplane
from pondsocket_common import Position

from tests.servers import free_port

from .engines import OPTIONS, new_prefix
from .faults import FaultyRedis
from .recording import KEEP, RecordingNode, running
from .redis_server import RedisServer
from .rooms import until

pytestmark = [pytest.mark.anyio, pytest.mark.redis]

TOPIC = f"/socket{SEPARATOR}/room/1"
# Lets a script use only the keys that it was called with, as managed engines do.
CHECKED: Final = """
local declared = {}
for _, key in ipairs(KEYS) do declared[key] = true end
local keyless = {TIME = true, PUBLISH = true}
local function checked(command, ...)
  local arguments = {...}
  local count = command == 'DEL' and #arguments or keyless[command] and 0 or 1
  for place = 1, count do
    if not declared[arguments[place]] then error('undeclared: ' .. tostring(arguments[place])) end
  end
  return redis.call(command, ...)
end
"""


def backplane_of(url: str, **options: object) -> RedisBackplane:
    return RedisBackplane(url, **{"prefix": new_prefix(), **OPTIONS, **options})


async def use_all(node: RecordingNode, other: RecordingNode) -> None:
    """Use every command."""
    await other.backplane.subscribe([TOPIC])
    await node.apply(
        Append(TOPIC, b"a", KEEP._replace(size=1), "ann", "once"),
        Append(f"{TOPIC}2", b"a" * 9, KEEP._replace(max_bytes=10), "ann", "once"),
        Append(f"{TOPIC}2", b"a" * 9, KEEP._replace(max_bytes=10)),
        Emit(TOPIC, b"b"),
        Put(TOPIC, "r1", "ann", b"{}"),
        Put(TOPIC, "r2", "bob", None),
    )
    await node.append(TOPIC, b"c", once="once")
    for _ in range(3):
        await node.append(TOPIC, b"d", KEEP._replace(size=1))
    await node.apply(Drop(TOPIC, ("r1",), node.lease))
    assert (await node.read(TOPIC)).top == 4
    assert (await node.read("none")).top == 0
    assert (await node.backplane.roster(TOPIC)).shown == ()
    assert (await node.backplane.roster("none")).shown == ()
    assert await node.backplane.count(TOPIC) == 1
    assert [*await other.backplane.held_by(node.lease, 9)] == [(TOPIC, "r2")]
    assert [*await other.backplane.held_by("none", 9)] == []
    await other.until(lambda: len(other.told("shown")) == 2)
    lease = node.lease
    await node.backplane.leave()
    await other.until(lambda: (lease,) in other.told("dead"))


# --- scripts --------------------------------------------------------------------------------------


async def test_scripts_use_the_keys_that_they_declare(redis_server: RedisServer) -> None:
    """Managed engines refuse a script that uses a key which it was not called with."""
    prefix = new_prefix()
    nodes = [backplane_of(redis_server.url, prefix=prefix) for _ in range(2)]
    for each in nodes:
        scripts = each._scripts
        for name, text in scripts.texts.items():
            head, _, body = text.partition("\n")
            changed = f"{head}\n{CHECKED}{body.replace('redis.call(', 'checked(')}"
            scripts.texts[name] = changed
            scripts.digests[name] = sha1(changed.encode(), usedforsecurity=False).hexdigest()
    async with running(*nodes) as (node, other):
        await use_all(node, other)


async def test_it_runs_in_cluster_mode(tmp_path: Path) -> None:
    """A Redis cluster takes all keys of a script in one slot."""
    # By default the nodes of a cluster use the port + 10,000, which may be taken, or none.
    between_nodes = str(free_port())
    arguments = ("--cluster-enabled", "yes", "--cluster-port", between_nodes)
    with RedisServer(tmp_path, *arguments) as server:
        server.call("CLUSTER", "ADDSLOTSRANGE", 0, 16_383)
        await until(lambda: b"cluster_state:ok" in server.call("CLUSTER", "INFO"))
        prefix = new_prefix()
        nodes = [backplane_of(server.url, prefix=prefix) for _ in range(2)]
        async with running(*nodes) as (node, other):
            await use_all(node, other)


async def test_every_key_ends_by_itself_once_nothing_is_held(redis_server: RedisServer) -> None:
    prefix = new_prefix()
    async with running(backplane_of(redis_server.url, prefix=prefix)) as (node,):
        await node.apply(
            Append(TOPIC, b"a", KEEP, once="x"),
            Put(TOPIC, "r", "ann", b"{}"),
            Drop(TOPIC, ("r",), ""),
        )
    found = redis_server.call("KEYS", f"{{{prefix}:*")
    lasting = {key.decode() for key in found if redis_server.call("TTL", key) == -1}
    start = f"{{{prefix}:0}}:"
    assert lasting == {f"{start}{each}" for each in ("run", "key", "nodes", "heard")}


async def test_a_log_lives_as_long_as_its_latest_message(redis_server: RedisServer) -> None:
    prefix = new_prefix()
    log = f"{{{prefix}:0}}:l:{TOPIC}"

    def now() -> int:
        seconds, rest = redis_server.call("TIME")
        return int(seconds) * 1_000 + int(rest) // 1_000

    async with running(backplane_of(redis_server.url, prefix=prefix)) as (node,):

        async def check(ttl: int) -> None:
            began = now()
            await node.append(TOPIC, b"a", KEEP._replace(ttl=ttl))
            ends = redis_server.call("PEXPIRETIME", log)
            assert began + ttl * 1_000 <= ends <= now() + ttl * 1_000

        for ttl in (60, 600, 60):
            await check(ttl)
        redis_server.call("DEL", log)  # as a policy does that evicts keys
        await check(60)


async def test_a_topic_lasts_while_it_has_members(redis_server: RedisServer) -> None:
    prefix = new_prefix()
    meta = f"{{{prefix}:0}}:m:{TOPIC}"
    async with running(backplane_of(redis_server.url, prefix=prefix)) as (node,):
        await node.append(TOPIC, b"a")
        assert 540_000 < redis_server.call("PTTL", meta) <= 600_000
        await node.put(TOPIC, "r", "ann")
        assert redis_server.call("PTTL", meta) == -1
        await node.append(TOPIC, b"b", KEEP._replace(position_ttl=60))
        assert redis_server.call("PTTL", meta) == -1
        await node.apply(Drop(TOPIC, ("r",), ""))
        assert 30_000 < redis_server.call("PTTL", meta) <= 60_000


async def test_the_latest_results_of_a_node_are_kept_for_an_hour(
    redis_server: RedisServer,
) -> None:
    prefix = new_prefix()
    async with running(backplane_of(redis_server.url, prefix=prefix)) as (node,):
        seq = f"{{{prefix}:0}}:s:{node.name}"
        first = await node.apply(Append(TOPIC, b"a", KEEP), seq=7)
        redis_server.call("PEXPIRE", seq, 60_000)
        assert await node.apply(Append(TOPIC, b"a", KEEP), seq=7) == first
        await node.apply(Append(TOPIC, b"b", KEEP), seq=8)
        assert redis_server.call("PTTL", seq) > 3_590_000
        with pytest.raises(LinkLost, match="STALE"):
            await node.backplane.apply(7, [Append(TOPIC, b"c", KEEP)])
        await node.until(lambda: node.ups == 2 and node.is_up)
        assert (await node.read(TOPIC)).top == 2


async def test_only_the_clock_of_redis_counts(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clocks of nodes may be an hour apart."""
    prefix = new_prefix()
    hours = iter([0, 3_600, -3_600, 7_200] * 100_000)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + next(hours))
    nodes = [backplane_of(redis_server.url, prefix=prefix) for _ in range(2)]
    async with running(*nodes) as (node, other):
        await node.put(TOPIC, "r", "ann")
        await node.append(TOPIC, b"a", KEEP._replace(ttl=5))
        await anyio.sleep(2.2)
        assert node.told("dead") == other.told("dead") == []
        assert len(node.told("lease_lost")) == len(other.told("lease_lost")) == 1
        assert [each.data for each in (await other.read(TOPIC)).entries] == [b"a"]


# --- how it is reached ----------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["password", "user", "callable"])
async def test_it_logs_in(tmp_path: Path, form: str) -> None:
    users = (
        *("--user", "pond", "on", ">se%/cret", "~{pond:*", "&{pond:*", "+@all"),
        *("--user", "default", "off"),
    )
    arguments = ("--requirepass", "se%/cret") if form == "password" else users
    credentials = "pond:se%25%2Fcret" if form == "user" else ":se%25%2Fcret"

    async def log_in() -> tuple[str, str]:
        return "pond", "se%/cret"

    with RedisServer(tmp_path, *arguments) as server:
        if form == "callable":
            url, log_in_with = server.url, log_in
        else:
            url, log_in_with = f"redis://{credentials}@127.0.0.1:{server.port}/0", None
        nodes = [backplane_of(url, prefix="pond", credentials=log_in_with) for _ in range(2)]
        async with running(*nodes) as (node, other):
            await use_all(node, other)


@pytest.mark.parametrize(
    ("user", "trouble"),
    [
        ("pond on >secret +@all", "key"),
        ("pond on >secret ~{pond:* +@all", "channel"),
        ("pond on >secret ~{pond:* &{pond:* +@all -eval -evalsha", "command"),
        ("pond on >other ~{pond:* &{pond:* +@all", "WRONGPASS"),
        ("default on nopass ~* &* -@all +ping", "NOPERM"),
    ],
)
async def test_what_a_user_lacks_is_said_once(
    tmp_path: Path, user: str, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The error names the keys and the channels that a user of Redis needs."""
    secret = "" if user.startswith("default") else "pond:secret@"
    with RedisServer(tmp_path, "--user", *user.split()) as server:
        backplane = backplane_of(f"redis://{secret}127.0.0.1:{server.port}", prefix="pond")
        node = RecordingNode(backplane)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(backplane.run, node, node.name)
            await until(lambda: caplog.records)
            await anyio.sleep(0.5)
            tasks.cancel_scope.cancel()
    (record,) = [each for each in caplog.records if each.name == "pondsocket.cluster"]
    assert record.levelno == logging.ERROR
    text = record.getMessage()
    assert trouble in text
    assert "~{pond:*" in text
    assert "&{pond:*" in text
    assert "secret" not in text
    assert ".." not in text
    assert node.ups == 0


async def test_credentials_that_cannot_be_had_are_asked_for_again(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Who gives them is often away when Redis is."""
    fails, asked = True, 0

    async def log_in() -> tuple[str, str]:
        nonlocal asked
        asked += 1
        if fails:
            raise ValueError("no token today")
        return "default", ""

    backplane = backplane_of(redis_server.url, credentials=log_in)
    node = RecordingNode(backplane)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(backplane.run, node, node.name)
        await until(lambda: asked > 1)
        fails = False
        await node.until(lambda: node.ups == 1)
        fails, before = True, asked
        redis_server.kill_clients()
        await until(lambda: asked > before + 1)
        fails = False
        await node.until(lambda: node.ups == 2)
        tasks.cancel_scope.cancel()
    errors = [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]
    assert len(errors) == 2  # once for each time that it fails
    assert all("`credentials` has failed: ValueError('no token today')." in each for each in errors)


@pytest.mark.parametrize("scheme", ["redis", "rediss", "redis+sentinel"])
async def test_what_answers_nothing_is_said_so(
    scheme: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A firewall, or TLS with a Redis that speaks none."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        backplane = backplane_of(f"{scheme}://127.0.0.1:{port}/0", silence=1.1)
        node = RecordingNode(backplane)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(backplane.run, node, node.name)
            await until(lambda: caplog.records)
            tasks.cancel_scope.cancel()
    assert "TimeoutError" not in caplog.text
    assert " in time" in caplog.text or "nothing was read for 1.1 s" in caplog.text


@pytest.fixture
def secure_server(tmp_path: Path) -> Iterator[tuple[RedisServer, trustme.CA]]:
    """Run a Redis that speaks TLS, by a certificate of its own authority."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    files = {name: tmp_path / f"{name}.pem" for name in ("ca", "cert", "key")}
    authority.cert_pem.write_to_path(str(files["ca"]))
    certificate.cert_chain_pems[0].write_to_path(str(files["cert"]))
    certificate.private_key_pem.write_to_path(str(files["key"]))
    port = free_port()
    with RedisServer(
        tmp_path / "data",
        *("--tls-port", str(port), "--tls-auth-clients", "no"),
        *("--tls-ca-cert-file", str(files["ca"])),
        *("--tls-cert-file", str(files["cert"]), "--tls-key-file", str(files["key"])),
    ) as server:
        server.arguments = (*server.arguments, str(port))
        yield server, authority


async def test_it_speaks_tls(
    secure_server: tuple[RedisServer, trustme.CA], caplog: pytest.LogCaptureFixture
) -> None:
    server, authority = secure_server
    url = f"rediss://localhost:{server.arguments[-1]}"
    context = ssl.create_default_context()
    authority.configure_trust(context)
    nodes = [backplane_of(url, prefix="pond", ssl_context=context) for _ in range(2)]
    async with running(*nodes) as (node, other):
        await use_all(node, other)
    async with running(nodes[0]) as (node,):
        server.kill_clients()
        await node.until(lambda: node.ups == 2)
    # By default the certificate is verified.
    caplog.clear()
    stranger = RecordingNode(backplane_of(url))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stranger.backplane.run, stranger, stranger.name)
        await until(lambda: caplog.records)
        tasks.cancel_scope.cancel()
    assert "CERTIFICATE_VERIFY_FAILED" in caplog.text
    assert stranger.ups == 0


async def test_it_is_reached_by_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    with RedisServer(tmp_path, "--unixsocket", str(path)):
        nodes = [backplane_of(f"unix://{path}", prefix="pond") for _ in range(2)]
        async with running(*nodes) as (node, other):
            await use_all(node, other)


async def test_two_prefixes_are_two_applications(redis_server: RedisServer) -> None:
    one, two = new_prefix(), new_prefix()
    nodes = [backplane_of(redis_server.url, prefix=prefix) for prefix in (one, two)]
    async with running(*nodes) as (node, other):
        for each in (node, other):
            await each.backplane.subscribe([TOPIC])
        await node.put(TOPIC, "r", "ann", b"{}")
        await node.append(TOPIC, b"a")
        assert await other.apply(Emit(TOPIC, b"b")) == [1]
        assert await other.backplane.count(TOPIC) == 0
        assert (await other.read(TOPIC)).top == 0
        await other.until(lambda: other.told("emitted"))
        assert other.told("appended") == other.told("shown") == []
        assert node.backplane.key != other.backplane.key


async def test_a_database_has_keys_of_its_own(redis_server: RedisServer) -> None:
    prefix = new_prefix()
    nodes = [backplane_of(f"{redis_server.url}/{each}", prefix=prefix) for each in (0, 3)]
    async with running(*nodes) as (node, other):
        await node.append(TOPIC, b"a")
        assert (await other.read(TOPIC)).top == 0


@pytest.mark.parametrize(
    "url",
    [
        "http://host",
        "redis://one,two",
        "redis://host:port",
        "redis://host/name",
        "redis+sentinel://host",
        "redis+sentinel://host/name/0/1",
        "unix://",
    ],
)
def test_a_url_that_cannot_work_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        RedisBackplane(url)


# --- what Redis lacks -----------------------------------------------------------------------------


async def test_a_policy_that_evicts_all_keys_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    arguments = ("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    with RedisServer(tmp_path, *arguments) as server:
        async with running(backplane_of(server.url)) as (node,):
            server.kill_clients()
            await node.until(lambda: node.ups == 2)
    warnings = [each for each in caplog.records if "allkeys-lru" in each.getMessage()]
    assert len(warnings) == 1


async def test_evicted_keys_are_another_epoch(redis_server: RedisServer) -> None:
    prefix = new_prefix()
    async with running(backplane_of(redis_server.url, prefix=prefix)) as (node,):
        first = await node.append(TOPIC, b"a")
        redis_server.call("DEL", f"{{{prefix}:0}}:m:{TOPIC}")
        second = await node.append(TOPIC, b"b")
        assert (second.epoch != first.epoch, second.offset) == (True, 1)
        redis_server.call("DEL", f"{{{prefix}:0}}:l:{TOPIC}")
        found = await node.read(TOPIC, first)
        assert (found.top, found.entries) == (1, ())
        # Without its fence nothing is known to be true: the link begins anew.
        redis_server.call("DEL", f"{{{prefix}:0}}:run")
        assert await node.append(TOPIC, b"c") == second._replace(offset=2)
        assert node.ups == 2


async def test_a_script_that_fails_halfway_leaves_all_topics_whole(
    redis_server: RedisServer,
) -> None:
    """What is known of a topic is written at the end of a script, also where that fails."""
    prefix, other = new_prefix(), f"{TOPIC}2"
    users = f"{{{prefix}:0}}:u:{other}"
    async with running(backplane_of(redis_server.url, prefix=prefix)) as (node,):
        first = await node.append(TOPIC, b"a")
        redis_server.call("SET", users, "is no hash")
        batch = [Append(TOPIC, b"b", KEEP), Append(other, b"c", KEEP, spare="ann")]
        redis_server.call("HSET", f"{{{prefix}:0}}:m:{other}", "run", await run_of(node))
        redis_server.call("HSET", f"{{{prefix}:0}}:m:{other}", "epoch", "e")
        with pytest.raises(LinkLost, match="WRONGTYPE"):
            await node.backplane.apply(2, batch)
        await node.until(lambda: node.ups == 2 and node.is_up)
        redis_server.call("DEL", users)
        assert await node.apply(*batch, seq=2) == [first._replace(offset=3), Position("e", 1)]
        assert [each.data for each in (await node.read(TOPIC)).entries] == [b"a", b"b", b"b"]


async def run_of(node: RecordingNode) -> str:
    """Return the fence of the Redis that a node has reached."""
    backplane = node.backplane
    assert isinstance(backplane, RedisBackplane)
    run = await backplane._plain("GET", backplane._keys.run)
    return bytes(run).decode()


@pytest.mark.parametrize(
    "sizes", [[10] * 40, [10, 300, 10] * 13, [300, 10, 10] * 13, [999, 1] * 20]
)
async def test_trims_by_bytes_and_size_at_once_are_exact(
    redis_server: RedisServer, sizes: list[int]
) -> None:
    """Redis adds up bytes, and does not read what it trims."""
    keep = KEEP._replace(size=9, max_bytes=700)
    prefix = new_prefix()
    async with running(backplane_of(redis_server.url, prefix=prefix)) as (node,):
        for place, size in enumerate(sizes):
            await node.apply(*[Append(TOPIC, b"x" * size, keep)] * (1 + place % 3))
            kept = (await node.read(TOPIC, None, keep)).entries
            stored = redis_server.call("XLEN", f"{{{prefix}:0}}:l:{TOPIC}")
            assert len(kept) <= min(stored, 9)
            assert stored <= 10
            known = redis_server.call("HMGET", f"{{{prefix}:0}}:m:{TOPIC}", "total", "before")
            entries = redis_server.call("XRANGE", f"{{{prefix}:0}}:l:{TOPIC}", "-", "+")
            held = sum(len(fields[3]) for _, fields in entries)
            assert held == int(known[0]) - int(known[1]) <= 700


async def test_what_was_appended_once_before_a_restart_is_appended_again(tmp_path: Path) -> None:
    """What Redis has kept over a restart may be older than what nodes were told."""
    with RedisServer(tmp_path, keeps="aof") as server:
        async with running(backplane_of(server.url)) as (node,):
            first = await node.append(TOPIC, b"a", once="task")
            assert await node.append(TOPIC, b"a", once="task") == first
            await anyio.sleep(1.1)  # it is written each second
            server.kill()
            server.start()
            await node.until(lambda: node.ups == 2)
            second = await node.append(TOPIC, b"a", once="task")
            assert (second.epoch != first.epoch, second.offset) == (True, 1)
            assert [each.data for each in (await node.read(TOPIC, first)).entries] == [b"a"]


async def test_what_nothing_keeps_is_sent_at_most_once(redis_server: RedisServer) -> None:
    """It costs Redis no script, and nothing tells then whether a lost link has carried it out."""
    async with anyio.create_task_group() as tasks:
        engine = FaultyRedis(redis_server, tasks, new_prefix())
        backplanes = [await engine.backplane() for _ in range(2)]
        async with running(*backplanes) as (node, other):
            for each in (node, other):
                await each.backplane.subscribe([TOPIC])
            sent = [Emit(TOPIC, b"%d" % number) for number in range(64)]
            assert await node.apply(*sent) == [2] * 64
            engine.silence(0)
            with pytest.raises(PublishUncertain):
                await node.apply(Emit(TOPIC, b"a"), Emit(TOPIC, b"b"))
            engine.mend(0)
            await node.until(lambda: node.ups == 2 and node.is_up)
            assert await node.apply(Emit(TOPIC, b"c")) == [2]
            await other.until(lambda: len(other.told("emitted")) == 67)
            heard = [data for _, data in other.told("emitted")]
            assert heard == [*(each.data for each in sent), b"a", b"b", b"c"]
        tasks.cancel_scope.cancel()


async def test_lost_scripts_end_the_link(redis_server: RedisServer) -> None:
    async with running(backplane_of(redis_server.url)) as (node,):
        redis_server.call("SCRIPT", "FLUSH")
        assert (await node.append(TOPIC, b"a")).offset == 1
        assert node.ups == 2


async def test_a_full_redis_is_an_outage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An engine that refuses to write cannot be reached, until it has room again."""
    with RedisServer(tmp_path) as server:
        async with running(backplane_of(server.url)) as (node,):
            first = await node.append(TOPIC, b"a")
            server.call("CONFIG", "SET", "maxmemory", 1)
            with pytest.raises(BackplaneUnavailable):
                await node.backplane.apply(2, [Append(TOPIC, b"b", KEEP)])
            await until(lambda: any("OOM" in each.getMessage() for each in caplog.records))
            assert not node.is_up
            server.call("CONFIG", "SET", "maxmemory", 0)
            await node.until(lambda: node.is_up)
            assert await node.apply(Append(TOPIC, b"b", KEEP), seq=2) == [first._replace(offset=2)]


async def test_a_node_that_is_slower_than_the_output_limit_reads_again(tmp_path: Path) -> None:
    limits = ("--client-output-buffer-limit", "pubsub", "1mb", "1mb", "1")
    with RedisServer(tmp_path, *limits) as server:
        prefix = new_prefix()
        nodes = [backplane_of(server.url, prefix=prefix) for _ in range(2)]
        async with running(*nodes) as (node, other):
            await other.backplane.subscribe([TOPIC])
            keep = KEEP._replace(max_bytes=100_000_000)
            count = 0
            while other.is_up:
                # In one go, so that the other node cannot read between them.
                await node.apply(*[Append(TOPIC, b"x" * 200_000, keep) for _ in range(64)])
                count += 64
                await anyio.sleep(0.05)
            await other.until(lambda: other.is_up)
            found = await other.read(TOPIC, None, keep)
            assert found.top == count
            kept = range(max(1, count - 99), count + 1)
            assert [each.offset for each in found.entries] == [*kept]


async def test_a_roster_beyond_the_output_limit_is_read_in_pages(tmp_path: Path) -> None:
    limits = ("--client-output-buffer-limit", "pubsub", "3mb", "3mb", "1")
    with RedisServer(tmp_path, *limits) as server:
        async with running(backplane_of(server.url)) as (node,):
            shown = {f"r{number}": b"%04d" % number * 1_000 for number in range(2_000)}
            puts = [Put(TOPIC, ref, f"user{ref}", each) for ref, each in shown.items()]
            for start in range(0, 2_000, 50):
                await node.apply(*puts[start : start + 50])
            found = await node.backplane.roster(TOPIC)
            assert found.at.offset == 2_000
            assert {each.ref: each.shown for each in found.shown} == shown
            assert {each.user for each in found.shown} == {f"user{ref}" for ref in shown}
            assert node.ups == 1


async def test_changes_between_the_pages_of_a_roster_are_not_lost(
    redis_server: RedisServer,
) -> None:
    prefix = new_prefix()
    nodes = [backplane_of(redis_server.url, prefix=prefix) for _ in range(2)]
    async with running(*nodes) as (writer, reader):
        replica, reads = Replica(10.0), 0

        def take(topic: str, at: Position, changes: Sequence[Change]) -> None:
            replica.take(at, changes)

        reader.shown = take  # type: ignore[method-assign]
        await reader.backplane.subscribe([TOPIC])
        is_over = False

        async def write() -> None:
            nonlocal is_over
            random = Random(1)
            for number in range(150):
                refs = [f"r{random.randrange(300)}" for _ in range(8)]
                puts = [Put(TOPIC, ref, ref, b"%04d" % number * 2_000) for ref in refs]
                await writer.apply(*puts, Drop(TOPIC, (f"r{random.randrange(300)}",), ""))
            is_over = True

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            while not is_over or replica.is_behind:
                replica.numbered.suspect()
                replica.numbered.begin_read()
                replica.fill(await reader.backplane.roster(TOPIC), 0.0)
                reads += 1
        found = await reader.backplane.roster(TOPIC)
        assert reads > 5
        assert len(found.shown) > 100
        assert set(replica.entries()) == set(found.shown)


async def test_too_many_clients_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with RedisServer(tmp_path, "--maxclients", "1") as server:
        async with running(backplane_of(server.url)):
            late = RecordingNode(backplane_of(server.url))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(late.backplane.run, late, late.name)
                await until(lambda: "max number of clients" in caplog.text)
                tasks.cancel_scope.cancel()


async def test_what_is_not_redis_is_said(caplog: pytest.LogCaptureFixture) -> None:
    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - not Django
        node = RecordingNode(backplane_of(f"redis://127.0.0.1:{port}"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, serve)
            tasks.start_soon(node.backplane.run, node, node.name)
            await until(lambda: "this is not Redis" in caplog.text)
            tasks.cancel_scope.cancel()
