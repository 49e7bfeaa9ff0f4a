"""How the packages are laid out: which file may import which, who may wait, and what is public."""

import importlib
import json
from typing import Final

from tests.architecture import rules
from tests.servers import ROOT

FOLDER: Final = ROOT / "packages"
# The lowest first.
PACKAGES: Final = ("pondsocket_common", "pondsocket", "pondsocket_asgi")
MOST_IN_A_FOLDER: Final = 12

# Values in, values out: no `await`, no event loop, no clock.
PURE: Final = (
    "pondsocket_common",
    "pondsocket._state",
    "pondsocket._history",
    "pondsocket._presence.state",
    "pondsocket._presence.diffs",
    "pondsocket._delivery.queue",
)
# The drivers of tests send what no codec would write.
JSON: Final = ("pondsocket_common._codec", "pondsocket_asgi.testing")
ASYNCIO: Final = ("pondsocket_asgi.fastlane", "pondsocket_asgi._fastlane")


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


def test_the_lists_name_what_is_there() -> None:
    assert rules.missing(FOLDER, [*PURE, *JSON, *ASYNCIO]) == []


def test_public_names_are_the_checked_in_list() -> None:
    found = {
        module: sorted(importlib.import_module(module).__all__)
        for module in rules.modules(FOLDER)
        if not any(part.startswith("_") for part in module.split("."))
    }
    assert found == json.loads((ROOT / "tests" / "public_names.json").read_text())
