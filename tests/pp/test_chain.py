"""The published chain for electrophysiology: fitted on training cells, applied to others."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from scvi_cae import pp

NAMES = [
    "ap_v0",
    "ap_v1",
    "ap_v2",
    "isi0",
    "isi1",
    "tau",
    "latency",
    "sag",
    "tau_ramp",
    "mean_rate",
    "fi_slope",
]
BLOCKS = ["ap_v"] * 3 + ["isi"] * 2 + [None] * 6


def make_ephys(values: np.ndarray) -> anndata.AnnData:
    return anndata.AnnData(
        values,
        obs=pd.DataFrame(index=[f"cell{i}" for i in range(len(values))]),
        var=pd.DataFrame({"block": BLOCKS, "ipfx": [block is None for block in BLOCKS]}, index=NAMES),
    )


@st.composite
def recordings(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Values, and a mask of the training cells; some features are missing more often in one of the sets."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    n = draw(st.integers(30, 60))
    train = rng.random(n) < draw(st.floats(0.5, 0.9))
    train[:12] = True
    values = rng.normal(
        rng.normal(0, 30, len(NAMES)), 10.0 ** rng.integers(-2, 3, len(NAMES)), (n, len(NAMES))
    )
    values[rng.random(values.shape) < 0.02] *= 50
    fraction = np.where(np.arange(len(NAMES)) < 6, 0.03, 0.1)
    missing = rng.random(values.shape) < fraction
    missing[:10, :6] = False
    missing[train, 5] = False
    missing[train, 0] = False
    values[missing] = np.nan
    return values, train


def chain(train: anndata.AnnData, cells: np.ndarray | None = None) -> None:
    """Fit on ``cells``; all by default."""
    pp.drop_features(train, patterns=["ramp", "mean", "fi_"], cells=cells)
    pp.scale_blocks(train, "block", cells=cells)
    pp.robust_scale(train, mask_var="ipfx", cells=cells)


def in_numpy(values: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, list[str]]:
    keep = [
        j
        for j, name in enumerate(NAMES)
        if np.isnan(values[train, j]).mean() < 0.1
        and not any(text in name for text in ("ramp", "mean", "fi_"))
    ]
    out = values[:, keep].copy()
    blocks = [BLOCKS[j] for j in keep]
    for block in {"ap_v", "isi"} & set(blocks):
        inside = [i for i, name in enumerate(blocks) if name == block]
        total = sum(np.nanvar(out[train, i]) for i in inside)
        out[:, inside] *= np.sqrt(len(inside)) / np.sqrt(total)
    for i in [i for i, name in enumerate(blocks) if name is None]:
        fitted = out[train, i][~np.isnan(out[train, i])]
        low, high = np.percentile(fitted, [1, 99])
        central = fitted[(fitted >= low) & (fitted <= high)]
        out[:, i] = np.clip((out[:, i] - central.mean()) / central.std(), -6, 6)
    return out, [NAMES[j] for j in keep]


@given(recordings())
@settings(deadline=None, max_examples=40)
def test_chain_is_what_it_is_in_numpy(case):
    values, is_train = case
    train, test = make_ephys(values[is_train]), make_ephys(values[~is_train])
    chain(train)
    test = test[:, train.var_names].copy()
    pp.scale_blocks(test, fitted=train)
    pp.robust_scale(test, fitted=train)

    expected, names = in_numpy(values, is_train)
    assert train.var_names.tolist() == names
    np.testing.assert_allclose(train.X, expected[is_train], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(test.X, expected[~is_train], rtol=1e-9, atol=1e-9)


@given(recordings(), st.integers(0, 10**6))
@settings(deadline=None, max_examples=40)
def test_other_cells_never_influence_the_parameters(case, seed):
    """Whatever the other cells hold, or if nothing at all, training cells come out the same to the last bit."""
    values, is_train = case
    other = values.copy()
    rng = np.random.default_rng(seed)
    other[~is_train] = rng.normal(0, 10.0 ** rng.integers(-3, 6), other[~is_train].shape)
    other[~is_train] = np.where(rng.random(other[~is_train].shape) < rng.random(), np.nan, other[~is_train])

    one, two, alone = make_ephys(values), make_ephys(other), make_ephys(values[is_train])
    chain(one, np.flatnonzero(is_train))
    chain(two, is_train)
    chain(alone)
    for adata in (two, alone):
        pd.testing.assert_frame_equal(adata.var, one.var)
        pd.testing.assert_frame_equal(adata.uns["dropped_features"], one.uns["dropped_features"])
    np.testing.assert_array_equal(two.X[is_train], one.X[is_train])
    np.testing.assert_array_equal(alone.X, one.X[is_train])
