"""The rules of the layout. Each is a function that takes a folder, and gives what breaks it.

A folder holds packages: at any depth, what has an `__init__.py`. Imports for types alone count as
all others do.
"""

import ast
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeAlias

Graph: TypeAlias = Mapping[str, set[str]]
"""What each module, or each folder of them, imports."""


class Import(NamedTuple):
    """One name that one module takes from another; `name` is None where it is the module itself."""

    importer: str
    module: str
    name: str | None
    line: int
    known_as: str

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} {self.module} {self.name or ''}".rstrip()


def modules(folder: Path) -> dict[str, Path]:
    """The files of the packages below `folder`, by their dotted names."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = [] if path.name == "__init__.py" else [path.stem]
        for parent in path.parents:
            if not (parent / "__init__.py").exists():
                break
            parts.insert(0, parent.name)
        found[".".join(parts)] = path
    return found


@cache
def _statements(text: str) -> list[ast.Import | ast.ImportFrom]:
    """The imports of one file, which is parsed once for all rules."""
    found = ast.walk(ast.parse(text))
    return [node for node in found if isinstance(node, ast.Import | ast.ImportFrom)]


def imports(folder: Path) -> Iterator[Import]:
    """Every import of every module."""
    known = modules(folder)
    for importer, path in known.items():
        around = importer.split(".")
        around = around if path.name == "__init__.py" else around[:-1]
        for node in _statements(path.read_text()):
            if isinstance(node, ast.Import):
                for each in node.names:
                    known_as = each.asname or each.name
                    yield Import(importer, each.name, None, node.lineno, known_as)
            else:
                base = around[: len(around) - node.level + 1] if node.level else []
                module = ".".join([*base, *filter(None, [node.module])])
                for each in node.names:
                    inner = f"{module}.{each.name}"
                    name = None if inner in known else each.name
                    known_as = each.asname or each.name
                    yield Import(importer, module if name else inner, name, node.lineno, known_as)


def is_in(module: str, places: Collection[str]) -> bool:
    """Whether a module is one of these, or within one of them."""
    return any(module == place or module.startswith(f"{place}.") for place in places)


def public_names(path: Path) -> list[str]:
    """What a file says in `__all__`."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return [str(name) for name in ast.literal_eval(node.value)]
    return []


def out_of_order(folder: Path, packages: Sequence[str]) -> list[str]:
    """Imports of a package that is not lower (`packages` begins with the lowest) or not public."""
    known, broken = modules(folder), []
    for each in imports(folder):
        own, other = each.importer.split(".")[0], each.module.split(".")[0]
        if other not in packages or other == own:
            continue
        is_lower = other in packages[: packages.index(own)]
        is_private = any(part.startswith("_") for part in each.module.split("."))
        named = public_names(known[each.module]) if each.module in known else []
        if not is_lower or is_private or (each.name is not None and each.name not in named):
            broken.append(str(each))
    return broken


def file_graph(folder: Path) -> Graph:
    """Which module imports which."""
    known = modules(folder)
    graph: dict[str, set[str]] = {module: set() for module in known}
    for each in imports(folder):
        if each.module in known and each.module != each.importer:
            graph[each.importer].add(each.module)
    return graph


def folder_graph(folder: Path) -> Graph:
    """The same for the folders of packages; a module beside them is a folder of its own."""
    graph: dict[str, set[str]] = {}
    for importer, imported in file_graph(folder).items():
        own = ".".join(importer.split(".")[:2])
        others = {".".join(module.split(".")[:2]) for module in imported}
        graph.setdefault(own, set()).update(others - {own})
    return graph


def circles(graph: Graph) -> list[list[str]]:
    """The sets of nodes of which each can be reached from each."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            new = graph.get(waiting.pop(), set()) - seen
            seen |= new
            waiting += new
        return seen

    reach = {node: reached(node) for node in graph}
    found = {
        frozenset(other for other in reach[node] if node in reach.get(other, ()))
        for node in graph
        if node in reach[node]
    }
    return sorted(sorted(circle) for circle in found)


def crowded(folder: Path, most: int) -> list[str]:
    """Folders with more modules than `most`; what is in folders inside them does not count."""
    counts: dict[str, int] = {}
    for module, path in modules(folder).items():
        if path.name != "__init__.py":
            around = module.rpartition(".")[0]
            counts[around] = counts.get(around, 0) + 1
    return [f"{place} has {count}" for place, count in sorted(counts.items()) if count > most]


def waiting(folder: Path, places: Collection[str]) -> list[str]:
    """Where modules in `places`, which are to be pure, wait for something."""
    waits = (ast.Await, ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith)
    return [
        f"{module}:{node.lineno}"
        for module, path in modules(folder).items()
        if is_in(module, places)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, waits)
    ]


def importing(
    folder: Path,
    banned: Collection[str],
    *,
    within: Collection[str] | None = None,
    but: Collection[str] = (),
) -> list[str]:
    """Imports of `banned` packages in modules `within` these places, those of `but` excepted."""
    return [
        str(each)
        for each in imports(folder)
        if each.module.split(".")[0] in banned
        and (within is None or is_in(each.importer, within))
        and not is_in(each.importer, but)
    ]


def calling(folder: Path, methods: Collection[str], but: Collection[str]) -> list[str]:
    """Calls of these methods, of any object, in modules that are not `but` these."""
    return [
        f"{module}:{node.lineno} {node.func.attr}"
        for module, path in modules(folder).items()
        if not is_in(module, but)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in methods
    ]


def missing(folder: Path, places: Collection[str]) -> list[str]:
    """Places that name no module: a list that still names what has moved holds nothing."""
    return [place for place in places if not any(is_in(each, [place]) for each in modules(folder))]
