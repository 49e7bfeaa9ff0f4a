"""The context of a connection handler."""

from collections.abc import Awaitable, Collection, Mapping
from typing import Any, Final, TypeVar, overload

from pondsocket_common import (
    GATEWAY,
    EncodedPayload,
    Headers,
    QueryParams,
    ServerMessage,
    dump_json,
    fresh_id,
)

from pondsocket._delivery import replies
from pondsocket._environment import Environment
from pondsocket._errors import (
    HeaderPairs,
    UsageError,
    checked_header,
    checked_headers,
    merged,
    readable_text,
)
from pondsocket._log import about
from pondsocket._state.cookies import SameSite, set_cookie_value
from pondsocket._state.lifecycle import Admission, AdmissionEvent
from pondsocket._state.named_event import Event, named
from pondsocket._state.patterns import Route
from pondsocket._state.payloads import as_payload
from pondsocket._state.request import ConnectRequest
from pondsocket._state.user import as_user_id

from .decision import DONE, Decision

# A global of its own: before Python 3.12, reading a member of an enum costs 0.3 us.
_ACCEPT: Final = AdmissionEvent.ACCEPT
# Proxies refuse responses whose headers exceed a buffer of 4 or 8 KiB (nginx), with a 502 that says
# nothing; and Python's WebSocket client takes no line beyond 8 KiB.
_MAX_HEADER_BYTES: Final = 8_192

T = TypeVar("T")


