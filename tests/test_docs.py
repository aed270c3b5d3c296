"""The documentation is complete and names what exists; that it builds is seen by ``make docs``."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import tomllib
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path, PurePosixPath
from pkgutil import resolve_name, walk_packages
from posixpath import normpath

import pytest

import scvi_cae
from scvi_cae import CoupledAE, module

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
#: Pages of the site, from the repository's root.
PAGES = ["CHANGELOG.md", "data/README.md"]
PAGES += sorted(
    path.relative_to(ROOT).as_posix() for path in [*DOCS.glob("*.md"), *DOCS.glob("decisions/*.md")]
)
#: Packages that are public within this package only. What users need of them is on the API page all the same.
INTERNAL = ("scvi_cae.cli", "scvi_cae.data", "scvi_cae.module", "scvi_cae.regression", "scvi_cae.train")
#: A Markdown link or image with a relative address, as in ``[text](docs/page.md#part)``.
LINK = re.compile(r"\]\((?!\w+:|#|/)([^)#\s]+)")


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


def without_code(text):
    return re.sub(r"^```(?!\{).*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def configuration():
    spec = importlib.util.spec_from_file_location("conf", DOCS / "conf.py")
    conf = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(conf)
    return conf


def api():
    """What the API page lists, by name."""
    text = text_of("docs/api.md")
    names = re.findall(r"^\.\. py:data:: (\S+)$", text, flags=re.MULTILINE)
    for lines in re.findall(r"^\.\. autosummary::\n((?:    .*\n|\n)+)", text, flags=re.MULTILINE):
        names += [line.strip() for line in lines.splitlines() if line.strip() and ":" not in line]
    assert len(names) == len(set(names))
    return {name: resolve_name(f"scvi_cae.{name}") for name in names}


def public_packages():
    """Modules that are public by their names, with something public in them."""
    yield "scvi_cae"
    for info in walk_packages(scvi_cae.__path__, "scvi_cae."):
        if "._" not in info.name and not info.name.startswith(INTERNAL):
            yield info.name


@pytest.mark.parametrize("package", list(public_packages()))
def test_every_public_name_is_in_the_api(package):
    listed = api().values()
    for name in import_module(package).__all__:
        thing = resolve_name(f"{package}.{name}")
        if not name.startswith("__") and not inspect.ismodule(thing):
            assert any(thing is other for other in listed), f"{package}.{name}"


def test_settings_of_arms_and_all_couplings_are_in_the_api():
    listed = {name.removeprefix("module.") for name in api() if name.startswith("module.")}
    assert listed == {"ArmConfig", "PublishedSettings", "COUPLING_LOSSES"}
    for name in module.COUPLING_LOSSES:
        assert f'``"{name}"``' in text_of("docs/api.md")


def test_the_api_page_lists_each_thing_once():
    things = list(api().values())
    assert len({id(thing) for thing in things}) == len(things)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        *(
            (name, True)
            for name in ("setup_mudata", "train", "predict", "attribute", "load_query_data", "save")
        ),
        *((name, True) for name in ("history", "is_trained", "validation_indices")),
        *((name, False) for name in ("to_device", "view_anndata_setup", "device")),
        *((name, False) for name in ("setup_anndata", "expression_references")),
    ],
)
def test_the_page_of_the_model_has_its_own_methods_and_few_inherited_ones(name, shown):
    member = inspect.getattr_static(CoupledAE, name)
    member = member if isinstance(member, property) else getattr(CoupledAE, name)
    skipped = configuration().skip_member(None, "class", name, member, False, None)
    assert skipped is (None if shown else True)


def test_every_page_is_in_a_toctree():
    listed = ["docs/index"]
    for page in PAGES:
        for tree in re.findall(r"^```\{toctree\}\n(.*?)^```", text_of(page), flags=re.MULTILINE | re.DOTALL):
            entries = [line for line in tree.splitlines() if line and not line.startswith(":")]
            folder = PurePosixPath("/", page).parent
            listed += [normpath(folder / entry).removeprefix("/") for entry in entries]
    pages = [page.removesuffix(".md") for page in PAGES]
    notebooks = [path.relative_to(ROOT).with_suffix("").as_posix() for path in ROOT.glob("tutorials/*.ipynb")]
    for page in [*pages, *notebooks]:
        assert any(fnmatch(page, entry) for entry in listed), page


@pytest.mark.parametrize("page", PAGES)
def test_names_in_backticks_exist(page):
    for name in re.findall(r"`~?(scvi_cae(?:\.\w+)+)", without_code(text_of(page))):
        resolve_name(name)


@pytest.mark.parametrize("page", [*PAGES, "README.md"])
def test_code_is_python_and_names_in_it_exist(page):
    for block in re.findall(r"^```python\n(.*?)^```", text_of(page), flags=re.MULTILINE | re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and re.fullmatch(r"scvi_cae(\.\w+)+", ast.unparse(node)):
                resolve_name(ast.unparse(node))
            if isinstance(node, ast.ImportFrom) and node.module.startswith("scvi_cae"):
                for name in node.names:
                    resolve_name(f"{node.module}.{name.name}")


def test_the_migration_table_has_counterparts():
    rows = [line for line in text_of("docs/migration.md").splitlines() if line.startswith("| ")]
    rows = [row for row in rows if not row.startswith("| published")]
    assert len(rows) > 50
    for row in rows:
        published, here = row.removeprefix("| ").removesuffix(" |").split(" | ")
        assert published.strip()
        assert here.strip()


@pytest.mark.parametrize("page", [*PAGES, "README.md"])
def test_relative_links_lead_to_files(page):
    for target in LINK.findall(without_code(text_of(page))):
        assert ((ROOT / page).parent / target).exists(), target


def test_links_of_the_readme_work_on_the_front_page_too():
    # The front page includes README.md from docs/, and rebases the addresses that begin like this.
    assert "\n:relative-docs: ./\n" in text_of("docs/index.md")
    assert all(target.startswith("./") for target in LINK.findall(without_code(text_of("README.md"))))


def test_versions_agree():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert version == scvi_cae.__version__
    assert re.search(r"^## (\S+), ", text_of("CHANGELOG.md"), flags=re.MULTILINE)[1] == version


def test_addresses_are_those_of_the_project():
    urls = {"Source": "https://example.org/code", "Documentation": "https://example.org/docs"}
    conf, page = configuration(), [text_of("docs/ecosystem.md")]
    conf.URLS.update(urls)
    conf.fill_in(None, "docs/ecosystem", page)
    assert f"project_home: {urls['Source']}\n" in page[0]
    assert f"tutorials_home: {urls['Documentation']}/docs/tutorials.html\n" in page[0]


def test_the_citation_has_the_project_s_address():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    if "Source" in project["urls"]:
        assert f"\nrepository-code: {project['urls']['Source']}\n" in citation
    else:
        assert "repository-code" not in citation


def test_both_papers_are_cited():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    bibliography = (DOCS / "references.bib").read_text(encoding="utf-8")
    for title in (
        "Consistent cross-modal identification of cortical neurons with coupled autoencoders",
        "A coupled autoencoder approach for multi-modal analysis of cell types",
    ):
        assert title in citation
        assert title in bibliography
