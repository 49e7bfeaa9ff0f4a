"""The rules of the language. Each is a function that takes files, and gives what breaks it."""

import io
import re
import tokenize
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

_WORD = re.compile(r"[A-Za-z]+")
_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def texts(folder: Path, suffixes: Collection[str], but: Collection[str] = ()) -> Iterator[Path]:
    """The files below a folder, or the one file, that a reader reads as text.

    Args:
        but: Names of folders whose files no person has written.
    """
    paths = [folder] if folder.is_file() else sorted(folder.rglob("*"))
    for path in paths:
        if path.suffix in suffixes and not set(path.parts) & set(but):
            yield path


def uses(paths: Iterable[Path], words: Collection[str]) -> list[str]:
    """Where one of these words stands, in prose or in code, in any case."""
    return [
        f"{path}:{number} {word}"
        for path in paths
        for number, line in enumerate(path.read_text().splitlines(), 1)
        for word in _WORD.findall(line)
        if word.lower() in words
    ]


def names(paths: Iterable[Path], parts: Collection[str]) -> list[str]:
    """Where a name of Python's has one of these parts: `_open_gate` and `OpenGate` have `gate`."""
    return [
        f"{path}:{token.start[0]} {token.string}"
        for path in paths
        for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
        if token.type == tokenize.NAME
        and {part.lower() for part in _PART.findall(token.string)} & set(parts)
    ]
