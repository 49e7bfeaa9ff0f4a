"""The architecture's rules: which file may import which, which may wait, and what is public."""

import ast
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.servers import ROOT

PACKAGES: Final = ("pondsocket_common", "pondsocket", "pondsocket_asgi")
MAX_LINES: Final = 450

# Bottom up. A module, or a folder of them, imports from the floors below its own.
FLOORS: Final = {
    "pondsocket_common": (
        {"_enums", "_headers", "_ids", "_origins", "_websocket"},
        {"_errors", "_names"},
        {"_json", "_messages", "_values"},
        {"_codec", "_sse"},
    ),
    "pondsocket": (
        {"_errors", "_frames", "_functions", "_identity", "_request"},
        {"_payloads", "_state"},
        {"_answers", "_delivery", "_lanes", "_loop", "_options", "_waiting"} | {"_slow_consumers"},
        {"_gathering", "_hooks", "_threads"},
        {"_environment"},
        {"_intake", "_session_owner", "_timers"},
        {"_inbox"},
        {"_session", "_presence"},
        {"_gate", "_past"},
        {"_congestion", "_member"},
        {"_channel"},
        {"_channel_handle", "_contexts"},
        {"_defaults", "_depends"},
        {"_marks"},
        {"_declarations"},
        {"_parameters"},
        {"_signatures"},
        {"_handlers", "_kinds"},
        {"_doorkeeper", "_events", "_outgoing"},
        {"_lobby"},
        {"_endpoint"},
        {"_server"},
        {"testing"},
    ),
    "pondsocket_asgi": (
        {"_backlog", "_cursor", "_framewalk", "_received", "_redact", "_scope"}
        | {"_smallframes", "_wakeup"},
        {"_body", "_bounded", "_pulse", "_security", "_sockets", "_stepping"},
        {"_servers", "fastlane"},
        {"_door", "_signals"},
        {"_outbox", "_lifespan", "_resume"},
        {"_websocket", "_stream"},
        {"_sse"},
        {"_app"},
        {"testing"},
    ),
}


class Import(NamedTuple):
    module: str
    name: str | None
    line: int


class Source(NamedTuple):
    package: str
    path: Path
    tree: ast.Module

    @property
    def room(self) -> str:
        """The name in FLOORS: the module, or the folder it lives in."""
        inside = self.path.relative_to(package_root(self.package))
        return inside.parts[0].removesuffix(".py")

    def imports(self) -> Iterator[Import]:
        """Yield what is imported at run time; files of one floor may know each other's types."""
        types_alone = {
            inner
            for node in ast.walk(self.tree)
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            for inner in ast.walk(node)
        }
        for node in ast.walk(self.tree):
            if node in types_alone:
                continue
            if isinstance(node, ast.Import):
                yield from (Import(alias.name, None, node.lineno) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                here = self.path.relative_to(package_root(self.package).parent).parts
                around = here[: len(here) - node.level] if node.level else ()
                module = ".".join([*around, *filter(None, [node.module])])
                yield from (Import(module, alias.name, node.lineno) for alias in node.names)

    def at(self, line: int) -> str:
        return f"{self.path.relative_to(ROOT)}:{line}"


def package_root(package: str) -> Path:
    return ROOT / "packages" / package.replace("_", "-") / "src" / package


def sources(*packages: str) -> list[Source]:
    return [
        Source(package, path, ast.parse(path.read_text()))
        for package in packages
        for path in sorted(package_root(package).rglob("*.py"))
    ]


def public_names(module: str) -> list[str]:
    return sorted(importlib.import_module(module).__all__)


def floor(package: str, room: str) -> int:
    """Return the floor's number; the roof, from which everything is seen, is `__init__`'s."""
    numbers = (number for number, rooms in enumerate(FLOORS[package]) if room in rooms)
    return next(numbers, len(FLOORS[package]))


def test_packages_import_one_way_and_only_public_names() -> None:
    broken = []
    for source in sources(*PACKAGES):
        below = PACKAGES[: PACKAGES.index(source.package)]
        for module, name, line in source.imports():
            package, *inner = module.split(".")
            if package not in PACKAGES or package == source.package:
                continue
            private = any(part.startswith("_") for part in inner)
            if package not in below or private or name not in public_names(module):
                broken.append(f"{source.at(line)} {module} {name}")
    assert not broken


def test_modules_import_only_from_lower_floors() -> None:
    broken = []
    for source in sources(*PACKAGES):
        own = floor(source.package, source.room)
        for module, name, line in source.imports():
            package, *inner = module.split(".")
            other = inner[0] if inner else str(name)
            if package != source.package or other == source.room:
                continue
            if own <= floor(package, other):
                broken.append(f"{source.at(line)} {source.room} -> {other}")
    assert not broken


def test_every_module_has_a_floor_and_every_floor_its_modules() -> None:
    for package in PACKAGES:
        rooms = {source.room for source in sources(package)} - {"__init__"}
        assert rooms == set().union(*FLOORS[package])


def test_the_wire_and_the_state_never_wait() -> None:
    waits = (ast.Await, ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith)
    pure = sources("pondsocket_common") + [s for s in sources("pondsocket") if s.room == "_state"]
    broken = [
        source.at(node.lineno)
        for source in pure
        for node in ast.walk(source.tree)
        if isinstance(node, waits)
    ]
    broken += importing(pure, {"anyio", "asyncio", "trio", "threading", "time"})
    assert not broken


def test_asyncio_is_imported_by_the_fast_lane_alone() -> None:
    others = [source for source in sources(*PACKAGES) if source.path.name != "fastlane.py"]
    assert not importing(others, {"asyncio", "uvloop", "trio"})


def test_json_is_known_to_the_codec_alone() -> None:
    # The drivers of tests send what no codec would write.
    known = {"_codec", "_json", "testing"}
    others = [source for source in sources(*PACKAGES) if source.room not in known]
    assert not importing(others, {"json", "orjson"})


def importing(files: list[Source], banned: set[str]) -> list[str]:
    return [
        f"{source.at(line)} {module}"
        for source in files
        for module, _, line in source.imports()
        if module.split(".")[0] in banned
    ]


def test_public_names_are_the_checked_in_list() -> None:
    public = [
        ".".join(source.path.relative_to(package_root(source.package).parent).with_suffix("").parts)
        for source in sources(*PACKAGES)
    ]
    modules = [name.removesuffix(".__init__") for name in public]
    found = {
        module: public_names(module)
        for module in modules
        if not any(part.startswith("_") for part in module.split("."))
    }
    assert found == json.loads((ROOT / "tests" / "public_names.json").read_text())


@pytest.mark.parametrize("folder", ["packages", "examples", "tests"])
def test_files_stay_small(folder: str) -> None:
    lines = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in (ROOT / folder).rglob("*.py")
        if "node_modules" not in path.parts
    }
    assert not {path: count for path, count in lines.items() if count >= MAX_LINES}
