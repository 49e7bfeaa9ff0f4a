# An action with a result, beside the channel of `lobby.py` that it publishes to.
#
# Run it with `uvicorn examples.events.actions:app`; clients connect to `/socket`.

from pondsocket_asgi import PondASGIApp

from .lobby import added, notes, pond, socket


@socket.on_message("add")
async def add(note: str) -> int:
    notes.append(note)
    await added("/notes", note=note)
    return len(notes)


app = PondASGIApp(pond)
