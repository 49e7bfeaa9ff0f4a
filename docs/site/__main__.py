"""Build the site: `python -m docs.site` (elsewhere: `--out FOLDER`)."""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from sphinx.cmd.build import build_main

from . import api, check
from .names import DOCS, ROOT
from .pages import Copied, navigation, place_of, trees

OUT: Final = ROOT / "build" / "site"
HERE: Final = Path(__file__).resolve().parent


def build(out: Path) -> list[str]:
    """Build the site into a folder, which is emptied first. Return what is wrong with it."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder)
        copied = Copied(source)
        copied.copy_all()
        page = DOCS / "reference.md"
        reference = copied.with_links(page, place_of(page), api.linked_reference())
        (source / "reference.md").write_text(reference)
        index = source / "index.md"
        groups = [*navigation(index.read_text()), ("API", api.write(source))]
        index.write_text(f"{index.read_text()}\n{trees(groups)}")
        shutil.rmtree(out, ignore_errors=True)
        code = build_main(
            ["-q", "-W", "--keep-going", "-E", "-c", str(HERE), "-d", f"{folder}/.cache",
             "-b", "html", folder, str(out)]
        )  # fmt: skip
    return ["Sphinx has warned; see above"] if code else check.mistakes(out)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT)
    out = parser.parse_args().out
    wrong = build(out)
    for line in wrong:
        print(line, file=sys.stderr)
    print(f"{out / 'index.html'}: {'not ' if wrong else ''}complete")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
