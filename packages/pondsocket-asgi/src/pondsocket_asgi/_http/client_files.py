"""The browser's client: files of this package, as HTTP serves them.

They are public: no file says anything of a pond, so every page of every origin may load them.
"""

import gzip
import hashlib
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final, NamedTuple

from pondsocket import UsageError
from pondsocket_common import Headers

from pondsocket_asgi._origins import HeaderList

MODULE: Final = "pondsocket.js"
# What a page or an editor loads; a bundler also reads package.json.
_SERVED: Final = (MODULE, "pondsocket.d.ts", "react.js", "react.d.ts")
FILES: Final = (*_SERVED, "package.json")
METHODS: Final = ("GET", "HEAD")

_PATH: Final = re.compile(r"/(?:[\w.~-]+/)*[\w.~-]+\.js", re.ASCII)
_JAVASCRIPT: Final = b"text/javascript; charset=utf-8"
_TYPESCRIPT: Final = b"application/typescript; charset=utf-8"
# Asked for anew at each load of a page, which a 304 answers.
_ASK: Final = b"public, max-age=0, must-revalidate"
# A year: the longest that caches agree on.
_KEEP: Final = b"public, max-age=31536000, immutable"
# Of the 64 digits of SHA-256: enough to tell the versions of one file apart.
_DIGITS: Final = 16
# One line, or a block from the beginning of its first line to the end of its last one.
_COMMENTS: Final = re.compile(
    rb"^[ \t]*(?://[^\n]*|/\*(?:(?!\*/).)*\*/[ \t]*)$", re.MULTILINE | re.DOTALL
)
_ANYONE: Final = (
    (b"access-control-allow-origin", b"*"),
    (b"cross-origin-resource-policy", b"cross-origin"),
    (b"x-content-type-options", b"nosniff"),
)


def read_file(name: str) -> bytes:
    """Return a file of the client as the package has it, comments included."""
    return (files("pondsocket_asgi") / "browser" / name).read_bytes()


class Answer(NamedTuple):
    """A response."""

    status: int
    body: bytes
    headers: HeaderList


class ClientFile:
    """One file as it is served.

    Attributes:
        version: A hash of the content.
    """

    def __init__(self, name: str) -> None:
        content = read_file(name)
        is_script = name.endswith(".js")
        self._plain = without_comments(content) if is_script else content
        self._zipped = gzip.compress(self._plain, mtime=0)
        self.version = hashlib.sha256(self._plain).hexdigest()[:_DIGITS]
        # Weak: the same for both codings, and proxies that compress by themselves leave it alone.
        self._etag = f'W/"{self.version}"'
        self._type = _JAVASCRIPT if is_script else _TYPESCRIPT

    def answer(self, headers: Headers, query_string: bytes) -> Answer:
        """Answer a GET. The answer to a HEAD is the same without the body."""
        is_named = b"v=" + self.version.encode() in query_string.split(b"&")
        common = [
            (b"etag", self._etag.encode()),
            # A link may outlive its file: only what has this very content may be kept.
            (b"cache-control", _KEEP if is_named else _ASK),
            (b"vary", b"Accept-Encoding"),
            *_ANYONE,
        ]
        if names_tag(headers.getall("if-none-match"), self._etag):
            return Answer(304, b"", common)
        body, coding = self._plain, []
        if accepts_gzip(headers.getall("accept-encoding")):
            body, coding = self._zipped, [(b"content-encoding", b"gzip")]
        length = (b"content-length", b"%d" % len(body))
        return Answer(200, body, [(b"content-type", self._type), length, *coding, *common])


# Cached: read at the first request for it, and the same for every app.
client_file: Final = cache(ClientFile)


def served_paths(client: object) -> Mapping[str, str]:
    """Return which file is served at which path.

    Args:
        client: The option: the path of the module, which the other files are beside; or None.

    Raises:
        UsageError: It is no path of a JavaScript file.
    """
    if client is None:
        return {}
    if not (isinstance(client, str) and _PATH.fullmatch(client)):
        raise UsageError(
            f"PondASGIApp(client={client!r}): this is the path below the mount at which browsers"
            ' find the client, such as "/pondsocket.js"; None: it is not served.'
        )
    folder, _, name = client.rpartition("/")
    # TypeScript looks for the types of `a.js` in `a.d.ts`.
    names = {MODULE: name, "pondsocket.d.ts": f"{name.removesuffix('.js')}.d.ts"}
    return {f"{folder}/{names.get(each, each)}": each for each in _SERVED}


def without_comments(script: bytes) -> bytes:
    """Empty the lines that are only a comment; all others keep their numbers.

    Lines that begin with `//` or `/*` are taken for comments, so no line of a template literal may.
    """
    return _COMMENTS.sub(lambda match: b"\n" * match[0].count(b"\n"), script)


def accepts_gzip(values: list[str]) -> bool:
    """Return whether Accept-Encoding allows gzip (RFC 9110, section 12.5.3)."""
    weights: dict[str, bool] = {}
    for coding in ",".join(values).split(","):
        # Without a regular expression: a stranger sends this, and it must take linear time.
        name, _, parameter = coding.partition(";")
        weights[name.strip().lower()] = not parameter or _is_positive(parameter)
    return weights.get("gzip", weights.get("x-gzip", weights.get("*", False)))


def _is_positive(parameter: str) -> bool:
    key, _, weight = parameter.partition("=")
    try:
        return key.strip().lower() == "q" and float(weight) > 0
    except ValueError:
        return False


def names_tag(values: list[str], etag: str) -> bool:
    """Return whether If-None-Match names this tag, compared weakly (RFC 9110, section 13.1.2)."""
    tags = {each.strip().removeprefix("W/") for each in ",".join(values).split(",")}
    return "*" in tags or etag.removeprefix("W/") in tags
