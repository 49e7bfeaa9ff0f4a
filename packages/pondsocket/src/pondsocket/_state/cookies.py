"""Cookies that an answer sets (RFC 6265, section 4.1). Pure."""

import re
from typing import Final, Literal, TypeAlias

from pondsocket._errors import UsageError

SameSite: TypeAlias = Literal["lax", "strict", "none"]

_NAME: Final = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)
# Neither blanks, quotes, commas, semicolons nor backslashes, which readers treat differently.
_VALUE: Final = re.compile(r"[!#-+\--:<-\[\]-~]*")
_PATH: Final = re.compile(r"/[ -:<-~]*")
_DOMAIN: Final = re.compile(r"\.?[a-z0-9-]+(?:\.[a-z0-9-]+)*", re.IGNORECASE)
# RFC 6265, section 6.1: browsers need not keep a longer one, and drop it without a word.
_MAX_BYTES: Final = 4_096


def set_cookie_value(
    name: object,
    value: object,
    *,
    max_age: object,
    path: object,
    domain: object,
    secure: bool,
    httponly: bool,
    samesite: SameSite | None,
) -> str:
    """Return the value of a `Set-Cookie` header.

    Raises:
        UsageError: Browsers would not keep such a cookie. The text does not show its value.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UsageError(f"{repr(name)[:60]} is no name of a cookie; it must be a token.")
    what = f"The cookie {name!r}"
    if not isinstance(value, str) or not _VALUE.fullmatch(value):
        raise UsageError(
            f"{what} has a value with characters that no cookie may have, such as blanks, quotes or"
            " line breaks; encode it, for instance with `urllib.parse.quote`."
        )
    if not isinstance(path, str) or not _PATH.fullmatch(path):
        raise UsageError(f"{what}: a path begins with '/', and has no ';' in it.")
    if samesite not in ("lax", "strict", "none", None):
        raise UsageError(f"{what}: samesite is 'lax', 'strict', 'none' or None.")
    if not secure and (samesite == "none" or name.startswith(("__Secure-", "__Host-"))):
        raise UsageError(f"{what}: browsers keep it only with `secure=True`.")
    parts = [f"{name}={value}", f"Path={path}"]
    if domain is not None:
        if not isinstance(domain, str) or not _DOMAIN.fullmatch(domain):
            raise UsageError(f"{what}: the domain is a host name.")
        parts.append(f"Domain={domain}")
    if max_age is not None:
        if not isinstance(max_age, int):
            raise UsageError(f"{what}: max_age is a whole number of seconds.")
        parts.append(f"Max-Age={int(max_age)}")
    if secure:
        parts.append("Secure")
    if httponly:
        parts.append("HttpOnly")
    if samesite is not None:
        parts.append(f"SameSite={samesite.capitalize()}")
    text = "; ".join(parts)
    if len(text) > _MAX_BYTES:
        raise UsageError(f"{what} is longer than {_MAX_BYTES} bytes; browsers drop it.")
    return text
