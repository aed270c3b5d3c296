"""Other data with the features of a model: matched by name, missing where they lack them."""

from __future__ import annotations

import warnings

import anndata
import mudata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from conftest import make_mdata, make_modality
from scvi_cae.data import _rows
from scvi_cae.data._query import prepare_query

FEATURES = {"rna": [f"rna_{i}" for i in range(6)], "ephys": ["tau", "rin", "sag"]}


def data(
    names: tuple[str, ...] = ("tau", "rin", "sag"), n_cells: int = 4, seed: int = 0, kind: str = "dense"
) -> mudata.MuData:
    """One modality, ``ephys``, with named features."""
    values = np.random.default_rng(seed).normal(5, 1, size=(n_cells, len(names)))
    adata = make_modality(values, np.array([f"cell{i}" for i in range(n_cells)]), "x")
    adata.var_names = list(names)
    if kind != "dense":
        adata.X = getattr(sparse, f"{kind}_matrix")(adata.X)
    return mudata.MuData({"ephys": adata})


def table(*rows: tuple[str, str, float]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=["theirs", "ours", "factor"])


def frame(query: mudata.MuData, modality: str = "ephys") -> pd.DataFrame:
    return query[modality].to_df()


def names(adata: anndata.AnnData) -> list[str]:
    return adata.var_names.tolist()


@given(
    st.permutations(["tau", "rin", "sag", "a", "b"]),
    st.integers(1, 5),
    st.sampled_from(["dense", "csr", "csc"]),
    st.booleans(),
)
def test_features_are_the_model_s_in_its_order(order, n, kind, whole):
    mdata = data(tuple(order[:n]), kind=kind)
    if whole:
        mdata["ephys"].X = mdata["ephys"].X.astype(int)
    before = mdata["ephys"].to_df().copy()
    if not set(order[:n]) & {"tau", "rin", "sag"}:
        with pytest.raises(ValueError, match="the data have 0 of the 3 features of the model"):
            prepare_query(mdata, FEATURES, min_features=0)
        return
    query, report = prepare_query(mdata, FEATURES, min_features=0)
    assert names(query["ephys"]) == FEATURES["ephys"]
    X = query["ephys"].X
    assert X.dtype == np.float32
    assert (X.format == "csr" and X.has_sorted_indices) if kind != "dense" else isinstance(X, np.ndarray)
    expected = before.reindex(columns=FEATURES["ephys"]).astype(np.float32)
    pd.testing.assert_frame_equal(frame(query), expected, check_names=False)
    pd.testing.assert_frame_equal(mdata["ephys"].to_df(), before)
    row = report.iloc[0]
    assert row["n_matched"] + row["n_missing"] == 3
    assert row["n_matched"] + row["n_dropped"] == n
    assert set(row["missing"]) == set(FEATURES["ephys"]) - set(order[:n])
    assert set(row["dropped"]) == set(order[:n]) - set(FEATURES["ephys"])


def test_what_is_missing_is_stored_in_a_sparse_matrix_and_what_is_zero_is_not():
    mdata = data(("rin", "other"), kind="csr")
    mdata["ephys"].X[0, 0] = 0
    mdata["ephys"].X.eliminate_zeros()
    X = prepare_query(mdata, FEATURES)[0]["ephys"].X
    assert X.nnz == 4 * 2 + 3
    np.testing.assert_array_equal(np.isnan(X.toarray()), [[True, False, True]] * 4)
    assert X[0, 1] == 0


def test_sparse_arrays_stay_arrays():
    mdata = data(("rin", "other"))
    mdata["ephys"].X = sparse.csr_array(mdata["ephys"].X)
    query, _ = prepare_query(mdata, FEATURES)
    assert isinstance(query["ephys"].X, sparse.csr_array)


