"""Where a client connects, and as which user: asked anew for every attempt."""

from collections.abc import Awaitable, Callable, Mapping
from inspect import isawaitable
from typing import TypeAlias
from urllib.parse import urlsplit, urlunsplit

from pondsocket_asgi.client._machine.values import TokenReason

from ._transports import Target

Token: TypeAlias = str | Callable[[TokenReason], str | Awaitable[str | None] | None] | None
Params: TypeAlias = (
    Mapping[str, object] | Callable[[], Mapping[str, object] | Awaitable[Mapping[str, object]]]
)

_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}


class Targets:
    """Makes the target of each attempt; see `Client` for the arguments."""

    def __init__(
        self,
        url: str,
        params: Params | None,
        token: Token,
        headers: Mapping[str, str] | None,
        *,
        is_in_memory: bool,
    ) -> None:
        self._url = _http_url(url, is_in_memory=is_in_memory)
        self._params = params
        self._token = token
        self._headers = dict(headers or {})
        self._known_token = token if isinstance(token, str) else None
        self._wanted: TokenReason | None = None

    @property
    def makes_tokens(self) -> bool:
        """Whether there is a function that makes tokens."""
        return callable(self._token)

    async def make(self, reason: TokenReason | None) -> Target:
        """Return where to connect, with a new token if there is a reason for one."""
        params = self._params() if callable(self._params) else self._params
        if isawaitable(params):
            params = await params
        # A function that has failed is asked again.
        self._wanted = reason or self._wanted
        if self._wanted is not None and callable(self._token):
            token = self._token(self._wanted)
            self._known_token = await token if isawaitable(token) else token
            self._wanted = None
        query = {name: str(value) for name, value in (params or {}).items()}
        return Target(self._url, query, self._headers, self._known_token)


def _http_url(url: str, *, is_in_memory: bool) -> str:
    """Return an address as httpx2 takes it for both transports.

    Raises:
        ValueError: It is no address of an endpoint.
    """
    parts = urlsplit(url)
    if is_in_memory and not parts.scheme:
        return f"http://app.test{url if url.startswith('/') else f'/{url}'}"
    if parts.scheme not in _SCHEMES or not parts.netloc:
        raise ValueError(f"An address is https://host/path, or with http, ws or wss, not {url!r}.")
    return urlunsplit((_SCHEMES[parts.scheme], *parts[1:4], ""))
