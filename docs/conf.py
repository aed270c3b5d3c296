"""How the documentation is built: ``make docs``."""

from __future__ import annotations

import logging
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_extensions"))

PROJECT = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]

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
    "sphinx_autodoc_typehints",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinxcontrib.bibtex",
    # Of this project, in _extensions.
    "command_line",
    "public_api",
    "repository_links",
    "returned_values",
]
exclude_patterns = ["_build", "_extensions", "README.md"]

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

# Pages are written by public_api.
autosummary_generate = False
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
# Types that are not public, in signatures of parts for developers.
nitpick_ignore_regex += [(r"py:.*", r"scvi_cae(\.\w+)*\._\w+\..*")]
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
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
