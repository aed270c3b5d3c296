"""Every public object is documented, and its examples run."""

from __future__ import annotations

import doctest
import inspect
from functools import cache

import pytest
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
