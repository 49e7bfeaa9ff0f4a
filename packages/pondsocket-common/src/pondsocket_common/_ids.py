"""Identifiers."""

import os
from base64 import urlsafe_b64encode


def fresh_id() -> str:
    """Return 128 random bits as 32 hexadecimal digits; they may serve as a secret."""
    # uuid4 takes several times as long, and spends 6 bits on its version and variant.
    return os.urandom(16).hex()


def fresh_epoch() -> str:
    """Return 48 random bits as 8 characters, which tell the histories of a channel apart."""
    return urlsafe_b64encode(os.urandom(6)).decode()


def fresh_ref() -> str:
    """Return 24 random bits as 4 characters: no secret, and the caller checks for duplicates."""
    # Short, because every entry of every presence diff carries one.
    return urlsafe_b64encode(os.urandom(3)).decode()
