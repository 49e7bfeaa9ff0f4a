"""A real nginx (Debian's `nginx-light`) as an unprivileged child on a loopback port."""

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from tests.process_groups import PROCESS_GROUPS
from tests.servers import HOST, ROOT, STOP_SECONDS, Server, accepts, free_port

# Debian puts it where only root's PATH looks.
NGINX: Final = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
# The configuration that the deployment page shows.
DEPLOYED: Final = ROOT / "examples" / "deploy" / "nginx.conf"
START_SECONDS: Final = 10.0
UNPRIVILEGED_USER: Final = 65_534

# The rest of a host's nginx.conf: compression as unfavourable as one finds it, everything else as
# it is by default (buffering on, idle upstreams cut after 60 s).
MAIN: Final = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr info;
events {{ worker_connections 1024; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;

    gzip on;
    gzip_proxied any;
    gzip_min_length 1;
    gzip_types text/event-stream application/json;

    include {folder}/site.conf;
}}
"""


class Nginx:
    """nginx in front of a server, as a context manager.

    Args:
        upstream: The server to pass requests to, or several, which take turns.
        site: A site's configuration that listens on 80 and passes on to 127.0.0.1:8000; both are
            replaced. By default the one of the deployment page.
    """

    def __init__(self, upstream: Server | Sequence[Server], site: str | None = None) -> None:
        if NGINX is None:
            raise RuntimeError("There is no `nginx`: install Debian's nginx-light, for instance.")
        self._program: Final = NGINX
        self.port: Final = free_port()
        site = DEPLOYED.read_text() if site is None else site
        servers = [upstream] if isinstance(upstream, Server) else upstream
        addresses = "; server ".join(f"{HOST}:{server.port}" for server in servers)
        self._site = put_in(site, f"{HOST}:{self.port}", addresses)
        self._folder = Path(tempfile.mkdtemp(prefix="pond-nginx-"))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def http_url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def log(self) -> str:
        """Its error log so far."""
        return (self._folder / "error.log").read_text(errors="replace")

    def __enter__(self) -> Self:
        (self._folder / "site.conf").write_text(self._site)
        main = self._folder / "nginx.conf"
        main.write_text(MAIN.format(folder=self._folder))
        # As root its workers would change to a user of its own, who may not look into the folder.
        user = UNPRIVILEGED_USER if os.geteuid() == 0 else None
        if user is not None:
            os.chown(self._folder, user, user)
        with (self._folder / "error.log").open("wb") as log:
            self._process = subprocess.Popen(
                [self._program, "-e", "stderr", "-p", str(self._folder), "-c", str(main)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=user,
                group=user,
                extra_groups=None if user is None else [],
            )
        PROCESS_GROUPS.add(self._process.pid)
        self._wait_until_it_accepts(self._process)
        return self

    def _wait_until_it_accepts(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not accepts(HOST, self.port):
            if process.poll() is not None or time.monotonic() > deadline:
                log = self.log()
                self._stop()
                raise RuntimeError(f"nginx does not accept connections:\n{log}")
            time.sleep(0.02)

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            # SIGTERM is nginx's fast way to stop: its workers end with it.
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP_SECONDS)
            PROCESS_GROUPS.remove(process.pid)
        shutil.rmtree(self._folder)

    def __exit__(self, *_: object) -> None:
        self._stop()


def put_in(site: str, listen: str, upstream: str) -> str:
    """Return the site with other addresses, each of which must be in it exactly once."""
    for wanted, given in ((r"listen 80;", listen), (r"server 127\.0\.0\.1:8000;", upstream)):
        word = wanted.split()[0]
        site, count = re.subn(wanted, f"{word} {given};", site)
        if count != 1:
            raise ValueError(f"`{wanted}` is {count} times in the configuration, not once.")
    return site
