"""What is wrong with a built site: links and anchors that lead nowhere, names without an entry."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

from .names import MODULES, home_of, members, names_of, rows_of


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if not value:
                continue
            if name == "id":
                self.anchors.add(value)
            elif name in {"href", "src"}:
                self.links.append(value)


def mistakes(site: Path) -> list[str]:
    """Return a line for each mistake."""
    pages = {path: _read(path) for path in sorted(site.rglob("*.html"))}
    return [*_lost_links(site, pages), *_missing_names(site, pages)]


def _read(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text())
    return page


def _lost_links(site: Path, pages: dict[Path, _Page]) -> list[str]:
    lost = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            address, anchor = urldefrag(link)
            target = path if not address else (path.parent / unquote(urlsplit(address).path))
            target = target.resolve()
            if not target.is_file():
                lost.append(f"{path.relative_to(site)}: no file {link}")
            elif anchor and target in pages and unquote(anchor) not in pages[target].anchors:
                lost.append(f"{path.relative_to(site)}: no anchor {link}")
    return lost


def _missing_names(site: Path, pages: dict[Path, _Page]) -> list[str]:
    missing = []
    for module in MODULES:
        anchors = pages[site / "api" / f"{module}.html"].anchors
        names = {name for name in names_of(module) if name != "__version__"}
        own = {name for name in names if home_of(module, name) == module}
        names |= {f"{name}.{member}" for name in own for member in members(module, name)}
        names |= {row.name for row in rows_of(module) if row.name.partition(".")[0] in own}
        missing += [f"{module}: no entry of {n}" for n in names if f"{module}.{n}" not in anchors]
    return sorted(missing)
