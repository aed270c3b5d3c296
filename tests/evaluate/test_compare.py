"""Paired comparison, tested against scipy and the published correction."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from scvi_cae.evaluate import compare


def scores(values, source="rna", target="ephys", metric="r2"):
    """A table of values of methods by fold, or by fold and seed."""
    rows = [
        (method, fold, seed, source, target, metric, value)
        for method, folds in values.items()
        for fold, seeds in enumerate(folds)
        for seed, value in enumerate(np.atleast_1d(seeds))
    ]
    table = pd.DataFrame(rows, columns=["method", "fold", "seed", "source", "target", "metric", "value"])
    return table.assign(n_train=90, n_test=10)


@pytest.fixture
def values():
    rng = np.random.default_rng(0)
    easy = rng.normal(0.3, 0.05, 10)
    return {"a": easy + rng.normal(0.02, 0.01, 10), "b": easy}


def test_statistics_are_scipys(values):
    row = compare(scores(values), "a", "b").iloc[0]
    difference = values["a"] - values["b"]
    assert row["difference"] == pytest.approx(difference.mean())
    assert row["p_wilcoxon"] == pytest.approx(stats.wilcoxon(difference).pvalue)
    assert (row["n_folds"], row["n_better"]) == (10, (difference > 0).sum())
    # each of ten folds tests a tenth of the cells: 1/10 becomes 1/10 + 1/9
    plain = stats.ttest_1samp(difference, 0)
    t = plain.statistic * np.sqrt(0.1 / (0.1 + 1 / 9))
    assert row["p_t"] == pytest.approx(2 * stats.t.sf(t, 9))
    wide = plain.confidence_interval(0.95)
    assert row["high"] - row["low"] == pytest.approx((wide.high - wide.low) * np.sqrt((0.1 + 1 / 9) / 0.1))
    assert (row["low"] + row["high"]) / 2 == pytest.approx(difference.mean())


def test_the_other_way_round_is_the_opposite(values):
    one, other = (compare(scores(values), *pair).iloc[0] for pair in (("a", "b"), ("b", "a")))
    assert one["difference"] == pytest.approx(-other["difference"])
    assert one["low"] == pytest.approx(-other["high"])
    assert one["p_t"] == pytest.approx(other["p_t"])


def test_seeds_are_averaged_within_folds_and_may_differ_in_number(values):
    jitter = np.random.default_rng(1).normal(0, 0.1, (10, 3))
    seeds = values["a"][:, None] + jitter - jitter.mean(1, keepdims=True)
    pd.testing.assert_frame_equal(
        compare(scores({**values, "a": seeds}), "a", "b"), compare(scores(values), "a", "b")
    )


def test_folds_that_one_lacks_are_left_out(values):
    table = scores(values)
    table.loc[(table["method"] == "b") & (table["fold"] == 3), "value"] = np.nan
    row = compare(table, "a", "b", test_fraction=0.1).iloc[0]
    assert row["n_folds"] == 9
    assert row["difference"] == pytest.approx(np.delete(values["a"] - values["b"], 3).mean())


def test_each_pair_of_modalities_has_its_row(values):
    table = pd.concat([scores(values), scores(values, "ephys", "rna"), scores(values, metric="foscttm")])
    assert compare(table, "a", "b").index.tolist() == [("r2", "rna", "ephys"), ("r2", "ephys", "rna")]


def test_repeated_folds_are_not_more_cells(values):
    twice = {name: np.r_[x, x] for name, x in values.items()}
    row = compare(scores(twice), "a", "b").iloc[0]
    difference = twice["a"] - twice["b"]
    error = np.sqrt(difference.var(ddof=1) * (1 / 20 + 1 / 9))
    assert row["p_t"] == pytest.approx(2 * stats.t.sf(difference.mean() / error, 19))
    unknown = scores(twice).drop(columns="n_test")
    with pytest.raises(ValueError, match="no columns n_train and n_test.*test_fraction="):
        compare(unknown, "a", "b")
    given = compare(unknown, "a", "b", test_fraction=0.1)
    assert given["p_t"].iloc[0] == pytest.approx(row["p_t"])


def test_few_or_equal_folds():
    single = compare(scores({"a": [0.3], "b": [0.2]}), "a", "b").iloc[0]
    assert single["difference"] == pytest.approx(0.1)
    assert single[["low", "high", "p_t", "p_wilcoxon"]].isna().all()
    same = compare(scores({"a": [0.3, 0.4], "b": [0.3, 0.4]}), "a", "b").iloc[0]
    assert (same["p_t"], same["p_wilcoxon"]) == (1, 1)


def test_it_names_what_is_wrong(values):
    table = scores(values)
    with pytest.raises(ValueError, match="no metric 'r3'"):
        compare(table, "a", "b", "r3")
    with pytest.raises(ValueError, match="no 'r2' of 'c'. Methods with this metric are 'a', 'b'"):
        compare(table, "a", "c")
    with pytest.raises(ValueError, match="several scores"):
        compare(pd.concat([table, table]), "a", "b")
    with pytest.raises(ValueError, match="no fold in common"):
        compare(table[(table["method"] == "a") ^ (table["fold"] > 4)], "a", "b")
    with pytest.raises(ValueError, match="test_fraction=2"):
        compare(table, "a", "b", test_fraction=2)


def repeated_folds(rng, n_cells=60, n_folds=5, n_repeats=4):
    """Errors of two equally good methods, least squares on one feature each, over repeated folds."""
    x, noise = rng.normal(size=(n_cells, 2)), rng.normal(size=n_cells)
    y = x.sum(1) + noise
    rows = []
    for repeat in range(n_repeats):
        order = rng.permutation(n_cells)
        for fold in range(n_folds):
            test, train = order[fold::n_folds], np.setdiff1d(order, order[fold::n_folds])
            for j, method in enumerate("ab"):
                slope = (x[train, j] @ y[train]) / (x[train, j] @ x[train, j])
                error = np.mean((y[test] - slope * x[test, j]) ** 2)
                rows.append((method, repeat * n_folds + fold, error, len(train), len(test)))
    table = pd.DataFrame(rows, columns=["method", "fold", "value", "n_train", "n_test"])
    return table.assign(metric="r2", source="rna", target="ephys")


def test_equal_methods_differ_in_few_experiments_however_often_folds_are_repeated():
    rng = np.random.default_rng(0)
    found = [compare(repeated_folds(rng), "a", "b").iloc[0]["p_t"] < 0.05 for _ in range(150)]
    assert np.mean(found) < 0.1


@pytest.mark.parametrize("n_repeats", [1, 2])
def test_the_wilcoxon_test_is_not_of_repeated_folds(n_repeats):
    table = repeated_folds(np.random.default_rng(0), n_repeats=n_repeats)
    assert np.isnan(compare(table, "a", "b").iloc[0]["p_wilcoxon"]) == (n_repeats > 1)
