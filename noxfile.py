"""One session for each job; `uv run nox --list` names them.

Sessions run in the project's own uv environment, so a second run installs nothing.
"""

import sys

# First, because an old Python cannot parse what follows; nox may be started without uv.
if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit(
        "PondSocket needs Python 3.11 or newer, and this is Python %d.%d: install a newer one "  # noqa: UP031
        "and start again with it." % sys.version_info[:2]
    )

import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from tempfile import gettempdir

import nox

if find_spec("pondsocket_asgi", "pondsocket_pytest") is None:
    sys.exit("This is not the project's environment: start nox through uv, as the README shows.")

ROOT = Path(__file__).resolve().parent
NPM = ROOT / "tests" / "interop" / "npm"
CLIENTS = ROOT / "tests" / "clients"
BROWSER_NPM = ROOT / "tests" / "browser" / "npm"
# The client, and readers of event streams.
PYPI_CLIENTS = ("pondsocket-client==0.0.6", "httpx==0.28.1", "httpx-sse==0.4.3", "httpx2==2.16.2")

# Besides the one that everything else runs on.
PYTHONS = ("3.12", "3.13", "3.14")

PACKAGES = ("pondsocket_common", "pondsocket", "pondsocket_asgi")

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "none"
nox.options.sessions = ["tests", "lint", "types"]


def python(session: nox.Session, *arguments: str, env: dict[str, str] | None = None) -> None:
    session.run(sys.executable, *arguments, *session.posargs, env=env)


def debian(session: nox.Session, program: str, package: str) -> None:
    """Install a missing program with apt-get, or end the session if there is no apt-get."""
    # Debian puts nginx into /usr/sbin, which is often only on root's PATH.
    if shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"):
        return
    if shutil.which("apt-get") is None:
        session.error(f"Install `{program}` so that it is on the PATH, and start again.")
    # Another session may run apt-get at the same time, and apt-get does not wait for its lock.
    apt = ["flock", f"{gettempdir()}/pondsocket-apt-get", "apt-get"]
    if os.geteuid() != 0:
        apt.insert(0, "sudo")
    session.run(*apt, "update", "-q", silent=True)
    session.run(
        *apt, "install", "-q", "-y", "--no-install-recommends", package,
        silent=True, env={"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"},
    )  # fmt: skip


def interpreter(version: str) -> str | None:
    """Return a Python of this version: one of pyenv, or on the PATH; None: there is none."""
    # First, because pyenv's programs on the PATH refuse to run unless they are chosen.
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = sorted(pyenv.glob(f"versions/{version}.*/bin/python"))
    return str(found[-1]) if found else shutil.which(f"python{version}")


def npm_ci(session: nox.Session, folder: Path) -> None:
    """Install what a folder's package-lock.json names."""
    quiet = ("--no-audit", "--no-fund", "--loglevel=error")
    with session.chdir(folder):
        session.run("npm", "ci", "--ignore-scripts", *quiet, silent=True)


@nox.session
def demo(session: nox.Session) -> None:
    """Serve the chat on http://127.0.0.1:8000 (another port: `-- --port 8001`)."""
    python(session, "examples/chat.py")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the unit and integration tests (some: `-- tests/core -k join`)."""
    python(session, "-m", "pytest" if session.posargs else "tests")


@nox.session
def pythons(session: nox.Session) -> None:
    """Run the packages' tests on other Pythons that are installed (one: `-- 3.13`)."""
    found = {version: interpreter(version) for version in session.posargs or PYTHONS}
    for version in found:
        if found[version] is None:
            session.warn(f"There is no Python {version} here.")
    if not any(found.values()):
        session.error("Install one of them, for instance with pyenv, and start again.")
    folders = ("tests/common", "tests/core", "tests/asgi", "tests/clients")
    for version, python in found.items():
        if python is not None:
            place = ROOT / ".cache" / f"python-{version}"
            env = {"UV_PROJECT_ENVIRONMENT": str(place), "VIRTUAL_ENV": str(place)}
            session.run(os.environ["UV"], "sync", "-q", "--frozen", "--python", python, env=env)
            session.run(str(place / "bin" / "python"), "-m", "pytest", "-q", *folders, env=env)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting."""
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Check types with mypy, strict, and pyright; and that pyright knows all public types."""
    session.run("mypy")
    # pyright asks the first Python on the PATH for its packages, and the network for a newer self.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    env = {"PATH": path, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    session.run("pyright", env=env)
    for package in PACKAGES:
        session.run("pyright", "--ignoreexternal", "--verifytypes", package, env=env)