def test_double_precision_and_masked_values_are_kept():
    mdata = data()
    values = np.array([[1.123456789012, 2, 3]] * 4)
    mdata["ephys"].X = values
    assert frame(prepare_query(mdata, FEATURES)[0]).iloc[0, 0] == 1.123456789012
    masked = anndata.AnnData(obs=mdata["ephys"].obs, var=mdata["ephys"].var)
    masked.layers["raw"] = np.ma.masked_array(values, mask=values == 2)
    X = prepare_query(mudata.MuData({"ephys": masked}), FEATURES, layers={"ephys": "raw"})[0]["ephys"]
    np.testing.assert_array_equal(np.isnan(X.layers["raw"]), values == 2)
    assert X.X is None


@given(st.permutations(range(3)))
def test_renaming_by_a_dictionary_by_a_function_and_by_a_table(order):
    mdata = data()
    expected = frame(prepare_query(mdata, FEATURES)[0])
    theirs = data(tuple(f"{name}!" for name in FEATURES["ephys"]))
    theirs = mudata.MuData({"ephys": theirs["ephys"][:, list(order)].copy()})
    for rename in (
        {f"{name}!": name for name in FEATURES["ephys"]},
        lambda name: name[:-1],
        table(*((f"{name}!", name, 1.0) for name in FEATURES["ephys"])),
    ):
        query, report = prepare_query(theirs, FEATURES, {"ephys": rename})
        pd.testing.assert_frame_equal(frame(query), expected)
        assert report["n_renamed"].tolist() == [3]


def test_names_may_be_swapped():
    query, report = prepare_query(data(), FEATURES, {"ephys": {"tau": "rin", "rin": "tau"}})
    pd.testing.assert_series_equal(frame(query)["tau"], frame(data())["rin"], check_names=False)
    assert report["n_renamed"].tolist() == [2]


@pytest.mark.parametrize("kind", ["dense", "csr"])
def test_factors_convert_units(kind):
    mdata = data(("rin", "tau_ms", "sag"), kind=kind)
    query, report = prepare_query(
        mdata, FEATURES, {"ephys": table(("tau_ms", "tau", 0.001), ("sag", "sag", -1.0), ("no", "tau", 7.0))}
    )
    before, after = frame(mdata), frame(query)
    np.testing.assert_allclose(after["tau"], before["tau_ms"] / 1000, rtol=1e-6)
    np.testing.assert_allclose(after["sag"], -before["sag"])
    np.testing.assert_array_equal(after["rin"], before["rin"])
    assert report["n_renamed"].tolist() == [1]
    whole = data(("tau_ms",))
    whole["ephys"].X = np.array([[10], [20], [30], [40]])
    after = frame(
        prepare_query(whole, FEATURES, {"ephys": table(("tau_ms", "tau", 0.001))}, min_features=0)[0]
    )
    np.testing.assert_allclose(after["tau"], [0.01, 0.02, 0.03, 0.04], rtol=1e-6)


@given(st.sampled_from(["dense", "csr", "csc", "backed"]), st.permutations(["peak", "threshold", "tau"]))
def test_formulas_calculate_features(kind, order):
    mdata = data(tuple(order), kind=kind if kind != "backed" else "dense")
    before = frame(mdata)
    rename = table(
        ("`peak` - `threshold`", "sag", 1000.0),
        ("peak", "rin", 2.0),
        ("1 / (`peak` - `peak`)", "empty", 1.0),
        ("`peak` - `other`", "tau", 1.0),
        ("threshold", "first", 1.0),
        ("threshold", "second", -1.0),
    ).assign(concept="a comment")
    features = {"ephys": ["sag", "lacking", "second", "tau", "rin", "first", "empty"]}
    with pytest.MonkeyPatch.context() as patch:
        if kind == "backed":
            patch.setattr("scvi_cae.data._query.on_disk", lambda matrix: True)
            patch.setattr(_rows, "MAX_ROWS", 3)
        query, report = prepare_query(mdata, features, {"ephys": rename})
    assert sparse.issparse(query["ephys"].X) == (kind in ("csr", "csc"))
    after = frame(query)
    np.testing.assert_allclose(after["sag"], 1000 * (before["peak"] - before["threshold"]), rtol=1e-3)
    np.testing.assert_allclose(after["rin"], 2 * before["peak"])
    np.testing.assert_array_equal(after["tau"], before["tau"])
    np.testing.assert_array_equal(after["first"], -after["second"])
    assert after[["lacking", "empty"]].isna().all(axis=None)
    row = report.iloc[0]
    assert row[["n_matched", "n_renamed", "n_missing", "n_dropped"]].tolist() == [6, 5, 1, 0]
    assert row["missing"] == ("lacking",)


