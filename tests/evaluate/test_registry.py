"""Registry of baselines by name."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from scvi_cae.evaluate import KernelRidgeBaseline, PCABaseline, TypeMeanBaseline
from scvi_cae.evaluate._registry import BASELINES, resolve


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_every_name_fits_and_predicts(name):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(60, 2))
    x, y = z @ rng.normal(size=(2, 8)) + 0.1 * rng.normal(size=(60, 8)), z @ rng.normal(size=(2, 4))
    entry = resolve([name], ["family", "type"], 2)[name]
    if isinstance(entry.baseline, TypeMeanBaseline):
        predicted = entry.baseline.fit(["a", "b"] * 30, y).predict(["a"] * 5)
    else:
        labels = [["a", "b"] * 30] if entry.level else []
        predicted = entry.baseline.fit(x, y, *labels).predict(x[:5], *(types[:5] for types in labels))
    assert predicted.shape == (5, 4)
    assert np.isfinite(predicted).all()


def test_defaults():
    assert list(resolve(True, ["type"], 3)) == ["ridge", "type mean"]
    assert list(resolve(True, ["family"], 3)) == ["ridge"]
    assert resolve(False, [], 3) == {}


def test_objects_and_dictionaries():
    own = KernelRidgeBaseline(gamma=0.5)
    entries = resolve([own, LinearRegression(), "pca"], [], 7)
    assert list(entries) == ["KernelRidgeBaseline", "LinearRegression", "pca"]
    assert entries["pca"].within
    assert entries["pca"].baseline.n_latent == 7
    assert entries["KernelRidgeBaseline"].baseline is not own
    named = resolve({"wide": own, "mine": "ridge", "all": PCABaseline(2)}, [], 7)
    assert list(named) == ["wide", "mine", "all"]
    assert named["all"].within


def test_it_names_what_is_wrong():
    with pytest.raises(ValueError, match="no baseline 'rigde'. Give one of 'ridge'"):
        resolve(["rigde"], [], 3)
    with pytest.raises(ValueError, match="Two baselines are called 'KernelRidgeBaseline'"):
        resolve([KernelRidgeBaseline(), KernelRidgeBaseline(gamma=1)], [], 3)
    with pytest.raises(ValueError, match="'ridge . type mean' needs each cell's type: give labels_key"):
        resolve(["ridge + type mean"], ["family"], 3)
    with pytest.raises(ValueError, match="'family mean' needs each cell's family: give family_key"):
        resolve(["family mean"], ["type"], 3)
