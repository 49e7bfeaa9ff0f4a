"""HTTP requests that are whole but wrong, and ones that are hardly requests."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final

from tests.fuzz.raw_sockets import KEY

PATH: Final = b"/socket"
PATHS: Final = [
    b"/", b"/socket2", b"/socket/x", b"/socket/%2e%2e", b"/%ff%fe", b"/%00", b"//socket",
    b"/Socket", b"/" + b"a" * 2_000, b"/socket;x", b"/%F0%9F%90%B8", b"/socket%20", b"/*",
]  # fmt: skip
METHODS: Final = [b"PUT", b"PATCH", b"HEAD", b"TRACE", b"PROPFIND", b"LOCK"]
BAD_QUERIES: Final = [b"?a=%ff", b"?%c0%80=1", b"?x=%ed%a0%80", b"?a=1&b=%80"]
ODD_QUERIES: Final = [
    b"?", b"?=", b"?&&&", b"?a", b"?a=%", b"?a=%zz&b=%4", b"?%00=%00", b"?a=1&a=2&a=3", b"?a=b=c",
    b"?" + b"a=1&" * 200, b"?__proto__=1", b"?sse=unnamed&sse=x", b"?lastEventId=%F0%9F%90%B8",
]  # fmt: skip
NO_JSON_TYPES: Final = [
    b"text/plain", b"", b"application/xml", b"multipart/form-data; boundary=x", b"json", b"*/*",
    b"application/x-www-form-urlencoded", b"text/json;application/json", b"application/jsonp", b";",
    b"\xff\xfe", b"application /json",
]  # fmt: skip
JSON_TYPES: Final = [
    b"application/json", b"application/json", b"application/json; charset=latin-1",
    b"APPLICATION/JSON", b"application/problem+json", b"application/json;;;=",
]  # fmt: skip
NO_STREAM: Final = [
    b"*/*", b"text/html", b"", b"text/event-streams", b"event-stream", b"text/*", b"\xff", b",,,",
    b"application/json, text/plain;q=text/event-stream",
]  # fmt: skip
FOREIGN: Final = [
    b"https://evil.example", b"null", b"", b"http://127.0.0.1:1", b"http://127.0.0.1.evil.example",
    b"127.0.0.1", b"file://", b"\xff\xfe", b"http://[::1", b"http://127.0.0.1@evil.example", b"*",
    b"http://127.0.0.1 http://127.0.0.1", b"https://" + b"a" * 5_000, b"http://127.0.0.1:99999999",
]  # fmt: skip
HANDSHAKE: Final = [
    (b"Upgrade", b"websocket"),
    (b"Connection", b"Upgrade"),
    (b"Sec-WebSocket-Version", b"13"),
    (b"Sec-WebSocket-Key", KEY.encode()),
]
_HEADER_BYTES: Final = [9, *range(32, 127), *range(128, 256)]
OWN: Final = b"http://127.0.0.1"


@dataclass
class RawRequest:
    """A request and what the protocol says of it.

    Args:
        text: Its bytes.
        statuses: One of these has to be the answer's.
        body: The body, where it reaches a live connection and must be judged.
    """

    kind: str
    text: bytes
    statuses: frozenset[int]
    body: bytes | None = None
    is_head: bool = False

    @property
    def leaves_body(self) -> bool:
        """Whether it has a body that the server does not read before it answers."""
        return self.body is None and (
            b"\nContent-Length" in self.text or b"\nTransfer-" in self.text
        )


@dataclass
class Draft:
    """A request in the making: first all of it right."""

    method: bytes = b"POST"
    path: bytes = PATH
    query: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes | None = None
    chunks: list[int] | None = None

    def text(self) -> bytes:
        """Its bytes."""
        headers = [(b"Host", b"127.0.0.1"), *self.headers]
        body = self.body or b""
        if self.chunks is not None:
            headers.append((b"Transfer-Encoding", b"chunked"))
            body = self._chunked(body)
        elif self.body is not None:
            headers.append((b"Content-Length", b"%d" % len(body)))
        lines = [b"%s %s%s HTTP/1.1" % (self.method, self.path, self.query)]
        lines += [name + b": " + value for name, value in headers]
        return b"\r\n".join([*lines, b"", body])

    def _chunked(self, body: bytes) -> bytes:
        text = b""
        for size in self.chunks or []:
            part, body = body[:size], body[size:]
            if part:
                text += b'%x;ext="a"\r\n%s\r\n' % (len(part), part)
        if body:
            text += b"%X\r\n%s\r\n" % (len(body), body)
        return text + b"0\r\n\r\n"


class Requests:
    """Makes requests to one server about one live stream."""

    def __init__(self, random: Random, hostile_body: Callable[[], tuple[str, bytes]]) -> None:
        self._random = random
        self._hostile_body = hostile_body
        # Ids of connections: the stream's own, and those that must not be taken for one.
        self.live = b""
        self.others: list[bytes] = []

    def raw_request(self) -> RawRequest:
        """Return a request that a server recognises as one."""
        makers = [self._speak] * 5 + [self._stranger, self._delete, self._page, self._method]
        return self._random.choice(makers)()

    def handshake(self) -> RawRequest:
        """Return a right handshake at the wrong path, or from the wrong origin."""
        # Two origins are too many already for some implementations of WebSocket.
        noise = [(name, value) for name, value in self._noise() if name != b"Origin"]
        draft = Draft(method=b"GET", headers=[*noise, *HANDSHAKE])
        match self._random.randrange(3):
            case 0:
                draft.path = self._random.choice(PATHS)
                return RawRequest("handshake at another path", draft.text(), frozenset({404}))
            case 1:
                draft.query = self._random.choice(BAD_QUERIES)
                return RawRequest("handshake with a bad query", draft.text(), frozenset({400}))
            case _:
                draft.headers.append((b"Origin", self._random.choice(FOREIGN)))
                return RawRequest("handshake of another origin", draft.text(), frozenset({403}))

    # --- whole requests -----------------------------------------------------------------------

    def _speak(self) -> RawRequest:
        kind, body = self._hostile_body()
        draft = Draft(body=body)
        draft.headers += self._noise()
        draft.headers.append((b"X-Connection-ID", self.live))
        draft.headers.append((b"Content-Type", self._random.choice(JSON_TYPES)))
        if self._random.random() < 0.15:
            draft.chunks = [self._random.choice([1, 2, 10, 100]) for _ in range(20)]
            kind += ", chunked"
        if self._random.random() < 0.8:
            return RawRequest(f"POST {kind}", draft.text(), frozenset({204, 400}), body)
        return self._spoiled(draft)

    def _spoiled(self, draft: Draft) -> RawRequest:
        """Return a POST to a live connection with one thing wrong, which must not reach it."""
        pick = self._random.choice
        match self._random.randrange(5):
            case 0:
                draft.headers[-1] = (b"Content-Type", pick(NO_JSON_TYPES))
                return RawRequest("POST of another type", draft.text(), frozenset({415}))
            case 1:
                del draft.headers[-1]
                return RawRequest("POST without a type", draft.text(), frozenset({415}))
            case 2:
                draft.path = pick(PATHS)
                return RawRequest("POST to another path", draft.text(), frozenset({404}))
            case 3:
                draft.headers.insert(0, (b"Origin", pick(FOREIGN)))
                return RawRequest("POST of another origin", draft.text(), frozenset({403}))
            case _:
                draft.query = pick(BAD_QUERIES)
                return RawRequest("POST with a bad query", draft.text(), frozenset({400}))

    def _stranger(self) -> RawRequest:
        draft = Draft(method=self._random.choice([b"POST", b"POST", b"DELETE"]))
        draft.headers += self._noise()
        if draft.method == b"POST":
            draft.body = self._hostile_body()[1]
            draft.headers.append((b"Content-Type", b"application/json"))
        if self._random.random() < 0.2:
            empty = self._random.random() < 0.5
            draft.headers += [(b"X-Connection-ID", b"")] if empty else []
            return RawRequest("no connection id", draft.text(), frozenset({400}))
        draft.headers.append((b"X-Connection-ID", self._wrong_id()))
        return RawRequest("wrong connection id", draft.text(), frozenset({404}))

    def _wrong_id(self) -> bytes:
        live = self.live
        near = [live[:-1], live + b"x", live.swapcase(), b"0" * len(live), live + b", " + live]
        odd = [b"null", b"../x", b"\xff" * 16, b"a" * 4_000, b"%00", b"'--", b"\xc5\xbe", b"*"]
        return self._random.choice([*near, *odd, *self.others])

    def _delete(self) -> RawRequest:
        draft = Draft(method=b"DELETE", path=self._random.choice(PATHS))
        draft.headers = [*self._noise(), (b"X-Connection-ID", self.live)]
        return RawRequest("DELETE at another path", draft.text(), frozenset({404}))

    def _page(self) -> RawRequest:
        draft = Draft(method=b"GET", query=self._random.choice([b"", b"", *ODD_QUERIES]))
        draft.headers = self._noise()
        stream = (b"Accept", b"text/event-stream")
        match self._random.randrange(5):
            case 0:
                draft.headers += [(b"Accept", self._random.choice(NO_STREAM))]
                return RawRequest("GET of a page", draft.text(), frozenset({404}))
            case 1:
                draft.path = self._random.choice(PATHS)
                draft.headers.append(stream)
                return RawRequest("GET of another path", draft.text(), frozenset({404}))
            case 2:
                draft.query = self._random.choice(BAD_QUERIES)
                draft.headers.append(stream)
                return RawRequest("GET with a bad query", draft.text(), frozenset({400}))
            case 3:
                draft.headers += [stream, (b"Origin", self._random.choice(FOREIGN))]
                return RawRequest("GET of another origin", draft.text(), frozenset({403}))
            case _:
                draft.headers += HANDSHAKE[2:]
                return RawRequest("handshake without its upgrade", draft.text(), frozenset({426}))

    def _method(self) -> RawRequest:
        draft = Draft(method=self._random.choice([*METHODS, b"OPTIONS"]))
        draft.headers = [*self._noise(), (b"X-Connection-ID", self.live)]
        if self._random.random() < 0.3:
            draft.body = b"{}"
        if draft.method == b"OPTIONS":
            draft.headers += [(b"Access-Control-Request-Method", b"POST")]
            return RawRequest("OPTIONS", draft.text(), frozenset({204}))
        is_head = draft.method == b"HEAD"
        return RawRequest("wrong method", draft.text(), frozenset({405}), is_head=is_head)

    def _noise(self) -> list[tuple[bytes, bytes]]:
        """Headers that change nothing, of any bytes that may stand in one."""
        few = self._random.randrange
        value = bytes(self._random.choices(_HEADER_BYTES, k=few(30)))
        noise = [
            (b"Cookie", value),
            (b"Cookie", b"; ".join([b"a=1", value, b"=", b"b", b'c="', b"session=x", b";;"])),
            (b"Cookie", b"x=" + b"y" * 3_000),
            (b"X-Noise", value),
            (b"Last-Event-ID", value),
            (b"Accept-Encoding", b"gzip;q=" + value),
            (b"X-Forwarded-For", value),
            (b"X-Forwarded-Host", b"evil.example"),
            (b"Authorization", b"Basic " + value),
            (b"Referer", value),
            (b"Origin", OWN),
            (b"FuzzedServer", b"bytes=0-1"),
            (b"If-None-Match", b"*"),
        ]
        return self._random.sample(noise, few(4))