def test_annotations_follow_features_and_are_missing_for_calculated_ones():
    mdata = data()
    mdata["ephys"].var["unit"] = ["ms", "MOhm", "1"]
    features = {"ephys": ["sag", "tau", "sum"]}
    query, report = prepare_query(mdata, features, {"ephys": table(("`tau` + `rin`", "sum", 1.0))})
    unit = query["ephys"].var["unit"]
    assert unit[["sag", "tau"]].tolist() == ["1", "ms"]
    assert pd.isna(unit["sum"])
    assert report["dropped"].tolist() == [()]


@pytest.mark.parametrize(
    ("rename", "error", "message"),
    [
        ({"ephys": {"Rin": "rin"}}, ValueError, "names 1 features that are not in the data: 'Rin'"),
        ({"ephys": {"rin": "Rin"}}, ValueError, "names 1 features that are not in the model: 'Rin'"),
        ({"ephys": {"rin": "tau"}}, ValueError, "'tau', 'rin' of the data are all 'tau' of the model"),
        ({"ephys": lambda name: "sag"}, ValueError, "'tau', 'rin', 'sag' of the data are all 'sag'"),
        ({"rna": {"a": "b"}}, ValueError, "rename names 'rna', which is not among the modalities.*'ephys'"),
        (table(("rin", "tau", 1.0)), TypeError, r"rename=\{'ephys': ...\}, but is a DataFrame"),
        ({"ephys": ["tau"]}, TypeError, r"rename\['ephys'\] must be a dictionary.*not a list"),
        ({"ephys": table(("rin", "tau", 1.0))[["theirs", "ours"]]}, ValueError, "must have three columns"),
        ({"ephys": table(("rin", "sag", 0.0))}, ValueError, "finite, and not 0"),
        ({"ephys": table(("rin", "sag", np.nan))}, ValueError, "finite, and not 0"),
        (
            {"ephys": table(("rin", "tau", 1.0), ("rin", "tau", 1.0))},
            ValueError,
            "'`rin`' of the data are all 'tau'",
        ),
        (
            {"ephys": table(("`rin` + 1", "tau", 1.0))},
            ValueError,
            r"'tau', '`rin` \+ 1' of the data are all 'tau'",
        ),
        ({"ephys": table(("`rin`.sum()", "tau", 1.0))}, ValueError, "is not a formula: write numbers"),
        (
            {"ephys": table(("gene", "tau", 1.0))},
            ValueError,
            "no row applies. Its column 'theirs' is to name features of the data, such as 'tau', 'rin' and 1 more",
        ),
    ],
)
def test_renamings_that_cannot_be_meant(rename, error, message):
    with pytest.raises(error, match=message):
        prepare_query(data(), FEATURES, rename)


def test_too_few_features():
    mdata = data(("tau", "other", "more"))
    assert prepare_query(mdata, FEATURES, min_features=1 / 3)[1]["n_matched"].tolist() == [1]
    with pytest.raises(
        ValueError,
        match="'ephys': the data have 1 of the 3 features of the model. They lack 'rin', 'sag'; they have 'tau', "
        "'other', 'more'. If names differ, give rename=.*leave the modality out, or lower min_features=0.5",
    ):
        prepare_query(mdata, FEATURES, min_features=0.5)
    for fraction in (-0.1, 1.1):
        with pytest.raises(ValueError, match="must be a fraction from 0 to 1"):
            prepare_query(mdata, FEATURES, min_features=fraction)


