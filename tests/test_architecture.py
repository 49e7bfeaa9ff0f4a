"""How the packages are laid out: what may import what, what may wait, sizes and public names."""

import importlib
import json
from typing import Final

from tests.architecture import limits, rules
from tests.servers import ROOT

FOLDER: Final = ROOT / "packages"
# The lowest first.
PACKAGES: Final = ("pondsocket_common", "pondsocket", "pondsocket_asgi", "pondsocket_pytest")
MOST_IN_A_FOLDER: Final = 12

# Values in, values out: no `await`, no event loop, no clock.
PURE: Final = (
    "pondsocket_common",
    "pondsocket._state",
    "pondsocket._history",
    "pondsocket._presence.state",
    "pondsocket._presence.diffs",
    "pondsocket._delivery.dropping",
    "pondsocket._delivery.queue",
    "pondsocket_asgi.client._machine",
)
# The drivers of tests send what no codec would write.
JSON: Final = ("pondsocket_common._codec", "pondsocket_asgi.testing")
ASYNCIO: Final = (
    "pondsocket_asgi.fastlane",
    "pondsocket_asgi._fastlane",
    "pondsocket_asgi.testing._virtual_time",  # loops whose time jumps
)
# Order has one owner: what is offered goes before all that waits. All others call `send`.
OFFERS: Final = ("offer", "offer_batch", "offer_copy", "offer_pending")
OFFERING: Final = {
    "pondsocket._delivery.batching": "the owner of what waits",
    "pondsocket._delivery.fanout": "its loops",
    "pondsocket._delivery.ordered": "a sink: passes on what has had its turn",
    "pondsocket._channel.publishing": "says of a copy how the loop of `fanout` offers it",
    "pondsocket._channel.catch_up": "a sink: passes on what was read, and then what was held",
    "pondsocket._channel.ahead": "a sink: passes on what was not read",
    "pondsocket._channel.member": "a sink: passes on to that of its state",
    "pondsocket._connection.session": "a sink: passes on to its outlet; `send_frame` flushes first",
    "pondsocket_asgi._transport.event_stream": "an outlet; a comment is no frame of a channel",
    "pondsocket_asgi._transport.websocket": "an outlet: passes on to that which it extends",
}

# What breaks a limit says: name the second job, and move it. A list only gets shorter.
MOST_ATTRIBUTES: Final = 15
MOST_LINES_OF_A_FUNCTION: Final = 60
MOST_LINES_OF_A_FILE: Final = 450
# Each with the number that it has.
LARGE_CLASSES: Final = {
    # Eleven are uvicorn's: this assigns to them, to have uvicorn's class stand where it would if it
    # had opened the connection.
    "pondsocket_asgi._fastlane.continued_protocol.ContinuedProtocol": 24,
}


def test_packages_import_public_names_of_lower_ones_alone() -> None:
    assert rules.out_of_order(FOLDER, PACKAGES) == []


def test_files_import_each_other_in_no_circle() -> None:
    assert rules.circles(rules.file_graph(FOLDER)) == []


def test_folders_import_each_other_in_no_circle() -> None:
    assert rules.circles(rules.folder_graph(FOLDER)) == []


def test_no_folder_holds_too_many_modules() -> None:
    assert rules.crowded(FOLDER, MOST_IN_A_FOLDER) == []


def test_what_is_pure_never_waits() -> None:
    assert rules.waiting(FOLDER, PURE) == []
    clocks_and_loops = {"anyio", "asyncio", "trio", "threading", "time"}
    assert rules.importing(FOLDER, clocks_and_loops, within=PURE) == []


def test_asyncio_is_imported_by_the_fast_lane_alone() -> None:
    assert rules.importing(FOLDER, {"asyncio", "uvloop", "trio"}, but=ASYNCIO) == []


def test_json_is_known_to_codecs_alone() -> None:
    assert rules.importing(FOLDER, {"json", "orjson"}, but=JSON) == []


def test_order_has_one_owner() -> None:
    assert rules.calling(FOLDER, OFFERS, but=OFFERING) == []
    offering = {each.split(":")[0] for each in rules.calling(FOLDER, OFFERS, but=())}
    assert offering == set(OFFERING)


def test_the_lists_name_what_is_there() -> None:
    assert rules.missing(FOLDER, [*PURE, *JSON, *ASYNCIO]) == []


def test_no_class_has_too_many_attributes() -> None:
    assert limits.beyond(limits.large_classes(FOLDER, MOST_ATTRIBUTES), LARGE_CLASSES) == []


def test_no_function_is_too_long() -> None:
    found = limits.long_functions(FOLDER, MOST_LINES_OF_A_FUNCTION)
    assert limits.beyond(found, {}) == []


def test_no_file_is_too_long() -> None:
    assert limits.beyond(limits.long_files(FOLDER, MOST_LINES_OF_A_FILE), {}) == []


def test_the_formatter_is_kept_from_nothing() -> None:
    assert limits.beyond(limits.unformatted(FOLDER), {}) == []


def test_public_names_are_the_checked_in_list() -> None:
    found = {
        module: sorted(importlib.import_module(module).__all__)
        for module in rules.modules(FOLDER)
        if not any(part.startswith("_") for part in module.split("."))
    }
    assert found == json.loads((ROOT / "tests" / "public_names.json").read_text())
