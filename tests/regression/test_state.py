"""What a regression fitted, as plain arrays and back, also through a file."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scvi_cae.regression import (
    BaggedKernelRidgeBaseline,
    DiscriminantBaseline,
    KernelRidgeBaseline,
    LogisticBaseline,
    RidgeBaseline,
)

REGRESSIONS = {
    "ridge": RidgeBaseline,
    "squashed ridge": lambda: RidgeBaseline(squash=True),
    "kernel ridge": KernelRidgeBaseline,
    "several penalties": lambda: KernelRidgeBaseline(5, gamma=0.3, alpha=(0.1, 1.0)),
    "bagged kernel ridge": lambda: BaggedKernelRidgeBaseline(n_bags=3),
}
CLASSIFIERS = {
    "logistic": LogisticBaseline,
    "kernel logistic": lambda: LogisticBaseline(gamma=0.1, penalties=[0.1]),
    "discriminant": DiscriminantBaseline,
}


def plain(value):
    """A state as ``torch.load(weights_only=True)`` can read it; fails for what is not plain."""
    if isinstance(value, dict):
        assert all(isinstance(key, str) for key in value)
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if isinstance(value, np.ndarray):
        return torch.tensor(value)
    assert value is None or isinstance(value, (str, float, int, np.number))
    return value.item() if isinstance(value, np.number) else value


def restored(value):
    if isinstance(value, dict):
        return {key: restored(part) for key, part in value.items()}
    if isinstance(value, list):
        return [restored(part) for part in value]
    return value.numpy() if isinstance(value, torch.Tensor) else value


def data(seed, n_cells=60):
    """A source and a target with missing values, missing cells, a constant and an unmeasured feature."""
    rng = np.random.default_rng(seed)
    source = rng.normal(1e4, 1, (n_cells, 6)) * [1, 100, 1, 1, 1e-3, 1]
    target = np.c_[source[:, :3] ** 2, np.sin(source[:, 3:]), np.full(n_cells, 7.0), np.full(n_cells, np.nan)]
    target[rng.random(target.shape) < 0.1] = np.nan
    source[rng.random(source.shape) < 0.05] = np.nan
    source[:5] = np.nan
    return source, target


@pytest.mark.parametrize("make", REGRESSIONS.values(), ids=REGRESSIONS)
@settings(max_examples=10)
@given(seed=st.integers(0, 2**31))
def test_it_predicts_the_same_from_its_state(make, seed):
    source, target = data(seed)
    fitted = make().fit(source[:50], target[:50])
    again = type(fitted).from_state(restored(plain(fitted.state())))
    expected, found = fitted.predict(source), again.predict(source)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    units = np.append(np.nanstd(target[:, :-1], axis=0), 1.0)
    units[units < 1e-9] = 1.0  # a constant
    np.testing.assert_allclose(found / units, expected / units, rtol=0, atol=2e-6)


@pytest.mark.parametrize("make", CLASSIFIERS.values(), ids=CLASSIFIERS)
@settings(max_examples=5)
@given(seed=st.integers(0, 2**31))
def test_a_classifier_predicts_the_same_from_its_state(make, seed):
    source, target = data(seed)
    labels = np.where(target[:, 0] > np.nanmedian(target[:, 0]), "high", "low").astype(object)
    labels[::7], labels[5::9] = None, "other"
    fitted = make().fit(source, labels)
    again = type(fitted).from_state(restored(plain(fitted.state())))
    assert again.classes_ == fitted.classes_ == ["high", "low", "other"]
    np.testing.assert_allclose(again.predict(source), fitted.predict(source), rtol=0, atol=2e-6)


@pytest.mark.parametrize("make", REGRESSIONS.values(), ids=REGRESSIONS)
def test_a_file_holds_it_and_a_second_saving_changes_nothing(make, tmp_path):
    source, target = data(0)
    fitted = make().fit(source, target)
    torch.save(plain(fitted.state()), tmp_path / "state.pt")
    state = restored(torch.load(tmp_path / "state.pt", weights_only=True))
    again = type(fitted).from_state(state)
    torch.save(plain(again.state()), tmp_path / "again.pt")
    other = type(fitted).from_state(restored(torch.load(tmp_path / "again.pt", weights_only=True)))
    np.testing.assert_array_equal(again.predict(source), other.predict(source))


def test_settings_are_kept():
    source, target = data(0)
    fitted = KernelRidgeBaseline(3, gamma=0.7, alpha=[0.2, 2.0]).fit(source, target)
    again = KernelRidgeBaseline.from_state(fitted.state())
    assert (again.n_components, again.gamma, again.alpha) == (3, 0.7, [0.2, 2.0])


def test_errors_name_the_fix():
    source, target = data(0)
    with pytest.raises(RuntimeError, match="This RidgeBaseline is not fitted; call its fit first"):
        RidgeBaseline().state()
    state = RidgeBaseline().fit(source, target).state()
    with pytest.raises(ValueError, match=r"state of a RidgeBaseline; call RidgeBaseline\.from_state"):
        KernelRidgeBaseline.from_state(state)
