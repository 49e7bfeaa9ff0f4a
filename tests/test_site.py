"""The site's source is what docs/ holds, and what is lost is found; `nox -s docs` builds it."""

from pathlib import Path

import pytest

from docs.site import api, check, pages
from docs.site.names import DOCS, MODULES, ROOT, names_of
from tests.test_reference import PAGES


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    pages.Copied(folder).copy_all()
    return folder


def test_the_navigation_has_every_page_once() -> None:
    groups = pages.navigation((DOCS / "README.md").read_text())
    listed = [page for _, group in groups for page in group]
    every = {page.relative_to(DOCS).as_posix().removesuffix(".md") for page in PAGES}
    assert len(listed) == len(set(listed))
    assert set(listed) == every - {"README"}


def test_captions_are_short() -> None:
    groups = pages.navigation((DOCS / "README.md").read_text())
    assert [words for words, _ in groups if len(words) > 25] == []


def test_a_link_to_a_readme_leads_to_the_index(source: Path) -> None:
    assert "](protocol/index.md)" in (source / "index.md").read_text()


def test_a_file_outside_of_the_pages_gets_a_page(source: Path) -> None:
    assert "](files/examples/chat.py.md)" in (source / "index.md").read_text()
    page = (source / "files" / "examples" / "chat.py.md").read_text()
    assert page.startswith("---\norphan: true\n---\n\n# examples/chat.py\n\n````python\n")
    assert (ROOT / "examples" / "chat.py").read_text().rstrip() in page
    folder = (source / "files" / "examples" / "events.md").read_text()
    assert "\n## actions.py\n" in folder


def test_code_is_left_as_it_is(tmp_path: Path) -> None:
    text = "[a](README.md)\n\n```\n[b](README.md)\n```\n"
    page = pages.Copied(tmp_path).with_links(DOCS / "x.md", Path("x.md"), text)
    assert page == text.replace("[a](README.md)", "[a](index.md)")


def test_a_link_to_a_missing_file_ends_the_build(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.md"):
        pages.Copied(tmp_path).with_links(DOCS / "x.md", Path("x.md"), "[a](nowhere.md)")


def test_every_name_has_an_entry(tmp_path: Path) -> None:
    api.write(tmp_path)
    page = (tmp_path / "api" / "pondsocket.md").read_text()
    assert ".. autoclass:: pondsocket.Channel\n" in page
    assert "   .. automethod:: pondsocket.Channel.broadcast\n" in page
    assert "   .. py:attribute:: params\n      :module: pondsocket\n" in page
    assert "The same as {py:obj}`pondsocket_common.CloseCode`." in page


def test_the_reference_links_to_the_entries() -> None:
    assert (
        "| {py:obj}`Channel.get_presence() <pondsocket.Channel.get_presence>` | what"
        in api.linked_reference()
    )


def test_lost_links_anchors_and_names_are_found(tmp_path: Path) -> None:
    (tmp_path / "api").mkdir()
    for module in MODULES:
        entries = "".join(f"<p id='{module}.{name}'></p>" for name in names_of(module))
        (tmp_path / "api" / f"{module}.html").write_text(entries)
    (tmp_path / "a.html").write_text(
        "<a href='b.html'></a><a href='c.html'></a><a href='b.html#x'></a><a href='#y'></a>"
        "<a href='https://example.org/c.html'></a><img src='d.svg'>"
    )
    (tmp_path / "b.html").write_text("<p id='z'></p><a href='a.html'></a><a href='b.html#z'></a>")
    found = check.mistakes(tmp_path)
    assert found[:4] == [
        "a.html: no file c.html",
        "a.html: no anchor b.html#x",
        "a.html: no anchor #y",
        "a.html: no file d.svg",
    ]
    assert "pondsocket: no entry of Channel.broadcast" in found[4:]
    assert "pondsocket: no entry of Channel" not in found
