"""Every public object is documented, and its examples run; tables of numbers are those of the file."""

from __future__ import annotations

import doctest
import inspect
from functools import cache

import number_tables
import pandas as pd
import pytest
import results
import scvi

import scvi_cae
from scvi_cae import data, datasets, evaluate, io, model, module, pp, recipes, regression, splits, tl, train


def public_objects():
    for package in (
        scvi_cae,
        data,
        datasets,
        evaluate,
        io,
        model,
        module,
        pp,
        recipes,
        regression,
        splits,
        tl,
        train,
    ):
        for name in package.__all__:
            thing = getattr(package, name)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                yield pytest.param(thing, id=f"{package.__name__}.{name}")
    for part in scvi_cae.CoupledAE.__mro__[1:]:
        if part.__module__.startswith("scvi_cae"):
            yield pytest.param(part, id=part.__name__)


def own_methods(cls):
    for name, member in vars(cls).items():
        if not name.startswith("_") and (
            inspect.isfunction(member) or isinstance(member, (classmethod, property))
        ):
            yield name, member


@pytest.mark.parametrize("thing", list(public_objects()))
def test_is_documented(thing):
    assert inspect.getdoc(thing)
    if inspect.isclass(thing):
        for name, _ in own_methods(thing):
            assert inspect.getdoc(getattr(thing, name)), name


@pytest.mark.parametrize("thing", list(public_objects()))
def test_every_parameter_is_documented(thing):
    """Parameters stand in the docstring of a function, or of a class for its constructor."""
    if inspect.isclass(thing) and "__init__" not in vars(thing):
        return
    parameters = [name for name in inspect.signature(thing).parameters if name not in ("args", "kwargs")]
    if len(parameters) > 1:
        described = inspect.getdoc(thing).partition("Parameters\n")[2]
        for name in parameters:
            assert name in described, name


@cache
def failures(thing):
    """What its examples do instead of what they show; once for an object that is public under several names."""
    finder = doctest.DocTestFinder(recurse=True)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    report = []
    for test in finder.find(thing, module=inspect.getmodule(thing)):
        scvi.settings.seed = 0  # examples set no seed, and what one does may not depend on those before it
        runner.run(test, out=report.append)
    return "".join(report)


@pytest.mark.parametrize("thing", list(public_objects()))
def test_examples_run(thing):
    assert not failures(thing), failures(thing)


def test_the_model_has_examples():
    for thing in (scvi_cae.CoupledAE, scvi_cae.CoupledAE.setup_mudata, scvi_cae.CoupledAE.predict):
        assert ">>>" in inspect.getdoc(thing)


def marked_tables():
    return {
        path: number_tables.MARKED.findall(path.read_text(encoding="utf-8")) for path in number_tables.pages()
    }


@pytest.mark.parametrize(
    "page", [page for page, found in marked_tables().items() if found], ids=lambda p: p.name
)
def test_tables_are_those_of_the_file(page):
    text = page.read_text(encoding="utf-8")
    assert number_tables.filled(text, number_tables.read()) == text, "run make numbers ARGS=--pages"


def test_every_table_of_numbers_is_shown_once():
    shown = [name for found in marked_tables().values() for _, name, _ in found]
    assert sorted(shown) == sorted(number_tables.specification()["tables"])


def test_every_recorded_table_is_shown_and_measured_by_a_known_command():
    numbers, spec = number_tables.read(), number_tables.specification()
    shown = {
        name
        for key, view in spec["tables"].items()
        for name in ([view.get("of", key)] if isinstance(view.get("of", key), str) else view["of"])
    }
    assert set(numbers["table"]) == shown
    assert not numbers.duplicated(["table", "row", "column"]).any()
    scripts = {path.name for path in results.BENCHMARKS.glob("*.py")}
    assert set(numbers["command"].str.split().str[0]) <= scripts
    assert not any(
        numbers[column].astype(str).str.contains(r"/(?:work|home|tmp|root)/").any() for column in numbers
    )


def test_recorded_rows_replace_those_of_the_same_name_and_command(tmp_path, monkeypatch):
    file = tmp_path / "numbers.csv"
    before, after = (pd.DataFrame({"R2": {"one": value, "two": value}}) for value in (0.1, 0.2))
    results.record("table", before, file=file)
    assert not file.exists()  # a script run by itself only prints
    for command, table in {"a.py": before, "b.py": after.rename({"one": "three"})}.items():
        monkeypatch.setenv(results.VARIABLE, command)
        results.record("table", table, spread=table / 10, file=file)
    found = number_tables.read(file).set_index(["command", "row"])
    assert found["value"].to_dict() == {("a.py", "one"): 0.1, ("b.py", "three"): 0.2, ("b.py", "two"): 0.2}
    assert found.loc[("b.py", "two"), "spread"] == 0.02
    results.record("table", after.loc[["two"]], file=file)
    assert number_tables.read(file)["row"].tolist() == ["one", "two"]


def test_the_best_of_a_row_is_bold_after_rounding():
    cells = pd.DataFrame({"a": ["0.123", "−0.5"], "b": ["0.123", "−0.2"], "c": ["", "0.9"]}, index=["x", "y"])
    found = number_tables.with_best(cells, {"best": "row", "compared": ["a", "b"], "lower": ["y"]})
    assert found.loc["x"].tolist() == ["**0.123**", "**0.123**", ""]
    assert found.loc["y"].tolist() == ["**−0.5**", "−0.2", "0.9"]
