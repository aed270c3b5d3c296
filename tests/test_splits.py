from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedKFold

from conftest import QUIET, make_mdata
from scvi_cae import CoupledAE, splits

if TYPE_CHECKING:
    import mudata


def annotated(n_cells: int = 120, seed: int = 0, unlabelled: float = 0.1) -> mudata.MuData:
    mdata = make_mdata(n_cells, seed=seed)
    rng = np.random.default_rng(seed)
    n = mdata.n_obs
    types = np.array([f"type {i}" for i in rng.integers(8, size=n)], dtype=object)
    types[rng.random(n) < unlabelled] = None
    mdata.obs["cell_type"] = pd.Categorical(types)
    mdata.obs["mouse"] = [f"mouse {i}" for i in rng.integers(25, size=n)]
    return mdata


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 1000),
    st.integers(2, 8),
    st.sampled_from([None, "cell_type", ["kind", "cell_type"]]),
    st.sampled_from([None, "mouse", "cell_type"]),
    st.sampled_from([0.0, 0.1, 0.3]),
)
def test_every_cell_is_tested_once_and_no_group_is_on_two_sides(
    seed, n_folds, strata, group, validation_size
):
    mdata = annotated(seed=seed)
    folds = splits.k_fold(
        mdata, n_folds, stratify_by=strata, group_by=group, validation_size=validation_size, seed=seed
    )
    assert len(folds) == n_folds
    everyone = np.arange(mdata.n_obs)
    np.testing.assert_array_equal(np.sort(np.concatenate([fold.test for fold in folds])), everyone)
    for fold in folds:
        np.testing.assert_array_equal(np.sort(np.concatenate(fold)), everyone)
        assert len(fold.test)
        if validation_size == 0 or group is None:
            assert bool(len(fold.validation)) == (validation_size > 0)
        if group is not None:
            sets = [set(mdata.obs[group].iloc[cells].dropna()) for cells in fold]
            assert not sets[0] & sets[1]
            assert not sets[0] & sets[2]
            assert not sets[1] & sets[2]


@given(st.integers(0, 1000), st.integers(2, 10))
def test_folds_without_groups_have_their_share_of_everything(seed, n_folds):
    mdata = annotated(seed=seed)
    folds = splits.k_fold(mdata, n_folds, stratify_by="cell_type", seed=seed)
    has = {name: mdata.obs_names.isin(adata.obs_names) for name, adata in mdata.mod.items()}
    kinds = pd.Series(has["rna"] * 2 + has["ephys"]).astype(str)
    for column in (kinds, kinds + mdata.obs["cell_type"].astype(str).to_numpy()):
        counts = pd.DataFrame({i: column.iloc[fold.test].value_counts() for i, fold in enumerate(folds)})
        spread = counts.fillna(0).max(axis=1) - counts.fillna(0).min(axis=1)
        assert spread.max() <= 1
    sizes = [len(fold.test) for fold in folds]
    assert max(sizes) - min(sizes) <= 1


def test_groups_are_spread_evenly():
    mdata = annotated(1200)
    folds = splits.k_fold(mdata, 5, group_by="mouse", stratify_by="kind")
    sizes = np.array([len(fold.test) for fold in folds])
    assert sizes.max() - sizes.min() < 0.1 * mdata.n_obs
    shares = [(mdata.obs["kind"].iloc[fold.test] == "a").mean() for fold in folds]
    assert max(shares) - min(shares) < 0.1


