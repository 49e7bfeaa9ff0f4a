"""Every Python block of the READMEs and of docs/ runs, and CI runs what the README prints.

Their JavaScript is parsed, if there is Node.

The blocks of one file share a namespace, in order, and may await; a function named `test_...` is
called after its block, as a reader's pytest would. A block that begins with a comment such as
`# chat.py` is a part of that file, and later blocks import it by that name.
"""

import ast
import inspect
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from inspect import iscoroutine
from pathlib import Path
from textwrap import dedent
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final

import pondsocket_pytest
import pytest
from pondsocket_asgi.testing import ASGITestDriver

from tests.servers import ROOT

DOCUMENTS = [
    ROOT / "README.md",
    *sorted(ROOT.glob("packages/*/README.md")),
    *sorted(ROOT.glob("docs/**/*.md")),
]
FENCE = re.compile(
    r"^(?P<indent> *)(?P<fence>```+|~~~+) *(?P<language>\w*)[^\n]*\n"
    r"(?P<code>.*?)^(?P=indent)(?P=fence) *$",
    re.MULTILINE | re.DOTALL,
)
FILE = re.compile(r"(?:# |<!-- |// )(?P<name>[\w./-]+\.\w+)(?: -->)?\n")
# Their blocks need a project or a package of their own: tests/test_newcomer.py follows these pages.
FOLLOWED = {
    f"docs/recipes/{name}.md" for name in ("celery", "django", "notebooks", "several-files")
}
README = DOCUMENTS[0].read_text()


def blocks(text: str, *languages: str) -> Iterator[tuple[int, str]]:
    """Yield the fenced blocks in these languages: the line each begins at, and its text."""
    for match in FENCE.finditer(text):
        if match["language"].lower() in languages:
            yield text.count("\n", 0, match.start("code")), dedent(match["code"])


