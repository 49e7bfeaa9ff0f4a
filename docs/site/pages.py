"""The pages of the site: those of docs/, and one for each file outside of it that they link to.

Nothing is written into docs/: Sphinx reads a copy. A page stays as GitHub shows it, but for its
links: a README is the `index` of its folder, and what lies outside of docs/ is below `files/`.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from .names import DOCS, ROOT

LINK: Final = re.compile(r"(?<!!)\]\((?P<target>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")
FENCE: Final = re.compile(r"^( *)(```+|~~~+).*?^\1\2 *$", re.MULTILINE | re.DOTALL)
CAPTION: Final = re.compile(r"^\*\*(?P<words>[^*]+?)[.,:]?\*\*(?P<rest>.*)$")
FILES: Final = "files"
SITE: Final = DOCS / "site"
COPIED: Final = {".svg", ".png", ".json"}
LANGUAGES: Final = {".py": "python", ".yaml": "yaml", ".html": "html", ".js": "js", ".css": "css"}


@dataclass
class Copied:
    """The pages that were copied, and the files outside of docs/ that still need one."""

    out: Path
    wanted: set[Path] = field(default_factory=set)

    def copy_all(self) -> None:
        for source in sorted(DOCS.rglob("*")):
            if source.suffix == ".md":
                self.copy(source, place_of(source))
            elif source.suffix in COPIED and SITE not in source.parents:
                target = self.out / source.relative_to(DOCS)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(source.read_bytes())
        done: set[Path] = set()
        while left := self.wanted - done:
            for source in sorted(left):
                done.add(source)
                if source.suffix == ".md":
                    self.copy(source, place_of(source))
                else:
                    self._write(place_of(source), self._shown(source))

    def copy(self, source: Path, place: Path) -> None:
        self._write(place, self.with_links(source, place, source.read_text()))

    def with_links(self, source: Path, place: Path, text: str) -> str:
        """Return a page whose links lead to pages of the site."""

        def changed(match: re.Match[str]) -> str:
            if "://" in match["target"]:
                return match[0]
            path = (source.parent / match["target"]).resolve()
            self._want(path)
            target = os.path.relpath(place_of(path), place.parent)
            return f"]({target}{match['anchor'] or ''})"

        return "".join(
            part if is_code else LINK.sub(changed, part) for is_code, part in fences(text)
        )

    def _want(self, path: Path) -> None:
        if not path.exists():
            raise FileNotFoundError(f"a page links to {path}, which does not exist")
        if not path.is_relative_to(DOCS):
            self.wanted.add(path)

    def _shown(self, source: Path) -> str:
        name = source.relative_to(ROOT).as_posix()
        if source.is_dir():
            parts = [
                f"## {path.name}\n\n{code_of(path)}"
                for path in sorted(source.iterdir())
                if path.suffix in LANGUAGES
            ]
            return f"# {name}/\n\n" + "\n".join(parts)
        return f"# {name}\n\n{code_of(source)}"

    def _write(self, place: Path, text: str) -> None:
        target = self.out / place
        target.parent.mkdir(parents=True, exist_ok=True)
        hidden = "" if place.parts[0] != FILES else "---\norphan: true\n---\n\n"
        target.write_text(hidden + text)


def place_of(path: Path) -> Path:
    """Return where a file stands in the site's source."""
    if path.is_relative_to(DOCS):
        place = path.relative_to(DOCS)
        return place.with_name("index.md") if place.name == "README.md" else place
    place = FILES / path.relative_to(ROOT)
    return place if place.suffix == ".md" else place.with_name(f"{place.name}.md")


def code_of(path: Path) -> str:
    return f"````{LANGUAGES.get(path.suffix, 'text')}\n{path.read_text().rstrip()}\n````\n"


def fences(text: str) -> Iterator[tuple[bool, str]]:
    """Yield the parts of a page, each with whether it is a block of code."""
    start = 0
    for match in FENCE.finditer(text):
        yield False, text[start : match.start()]
        yield True, match[0]
        start = match.end()
    yield False, text[start:]


def navigation(index: str) -> list[tuple[str, list[str]]]:
    """Return the groups of the index, each with its pages: what the navigation shows."""
    groups: list[tuple[str, list[str]]] = []
    for line in index.splitlines():
        if caption := CAPTION.match(line):
            groups.append((caption["words"], []))
        for match in LINK.finditer(line):
            if groups and not match["target"].startswith(("..", FILES)) and "://" not in match[0]:
                page = match["target"].removesuffix(".md")
                if all(page not in pages for _, pages in groups):
                    groups[-1][1].append(page)
    return [(words, pages) for words, pages in groups if pages]


def trees(groups: list[tuple[str, list[str]]]) -> str:
    """Return the navigation as Sphinx reads it."""
    return "\n".join(
        f"```{{toctree}}\n:hidden:\n:caption: {words}\n\n" + "\n".join(pages) + "\n```\n"
        for words, pages in groups
    )
