"""Connections that hold the signals, without an app."""

from collections.abc import Iterator
from contextlib import contextmanager

from pondsocket import PondSocket
from pondsocket_asgi._process.signals import SignalHook


@contextmanager
def hold_signals(hook: SignalHook, pond: PondSocket) -> Iterator[None]:
    """Hold the signals while this connection of a pond is served, as the app does."""
    is_held = hook.enter(pond)
    try:
        yield
    finally:
        if is_held:
            hook.leave()
