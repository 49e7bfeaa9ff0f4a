"""Environments of contenders: this project's, or a separate one that is made on demand."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final, Protocol

from tests.servers import ROOT

# The packages below the contenders on uvicorn; they must be the same for all.
CARRIERS: Final = ("uvicorn", "uvloop", "httptools", "websockets")

_CACHE: Final = ROOT / ".cache"
# Seconds. Downloads are a few megabytes, and are done once.
_MAKE: Final = 60.0
_FILL: Final = 300.0
# Names what an environment was made of; written last, so that half of one is never used.
_STAMP: Final = "made-of.json"
_VERSION: Final = re.compile(r"\d+(\.\d+)+")
_TELL: Final = (
    "import importlib.metadata as m, json, sys; "
    "print(json.dumps({name: m.version(name) for name in sys.argv[1:]}))"
)


class ContenderMissing(Exception):  # noqa: N818 - the sentence that stands in its place
    """Raised when a contender cannot run here."""


class Environment(Protocol):
    """The environment of a contender."""

    @property
    def program(self) -> Path:
        """The program that starts it."""

    def missing(self) -> str | None:
        """Return why it cannot be made here, as far as a quick check can tell; None if it can."""

    def prepare(self) -> None:
        """Make it, unless that is done.

        Raises:
            ContenderMissing: It cannot be made.
        """

    def versions(self, *names: str) -> dict[str, str]:
        """Return the versions of these packages in it."""


class Own:
    """The environment that runs the benchmark."""

    program: Final = Path(sys.executable)

    def missing(self) -> None:
        """Return None: it always exists."""

    def prepare(self) -> None:
        """Do nothing: it always exists."""

    def versions(self, *names: str) -> dict[str, str]:
        """Return the versions of these packages here."""
        return {name: version(name) for name in names}


@dataclass(frozen=True)
class Checkout:
    """The environment of another checkout of this project, made there by `uv sync`."""

    folder: Path

    @property
    def program(self) -> Path:
        """Its interpreter."""
        return self.folder / ".venv" / "bin" / "python"

    def missing(self) -> str | None:
        """Return why it cannot run; None if it can."""
        return None if self.program.exists() else f"there is no {self.program}: run `uv sync` there"

    def prepare(self) -> None:
        """Check that it is there.

        Raises:
            ContenderMissing: It is not.
        """
        if (why := self.missing()) is not None:
            raise ContenderMissing(why)

    def versions(self, *names: str) -> dict[str, str]:
        """Return the versions of these packages in it."""
        told: dict[str, str] = json.loads(_run([str(self.program), "-c", _TELL, *names], _MAKE))
        return told


@dataclass(frozen=True)
class Python:
    """A Python environment: the same interpreter, the same `CARRIERS`, and a contender's packages.

    Args:
        name: Names its folder.
        pins: Packages with versions, such as `litestar==2.25.0`.
    """

    name: str
    pins: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Its folder."""
        return _CACHE / f"bench-{self.name}"

    @property
    def program(self) -> Path:
        """The interpreter in it."""
        return self.folder / "bin" / "python"

    def missing(self) -> str | None:
        """Return why it cannot be installed: there is no uv."""
        if self._is_made() or _uv() is not None:
            return None
        return "there is no uv to install it with; start with `uv run nox -s bench`"

    def prepare(self) -> None:
        """Install it, unless that is done.

        Raises:
            ContenderMissing: It cannot be installed.
        """
        if self._is_made():
            return
        uv = _uv()
        if uv is None:
            raise ContenderMissing(f"{self.name}: {self.missing()}")
        # From scratch, which takes a second with uv's cache: no files of another interpreter stay.
        _run([uv, "venv", "-q", "--clear", "--python", sys.executable, str(self.folder)], _MAKE)
        fill = [uv, "pip", "install", "-q", "--python", str(self.program)]
        _run([*fill, *self._all_pins()], _FILL)
        (self.folder / _STAMP).write_text(self._stamp())

    def versions(self, *names: str) -> dict[str, str]:
        """Return the versions of these packages in it."""
        told: dict[str, str] = json.loads(_run([str(self.program), "-c", _TELL, *names], _MAKE))
        return told

    def _all_pins(self) -> tuple[str, ...]:
        return (*self.pins, *(f"{name}=={version(name)}" for name in CARRIERS))

    def _stamp(self) -> str:
        return json.dumps([*self._all_pins(), sys.executable, platform.python_version()])

    def _is_made(self) -> bool:
        stamp = self.folder / _STAMP
        return stamp.exists() and stamp.read_text() == self._stamp() and self.program.exists()


@dataclass(frozen=True)
class Node:
    """A folder with one package of npm, for the Node that is on the PATH.

    Args:
        package: The package's name.
        version: Its exact version; it must not depend on another package.
    """

    package: str
    version: str

    @property
    def folder(self) -> Path:
        """Its folder."""
        return _CACHE / f"bench-node-{self.package}-{self.version}"

    @property
    def program(self) -> Path:
        """The Node that is on the PATH."""
        return Path(shutil.which("node") or "node")

    def missing(self) -> str | None:
        """Return which program is not installed, Node or npm; None if nothing is missing."""
        wanted = ("node",) if self._manifest.exists() else ("node", "npm")
        absent = [name for name in wanted if shutil.which(name) is None]
        return f"there is no `{absent[0]}` on the PATH" if absent else None

    def prepare(self) -> None:
        """Install the package, unless that is done.

        Raises:
            ContenderMissing: It cannot be installed.
        """
        if (why := self.missing()) is not None:
            raise ContenderMissing(f"{self.package}: {why}")
        if self._manifest.exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-save", "--loglevel=error")
        wanted = f"{self.package}@{self.version}"
        _run(["npm", "install", *quiet, "--prefix", str(self.folder), wanted], _FILL)

    def versions(self, *names: str) -> dict[str, str]:
        """Return the versions of Node and of the package."""
        node = _run([str(self.program), "--version"], _MAKE).strip().removeprefix("v")
        return {"node": node, self.package: json.loads(self._manifest.read_text())["version"]}

    @property
    def _manifest(self) -> Path:
        return self.folder / "node_modules" / self.package / "package.json"


def version_of(program: str) -> dict[str, str]:
    """Return the version that a program on the PATH prints."""
    found = _VERSION.search(_run([program, "--version"], _MAKE))
    return {program: "of an unknown version" if found is None else found[0]}


def _uv() -> str | None:
    return os.environ.get("UV") or shutil.which("uv")


def _run(command: list[str], seconds: float) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, check=True, cwd=ROOT
        )
    except subprocess.CalledProcessError as error:
        raise ContenderMissing(f"{' '.join(command)} failed: {error.stderr.strip()}") from error
    except (subprocess.TimeoutExpired, OSError) as error:
        raise ContenderMissing(f"{' '.join(command)} failed: {error}") from error
    return done.stdout