class ConnectionContext:
    """A client asks to connect. Decide with `accept` or `decline`.

    Neither these nor `reply` and `set_assign` wait; `await` before them does no harm.
    """

    def __init__(self, request: ConnectRequest, route: Route, environment: Environment) -> None:
        self.request = request
        self.route: Route = route.with_query(request.query)
        self.environment = environment
        self.decision: Decision = Decision()
        self.declined: tuple[int, str, HeaderPairs] | None = None
        self.answer_headers: HeaderPairs = ()
        self.is_over: bool = False
        self.replies: list[ServerMessage] = []
        self.user_id: str = fresh_id()
        self.is_user_known: bool = False
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
        """The peer's IP address; None if the server does not know it."""
        return self.request.address

    @property
    def port(self) -> int | None:
        """The peer's port; None if the server does not know it."""
        return self.request.port

    @property
    def subprotocols(self) -> tuple[str, ...]:
        """The WebSocket subprotocols that the client offers, best first."""
        return self.request.subprotocols

    @property
    def token(self) -> str | None:
        """The bearer token that the client brings; None if there is none. It was not checked.

        It comes from the header `Authorization`, else from the subprotocols of a WebSocket:
        `base64url.bearer.…` (in base64url without padding), or `bearer` and the token behind it.
        """
        return self.request.token

    @property
    def scope(self) -> Mapping[str, Any]:
        """The ASGI scope, read-only: what a host and its middleware have found out.

        Raises:
            UsageError: The handler has returned, and the scope was let go.
        """
        self._check_in_time("its scope is let go; read what you need while the handler runs")
        return self.request.scope

    @property
    def is_accepted(self) -> bool:
        """Whether the connection was accepted."""
        return self.decision.state is Admission.ACCEPTED

    def end(self) -> None:
        """Let the scope go, and take no more headers: the handler and its middleware are done."""
        self.is_over = True
        self.request.let_go()

    def _check_in_time(self, advice: str) -> None:
        if self.is_over:
            raise UsageError(f"The connection was decided: {advice}.")

    def set_header(self, name: str, value: str) -> None:
        """Set a header of the answer, accepted or refused, in place of one of the same name.

        Raises:
            UsageError: The header cannot be sent, all headers together are over 8 KiB, or the
                handler has returned.
        """
        self._check_in_time("the answer has been sent")
        headers = merged(self.answer_headers, (checked_header(name, value),))
        size = sum(len(name) + len(value) + len(": \r\n") for name, value in headers)
        if size > _MAX_HEADER_BYTES:
            raise UsageError(
                f"The headers of an answer have {_MAX_HEADER_BYTES} bytes at most: {name!r} is one"
                " too many. Proxies refuse longer ones; send it by `reply`."
            )
        self.answer_headers = headers

    def set_cookie(
        self,
        name: str,
        value: str = "",
        *,
        max_age: int | None = None,
        path: str = "/",
        domain: str | None = None,
        secure: bool = False,
        httponly: bool = True,
        samesite: SameSite | None = "lax",
    ) -> None:
        """Set a cookie with the answer, accepted or refused. `max_age=0` deletes it.

        Args:
            max_age: How many seconds a browser keeps it; None: until it is closed.
            secure: Whether it is sent over TLS only.
            httponly: Whether scripts of the page cannot read it.
            samesite: Which other sites' requests it is sent with.

        Raises:
            UsageError: Browsers would not keep such a cookie; see `set_header` also.
        """
        text = set_cookie_value(
            name,
            value,
            max_age=max_age,
            path=path,
            domain=domain,
            secure=secure,
            httponly=httponly,
            samesite=samesite,
        )
        self.set_header("set-cookie", text)

    def accept(self, **assigns: Any) -> Awaitable[None]:
        """Admit the connection; `assigns` are its server-only data.

        An assign `user_id` becomes the user's public id, as text. It must come from checked
        credentials: for all others, a connection with this id is that user.

        Raises:
            UsageError: The `user_id` is neither a valid text nor an int.
        """
        given = assigns.get("user_id")
        user_id = self.user_id if given is None else as_user_id(given)
        if self.decision.advance(_ACCEPT, self._fields):
            self.set_assigns(**assigns)
            self.user_id = user_id
            self.is_user_known = given is not None
        return DONE

    def decline(
        self,
        code: int = 403,
        message: str = "The connection was declined.",
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Awaitable[None]:
        """Refuse the connection: an HTTP status, or a WebSocket close code 4400 to 4599.

        Args:
            headers: Headers of the response, such as `WWW-Authenticate` or `Retry-After`.

        Raises:
            UsageError: The code is not a number, the message is an object or a list, or a header
                cannot be sent.
        """
        if not isinstance(code, int):
            raise UsageError(f"decline(code, message): the code is a number, not {code!r}.")
        if isinstance(message, Collection):  # others, an exception for instance, have a text
            message = readable_text("decline(code, message): the message", message)
        named = checked_headers(headers)
        if self.decision.advance(AdmissionEvent.DECLINE, self._fields):
            self.declined = (code, message, named)
        return DONE

    def _fields(self) -> dict[str, str]:
        return about(endpoint=self.path, event="CONNECT", user=self.user_id)

    @overload
    def reply(self, event: str, payload: object = None) -> Awaitable[None]: ...
    @overload
    def reply(self, event: Event[T], payload: T) -> Awaitable[None]: ...
    def reply(self, event: str | Event[Any], payload: object = None) -> Awaitable[None]:
        """Send an event to this client as soon as it is connected.

        Raises:
            UsageError: The event's name is reserved or not valid, the payload is not an object, or
                the handler has returned.
            EncodingError: The payload cannot be written as JSON, or does not fit the event.
        """
        self._check_in_time("what it replies has been sent; `pond.push` sends to a user later")
        name, given = named(event, payload)
        # Encoded now, for the error; and the handler may change its object.
        encoded = EncodedPayload(dump_json(as_payload(given)))
        self.replies.append(replies.system(name, GATEWAY, encoded))
        return DONE

    def set_assign(self, key: str, value: object) -> Awaitable[None]:
        """Set one assign of the connection."""
        self.assigns[key] = value
        return DONE

    def set_assigns(self, **assigns: Any) -> Awaitable[None]:
        """Set several assigns of the connection."""
        self.assigns.update(assigns)
        return DONE

    def get_assign(self, key: str, default: Any = None) -> Any:
        """Return an assign of the connection, or else `default`."""
        return self.assigns.get(key, default)
