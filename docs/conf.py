"""How the documentation is built: ``make docs``.

The source folder is the root of the repository, so that relative links between README, changelog, notebooks and the
pages of ``docs/`` lead to the same places in the repository and on the site.
"""

from __future__ import annotations

import logging
import re
import tomllib
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PROJECT = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]

#: Addresses, by their names in pyproject.toml.
URLS = PROJECT["urls"]

project = "scvi_cae"
author = PROJECT["authors"][0]["name"]
copyright = f"2026, {author}"
version = release = PROJECT["version"]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    # MathJax itself, so that formulas need no network.
    "sphinx-mathjax-offline",
    "sphinx_autodoc_typehints",
    # Returns sections in sentences; napoleon would read them as lists of types.
    "scanpydoc.elegant_typehints",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinxcontrib.bibtex",
    "sphinxcontrib.typer",
]
root_doc = "docs/index"
# Hosts expect the front page at the root.
html_extra_path = ["_extra"]
include_patterns = ["CHANGELOG.md", "data/README.md", "docs/**", "tutorials/*.ipynb"]
exclude_patterns = [".*", "demo", "dist", "docs/_*", "**/.ipynb_checkpoints"]
# Absolute, since autosummary counts from the source folder and the pages' own templates from this one.
templates_path = [str(HERE / "_templates")]

# -- Pages

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
# Notebooks are committed executed, by "make tutorials".
nb_execution_mode = "off"
# A link to a method or a paper that does not exist fails the build.
nitpicky = True
bibtex_bibfiles = ["references.bib"]
bibtex_default_style = "plain"
bibtex_reference_style = "author_year"

# -- API

autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_google_docstring = False
napoleon_use_rtype = False
always_use_bars_union = True
typehints_defaults = "comma"
typehints_document_rtype_none = False
# Types named by a text, such as the Cells of scvi_cae.tl, are shown by their names.
suppress_warnings = ["sphinx_autodoc_typehints.forward_reference"]

# -- Links into other projects' documentation

intersphinx_mapping = {
    "anndata": ("https://anndata.readthedocs.io/en/stable/", None),
    "lightning": ("https://lightning.ai/docs/pytorch/stable/", None),
    "mudata": ("https://mudata.readthedocs.io/stable/", None),
    "numpy": ("https://numpy.org/doc/stable/", None),
    "pandas": ("https://pandas.pydata.org/docs/", None),
    "python": ("https://docs.python.org/3/", None),
    "scvi": ("https://docs.scvi-tools.org/en/stable/", None),
    "torch": ("https://docs.pytorch.org/docs/stable/", None),
}
intersphinx_timeout = 10
# They are plain text where there is no network, so what they name is not checked.
nitpick_ignore_regex = [
    (r"py:.*", rf"({package})(\..*)?")
    for package in ("anndata", "h5py", "lightning", "mudata", "networkx", "np", "numpy", "pandas", "pd")
]
nitpick_ignore_regex += [
    (r"py:.*", rf"({package})(\..*)?")
    for package in (
        "Ellipsis",
        "collections",
        "pathlib",
        "pl",
        "rich",
        "scipy",
        "scvi",
        "sklearn",
        "torch",
        "typing",
    )
]
# Internals have no pages, and private types none of their own.
nitpick_ignore_regex += [(r"py:.*", r"scvi_cae(\.(data|train)|(\.\w+)*\._\w+)\..*")]
logging.getLogger("sphinx.sphinx.ext.intersphinx").addFilter(
    lambda record: "failed to reach any of the inventories" not in str(record.msg)
)

# -- Appearance

toc_object_entries_show_parents = "hide"
html_theme = "sphinx_book_theme"
html_title = "scvi_cae"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_show_sourcelink = False
html_theme_options = {
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    # The contents have the search field.
    "navbar_persistent": [],
    "use_download_button": False,
    "use_fullscreen_button": False,
}
if "Source" in URLS:
    html_theme_options |= {"repository_url": URLS["Source"], "use_repository_button": True}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# -- Members on the pages of classes

# What users of a model need of scvi-tools; its other inherited members are left out.
INHERITED = ("history", "is_trained", "train_indices", "validation_indices", "test_indices")
# What other parts of the package need of a model, and what only says that it is not offered.
INTERNAL = ("expression_references", "load_registry", "models", "setup_anndata", "view_setup_args")


def skip_member(app: Any, what: str, name: str, member: Any, skip: bool, options: Any) -> bool | None:
    """Leave out members that other packages define, and those that users need not know."""
    function = getattr(member, "fget", member)
    module = str(getattr(function, "__module__", None))
    ours = module.partition(".")[0] == project and not module.endswith("._not_offered")
    return None if (ours or name in INHERITED) and name not in INTERNAL else True


# -- Addresses


def link_pages(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Make links of the pages that docstrings name, as in "docs/benchmark.md"."""
    lines[:] = [re.sub(r"docs/(\w+)\.md", r":doc:`docs/\1.md </docs/\1>`", line) for line in lines]


def fill_in(app: Any, page: str, source: list[str]) -> None:
    """Put addresses in place of their names in capitals, in the text for the scverse ecosystem."""
    if page == "docs/ecosystem":
        for name, address in URLS.items():
            source[0] = source[0].replace(name.upper(), address)


def setup(app: Any) -> None:
    """Connect the functions above."""
    app.connect("autodoc-skip-member", skip_member)
    app.connect("autodoc-process-docstring", link_pages)
    app.connect("source-read", fill_in)
