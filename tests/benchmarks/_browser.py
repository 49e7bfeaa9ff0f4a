"""What a browser sends and a plain client does not: its headers, and compressed messages.

The headers are those of Chrome's handshake, with cookies as a site has them: a session, a token
against forged requests, two of a statistics service, a choice about cookies, preferences.
"""

import zlib
from typing import Final

# The page is one of the server itself, or a server refuses it.
HEADERS: Final = (
    b"Pragma: no-cache\r\n"
    b"Cache-Control: no-cache\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)"
    b" Chrome/141.0.0.0 Safari/537.36\r\n"
    b"Origin: http://127.0.0.1\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\n"
    b"Accept-Language: en-GB,en-US;q=0.9,en;q=0.8,de;q=0.7\r\n"
    b"Cookie: sessionid=" + b"k3v9x0q7w2m5z8a1" * 2 + b"; csrftoken=" + b"Zq8Lm2Xv7Rt5Yw1P" * 4
    + b"; _ga=GA1.1.1234567890.1760000000; _ga_ABCDEFGH12=GS2.1.s1760000000$o7$g1$t1760000123"
    b"$j59$l0$h0; consent=" + b"%7B%22necessary%22%3Atrue%2C%22statistics%22%3Afalse%7D"
    b"; access=" + b"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9." + b"eyJzdWIiOiIxMjM0NTY3ODkwIiwi" * 8
    + b".SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c; theme=dark; locale=en-GB; sidebar=closed\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
)  # fmt: skip
COUNT: Final = HEADERS.count(b"\r\n")
# RFC 7692, section 7.2.1: the end of each compressed message, which is not sent.
_TAIL: Final = b"\x00\x00\xff\xff"
# The first byte of a compressed text: FIN, RSV1 and the opcode.
COMPRESSED_TEXT: Final = 0xC1


class Deflate:
    """The compression of one connection, RFC 7692."""

    __slots__ = ("_inflater",)

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)

    def read(self, body: bytes) -> bytes:
        """Return the text of a compressed message."""
        return self._inflater.decompress(body + _TAIL)

    def write(self, text: bytes) -> bytes:
        """Compress a message.

        With a window of 512 bytes, as no server asks for a smaller one. It refers to no earlier
        message, so that a client need not keep what compresses the next one.
        """
        deflater = zlib.compressobj(wbits=-9, memLevel=1)
        body = deflater.compress(text) + deflater.flush(zlib.Z_SYNC_FLUSH)
        return body.removesuffix(_TAIL)


def is_deflating(head: bytes) -> bool:
    """Whether a server has accepted the compression: `head` is its answer to a handshake."""
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"sec-websocket-extensions":
            return value.strip().startswith(b"permessage-deflate")
    return False
