"""The pages of the API: one for each public module, from its docstrings and signatures.

Every row of docs/reference.md becomes an entry with an anchor of its name. What has no docstring
of its own, as an attribute that a constructor sets, gets the words of its row.
"""

import importlib
import inspect
import re
import textwrap
from enum import Enum
from pathlib import Path
from typing import Final

from .names import (
    MODULES,
    REFERENCE,
    ROW,
    Row,
    attribute_type,
    home_of,
    members,
    names_of,
    rows_of,
    words,
)

LINK: Final = re.compile(r"\[([^\]]+)\]\(([^)]+)\)")
FOLDER: Final = "api"
INTRODUCTION: Final = (
    "From the docstrings. [The reference](../reference.md) has each name in one line.\n"
)


def write(out: Path) -> list[str]:
    """Write the pages. Return their names."""
    (out / FOLDER).mkdir(parents=True, exist_ok=True)
    for module in MODULES:
        (out / FOLDER / f"{module}.md").write_text(_page(module))
    return [f"{FOLDER}/{module}" for module in MODULES]


def _page(module: str) -> str:
    said = inspect.getdoc(importlib.import_module(module)) or ""
    said = re.sub(r"\n\n(?= {4}\S)", "\n\n::\n\n", said)  # an example
    listed = {row.name: row for row in rows_of(module)}
    order = dict.fromkeys(row.name.partition(".")[0] for row in listed.values())
    parts = [
        f"# {module}\n\n{INTRODUCTION}\n",
        _rst(f"{said}\n\n.. py:module:: {module}\n   :no-index-entry:\n"),
    ]
    for name in order:
        home = home_of(module, name)
        if home == module:
            parts.append(f"## `{name}`\n\n{_seen(listed[name])}\n")
            parts.append(_rst(_entry(module, name, listed)))
        else:
            same = f"<span id='{module}.{name}'></span>The same as {{py:obj}}`{home}.{name}`."
            parts.append(f"## `{name}`\n\n{_seen(listed[name])}\n{same}\n")
    return "\n".join(parts)


def _rst(text: str) -> str:
    return f"````{{eval-rst}}\n{text}\n````\n"


def _entry(module: str, name: str, listed: dict[str, Row]) -> str:
    value = getattr(importlib.import_module(module), name)
    if inspect.isclass(value):
        return _class(module, name, listed)
    if inspect.isroutine(value):
        return f".. autofunction:: {module}.{name}\n"
    said = words(importlib.import_module(module), name) or listed[name].text
    return f".. py:data:: {name}\n   :module: {module}\n\n{textwrap.indent(said, '   ')}\n"


def _class(module: str, name: str, listed: dict[str, Row]) -> str:
    entries = [f".. autoclass:: {module}.{name}\n"]
    known = members(module, name)
    cls = getattr(importlib.import_module(module), name)
    if issubclass(cls, Enum):
        entries += [_value(module, each) for each in cls]
    for row in listed.values():
        owner, _, member = row.name.partition(".")
        if owner == name and member and member not in known:
            entries.append(_attribute(module, row, member))
    order = {row.name.partition(".")[2]: number for number, row in enumerate(listed.values())}
    for member in sorted(known, key=lambda each: order.get(each, len(order))):
        kind = "property" if isinstance(known[member], property) else "method"
        entries.append(textwrap.indent(f".. auto{kind}:: {module}.{name}.{member}\n", "   "))
    return "\n".join(entries)


def _value(module: str, member: Enum) -> str:
    lines = f".. py:attribute:: {member.name}\n   :module: {module}\n   :value: {member.value!r}\n"
    return textwrap.indent(lines, "   ")


def _attribute(module: str, row: Row, member: str) -> str:
    cls = getattr(importlib.import_module(module), row.name.partition(".")[0])
    hint = attribute_type(cls, member)
    lines = [f".. py:attribute:: {member}", f"   :module: {module}"]
    lines += [f"   :type: {hint}"] if hint else []
    plain = LINK.sub(r"\1", row.text).replace("`", "``")
    return textwrap.indent("\n".join([*lines, "", f"   {plain}", ""]), "   ")


def _seen(row: Row) -> str:
    """Return the pages that the row of a name links to."""
    links = [f"[{words}](../{target})" for words, target in LINK.findall(row.text)]
    return f"More: {', '.join(links)}.\n" if links else ""


def linked_reference() -> str:
    """Return docs/reference.md, whose names link to their entries."""
    module = ""
    lines = []
    for line in REFERENCE.read_text().splitlines():
        if line.startswith("## "):
            module = line[3:]
        if module in MODULES and (match := ROW.match(line)):
            name = Row(match[1], "").name
            if name.partition(".")[0] in names_of(module):
                call, text = match[1], match[2]
                home = home_of(module, name.partition(".")[0])
                line = f"| {{py:obj}}`{call} <{home}.{name}>` |{text}|"
        lines.append(line)
    return "\n".join(lines) + "\n"
