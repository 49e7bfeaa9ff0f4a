"""Each source file has a test file of its name, or a reason here why not."""

from typing import Final

from tests.architecture import coverage
from tests.servers import ROOT

TESTS: Final = {
    "pondsocket_common": [ROOT / "tests" / "common"],
    "pondsocket": [ROOT / "tests" / "core", ROOT / "tests" / "cluster"],
    "pondsocket_asgi": [ROOT / "tests" / "asgi", ROOT / "tests" / "clients"],
}
# Where the tests are instead: a part of something that is tested whole, by what a user sees of it.
ELSEWHERE: Final = {
    "pondsocket_common._codec.codec": "an interface alone, without code",
    "pondsocket_common._codec.json_values": "test_application_payloads: what applications send",
    "pondsocket_common._codec.names": "test_pond_codec, by messages that hold them",
    "pondsocket_common._errors": "test_pond_codec, where they are raised",
    "pondsocket_common._ids": "test_session: ids of connections differ",
    "pondsocket._channel.ahead": "test_member, test_late_joins: a state of members",
    "pondsocket._channel.catch_up": "test_recovery, test_slow_recovery: what such a member gets",
    "pondsocket._channel.owner": "interfaces alone, without code",
    "pondsocket._cluster.command_queue": "test_actions: commands in order, also after a cut",
    "pondsocket._connection.inbound": "test_limits_of_a_session, test_refusals, test_session_post",
    "pondsocket._connection.membership": "interfaces alone, without code",
    "pondsocket._connection.opening": "test_cursor, test_session: greetings and resumed streams",
    "pondsocket._connection.reading": "test_lanes_of_a_session, test_session_closed",
    "pondsocket._contexts.connection": "test_contexts, test_admission",
    "pondsocket._contexts.disconnect": "test_disconnecting",
    "pondsocket._contexts.decision": "test_joins, test_admission: a second decision",
    "pondsocket._contexts.event": "test_contexts",
    "pondsocket._contexts.leave": "test_contexts",
    "pondsocket._contexts.outgoing": "test_interception",
    "pondsocket._delivery.replies": "test_contexts, test_mistakes: by what clients are sent",
    "pondsocket._delivery.sink": "interfaces; test_member, test_ordered: batches, frame by frame",
    "pondsocket._serving.endpoints": "test_server, test_admission",
    "pondsocket._environment": "it holds what others test",
    "pondsocket._errors": "test_unfit_payloads, test_mistakes",
    "pondsocket._log": "test_records",
    "pondsocket._handlers.events": "test_contexts, test_gateway, test_base_exceptions",
    "pondsocket._handlers.kinds": "test_returned_values",
    "pondsocket._handlers.leaving": "test_channel, test_contexts",
    "pondsocket._history.log": "test_history: the log is the history of one channel",
    "pondsocket._history.memory": "test_history, test_channel_history",
    "pondsocket._history.store": "interfaces alone; test_late_history has a store that is late",
    "pondsocket._serving.life": "test_server, test_drain, test_drain_phases, test_lifespan",
    "pondsocket._outside.portal": "tests/cluster/test_publisher.py: threads, forks",
    "pondsocket._outside.sender": "tests/cluster/test_publisher.py",
    "pondsocket._replica.numbered": "test_ordering, test_replica: what both have in common",
    "pondsocket._routing": "test_endpoint, test_gateway",
    "pondsocket._signatures.adapters": "test_signatures_wrong, test_responses: types it refuses",
    "pondsocket._signatures.defaults": "test_marks, test_declarations: by whole signatures",
    "pondsocket._signatures.parameters": "test_signatures, test_signatures_wrong",
    "pondsocket._signatures.typed_handler": "test_signatures, test_dependencies",
    "pondsocket._state.cookies": "test_answer_headers",
    "pondsocket._state.payloads": "test_mistakes: what is refused",
    "pondsocket.adapter": "public names alone: test_architecture",
    "pondsocket.backplane._errors": "test_retry_after, tests/cluster: where they are raised",
    "pondsocket.backplane._interface": "an interface; tests/cluster: the contract",
    "pondsocket.backplane._memory_engine": "tests/cluster: the contract",
    "pondsocket.backplane.memory": "tests/cluster: the contract",
    "pondsocket.backplane.redis._address": "tests/cluster, on a real Redis",
    "pondsocket.backplane.redis._backplane": "tests/cluster: the contract",
    "pondsocket.backplane.redis._connector": "tests/cluster, on a real Redis",
    "pondsocket.backplane.redis._handshake": "tests/cluster, on a real Redis",
    "pondsocket.backplane.redis._keys": "tests/cluster: the contract",
    "pondsocket.backplane.redis._link": "tests/cluster, on a real Redis",
    "pondsocket.backplane.redis._messages": "tests/cluster: the contract",
    "pondsocket.backplane.redis._reading": "tests/cluster: the contract",
    "pondsocket.backplane.redis._scripts": "tests/cluster: the contract",
    "pondsocket.backplane.redis._subscriptions": "tests/cluster: the contract",
    "pondsocket_asgi.__main__": "test_client_command",
    "pondsocket_asgi._fastlane.bounded_protocol": "test_fastlane_bounds",
    "pondsocket_asgi._fastlane.deflate_protocol": "test_fastlane, test_fastlane_parsing",
    "pondsocket_asgi._fastlane.lane": "test_fastlane: the lane",
    "pondsocket_asgi._fastlane.serving": "test_protocol, test_upgrade: scopes",
    "pondsocket_asgi._fastlane.received": "test_fastlane_reads",
    "pondsocket_asgi._http.body": "test_routes_limits, test_routes_requests",
    "pondsocket_asgi._transport.peer_socket": "test_connection: how a peer that hangs is ended",
    "pondsocket_asgi._transport.shared": "test_heartbeat",
    "pondsocket.testing._clock": "test_testing",
    "pondsocket.testing._peer": "test_testing",
    "pondsocket_asgi.testing._kit.clock": "test_kit",
    "pondsocket_asgi.testing._kit.connected": "test_kit, test_plugin: as tests use it",
    "pondsocket_asgi.testing._kit.errors": "test_plugin: as tests use it",
    "pondsocket_asgi.testing._kit.faults": "test_plugin: as tests use it",
    "pondsocket_asgi.testing._kit.joined": "test_kit, test_plugin: as tests use it",
    "pondsocket_asgi.testing._kit.link": "test_kit: what a wait tells",
    "pondsocket_asgi.testing._kit.matching": "test_kit",
    "pondsocket_asgi.testing._kit.ponds": "test_kit: the pond of an app",
    "pondsocket_asgi.testing._virtual_time": "test_kit, test_drain",
    "pondsocket_asgi.client._buffer": "test_client: slow readers, and ones that stop",
    "pondsocket_asgi.client._driver": "test_scenarios, test_client: tasks, timers, answers",
    "pondsocket_asgi.client._machine.attempts": "test_scenarios",
    "pondsocket_asgi.client._machine.channel": "test_scenarios",
    "pondsocket_asgi.client._machine.errors": "test_client: what is raised",
    "pondsocket_asgi.client._machine.machine": "test_scenarios",
    "pondsocket_asgi.client._machine.memberships": "test_scenarios",
    "pondsocket_asgi.client._machine.requests": "test_scenarios",
    "pondsocket_asgi.client._machine.values": "values alone, without code",
    "pondsocket_asgi.client._memory": "test_client: all of it runs in memory",
    "pondsocket_asgi.client._room": "test_client",
    "pondsocket_asgi.client._targets": "test_client: addresses, tokens; test_scenarios",
    "pondsocket_asgi.client._transports": "test_python_servers: on real servers",
    "pondsocket_asgi.testing._driver": "test_testing",
    "pondsocket_asgi.testing._running": "test_testing",
    "pondsocket_asgi.testing._session": "test_testing",
    "pondsocket_asgi.testing._sse": "test_testing",
}


def test_each_module_has_a_test_file_of_its_name_or_a_reason_why_not() -> None:
    assert sorted(coverage.unnamed(ROOT / "packages", TESTS)) == sorted(ELSEWHERE)


def test_a_reason_names_test_files_that_there_are() -> None:
    there = {
        path.stem
        for folders in TESTS.values()
        for each in folders
        for path in each.glob("test_*.py")
    }
    there.add("test_architecture")
    named = {word.strip(",:") for reason in ELSEWHERE.values() for word in reason.split()}
    assert {word for word in named if word.startswith("test_")} <= there
