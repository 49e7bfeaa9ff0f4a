"""What the garbage collector knows of."""

import gc
from typing import TypeVar, cast

T = TypeVar("T")


def live_objects(*kinds: type[T]) -> list[T]:
    """Return the objects of these classes."""
    # By `type`, because `isinstance` asks objects of other libraries for their class: Django's
    # settings raise if nothing has configured them.
    found = [thing for thing in gc.get_objects() if issubclass(type(thing), kinds)]
    return cast("list[T]", found)