def test_other_modalities_are_left_out_and_one_must_be_left():
    mdata = make_mdata(40, {"rna": 6, "atac": 5})
    query, report = prepare_query(mdata, FEATURES)
    assert list(query.mod) == ["rna"]
    assert report["modality"].tolist() == ["rna"]
    with pytest.raises(ValueError, match="no modality 'ephys'; they have 'rna', 'atac'. Rename it"):
        prepare_query(mdata, {"ephys": ["tau"]})
    with pytest.raises(TypeError, match="Expected a MuData, got AnnData"):
        prepare_query(mdata["rna"], FEATURES)


@given(st.integers(0, 1000))
def test_cells_keep_their_order_and_annotations(seed):
    """Whatever modalities are left out, and in whatever order modalities have their cells."""
    rng = np.random.default_rng(seed)
    mdata = make_mdata(
        30, {"atac": 3, "ephys": 4, "rna": 6}, fraction=dict.fromkeys(FEATURES, 0.4), seed=seed
    )
    for name in ("ephys", "rna"):
        mdata[name].obs["quality"] = rng.random(mdata[name].n_obs)
    mdata = mdata[rng.permutation(mdata.n_obs)].copy()
    query, _ = prepare_query(mdata, {"rna": FEATURES["rna"], "ephys": ["ephys_1", "ephys_9"]})
    kept = mdata.obs_names.isin(mdata["rna"].obs_names) | mdata.obs_names.isin(mdata["ephys"].obs_names)
    assert query.obs_names.tolist() == mdata.obs_names[kept].tolist()
    pd.testing.assert_series_equal(query.obs["kind"], mdata.obs["kind"][kept])
    for name in ("ephys", "rna"):
        pd.testing.assert_series_equal(query[name].obs["quality"], mdata[name].obs["quality"])
        has = query.obs_names.isin(mdata[name].obs_names)
        np.testing.assert_array_equal(np.ravel(query.obsm[name]), has)


def test_layers():
    mdata = data(("sag", "tau"))
    mdata["ephys"].layers["scaled"] = sparse.csc_matrix(mdata["ephys"].X * 2)
    mdata["ephys"].layers["other"] = mdata["ephys"].X * 3
    query, _ = prepare_query(
        mdata, FEATURES, {"ephys": table(("sag", "sag", 10.0))}, layers={"ephys": "scaled"}
    )
    adata = query["ephys"]
    assert set(adata.layers) - {None} == {"scaled"}
    np.testing.assert_allclose(adata.layers["scaled"].toarray(), 2 * adata.X)
    np.testing.assert_allclose(adata.X[:, 2], 10 * frame(mdata)["sag"])
    assert not set(prepare_query(mdata, FEATURES, layers={"rna": "counts"})[0]["ephys"].layers) - {None}
    with pytest.raises(ValueError, match="'ephys' has no layer 'counts'; its layers: 'scaled', 'other'"):
        prepare_query(mdata, FEATURES, layers={"ephys": "counts"})


def test_a_query_is_written_with_its_annotations_of_features(tmp_path):
    mdata = data(("sag", "tau"))
    mdata["ephys"].var = pd.DataFrame(
        {
            "text": ["a", "b"],
            "number": [1.5, 2.5],
            "whole": [1, 2],
            "truth": [True, False],
            "kind": pd.Categorical(["x", "y"]),
        },
        index=["sag", "tau"],
    )
    query, _ = prepare_query(mdata, FEATURES)
    query.write(tmp_path / "query.h5mu")
    var = mudata.read_h5mu(tmp_path / "query.h5mu")["ephys"].var
    assert var["text"].tolist()[::2] == ["b", "a"]
    assert var["whole"].tolist()[::2] == [2, 1]
    assert var["truth"].tolist()[::2] == [False, True]
    assert var.loc["rin"].isna().all()
    whole = prepare_query(data(("sag", "tau", "rin")), FEATURES)[0]["ephys"].var
    assert whole.index.tolist() == FEATURES["ephys"]