@nox.session
def docs(session: nox.Session) -> None:
    """Run every Python block of the READMEs and of docs/, and build the site in build/site."""
    pages = ["tests/test_readme.py", "tests/test_reference.py", "tests/test_site.py"]
    python(session, "-m", "pytest", *pages)
    if not session.posargs:
        python(session, "-m", "docs.site")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure PondSocket and others and write docs/benchmarks.md (a short run: `-- --quick`)."""
    if not session.posargs:
        debian(session, "redis-server", "redis-server")  # for two workers
    if session.posargs == ["--quick"]:
        session.run(sys.executable, "-m", "pytest", "tests/benchmarks")
    whole = [] if session.posargs else ["--out", "docs"]
    python(session, "-m", "tests.benchmarks", *whole)


@nox.session
def browser(session: nox.Session) -> None:
    """Test the chat and its client in headless Chromium."""
    debian(session, "chromium", "chromium")
    debian(session, "nginx", "nginx-light")
    debian(session, "redis-server", "redis-server")
    npm_ci(session, BROWSER_NPM)
    python(session, "-m", "pytest", "-m", "browser", "tests/browser")


@nox.session
def servers(session: nox.Session) -> None:
    """Test every server: both transports, deploys, and clients that stall, vanish or misbehave."""
    python(session, "-m", "pytest", "-m", "servers", "tests/integration")


@nox.session
def proxies(session: nox.Session) -> None:
    """Test through a real nginx, configured as docs/deployment.md shows."""
    debian(session, "nginx", "nginx-light")
    python(session, "-m", "pytest", "-m", "proxies", "tests/proxies")


@nox.session
def cluster(session: nox.Session) -> None:
    """Test several nodes on a real Redis, which is killed and frozen (chaos: `-- --seeds 5`)."""
    debian(session, "redis-server", "redis-server")
    debian(session, "redis-sentinel", "redis-sentinel")
    if not session.posargs:
        python(session, "-m", "tests.cluster")
        env = {"CLUSTER_SEEDS": "40"}
        python(session, "-m", "pytest", "-q", "tests/cluster/test_programs.py", env=env)
    python(session, "-m", "pytest", "-s", "-m", "redis", "tests/cluster/chaos")


@nox.session
def faults(session: nox.Session) -> None:
    """Run the programs that show faults which users meet elsewhere (some: `-- NAME NAME`)."""
    python(session, "-m", "tests.faults")


@nox.session
def fuzz(session: nox.Session) -> None:
    """Send 100,000 hostile inputs (other inputs: `FUZZ_SEED=random`; more: `FUZZ_SCALE=10`)."""
    python(session, "-m", "pytest", "-m", "fuzz", "tests/fuzz")


@nox.session
def cost(session: nox.Session) -> None:
    """Measure what hostile clients cost; needs a quiet core (some rows: `-- --only pings`)."""
    python(session, "-m", "tests.fuzz.cost")


@nox.session
def soak(session: nox.Session) -> None:
    """Serve many misbehaving clients for a minute (longer: `SOAK_SECONDS=600`)."""
    python(session, "-m", "pytest", "-s", "-m", "soak", "tests/soak")


@nox.session
def chaos(session: nox.Session) -> None:
    """Cut, stop and silence connections: no message may be missed (`CHAOS_COUNT` messages)."""
    python(session, "-m", "pytest", "-s", "-m", "chaos", "tests/chaos")


@nox.session
def interop(session: nox.Session) -> None:
    """Run clients and readers of streams that npm and PyPI publish against this server."""
    uv = os.environ["UV"]
    # A separate environment: the client depends on an older package of the same name.
    client = ROOT / ".cache" / "pypi-client"
    session.run(uv, "venv", "-q", "--allow-existing", "--python", sys.executable, str(client))
    client_python = client / "bin" / "python"
    session.run(uv, "pip", "install", "-q", "--python", str(client_python), *PYPI_CLIENTS)
    npm_ci(session, NPM)
    env = {"POND_PYPI_CLIENT_PYTHON": str(client_python)}
    python(session, "-m", "pytest", "-m", "interop", "tests/interop", env=env)


@nox.session
def clients(session: nox.Session) -> None:
    """Test the client for browsers on Node (all of its chaos: `CLIENT_CHAOS_COUNT=10000`)."""
    debian(session, "redis-server", "redis-server")
    npm_ci(session, CLIENTS)
    python(session, "-m", "tests.clients")


@nox.session
def build(session: nox.Session) -> None:
    """Build the wheels and sdists in dist/, try them, and follow the tutorial and recipes."""
    if not session.posargs:
        session.run(os.environ["UV"], "build", "-q", "--all-packages", "--out-dir", "dist")
    python(session, "-m", "pytest", "-m", "build", "tests/test_build.py", "tests/test_newcomer.py")
