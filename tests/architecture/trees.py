"""Small trees of packages, on which rules are tried."""

from pathlib import Path
from textwrap import dedent


def tree(folder: Path, **files: str) -> Path:
    """A folder of packages: `high__inner__part="…"` is the file `high/inner/part.py`."""
    for name, text in files.items():
        path = folder.joinpath(*name.split("__")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
        for parent in path.relative_to(folder).parents:
            if parent != Path():
                (folder / parent / "__init__.py").touch()
    return folder
