"""The documentation is complete and names what exists; that it builds is seen by ``make docs``."""

from __future__ import annotations

import importlib.util
import pkgutil
import re
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

import scvi_cae

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path.stem for path in DOCS.glob("*.md"))


def extension(name):
    """A module of ``docs/_extensions``."""
    spec = importlib.util.spec_from_file_location(name, DOCS / "_extensions" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


public_api = extension("public_api")
repository_links = extension("repository_links")
returned_values = extension("returned_values")
API = public_api.listed_packages((DOCS / "api.md").read_text(encoding="utf-8"))


def public_packages():
    """Modules that are public by their names, with something public in them."""
    yield "scvi_cae"
    for info in pkgutil.walk_packages(scvi_cae.__path__, "scvi_cae."):
        # The command line has a section of its own.
        if "._" not in info.name and not info.name.startswith("scvi_cae.cli"):
            yield info.name


def text_of(page):
    return (DOCS / f"{page}.md").read_text(encoding="utf-8")


def resolves(name):
    """Whether a dotted name is a module, or something in one."""
    parts = name.split(".")
    thing = import_module(parts[0])
    for i, part in enumerate(parts[1:], 2):
        try:
            thing = getattr(thing, part)
        except AttributeError:
            try:
                thing = import_module(".".join(parts[:i]))
            except ImportError:
                return False
    return True


@pytest.mark.parametrize("package", list(public_packages()))
def test_every_public_name_is_in_the_api(package):
    names = public_api.api_names(API)
    listed = [getattr(import_module(p), name) for p in names for name in names[p]]
    for name, thing in public_api.public_objects(package).items():
        assert any(thing is other for other in listed), f"{package}.{name}"


def test_the_api_page_of_a_class_has_the_methods_of_its_parts():
    page = public_api.page("scvi_cae", "CoupledAE")
    for name in ("setup_mudata", "train", "predict", "attribute", "load_query", "save", "load", "history"):
        assert f"CoupledAE.{name}\n" in page
    assert "to_device" not in page


def test_every_page_is_in_a_toctree():
    listed = {"index"}
    for page in PAGES:
        for tree in re.findall(r"^```\{toctree\}\n(.*?)^```", text_of(page), flags=re.MULTILINE | re.DOTALL):
            listed |= {line for line in tree.splitlines() if line and not line.startswith(":")}
    assert set(PAGES) - listed == set()
    assert {name for name in listed if "/" not in name} <= set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_names_in_backticks_exist(page):
    text = re.sub(r"^```(?!\{).*?^```", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    for name in re.findall(r"`~?(scvi_cae(?:\.\w+)+)", text):
        assert resolves(name), name


def test_the_migration_table_has_counterparts():
    rows = [line for line in text_of("migration").splitlines() if line.startswith("| ")]
    rows = [row for row in rows if not row.startswith("| published")]
    assert len(rows) > 50
    for row in rows:
        published, here = row.removeprefix("| ").removesuffix(" |").split(" | ")
        assert published.strip()
        assert here.strip()


@pytest.mark.parametrize(
    "path",
    [*(f"docs/{page}.md" for page in PAGES), "README.md", "CHANGELOG.md", "data/README.md"],
)
def test_relative_links_lead_to_files(path):
    text = re.sub(
        r"^```.*?^```", "", (ROOT / path).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    for match in repository_links.LINK.finditer(text):
        if not match["path"].startswith("generated/"):
            assert ((ROOT / path).parent / match["path"]).exists(), match["path"]


@pytest.mark.parametrize(
    ("origin", "link", "site"),
    [
        ("README.md", "[a](docs/modalities.md#labels)", "[a](/modalities.md#labels)"),
        ("README.md", "![a](docs/images/a.png)", "![a](/images/a.png)"),
        ("README.md", "[a](data/README.md)", "[a](/data.md)"),
        ("docs/gala2021.md", "[a](../tutorials/b.ipynb)", "[a](/generated/tutorials/b.ipynb)"),
        ("tutorials/b.ipynb", "[a](../docs/speed.md)", "[a](/speed.md)"),
        ("docs/a.md", "[a](b.md)", "[a](/b.md)"),
        ("docs/a.md", "[a](https://scverse.org) [b](#c)", "[a](https://scverse.org) [b](#c)"),
    ],
)
def test_links_are_rewritten_for_the_site(origin, link, site):
    assert repository_links.rewrite(link, origin) == site


def test_other_files_are_found_from_the_page_that_includes_them():
    rewritten = repository_links.rewrite("[a](CITATION.cff)", "README.md", page="docs/index.md")
    assert rewritten == "[a](../CITATION.cff)"


def test_returned_values_are_sentences_not_a_list_of_types():
    lines = [
        "Do.",
        "",
        "Returns",
        "-------",
        "Cells: a table",
        "of them.",
        "",
        "Raises",
        "------",
        "ValueError",
    ]
    field = [":returns: Cells: a table", "    of them."]
    assert [line for line in returned_values.as_field(lines) if line] == ["Do.", *field, *lines[-3:]]
    assert returned_values.as_field(lines[:2]) == lines[:2]


def test_versions_agree():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert version == scvi_cae.__version__


def test_both_papers_are_cited():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    bibliography = (DOCS / "references.bib").read_text(encoding="utf-8")
    for title in (
        "Consistent cross-modal identification of cortical neurons with coupled autoencoders",
        "A coupled autoencoder approach for multi-modal analysis of cell types",
    ):
        assert title in citation
        assert title in bibliography
