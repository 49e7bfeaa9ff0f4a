"""Identifiers."""

import os


def fresh_id() -> str:
    """128 random bits as 32 hexadecimal digits; fit to be a secret."""
    # os.urandom: 0.34 us; uuid4 costs 2 us and spends 6 bits on saying that it is one.
    return os.urandom(16).hex()