def test_cells_without_a_group_are_distributed_one_by_one():
    mdata = annotated(unlabelled=0.5)
    alone = mdata.obs["cell_type"].isna().to_numpy()
    counts = [alone[fold.test].sum() for fold in splits.k_fold(mdata, 4, group_by="cell_type")]
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize(("n_groups", "n_alone"), [(2, 100), (3, 0), (40, 20)])
def test_validation_cells_are_a_fraction_of_cells_also_with_groups(n_groups, n_alone):
    mdata = make_mdata(300, fraction={"rna": 1.0, "ephys": 1.0})
    groups = np.array([f"g{i % n_groups}" for i in range(300)], dtype=object)
    groups[:n_alone] = None
    mdata.obs["group"] = groups
    for fold in splits.k_fold(mdata, 2, group_by="group", validation_size=0.1) if n_groups > 3 else []:
        assert abs(len(fold.validation) - 15) < 8
    if n_groups == 3:
        sizes = [
            len(fold.validation) for fold in splits.k_fold(mdata, 3, group_by="group", validation_size=0.1)
        ]
        assert sizes == [100, 100, 100]
    if n_groups == 2:
        with pytest.raises(ValueError, match="a single group to train and validate on"):
            splits.k_fold(mdata, 2, group_by="group", validation_size=0.1)


def test_rare_strata_do_not_matter_to_grouped_folds():
    mdata = annotated()
    mdata.obs["unique"] = [f"{i}" for i in range(mdata.n_obs)]
    folds = splits.k_fold(mdata, 4, stratify_by="unique", group_by="mouse")
    assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(mdata.n_obs))


