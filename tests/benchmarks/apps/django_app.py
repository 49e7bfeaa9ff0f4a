"""Django Channels: one consumer, groups, and the layer in memory, or Redis if there is one."""

from typing import Any

import django
import orjson
from django.conf import settings

from tests.benchmarks.apps.bursts import REDIS, burst

LAYER: dict[str, Any] = {
    "BACKEND": "channels.layers.InMemoryChannelLayer",
    # Above the default of 100, beyond which it drops messages silently.
    "CONFIG": {"capacity": 10_000},
}
if REDIS is not None:
    LAYER = {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [REDIS]},
    }
settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    INSTALLED_APPS=["channels"],
    CHANNEL_LAYERS={"default": LAYER},
)
django.setup()

# These imports need the settings.
from channels.generic.websocket import (  # type: ignore[import-untyped]  # noqa: E402
    AsyncWebsocketConsumer,
)
from channels.routing import (  # type: ignore[import-untyped]  # noqa: E402
    ProtocolTypeRouter,
    URLRouter,
)
from django.urls import path  # noqa: E402

from tests.benchmarks.apps.envelopes import answer  # noqa: E402


def group_of(channel: str) -> str:
    """Return the name of a channel's group, which may hold no slash."""
    return channel.strip("/").replace("/", ".")


class Member(AsyncWebsocketConsumer):  # type: ignore[misc]
    """One WebSocket."""

    async def connect(self) -> None:
        """Accept, and send CONNECTION."""
        self.joined: list[str] = []
        await self.accept()
        await self.send(text_data=answer("CONNECT", "CONNECTION", {}, "GATEWAY", "0").decode())

    async def disconnect(self, code: int) -> None:
        """Leave all groups."""
        for group in self.joined:
            await self.channel_layer.group_discard(group, self.channel_name)

    async def receive(self, text_data: str) -> None:
        """Join, broadcast or echo."""
        request: dict[str, Any] = orjson.loads(text_data)
        channel, number = request["channelName"], request["requestId"]
        group = group_of(channel)
        if request["action"] == "JOIN_CHANNEL":
            await self.channel_layer.group_add(group, self.channel_name)
            self.joined.append(group)
            heard = answer("SYSTEM", "ACKNOWLEDGE", {}, channel, number)
            await self.send(text_data=heard.decode())
        elif request["event"] == "echo":
            heard = answer("SYSTEM", "echo", request["payload"], channel, number)
            await self.send(text_data=heard.decode())
        elif request["event"] == "publish":
            asked = request["payload"]
            await burst(asked, lambda said: self.say(asked["room"], "say", said, number))
            heard = answer("SYSTEM", "publish", {"done": asked["count"]}, channel, number)
            await self.send(text_data=heard.decode())
        else:
            await self.say(channel, request["event"], request["payload"], number)

    async def say(self, channel: str, event: str, payload: object, number: str) -> None:
        """Broadcast to a group."""
        heard = answer("BROADCAST", event, payload, channel, number)
        said = {"type": "room.said", "text": heard.decode()}
        await self.channel_layer.group_send(group_of(channel), said)

    async def room_said(self, event: dict[str, str]) -> None:
        """Send a group's message to this client."""
        await self.send(text_data=event["text"])


app = ProtocolTypeRouter({"websocket": URLRouter([path("socket", Member.as_asgi())])})
