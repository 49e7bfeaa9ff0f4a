"""The context of a connection handler."""

from collections.abc import Mapping
from typing import Any, Final

from pondsocket_common import (
    GATEWAY,
    EncodedPayload,
    Headers,
    QueryParams,
    ServerMessage,
    dump_json,
    fresh_id,
    is_name,
)

from pondsocket._delivery import replies
from pondsocket._environment import Environment
from pondsocket._errors import UsageError
from pondsocket._state.lifecycle import AdmissionEvent
from pondsocket._state.patterns import Route
from pondsocket._state.payloads import as_payload, check_event
from pondsocket._state.request import ConnectRequest

from .decision import Decision

# A global of its own: before Python 3.12, reading a member of an enum costs 0.3 us.
_ACCEPT: Final = AdmissionEvent.ACCEPT


class ConnectionContext:
    """A client asks to connect. Decide with `accept` or `decline`; neither waits."""

    def __init__(self, request: ConnectRequest, route: Route, environment: Environment) -> None:
        self.request = request
        self.route = route
        self.environment = environment
        self.decision = Decision()
        self.declined: tuple[int, str] | None = None
        self.replies: list[ServerMessage] = []
        self.user_id = fresh_id()
        self.is_user_known = False
        self.assigns: dict[str, Any] = {}

    @property
    def path(self) -> str:
        """The path asked for, relative to the mount."""
        return self.request.path

    @property
    def params(self) -> Mapping[str, str]:
        """The parameters of the endpoint's pattern."""
        return self.route.params

    @property
    def headers(self) -> Headers:
        """The request's headers; names are case-insensitive."""
        return self.request.headers

    @property
    def cookies(self) -> Mapping[str, str]:
        """The request's cookies."""
        return self.request.cookies

    @property
    def query(self) -> QueryParams:
        """The query; `query.getall(name)` for repeated names."""
        return self.request.query

    @property
    def address(self) -> str | None:
        """The peer's `host:port`; None if the server does not know it."""
        return self.request.address

    def accept(self, **assigns: Any) -> None:
        """Admit the connection; `assigns` are its server-only data.

        An assign `user_id` becomes the user's public id, as text. It must come from checked
        credentials: for all others, a connection with this id is that user.

        Raises:
            UsageError: The `user_id` is neither a valid text nor an int.
        """
        given = assigns.get("user_id")
        user_id = self.user_id if given is None else _user_id(given)
        if self.decision.advance(_ACCEPT):
            self.set_assigns(**assigns)
            self.user_id = user_id
            self.is_user_known = given is not None

    def decline(self, code: int = 403, message: str = "The connection was declined.") -> None:
        """Refuse the connection: an HTTP status, or a WebSocket close code 4400 to 4599.

        Raises:
            UsageError: The code is not a number.
        """
        if not isinstance(code, int):
            raise UsageError(f"decline(code, message): the code is a number, not {code!r}.")
        if self.decision.advance(AdmissionEvent.DECLINE):
            self.declined = (code, message)

    def reply(self, event: str, payload: object = None) -> None:
        """Send an event to this client as soon as it is connected.

        Raises:
            UsageError: The event's name is reserved or not valid, or the payload is not an object.
            EncodingError: The payload cannot be written as JSON.
        """
        check_event(event)
        # Encoded now, for the error; and the handler may change its object.
        encoded = EncodedPayload(dump_json(as_payload(payload)))
        self.replies.append(replies.system(event, GATEWAY, encoded))

    def set_assign(self, key: str, value: object) -> None:
        """Set one assign of the connection."""
        self.assigns[key] = value

    def set_assigns(self, **assigns: Any) -> None:
        """Set several assigns of the connection."""
        self.assigns.update(assigns)

    def get_assign(self, key: str, default: Any = None) -> Any:
        """Return an assign of the connection, or else `default`."""
        return self.assigns.get(key, default)


def _user_id(given: object) -> str:
    if isinstance(given, int) and not isinstance(given, bool):
        return str(given)
    if isinstance(given, str) and is_name(given):
        return given
    raise UsageError(
        f"user_id is a str of 1 to 255 characters, none a control one, or an int, not {given!r}."
    )
