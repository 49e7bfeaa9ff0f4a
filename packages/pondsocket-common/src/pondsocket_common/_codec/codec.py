"""The interfaces of a wire format: the server's side of it, and the client's as well."""

from typing import Protocol, runtime_checkable

from pondsocket_common._messages import ClientMessage, Ping, ServerMessage


class Codec(Protocol):
    """One wire format: a client's text to messages, and the server's messages to text.

    A text is UTF-8 and has no line break, so that an event stream can carry it, where U+0085,
    U+2028 and U+2029 become escapes of JSON. Payloads of the
    application are JSON objects in every format; `PayloadNames` names the fields of all others.
    """

    @property
    def name(self) -> str:
        """What a client asks for it by: a WebSocket subprotocol, or `?codec=` in the address."""
        ...

    def decode(self, data: str | bytes, *, refuses_events: bool = False) -> ClientMessage | Ping:
        """Decode and check one message of a client.

        Args:
            refuses_events: The caller refuses an event in any case: no more of it need be looked
                at than an answer needs.

        Raises:
            InvalidMessage: The message breaks the protocol.
        """
        ...

    def decode_batch(
        self, data: str | bytes, *, refuses_events: bool = False
    ) -> list[ClientMessage | Ping]:
        """Decode and check the body of a POST: one message of a client, or up to `MAX_BATCH`.

        Raises:
            InvalidMessage: One of them breaks the protocol.
        """
        ...

    def encode(self, message: ServerMessage) -> bytes:
        """Encode a message of the server.

        Raises:
            EncodingError: The application's payload cannot be written as JSON.
        """
        ...


@runtime_checkable
class ClientCodec(Codec, Protocol):
    """A wire format with its client's side too, by which the clients of `testing` speak it."""

    def encode_client(self, message: ClientMessage) -> bytes:
        """Encode a message of a client."""
        ...

    def decode_server(self, data: str | bytes) -> ServerMessage:
        """Decode and check one message of the server.

        Raises:
            InvalidMessage: The message breaks the protocol.
        """
        ...
