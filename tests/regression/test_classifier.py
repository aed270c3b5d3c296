"""What classifiers have in common: labels in two forms, missing values, classes without cells, folds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scvi_cae.regression import DiscriminantBaseline, LogisticBaseline
from scvi_cae.regression._classifier import dealt_folds

CLASSIFIERS = {
    "logistic": LogisticBaseline,
    "kernel": lambda: LogisticBaseline(gamma=0.1),
    "discriminant": DiscriminantBaseline,
}
every_classifier = pytest.mark.parametrize("make", CLASSIFIERS.values(), ids=CLASSIFIERS)


@pytest.fixture
def groups():
    """Three groups of cells, far apart in features of different units, and their names."""
    rng = np.random.default_rng(0)
    names = np.array(["b", "a", "c"], dtype=object)[np.arange(120) % 3]
    centres = {"a": [3, 0, 0, 0], "b": [0, 3, 0, 0], "c": [0, 0, 3, 0]}
    source = rng.normal(size=(120, 4)) * 0.5 + [centres[name] for name in names]
    return source * [1, 1000, 1e-3, 1] + 50, names


def indicators(names, classes):
    rows = (np.asarray(names, dtype=object)[:, None] == np.array(classes, dtype=object)).astype(float)
    rows[pd.isna(names)] = np.nan
    return rows


@every_classifier
def test_groups_are_found_again(make, groups):
    source, names = groups
    fitted = make().fit(source[:80], names[:80])
    probabilities = fitted.predict(source[80:])
    assert fitted.classes_ == ["a", "b", "c"]
    np.testing.assert_allclose(probabilities.sum(1), 1)
    assert (np.array(fitted.classes_)[probabilities.argmax(1)] == names[80:]).mean() > 0.95
    own = probabilities[np.arange(40), np.searchsorted(fitted.classes_, names[80:])]
    assert -np.log(own).mean() < 0.3


@every_classifier
def test_indicators_are_names(make, groups):
    source, names = groups
    names[::7] = None
    by_name = make().fit(source, names).predict(source)
    fitted = make().fit(source, indicators(names, ["a", "b", "unseen", "c"]))
    assert fitted.classes_ == ["0", "1", "2", "3"]
    found = fitted.predict(source)
    np.testing.assert_array_equal(found[:, [0, 1, 3]], by_name)
    np.testing.assert_array_equal(found[:, 2], 0)


@every_classifier
@pytest.mark.parametrize(
    "kind",
    [list, pd.Series, pd.Categorical, lambda x: pd.array(list(x), dtype="string")],
    ids=["list", "series", "categorical", "string"],
)
def test_names_are_of_any_kind(make, kind, groups):
    source, names = groups
    names[::7] = None
    expected = make().fit(source, names).predict(source)
    np.testing.assert_array_equal(make().fit(source, kind(names)).predict(source), expected)


@every_classifier
def test_missing_values(make, groups):
    source, names = groups
    source[:10], source[20, 1], source[:, 3] = np.nan, np.nan, np.nan
    fitted = make().fit(source, names)
    found = fitted.predict(source)
    assert np.isnan(found[:10]).all()
    assert np.isfinite(found[10:]).all()
    filled = source.copy()
    filled[:, 3] = 1e9  # was never measured
    np.testing.assert_allclose(fitted.predict(filled)[10:], found[10:], atol=1e-9)


@every_classifier
def test_cells_without_a_source_teach_nothing(make, groups):
    source, names = groups
    source[:10] = np.nan
    expected = make().fit(source, names).predict(source)
    names[:10] = "A"
    found = make().fit(source, names).predict(source)
    np.testing.assert_array_equal(found[10:, 1:], expected[10:])
    np.testing.assert_array_equal(found[10:, 0], 0)


@every_classifier
@pytest.mark.parametrize("n_cells", [2, 3, 5, 9])
def test_few_cells(make, n_cells, groups):
    """Folds of which some lack a class, and classes of one cell, are no error."""
    source, names = groups
    names[:n_cells] = [f"{i // 2}" for i in range(n_cells)] if n_cells > 3 else list("xyz")[:n_cells]
    found = make().fit(source[:n_cells], names[:n_cells]).predict(source)
    np.testing.assert_allclose(found.sum(1), 1)


@every_classifier
def test_a_constant_source_gives_the_shares_of_classes(make, groups):
    _, names = groups
    names[:30] = "a"
    found = make().fit(np.full((120, 2), 7.0), names).predict([[7.0, 7.0]])
    np.testing.assert_allclose(found, [[60 / 120, 30 / 120, 30 / 120]], atol=0.1)


@every_classifier
def test_errors_name_what_is_wrong(make, groups):
    source, names = groups
    with pytest.raises(ValueError, match="source has 3 cells and labels 4; give the same cells"):
        make().fit(source[:3], names[:4])
    with pytest.raises(ValueError, match="have 1 classes; give training cells of two or more"):
        make().fit(source, ["a"] * 60 + [None] * 60)
    with pytest.raises(ValueError, match="have 0 classes"):
        make().fit(source, [np.nan] * 120)
    rows = indicators(names, ["a", "b", "c"])
    rows[5] = 0
    with pytest.raises(ValueError, match="labels: row 5 is not 1 for one class and 0 for the others"):
        make().fit(source, rows)


@given(codes=st.lists(st.integers(0, 4), min_size=1, max_size=40), n_folds=st.integers(2, 5))
def test_folds_share_each_class_equally(codes, n_folds):
    codes = np.array(codes)
    folds = dealt_folds(codes, n_folds)
    for cells in (codes >= 0, *(codes == code for code in np.unique(codes))):
        counts = np.bincount(folds[cells], minlength=n_folds)
        assert counts.max() - counts.min() <= 1
