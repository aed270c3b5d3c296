"""Every tutorial is a script and a notebook that say the same; the notebook was executed, without an error."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "tutorials"
#: What begins with an underscore is a module that tutorials share.
TUTORIALS = sorted(path.stem for path in FOLDER.glob("[!_]*.py"))
#: Largest notebook, in bytes: what is larger is slow to open, and each version stays in the repository.
MOST_BYTES = 1_500_000

tutorials = pytest.mark.parametrize("name", TUTORIALS)


def cells_of_script(name):
    """Kind and text of each cell of a script in jupytext's percent format."""
    text = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    # What stands before the first cell is the header.
    for heading, body in re.findall(r"^# %%(.*)\n((?:(?!# %%).*\n?)*)", text, re.MULTILINE):
        if "[markdown]" in heading:
            yield "markdown", re.sub(r"^# ?", "", body, flags=re.MULTILINE).strip()
        else:
            yield "code", body.strip()


def read_notebook(name):
    path = FOLDER / f"{name}.ipynb"
    assert path.is_file(), f"{path.name} is missing: make tutorials"
    return json.loads(path.read_text(encoding="utf-8"))


def code_cells(name):
    return [cell for cell in read_notebook(name)["cells"] if cell["cell_type"] == "code"]


def test_there_are_tutorials():
    assert TUTORIALS


def test_every_notebook_has_a_script():
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == TUTORIALS


@tutorials
def test_tutorial_begins_with_its_question(name):
    """Then come imports and data: what keeps libraries quiet is in a cell that the site does not show."""
    (first, _), (second, code), *_ = cells_of_script(name)
    assert (first, second) == ("markdown", "code")
    assert code.startswith("import _tutorial ")
    assert code_cells(name)[0]["metadata"]["tags"] == ["remove-cell"]
    text = "\n".join(cell for _, cell in cells_of_script(name))
    assert not re.search(r"filterwarnings|getLogger|SCVI_CAE_TUTORIAL_DATA", text)


@tutorials
def test_notebook_and_script_have_the_same_cells(name):
    script = list(cells_of_script(name))
    notebook = [(cell["cell_type"], "".join(cell["source"]).strip()) for cell in read_notebook(name)["cells"]]
    assert [cell for kind, cell in script if kind == "code"]
    assert notebook == script


@tutorials
def test_notebook_was_executed_from_top_to_bottom(name):
    counts = [cell["execution_count"] for cell in code_cells(name)]
    assert counts == list(range(1, len(counts) + 1))


@tutorials
def test_notebook_shows_no_errors_and_no_warnings(name):
    """And lets none pass: tags and settings that go on after an error are refused."""
    notebook = read_notebook(name)
    assert not notebook["metadata"].get("execution", {}).get("allow_errors")
    for cell in code_cells(name):
        assert "raises-exception" not in cell["metadata"].get("tags", [])
        for output in cell["outputs"]:
            assert output["output_type"] != "error", output.get("evalue")
            assert output.get("name") != "stderr", "".join(output.get("text", []))


@tutorials
def test_notebook_is_small(name):
    assert (FOLDER / f"{name}.ipynb").stat().st_size < MOST_BYTES


@tutorials
def test_links_lead_to_files(name):
    text = "\n".join(cell for kind, cell in cells_of_script(name) if kind == "markdown")
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if "://" not in target:
            assert (FOLDER / target).exists(), target
