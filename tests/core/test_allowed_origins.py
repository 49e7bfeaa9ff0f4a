"""The option that lists web pages, of an endpoint or of all."""

import re
from typing import Any

import pytest
from pondsocket import ConnectionContext, Options, PondSocket, UsageError


async def welcome(ctx: ConnectionContext) -> None:
    ctx.accept()


def test_an_endpoint_has_its_own_list_or_the_ponds() -> None:
    pond = PondSocket(options=Options(allowed_origins=("https://a.example",)))
    assert pond.create_endpoint("/all", welcome).allowed_origins == ("https://a.example",)
    own = pond.create_endpoint("/own", welcome, allowed_origins=["https://b.example"])
    assert own.allowed_origins == ("https://b.example",)
    assert pond.create_endpoint("/none", welcome, allowed_origins=()).allowed_origins == ()
    decorated = pond.endpoint("/decorated", allowed_origins=["null"])(welcome)
    assert decorated.allowed_origins == ("null",)


@pytest.mark.parametrize(
    ("origins", "advice"),
    [
        ("https://a.example", "a tuple of origins"),
        (None, "a tuple of origins"),
        ([b"https://a.example"], "a text such as"),
        (("https://a.example", "*"), "every web page"),
        (("a.example",), "write 'https://a.example'"),
    ],
)
def test_a_list_that_cannot_be_meant_is_refused_when_it_is_given(origins: Any, advice: str) -> None:
    with pytest.raises(UsageError, match=f"Options.allowed_origins.*{re.escape(advice)}"):
        Options(allowed_origins=origins)
    if origins is None:  # of an endpoint: the pond's
        return
    with pytest.raises(UsageError, match=f"'/socket': allowed_origins.*{re.escape(advice)}"):
        PondSocket().create_endpoint("/socket", welcome, allowed_origins=origins)
