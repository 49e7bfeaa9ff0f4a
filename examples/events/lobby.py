# A channel: who joins it gets what there is, and calling `added` publishes what is new.

from pondsocket import PondSocket

pond = PondSocket()
socket = pond.create_endpoint("/socket")
notes: list[str] = []


@socket.channel("/notes")
async def lobby() -> dict[str, list[str]]:
    return {"notes": notes}


added = lobby.event("added", dict[str, str])
