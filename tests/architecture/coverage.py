"""Which test file belongs to which module."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.architecture import rules


def unnamed(folder: Path, tests: Mapping[str, Sequence[Path]]) -> Iterator[str]:
    """Give the modules that no test file is named by.

    The tests of `package._folder.module` are in `test_module.py`, in `test_folder_module.py`, or in
    a file whose name continues one of these.

    Args:
        folder: Holds the packages.
        tests: The folders of the tests of each package.
    """
    for module, path in rules.modules(folder).items():
        package, *inner, own = module.split(".") if "." in module else (module, module)
        if path.name == "__init__.py" or package not in tests:
            continue
        name = own.lstrip("_")
        around = [part.lstrip("_") for part in inner]
        stems = {f"test_{name}", *(f"test_{part}_{name}" for part in around)}
        if not any(
            test.stem in stems or test.stem.startswith(tuple(f"{stem}_" for stem in stems))
            for place in tests[package]
            for test in place.glob("test_*.py")
        ):
            yield module