def test_same_seed_same_folds():
    mdata = annotated()
    first, second, other = (
        splits.k_fold(mdata, 3, group_by="mouse", validation_size=0.2, seed=seed) for seed in (0, 0, 1)
    )
    for a, b in zip(first, second, strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    assert not np.array_equal(first[0].test, other[0].test)


def test_a_fold_trains_a_model():
    mdata = annotated()
    CoupledAE.setup_mudata(mdata)
    fold = splits.k_fold(mdata, 3, stratify_by="cell_type", validation_size=0.1)[1]
    model = CoupledAE(mdata, n_latent=2)
    model.train(max_epochs=1, external_indexing=fold, **QUIET)
    np.testing.assert_array_equal(model.test_indices, fold.test)
    np.testing.assert_array_equal(model.validation_indices, fold.validation)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_folds": 1}, ValueError, "n_folds=1"),
        ({"n_folds": 1000}, ValueError, "n_folds=1000"),
        ({"validation_size": 1.0}, ValueError, "validation_size"),
        ({"group_by": "kind", "n_folds": 3}, ValueError, "'kind' has 2 groups, too few for 3 folds"),
        ({"group_by": "nothing"}, KeyError, "No column 'nothing'"),
        ({"stratify_by": "nothing"}, KeyError, "No column 'nothing'"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        splits.k_fold(annotated(), **arguments)


def published_labels() -> mudata.MuData:
    """As many cells as published, in 59 types of uneven frequency."""
    rng = np.random.default_rng(0)
    shares = rng.permutation(1 / np.arange(1, 60))
    labels = rng.choice([f"type {i}" for i in range(59)], size=3411, p=shares / shares.sum())
    mdata = make_mdata(3411, {"rna": 2, "ephys": 2}, {"rna": 1.0, "ephys": 1.0})
    mdata.obs["cluster"] = pd.Categorical(labels)
    return mdata


def test_published_fifty_folds():
    mdata = published_labels()
    found = splits.gala2021(mdata)
    generator = StratifiedKFold(50, shuffle=True, random_state=0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        folds = [fold for _, fold in generator.split(np.zeros(3411), mdata.obs["cluster"].astype(str))]
    assert len(found) == 44
    test = np.sort(np.concatenate(folds[45:]))
    for i, split in enumerate(found, start=1):
        np.testing.assert_array_equal(split.validation, folds[i])
        np.testing.assert_array_equal(split.test, test)
        np.testing.assert_array_equal(
            split.train, np.sort(np.concatenate([folds[j] for j in range(45) if j != i]))
        )
    # The numbers in the paper's runs: about 340 test, 69 validation and 3,002 training cells.
    assert abs(len(test) - 340) < 10
    assert {abs(len(split.train) - 3002) < 12 for split in found} == {True}


@pytest.mark.parametrize("n_folds", [20, 40])
def test_published_folds_without_test_cells(n_folds):
    mdata = published_labels()
    found = splits.gala2021(mdata, n_folds)
    assert len(found) == n_folds
    np.testing.assert_array_equal(np.sort(np.concatenate([s.validation for s in found])), np.arange(3411))
    assert not any(len(split.test) for split in found)


def test_published_five_folds():
    mdata = published_labels()
    found = splits.gala2021(mdata, 5)
    assert [len(split.validation) for split in found] == [0] * 5
    np.testing.assert_array_equal(np.sort(np.concatenate([s.test for s in found])), np.arange(3411))
    assert abs(len(found[0].test) - 683) <= 2


def test_published_splits_do_not_depend_on_how_labels_are_spelt():
    """scikit-learn numbers types by first appearance; the loader strips spaces from some names."""
    mdata = published_labels()
    before = splits.gala2021(mdata, 20)
    mdata.obs["cluster"] = mdata.obs["cluster"].astype(str) + " "
    after = splits.gala2021(mdata, 20)
    assert all(np.array_equal(a.validation, b.validation) for a, b in zip(before, after, strict=True))


def test_published_splits_need_labels():
    mdata = annotated()
    with pytest.raises(ValueError, match="50, 40, 20 or 5"):
        splits.gala2021(mdata, 10, "cell_type")
    with pytest.raises(ValueError, match="'cell_type' is missing for"):
        splits.gala2021(mdata, 5, "cell_type")


@given(st.integers(0, 1000), st.integers(2, 12), st.sampled_from([0.0, 0.2]), st.booleans())
@settings(max_examples=20, deadline=None)
def test_folds_within_a_split_validate_every_training_cell_once(seed, n_folds, validation_size, mask):
    mdata = make_mdata()
    split = splits.k_fold(mdata, 3, validation_size=validation_size, seed=seed)[0]
    given_ = [np.isin(np.arange(mdata.n_obs), cells) for cells in split] if mask else split
    folds = splits.within(given_, n_folds, seed)
    assert len(folds) == n_folds
    validated = np.concatenate([fold.validation for fold in folds])
    np.testing.assert_array_equal(np.sort(validated), split.train)
    sizes = [len(fold.validation) for fold in folds]
    assert max(sizes) - min(sizes) <= 1
    for fold in folds:
        np.testing.assert_array_equal(np.sort(np.r_[fold.train, fold.validation]), split.train)
        np.testing.assert_array_equal(fold.test, np.sort(np.r_[split.validation, split.test]))


def test_folds_within_a_split_of_training_cells_only():
    first, again, other = (splits.within((np.arange(9), None), 3, seed) for seed in (0, 0, 1))
    assert all(np.array_equal(a.validation, b.validation) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a.validation, b.validation) for a, b in zip(first, other, strict=True))
    assert [len(fold.test) for fold in first] == [0, 0, 0]


@pytest.mark.parametrize("n_folds", [1, 10, 2.0])
def test_folds_within_too_few_cells(n_folds):
    with pytest.raises(ValueError, match=r"n_folds=.*from 2 to 9, the number of training cells"):
        splits.within((np.arange(9),), n_folds)


def test_folds_within_a_split_keep_groups_whole():
    mdata = make_mdata()
    mdata.obs["mouse"] = [f"mouse {i % 12}" for i in range(mdata.n_obs)]
    split = splits.k_fold(mdata, 3, group_by="mouse")[0]
    mice = mdata.obs["mouse"].to_numpy()
    folds = splits.within(split, 4, mdata=mdata, group_by="mouse")
    np.testing.assert_array_equal(np.sort(np.concatenate([fold.validation for fold in folds])), split.train)
    for fold in folds:
        assert len(fold.validation)
        assert not set(mice[fold.train]) & set(mice[fold.validation])
        np.testing.assert_array_equal(fold.test, split.test)
    with pytest.raises(ValueError, match="'mouse' has 8 groups, too few for 9 folds"):
        splits.within(split, 9, mdata=mdata, group_by="mouse")
    with pytest.raises(ValueError, match="mdata=mdata"):
        splits.within(split, 4, group_by="mouse")
