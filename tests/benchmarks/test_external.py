"""Adapters of other packages, where these are installed."""

from __future__ import annotations

from importlib import util

import numpy as np
import pytest
from external import CCAZooBaseline, MOFABaseline, UniVIBaseline, require

PACKAGES = {"mofapy2": MOFABaseline(), "cca_zoo": CCAZooBaseline(2), "univi": UniVIBaseline(2, n_epochs=60)}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("package", PACKAGES)
def test_it_learns_a_linear_relation_in_natural_units(package):
    if util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: pip install --group benchmark")
    rng = np.random.default_rng(0)
    z = rng.normal(size=(400, 2))
    x = 5 + 3 * (z @ rng.normal(size=(2, 20)) + 0.3 * rng.normal(size=(400, 20)))
    y = 100 + 40 * (z @ rng.normal(size=(2, 6)) + 0.3 * rng.normal(size=(400, 6)))
    source, target = x[:300].copy(), y[:300].copy()
    source[:20], target[20:40], source[50, 1], target[60:70, 2] = np.nan, np.nan, np.nan, np.nan
    predicted = PACKAGES[package].fit(source, target).predict(np.r_[x[300:], np.full((1, 20), np.nan)])
    assert np.isnan(predicted[-1]).all()
    r2 = 1 - ((y[300:] - predicted[:-1]) ** 2).sum() / ((y[300:] - y[:300].mean(0)) ** 2).sum()
    assert r2 > 0.5


def test_a_missing_package_is_named_with_the_command_that_installs_it():
    with pytest.raises(
        ImportError, match="needs mofapy, which is not installed.*pip install --group benchmark"
    ):
        require("mofapy_that_is_not_there", "mofapy")
