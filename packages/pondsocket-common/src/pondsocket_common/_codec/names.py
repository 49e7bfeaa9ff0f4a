"""The rules for the names in an envelope: of an event, a channel or a request."""

import re
from typing import Final, TypeGuard

MAX_NAME_CHARS: Final = 255

NO_CHANNEL_NAME: Final = (
    "A channel name starts with '/' and has no empty segment and no '/' at its end."
)

# And lone surrogates, which UTF-8 cannot encode. No client can send one, but an application can.
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def is_name(value: object) -> TypeGuard[str]:
    """Return whether this is a valid name: 1 to 255 characters, none a control character."""
    return (
        isinstance(value, str)  # an application's names may be a StrEnum
        and 0 < len(value) <= MAX_NAME_CHARS
        # isprintable is three times as fast as the search and true for nearly every name.
        and (value.isprintable() or not _CONTROL.search(value))
    )


def is_channel_name(name: str) -> bool:
    """Return whether a valid name may name a channel: `/a/b`, no empty segment, no last slash."""
    return name[0] == "/" and name[-1] != "/" and "//" not in name


def readable(value: object) -> str | None:
    """Return the value if it is a valid name, else None; for errors about invalid messages."""
    return value if is_name(value) else None
