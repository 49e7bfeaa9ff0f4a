"""A browser's EventSource during a restart: what it is told, and what it meets when it comes back.

By the HTML standard it gives up for good at any answer but 200. A client that comes back at the
time it was told, or opens a page during the drain, must be answered 200 or find no server at all.
"""

import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

APP: Final = """
from pondsocket import PondSocket, Options
from pondsocket_asgi import PondASGIApp
pond = PondSocket(options=Options(drain_seconds=4, handler_grace=1))
pond.create_endpoint("/s", lambda ctx: ctx.accept())
app = PondASGIApp(pond)
"""
CROWD: Final = 200  # they are sent away within 2 s
HEAD: Final = b"GET /s HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n"


def open_stream(port: int) -> socket.socket | int:
    """Return an open stream, or the status with which it was refused."""
    peer = socket.create_connection(("127.0.0.1", port), timeout=10)
    peer.sendall(HEAD)
    status = int(peer.recv(200).split()[1])
    if status == 200:
        return peer
    peer.close()
    return status


def gather(port: int) -> list[socket.socket]:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            time.sleep(0.1)
    crowd = [stream for _ in range(CROWD) if isinstance(stream := open_stream(port), socket.socket)]
    time.sleep(0.5)
    for each in crowd:  # what was said before the drain does not count
        each.setblocking(False)
        each.recv(65_536)
    return crowd


def watch(process: "subprocess.Popen[bytes]", port: int, crowd: list[socket.socket]) -> list[str]:
    """Send the process away, and come back as the streams were told, until it is gone."""
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    told: dict[socket.socket, float] = {}
    due: list[float] = [0.2 * number for number in range(1, 40)]  # pages opened meanwhile
    refused: list[float] = []
    ended = came = 0
    while process.poll() is None and time.monotonic() - begun < 25:
        now = time.monotonic() - begun
        for each in crowd[:]:
            try:
                chunk = each.recv(65_536)
            except BlockingIOError:
                continue
            if found := re.findall(rb"retry: ?(\d+)", chunk):
                told[each] = int(found[-1]) / 1_000
            if not chunk:
                crowd.remove(each)
                each.close()
                ended += 1
                due.append(now + told.get(each, 3.0))
        ready, due = [at for at in due if at <= now], [at for at in due if at > now]
        for at in ready[:20]:
            try:
                answer = open_stream(port)
            except (OSError, IndexError):
                continue  # the server is gone: a browser tries again
            came += 1
            if isinstance(answer, int):
                refused.append(at)
            else:
                answer.close()
        time.sleep(0.01)
    bad = []
    if refused:
        bad.append(f"{len(refused)} of {came} are refused, the first after {min(refused):.1f} s")
    if ended < CROWD * 3 // 4 or len(told) < ended:
        bad.append(f"only {ended} of {CROWD} streams ended in order, {len(told)} with a time")
    if not came:
        bad.append("none came during the drain")
    return bad


def main() -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "restart_app.py").write_text(APP)
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
        command = [sys.executable, "-m", "uvicorn", "--log-level", "error", "--port", str(port)]
        process = subprocess.Popen([*command, "restart_app:app"], cwd=folder)
        try:
            return watch(process, port, gather(port))
        finally:
            process.kill()
            process.wait()


if __name__ == "__main__":
    bad = main()
    print("FAIL " + "; ".join(bad) if bad else "ok who comes back is served, or finds no server")
    sys.exit(bool(bad))