def compiled(code: str, path: str, line: int) -> CodeType:
    # Empty lines first, so that a traceback names the line of the document.
    source = "\n" * line + code
    code_object: CodeType = compile(source, path, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    return code_object


async def run_document(text: str, path: str, module: ModuleType) -> None:
    called: set[str] = set()
    for line, code in blocks(text, "python", "py", "python3"):
        result = FunctionType(compiled(code, path, line), module.__dict__)()
        if iscoroutine(result):
            await result
        for name in [name for name in vars(module) if name.startswith("test_")]:
            if name not in called:
                called.add(name)
                await run_test(vars(module)[name], vars(module))


async def run_test(test: Any, names: dict[str, Any]) -> None:
    """Call a test of a page with the fixtures that it asks for, as pytest does."""
    with ExitStack() as stack:
        values: dict[str, Any] = {}

        def value(name: str) -> Any:
            if name not in values:
                fixture: Any = names.get(name, getattr(pondsocket_pytest, name, None))
                function = inspect.unwrap(fixture)
                made = function(*map(value, inspect.signature(function).parameters))
                if inspect.isgenerator(made):
                    made = stack.enter_context(contextmanager(lambda: made)())
                values[name] = made
            return values[name]

        outcome = test(*map(value, inspect.signature(test).parameters))
        if iscoroutine(outcome):
            await outcome


@pytest.mark.parametrize(
    "path", sorted({str(path.relative_to(ROOT)) for path in DOCUMENTS} - FOLLOWED)
)
async def test_every_python_block_runs(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / path).read_text()
    module = ModuleType("document")
    for name in {module.__name__, *files_of(text)}:
        monkeypatch.setitem(sys.modules, name, module)
    await run_document(text, path, module)


def files_of(text: str) -> set[str]:
    """Return the modules that the blocks of a page are parts of."""
    found = (FILE.match(code) for _, code in blocks(text, "python"))
    return {match["name"].removesuffix(".py").replace("/", ".") for match in found if match}


@pytest.mark.parametrize(
    "code",
    ["x = 1/0", "await missing()", "async def test_it(): assert 0", "async def test_it(): 1/0"],
)
async def test_a_broken_block_fails(code: str) -> None:
    with pytest.raises((ArithmeticError, AssertionError, NameError)):
        await run_document(f"# Broken\n\n```python\n{code}\n```\n", "broken.md", ModuleType("x"))


def test_the_readme_has_python_blocks_that_share_a_namespace() -> None:
    assert len(list(blocks(README, "python"))) >= 3
    assert [*blocks("a\n```python\nb\n```\n  ~~~py\n  c\n  ~~~\n", "python", "py")] == [
        (2, "b\n"),
        (5, "c\n"),
    ]


SCRIPT: Final = re.compile(r"<script type=\"module\">\n(.*?)</script>", re.DOTALL)


def scripts(text: str) -> Iterator[tuple[int, str]]:
    """Yield the blocks of JavaScript, and the scripts of pages."""
    yield from blocks(text, "js", "javascript")
    for line, page in blocks(text, "html"):
        for match in SCRIPT.finditer(page):
            yield line + page.count("\n", 0, match.start(1)), match[1]


def syntax_error(code: str, path: Path) -> str:
    """Return what Node says of a module; nothing: it can be parsed."""
    path.write_text(code)
    checked = subprocess.run(["node", "--check", path], capture_output=True, text=True)
    return checked.stderr


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node on the PATH")
@pytest.mark.parametrize(
    "document",
    [path for path in DOCUMENTS if next(scripts(path.read_text()), None)],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_every_block_of_javascript_can_be_parsed(document: Path, tmp_path: Path) -> None:
    for line, code in scripts(document.read_text()):
        # Empty lines first, so that the error names the line of the document.
        assert syntax_error("\n" * line + code, tmp_path / "block.mjs") == ""


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node on the PATH")
def test_a_script_that_cannot_be_parsed_fails(tmp_path: Path) -> None:
    page = '```html\n<p>\n<script type="module">\n  let a = ;\n</script>\n```\n'
    ((line, code),) = scripts(page)
    assert line == 3
    assert "block.mjs:4" in syntax_error("\n" * line + code, tmp_path / "block.mjs")


def test_the_page_of_the_readme_is_short() -> None:
    (page,) = [code for _, code in blocks(README, "html")]
    assert page.count("\n") <= 30


async def test_the_transcript_of_an_error_is_what_happens() -> None:
    (transcript,) = [code for _, code in blocks(README, "") if code.startswith("> ")]
    sent, _, received = transcript.removeprefix("> ").partition("\n< ")
    (_, quick_start), *_ = blocks(README, "python")
    module = ModuleType("quick_start")
    exec(compiled(quick_start, "README.md", 0), module.__dict__)  # noqa: S102
    session = await ASGITestDriver(module.app).connect_websocket(
        "/socket", headers={"Authorization": "Bearer secret"}
    )
    join = json.loads(sent) | {"action": "JOIN_CHANNEL", "event": "join", "payload": {}}
    await session.send_json(join)
    await session.receive_event_named("ACKNOWLEDGE")
    await session.send_text(sent)
    assert await session.receive_event_named("INVALID_MESSAGE") == json.loads(received)
    await session.disconnect()


INSTALLS: Final = re.compile(r"\b(?:pip3?|uv) (?:install|add)\b((?:\\\n|[^\n`])*)")
# A name of ours with nothing behind it but versions; with ` @ ` there is an address.
BY_NAME: Final = re.compile(r"pondsocket(?:[-_]\w+)?(?:\[[\w,]*\])?(?! @|[\w-])(?:[<>=!~].*)?")


def named_alone(text: str) -> list[str]:
    """Return what the lines of pip take from an index, though other packages are there."""
    words = [
        word
        for match in INSTALLS.finditer(text)
        for word in shlex.split(match[1].replace("\\\n", " "), comments=True)
    ]
    return [word for word in words if BY_NAME.fullmatch(word)]


def test_no_line_installs_the_packages_of_another_author() -> None:
    paths = [*DOCUMENTS, *ROOT.glob("examples/deploy/*.yaml")]
    assert [path.name for path in paths if named_alone(path.read_text())] == []


def test_a_name_without_a_place_is_found() -> None:
    page = """
    pip install -q "pondsocket-asgi[server]" ./pondsocket/dist/*.whl   # pondsocket
    (Write `pip install pondsocket>=0.1` and `uv add pondsocket_common`, not pondsocket.)
    pip install --no-deps \\
      "pondsocket @ git+$GIT#subdirectory=packages/pondsocket" \\
      pondsocket ../pondsocket/packages/pondsocket
    """
    found = ["pondsocket-asgi[server]", "pondsocket>=0.1", "pondsocket_common", "pondsocket"]
    assert named_alone(page) == found


def test_ci_runs_the_test_line_of_the_readme() -> None:
    lines = [code.strip() for _, code in blocks(README, "sh")]
    (tests,) = [line for line in lines if line.endswith(" tests")]
    assert tests in [line.strip() for line in (ROOT / ".ci" / "run").read_text().splitlines()]
    assert tests.removesuffix("tests") + "demo" in lines
