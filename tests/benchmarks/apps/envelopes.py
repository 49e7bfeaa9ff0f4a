"""The envelope of a server's message, for the apps that do without PondSocket."""

import orjson


def answer(action: str, event: str, payload: object, channel: str, number: str) -> bytes:
    """The message as JSON."""
    envelope = {
        "action": action,
        "event": event,
        "channelName": channel,
        "requestId": number,
        "payload": payload,
    }
    return orjson.dumps(envelope)
