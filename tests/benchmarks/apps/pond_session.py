"""PondSocket behind Starlette's SessionMiddleware, which replaces `send`."""

from starlette.middleware.sessions import SessionMiddleware

from tests.benchmarks.apps import pond

app = SessionMiddleware(pond.app, "a secret that signs no session")