PART = {"rna": ["rna_3", "gone", "rna_0"], "ephys": ["ephys_2"]}


def sources(kind: str) -> mudata.MuData:
    """Two modalities, of which ``rna`` is dense or sparse."""
    mdata = make_mdata(30, {"rna": 8, "ephys": 4})
    if kind != "dense":
        mdata["rna"].X = getattr(sparse, f"{kind}_matrix")(mdata["rna"].X)
    return mdata


def assert_in_memory(query: mudata.MuData, expected: mudata.MuData) -> None:
    assert not query.is_view
    assert not query.isbacked
    for name, adata in query.mod.items():
        assert not adata.is_view
        assert type(adata.X) in (np.ndarray, sparse.csr_matrix)
        pd.testing.assert_frame_equal(frame(query, name), frame(expected, name).loc[adata.obs_names])


@pytest.mark.parametrize("kind", ["csr", "csc", "dense"])
def test_views(kind):
    mdata = sources(kind)
    query, report = prepare_query(mdata[3:9], PART)
    expected, other = prepare_query(mdata[3:9].copy(), PART)
    assert_in_memory(query, expected)
    pd.testing.assert_frame_equal(report, other)
    query["rna"].obs["new"] = 1
    assert "new" not in mdata["rna"].obs
    empty, _ = prepare_query(mudata.MuData({"rna": mdata["rna"][:0]}), PART)
    assert empty["rna"].shape == (0, 3)


@pytest.mark.parametrize("kind", ["csr", "csc", "dense"])
def test_data_on_disk(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(_rows, "MAX_ROWS", 7)
    mdata = sources(kind)
    expected, _ = prepare_query(mdata, PART)
    mdata.write_h5mu(tmp_path / "x.h5mu")
    backed = mudata.read_h5mu(tmp_path / "x.h5mu", backed="r")
    assert_in_memory(prepare_query(backed, PART)[0], expected)
    assert_in_memory(prepare_query(backed[4:12], PART)[0], expected)
    backed.file.close()


def test_a_modality_without_features():
    with pytest.raises(ValueError, match="the data have 0 of the 3 features of the model"):
        prepare_query(data(()), FEATURES)


def test_text_is_refused():
    mdata = data()
    mdata["ephys"].layers["text"] = np.full((4, 3), "a", dtype=object)
    with pytest.raises(TypeError, match="'ephys' must hold real numbers"):
        prepare_query(mdata, FEATURES, layers={"ephys": "text"})


def test_names_of_features_need_not_be_text():
    mdata = data()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mdata["ephys"].var.index = pd.Index([0, 1, 2])
    query, _ = prepare_query(mdata, {"ephys": ["2", "0", "5"]})
    np.testing.assert_array_equal(query["ephys"].X[:, :2], mdata["ephys"].X[:, [2, 0]])


def test_a_large_sparse_query_takes_no_dense_copy():
    """What is stored is what was, and the missing values."""
    rng = np.random.default_rng(0)
    adata = anndata.AnnData(
        sparse.random(2000, 3000, 0.01, format="csr", dtype=np.float32, random_state=rng),
        var=pd.DataFrame(index=[f"g{i}" for i in range(3000)]),
    )
    features = [f"g{i}" for i in rng.permutation(3000)] + ["gone"]
    X = prepare_query(mudata.MuData({"rna": adata}), {"rna": features})[0]["rna"].X
    assert X.nnz == adata.X.nnz + 2000
    assert X.data.dtype == np.float32
    np.testing.assert_array_equal(X[:, 7].toarray(), adata[:, features[7]].X.toarray())
