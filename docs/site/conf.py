"""How Sphinx makes the site; `nox -s docs` starts it."""

import re
from typing import Any

from docutils import nodes

from docs.site.names import MODULES, names_of

project = "PondSocket"
author = "The authors of PondSocket"
root_doc = "index"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
source_suffix = {".md": "markdown"}
html_theme = "furo"
html_title = "PondSocket"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True, "top_of_page_buttons": []}
highlight_language = "text"
pygments_style = "friendly"
pygments_dark_style = "monokai"
copybutton_exclude = ".linenos, .gp"

nitpicky = True
myst_heading_anchors = 4
myst_enable_extensions = ["strikethrough"]

default_role = "py:obj"  # `broadcast` in a docstring is a name, which is linked where it is public
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
python_use_unqualified_type_names = True
maximum_signature_line_length = 80
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_preprocess_types = False
napoleon_use_ivar = True
toc_object_entries = False

_PUBLIC = {name: module for module in reversed(MODULES) for name in names_of(module)}


def _private_name(app: Any, env: Any, node: Any, contnode: Any) -> Any:
    """Link what a signature calls by its private module, and let other names be plain text.

    Roles that a page writes by hand are not let pass: those must lead somewhere.
    """
    if node.get("refdomain") != "py":
        return None
    target = node.get("reftarget", "")
    if node.get("refexplicit") and target.split(".")[0] in {m.split(".")[0] for m in MODULES}:
        return None
    name = re.split(r"[.\[(]", target)[-1]
    module = _PUBLIC.get(name)
    if module and ("." in target or name[:1].isupper()):
        domain = env.get_domain("py")
        found = domain.resolve_xref(
            env, node["refdoc"], app.builder, "obj", f"{module}.{name}", node, contnode
        )
        if found is not None:
            return found
    return contnode if isinstance(contnode, nodes.Node) else None


def setup(app: Any) -> None:
    app.connect("missing-reference", _private_name)
