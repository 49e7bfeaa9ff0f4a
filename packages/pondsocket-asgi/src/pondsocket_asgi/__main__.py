"""`python -m pondsocket_asgi client --to DIR`: the client for browsers, for a bundler."""

import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pondsocket_common import InvalidMessage, load_json

from pondsocket_asgi._http.client_files import FILES, read_file

# 2 is argparse's own: the command cannot be understood, or cannot be carried out.
_OUT_OF_DATE: Final = 1
_PACKAGE: Final = "package.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code."""
    parser = ArgumentParser(
        prog="python -m pondsocket_asgi", description="What PondSocket brings for other programs."
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    client = commands.add_parser(
        "client",
        help="copy the client for browsers",
        description="Copy the client for browsers into a folder that a bundler takes as a package:"
        " `npm install ./DIR`.",
    )
    client.add_argument("--to", metavar="DIR", required=True, type=_folder, help="the folder")
    client.add_argument(
        "--check",
        action="store_true",
        help="write nothing, and exit with 1 if a file in the folder is not this version's",
    )
    given = parser.parse_args(arguments)
    folder: Path = given.to
    try:
        if _is_of_another_package(folder):
            client.error(
                f"{folder / _PACKAGE} is another package's: name a folder for the client alone,"
                f" such as {folder / 'vendor' / 'pondsocket'}"
            )
        differing = [name for name in FILES if _content(folder / name) != _unix(read_file(name))]
        return _tell(folder, differing) if given.check else _write(folder, differing)
    except OSError as error:
        client.error(f"{error.filename}: {error.strerror}")


def _folder(text: str) -> Path:
    if not text:
        raise ArgumentTypeError("the name is empty")
    return Path(text)


def _is_of_another_package(folder: Path) -> bool:
    # `--to .` would replace the package.json of the user's own package.
    content = _content(folder / _PACKAGE)
    return content is not None and _name(content) != _name(read_file(_PACKAGE))


def _name(package: bytes) -> object:
    try:
        fields = load_json(package)
    except InvalidMessage:
        return None
    return fields.get("name") if isinstance(fields, dict) else None


def _write(folder: Path, names: list[str]) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(read_file(name))
    sys.stdout.write(f"{folder}: {'wrote ' + ', '.join(names) if names else 'is up to date'}\n")
    return 0


def _tell(folder: Path, differing: list[str]) -> int:
    if not differing:
        sys.stdout.write(f"{folder}: is up to date\n")
        return 0
    sys.stderr.write(
        f"{folder}: {', '.join(differing)} missing or not of this version;"
        f" run `python -m pondsocket_asgi client --to {folder}`\n"
    )
    return _OUT_OF_DATE


def _content(path: Path) -> bytes | None:
    """Return what a file holds; None if there is none."""
    try:
        return _unix(path.read_bytes())
    except FileNotFoundError:
        return None


def _unix(content: bytes) -> bytes:
    # git may check files out with the line ends of Windows.
    return content.replace(b"\r\n", b"\n")


if __name__ == "__main__":
    sys.exit(main())
