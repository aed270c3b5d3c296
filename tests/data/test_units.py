"""Wrong units are told from other cells."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scvi_cae.data._units import unlike_training, warn_unlike_training
from scvi_cae.datasets import scala2020, simulate_patchseq
from scvi_cae.module._standardiser import mean_and_spread

if TYPE_CHECKING:
    import mudata

MEAN, SPREAD, NAMES = np.array([1.0, -65.0, 0.0]), np.array([0.3, 6.0, 1.0]), ["width", "rest", "score"]


def values(n: int = 60, seed: int = 0) -> np.ndarray:
    """Cells like those of the training: a positive feature, one far from zero, and one about zero."""
    return np.random.default_rng(seed).normal(MEAN, SPREAD, size=(n, 3))


def judge(x: np.ndarray, **kwargs: int) -> pd.DataFrame:
    return unlike_training(x, MEAN, SPREAD, NAMES, **kwargs)


@given(st.integers(0, 10_000), st.integers(10, 300), st.floats(0, 0.4))
def test_cells_like_those_of_the_training_are_not_reported(seed, n, missing):
    x = values(n, seed)
    x[np.random.default_rng(seed).random(x.shape) < missing] = np.nan
    table = judge(x)
    assert table.empty
    assert list(table) == ["feature", "reason", "query_mean", "training_mean", "scale_ratio", "factor"]


@given(
    st.integers(0, 1000),
    st.sampled_from([-9, -6, -3, -2, 2, 3, 6]),
    st.integers(0, 2),
    st.sampled_from([20, 500]),
)
def test_a_wrong_power_of_ten_is_found_and_named(seed, power, column, n):
    x = values(n, seed)
    x[:, column] *= 10.0**power
    table = judge(x)
    assert table["feature"].tolist() == [NAMES[column]]
    assert table["factor"].tolist() == [float(f"1e{-power}")]
    assert table["reason"].tolist() == ["too large" if power > 0 else "too small"]
    assert 0.3 < table["scale_ratio"][0] / 10.0**power < 3
    assert table["query_mean"][0] == pytest.approx(np.mean(x[:, column]), rel=0.2, abs=0.2 * 10.0**power)
    assert table["training_mean"].tolist() == [MEAN[column]]


def test_a_wrong_sign_and_values_that_no_factor_explains():
    x = values()
    x[:, 0] += 3
    x[:, 1] *= -1
    x[:, 2] *= 6.0
    table = judge(x).set_index("feature")
    assert table["reason"].to_dict() == {
        "width": "another mean",
        "rest": "opposite sign",
        "score": "too large",
    }
    assert table.loc["rest", "factor"] == -1
    assert np.isnan(table.loc["width", "factor"])
    noise = values()
    noise[:, 1] = -65 + 30 * (noise[:, 1] + 65)
    assert judge(noise)["reason"].tolist() == ["larger spread"]


@given(st.sampled_from([1e6, -1e6, 1e-6]), st.integers(0, 2), st.integers(0, 29))
def test_one_cell_decides_nothing(value, column, row):
    x = values(30)
    x[row, column] = value
    assert judge(x).empty
    x[:, column] /= 1000
    assert judge(x)["factor"].tolist() == [1000]


def test_too_few_values_and_features_that_say_nothing():
    x = values(30) / 1000
    x[9:, 0] = np.nan
    assert judge(x)["feature"].tolist() == ["rest", "score"]
    assert judge(x, min_cells=9)["feature"].tolist() == NAMES
    for spread in (0.0, np.nan):
        table = unlike_training(x, MEAN, np.array([0.3, spread, spread]), NAMES)
        assert table.empty
    for empty in (np.full((30, 3), np.nan), np.zeros((0, 3)), np.zeros((30, 3)) + [0, -65, 0]):
        assert judge(empty)["feature"].tolist() in ([], ["score"])


def test_cells_of_one_type_vary_little():
    x = values()
    x[:, :2] = MEAN[:2] + 0.02 * (x[:, :2] - MEAN[:2])
    assert judge(x).empty


@cache
def experiment(seed: int) -> mudata.MuData:
    """One of few experiments, of which examples draw cells."""
    return simulate_patchseq(400, n_morph=12, n_genes=100, seed=seed)


@pytest.mark.parametrize("modality", ["rna", "ephys", "morph"])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 5), n=st.integers(10, 200))
def test_random_cells_of_an_experiment_are_hardly_reported(modality, seed, n):
    adata = experiment(seed)[modality]
    x = np.asarray(adata.to_df(), dtype=float)
    rows = np.random.default_rng(seed + n).choice(len(x), min(n, len(x)), replace=False)
    table = unlike_training(x[rows], *mean_and_spread(x), adata.var_names)
    assert len(table) <= (0 if n >= 30 else 1)


@pytest.mark.parametrize("seed", range(3))
def test_genes_of_one_cell_type_are_not_reported(seed):
    """Most genes are zero in most cells, and other genes in other types."""
    rna = simulate_patchseq(600, seed=seed)["rna"]
    moments = mean_and_spread(rna.X.toarray().astype(float))
    for cell_type in rna.obs["cell_type"].unique():
        assert unlike_training(rna[rna.obs["cell_type"] == cell_type].X, *moments, rna.var_names).empty


def test_genes_that_some_cells_express_are_compared_where_they_do():
    rng = np.random.default_rng(0)

    def gene(fraction: float, size: float) -> np.ndarray:
        return np.where(rng.random((400, 200)) < fraction, rng.normal(size, 1, (400, 200)).clip(0.5), 0)

    moments = mean_and_spread(gene(0.05, 6))
    names = [f"g{i}" for i in range(200)]
    for fraction in (0.0, 0.01, 0.05, 0.9):
        assert unlike_training(gene(fraction, 6), *moments, names).empty
    counts = unlike_training(gene(0.05, 600), *moments, names)
    assert len(counts) > 150
    assert counts["factor"].value_counts().idxmax() == 0.01
    proportions = unlike_training(gene(0.05, 6) / 1e6, *moments, names)
    assert set(proportions["reason"]) == {"too small"}
    a_few = gene(0.05, 6)
    a_few[:, :50] /= 100
    assert unlike_training(a_few, *moments, names).empty


def test_sparse_is_as_dense():
    rna = simulate_patchseq(300, n_genes=700)["rna"]
    mean, spread = mean_and_spread(rna.X.toarray().astype(float))
    for kind in (sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array):
        x = kind(np.expm1(rna.X.toarray()))
        expected = unlike_training(x.toarray(), mean, spread, rna.var_names)
        assert len(expected) > 100
        pd.testing.assert_frame_equal(unlike_training(x, mean, spread, rna.var_names), expected)


def test_of_many_cells_some_are_looked_at():
    x = np.tile(values(100), (300, 1))
    x[:, 0] *= 1000
    assert judge(x)["factor"].tolist() == [0.001]


def test_warning_names_features_and_what_to_do():
    x = values()
    x[:, 0] /= 1000
    x[:, 1] *= -1
    with pytest.warns(
        UserWarning,
        match="Modality 'ephys': 2 features are unlike.*'width' seems 1000 times too small: multiply by 1000; 'rest' "
        "seems to have the opposite sign: multiply by -1. Bring values",
    ):
        warn_unlike_training("ephys", judge(x))
    with pytest.warns(
        UserWarning, match="1 feature is unlike.*'score' seems 1000 times too large: multiply by 0.001"
    ):
        warn_unlike_training("ephys", judge(values() * [1, 1, 1000]))
    with pytest.warns(UserWarning, match="'width' seems to lie elsewhere than in the training cells"):
        warn_unlike_training("ephys", judge(values() + [3, 0, 0]))
    many = pd.concat([judge(values() / 1000)] * 4)
    with pytest.warns(
        UserWarning, match="'width', 'rest', 'score', 'width', 'rest' seem 1000 .*1000; and 7 more"
    ):
        warn_unlike_training("ephys", many)
    warn_unlike_training("ephys", judge(values()))


@pytest.mark.skipif("not __import__('os').environ.get('SCVI_CAE_DATA')")
def test_real_cells_are_hardly_reported_and_real_mistakes_are():
    mdata = scala2020()
    family = mdata.obs["rna_family"].astype(str)
    for name in ("rna", "ephys"):
        adata = mdata[name]
        x = np.asarray(adata.to_df(), dtype=float)
        moments = mean_and_spread(x)
        for cells in family.groupby(family).groups.values():
            rows = adata.obs_names.isin(cells)
            if rows.sum() >= 10:
                assert len(unlike_training(x[rows], *moments, adata.var_names)) <= 1
    x, names = x[:50], list(mdata["ephys"].var_names)
    for name, factor in {"AP width (ms)": 1e-3, "AP threshold (mV)": 1e-3, "Sag ratio": 1e2}.items():
        wrong = x.copy()
        wrong[:, names.index(name)] *= factor
        table = unlike_training(wrong, *moments, names)
        assert table["feature"].tolist() == [name]
        assert table["factor"][0] == pytest.approx(1 / factor)
