"""Agreement of two labels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_mutual_info_score

from conftest import make_mdata
from scvi_cae.tl import agreement, contingency, contingency_scores


def labelled(a, b):
    mdata = make_mdata(len(a), fraction={"rna": 1.0, "ephys": 1.0})
    for key, labels in (("first", a), ("second", b)):
        mdata.obs[key] = pd.Series(labels, index=mdata.obs_names, dtype=object)
    return mdata


@pytest.fixture
def mdata():
    rng = np.random.default_rng(0)
    a = rng.choice(list("xyz"), 60)
    b = np.where(rng.random(60) < 0.7, a, rng.choice(list("xyz"), 60)).astype(object)
    b[::7] = None
    mdata = labelled(a, b)
    mdata.obs["X_cae_set"] = np.resize(["training", "training", "test"], 60)
    return mdata


def test_only_held_out_cells_with_both_labels_count(mdata):
    found = agreement(mdata, "first", "second")
    cells = mdata.obs[(mdata.obs["X_cae_set"] == "test") & mdata.obs["second"].notna()]
    assert found["n_cells"] == len(cells)
    assert found["consistency"] == np.mean(cells["first"] == cells["second"])
    assert found["ami"] == pytest.approx(adjusted_mutual_info_score(cells["first"], cells["second"]))
    mdata.obs.loc[mdata.obs["X_cae_set"] == "training", "first"] = "w"
    pd.testing.assert_series_equal(agreement(mdata, "first", "second"), found)
    assert agreement(mdata, "first", "second", cells="all")["n_cells"] == mdata.obs["second"].notna().sum()


def test_reliability_is_that_of_the_contingency_table(mdata):
    found = agreement(mdata, "first", "second", "all", factors=(1, 2.5))
    table = contingency(mdata.obs["first"], mdata.obs["second"])
    assert found["reliable (1)"] == contingency_scores(table).reliable
    assert found["reliable (2.5)"] == contingency_scores(table, 2.5).reliable
    assert found["occupancy"] == contingency_scores(table).occupancy


@settings(max_examples=30)
@given(st.lists(st.sampled_from("xyz"), min_size=12, max_size=30), st.permutations("xyz"))
def test_names_matter_to_consistency_only(labels, names):
    mdata = labelled(labels, [dict(zip("xyz", names, strict=True))[label] for label in labels])
    same, renamed = agreement(mdata, "first", "first", "all"), agreement(mdata, "first", "second", "all")
    assert same["consistency"] == same["reliable (5)"] == 1
    for score in ("ari", "ami", "nmi"):
        assert same[score] == pytest.approx(1)
        assert renamed[score] == pytest.approx(1)
    fixed = np.mean([dict(zip("xyz", names, strict=True))[label] == label for label in labels])
    if set(labels) & {dict(zip("xyz", names, strict=True))[label] for label in labels}:
        assert renamed["consistency"] == pytest.approx(fixed)


def test_categories_without_cells_are_not_occupied():
    mdata = labelled(["x"] * 6 + ["y"] * 6, ["x"] * 6 + ["y"] * 6)
    for key in ("first", "second"):
        mdata.obs[key] = pd.Categorical(mdata.obs[key], list("xyzw"))
    found = agreement(mdata, "first", "second", "all")
    assert found["occupancy"] == found["reliable (1)"] == 0.5
    assert found["consistency"] == 1


def test_labels_with_other_names_have_no_consistency():
    found = agreement(labelled(["x", "y"] * 6, ["1", "2"] * 6), "first", "second", "all")
    assert found["ari"] == 1
    assert np.isnan(found[["consistency", "occupancy", "reliable (1)"]]).all()


def test_what_is_missing_is_named(mdata):
    with pytest.raises(KeyError, match="third"):
        agreement(mdata, "first", "third")
    with pytest.raises(KeyError, match="X_other_set"):
        agreement(mdata, "first", "second", use_rep="X_other")
    with pytest.raises(ValueError, match="None of the 1 cells .* has both 'first' and 'second'"):
        agreement(mdata, "first", "second", cells=[0])
