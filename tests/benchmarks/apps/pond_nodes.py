"""PondSocket as one of several workers, with Redis between them; alone without it."""

from pondsocket import EventContext, History, PondSocket
from pondsocket.backplane.redis import RedisBackplane
from pondsocket_asgi import PondASGIApp

from tests.benchmarks.apps.bursts import REDIS, burst
from tests.benchmarks.apps.pond import admit, enter, handle, unlimited


def build(history: History | None) -> PondSocket:
    """Make a pond with channels that broadcast, echo, and publish into another channel."""
    backplane = None if REDIS is None else RedisBackplane(REDIS)
    pond = PondSocket(options=unlimited(), backplane=backplane)
    endpoint = pond.create_endpoint("/socket", admit)
    lobby = handle(endpoint.create_channel("/room/:room_id", enter, history=history))

    async def publish(ctx: EventContext) -> None:
        asked = ctx.get_payload()
        room = pond.channel("/socket", asked["room"])
        await burst(asked, lambda said: room.broadcast("say", said))
        await ctx.reply("publish", {"done": asked["count"]})

    lobby.on_message("publish", publish)
    return pond


app = PondASGIApp(build(None))
remembering = PondASGIApp(build(History()))
