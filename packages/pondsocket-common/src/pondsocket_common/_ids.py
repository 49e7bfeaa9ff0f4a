"""Identifiers."""

import os
from base64 import urlsafe_b64encode


def fresh_id() -> str:
    """128 random bits as 32 hexadecimal digits; fit to be a secret."""
    # uuid4 takes several times as long, and spends 6 bits on saying that it is one.
    return os.urandom(16).hex()


def fresh_epoch() -> str:
    """48 random bits as 8 characters: no two histories of a channel have the same."""
    return urlsafe_b64encode(os.urandom(6)).decode()


def fresh_ref() -> str:
    """24 random bits as 4 characters. No secret; who needs it unique checks and asks again."""
    # Short, because every entry of every presence diff carries one.
    return urlsafe_b64encode(os.urandom(3)).decode()
