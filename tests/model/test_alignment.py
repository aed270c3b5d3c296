"""Another laboratory's factors and shifts are found, whatever its cells are, and undone for predictions."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import mudata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from conftest import fit, make_mdata
from scvi_cae import CoupledAE, Ensemble
from scvi_cae.datasets import simulate_patchseq

if TYPE_CHECKING:
    from collections.abc import Sequence

N_TRAINING = 800


@pytest.fixture(scope="module")
def cells() -> mudata.MuData:
    """Training cells, and as many others of the same types."""
    return simulate_patchseq(2 * N_TRAINING, n_genes=40, fraction_rna_only=0.1, seed=2)


@pytest.fixture(scope="module")
def model(cells) -> CoupledAE:
    mdata = cells[:N_TRAINING].copy()
    CoupledAE.setup_mudata(mdata, labels_key="family")
    return fit(mdata, max_epochs=15)


@pytest.fixture(scope="module")
def ensemble(cells) -> Ensemble:
    mdata = cells[:N_TRAINING].copy()
    Ensemble.setup_mudata(mdata, labels_key="family")
    out = Ensemble(mdata, n_models=2, n_latent=3)
    out.train(max_epochs=3)
    return out


def rig(n_features: int = 24, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Factors of another laboratory, and what it adds, in standard deviations."""
    rng = np.random.default_rng(seed)
    return rng.choice([0.75, 1.3], size=n_features), rng.choice([-0.6, 0.6], size=n_features)


def others(
    cells: mudata.MuData, families: Sequence[str] = (), n: int | None = None, shifted: bool = True
) -> mudata.MuData:
    """Held-out cells, perhaps of some families only, as measured or as another laboratory would."""
    out = cells[N_TRAINING:]
    if families:
        out = out[out.obs["family"].isin(families).to_numpy()]
    out = out[:n].copy()
    if shifted:
        factor, shift = rig()
        mean, spread = np.nanmean(cells["ephys"].X, axis=0), np.nanstd(cells["ephys"].X, axis=0)
        x = mean + factor * (out["ephys"].X - mean) + shift * spread
        out["ephys"].X = x.astype(np.float32)
    return out


def prepare(
    mdata: mudata.MuData, model: CoupledAE | Ensemble, **kwargs: object
) -> tuple[mudata.MuData, list[str]]:
    """The query, and what was said of modalities."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        query = CoupledAE.prepare_query_mudata(mdata, model.models[0], **kwargs)
    return query, [str(w.message) for w in caught if str(w.message).startswith("Modality")]


def report(query: mudata.MuData, modality: str = "ephys") -> dict:
    return query.uns["scvi_cae_query"][modality]


def errors(aligned: mudata.MuData, cells: mudata.MuData) -> np.ndarray:
    """Mean absolute error of each feature in standard deviations, against values without the laboratory's change."""
    truth = cells["ephys"].to_df().loc[aligned["ephys"].obs_names, aligned["ephys"].var_names]
    return (np.abs(aligned["ephys"].X - truth).mean() / cells["ephys"].to_df().std()).to_numpy()


# ---------------------------------------------------------------------------------------------------- methods


@pytest.mark.parametrize("n_families", [0, 2, 1])
def test_a_laboratory_is_found_whatever_its_cells_are(cells, model, n_families):
    families = cells.obs["family"].value_counts().index[:n_families].tolist()
    query, said = prepare(others(cells, families), model)
    assert len(said) == 1
    assert report(query)["shifted"]
    before = query["ephys"].X.copy()
    aligned = model.align_query(query)
    assert errors(aligned, cells).mean() < 0.4 * errors(query, cells).mean()
    assert errors(aligned, cells).mean() < 0.2
    table = report(aligned)["alignment"]
    factor, _ = rig()
    assert np.abs(np.log(table["factor"] * factor)).mean() < 0.12
    assert not report(aligned)["shifted"]
    assert report(aligned)["aligned"] == "class_balanced"
    # What was given is not changed.
    np.testing.assert_array_equal(query["ephys"].X, before)
    assert report(query)["aligned"] == ""
    assert "transformation" not in report(query)


def test_the_table_says_what_was_done(cells, model):
    query, _ = prepare(others(cells), model)
    for method in ("class_balanced", "moments"):
        aligned = model.align_query(query, method)
        table = report(aligned)["alignment"]
        assert table.index.tolist() == aligned["ephys"].var_names.tolist()
        expected = query["ephys"].X * table["factor"].to_numpy() + table["shift"].to_numpy()
        np.testing.assert_allclose(aligned["ephys"].X, expected, rtol=1e-3, atol=1e-3)
        assert (table["before"].abs() > 0.2).mean() > 0.9
        assert table["after"].abs().max() < 0.3


def test_moments_and_ranks_of_all_cells(cells, model):
    query, _ = prepare(others(cells), model)
    train = model.fitted.distributions["ephys"].quantiles
    quarters = [25, 50, 75]
    for method, tolerance in (("moments", 0.25), ("ranks", 0.1)):
        aligned = model.align_query(query, method)
        assert report(aligned)["aligned"] == method
        assert errors(aligned, cells).mean() < 0.3
        found = np.nanpercentile(aligned["ephys"].X, quarters, axis=0)
        assert np.all(np.abs(found - train[quarters]) < tolerance * train.std(axis=0))
    for before, after in zip(query["ephys"].X.T, aligned["ephys"].X.T, strict=True):
        assert np.nanmin(np.diff(after[np.argsort(before)])) >= 0


def test_a_query_that_does_not_differ_stays_as_it_is(cells, model):
    """A query of one family, too, which moments would turn into all of them."""
    family = cells.obs["family"].value_counts().index[0]
    for families in ([], [family]):
        query, said = prepare(others(cells, families, shifted=False), model)
        assert said == []
        for method in ("class_balanced", "moments", "ranks"):
            aligned = model.align_query(query, method)
            np.testing.assert_array_equal(aligned["ephys"].X, query["ephys"].X)
            assert report(aligned)["aligned"] == ""
            assert not report(aligned)["shifted"]


@pytest.mark.parametrize("method", ["class_balanced", "moments", "ranks"])
def test_missing_and_constant_features_stay(cells, model, method):
    """Of the query; its other features are aligned as well as without."""
    mdata = others(cells)
    names = mdata["ephys"].var_names
    missing = np.random.default_rng(0).random(mdata["ephys"].shape) < 0.2
    x = np.where(missing, np.nan, mdata["ephys"].X)
    x[:, 4] = 0.1
    mdata["ephys"].X = x.astype(np.float32)
    mdata = mudata.MuData({"rna": mdata["rna"], "ephys": mdata["ephys"][:, names != names[7]].copy()})
    query, _ = prepare(mdata, model)
    aligned = model.align_query(query, method)
    values = aligned["ephys"].X
    np.testing.assert_array_equal(np.isnan(values), np.isnan(query["ephys"].X))
    np.testing.assert_array_equal(values[:, 4], query["ephys"].X[:, 4])
    assert np.isnan(values[:, 7]).all()
    table = report(aligned)["alignment"]
    assert table["factor"].iloc[[4, 7]].tolist() == [1, 1]
    assert np.delete(errors(aligned, cells), [4, 7]).mean() < 0.3
    prediction = model.predict("rna", "ephys", aligned)
    assert np.isfinite(prediction.loc[aligned["rna"].obs_names]).all(axis=None)


def test_a_feature_that_is_constant_in_training_stays():
    mdata = make_mdata(200, fraction={"rna": 1.0, "ephys": 1.0})
    mdata["ephys"].X[:, 3] = 0.1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "... constant ..."
        CoupledAE.setup_mudata(mdata)
    model = fit(mdata)
    other = mudata.MuData({"ephys": mdata["ephys"].copy()})
    assert prepare(other, model)[1] == []
    other["ephys"].X = 1.4 * other["ephys"].X + 3
    query, _ = prepare(other, model)
    for method in ("class_balanced", "moments", "ranks"):
        aligned = model.align_query(query, method)
        np.testing.assert_array_equal(aligned["ephys"].X[:, 3], query["ephys"].X[:, 3])
        assert np.isfinite(aligned["ephys"].X).all()
        assert np.isnan(report(aligned)["alignment"]["before"].iloc[3])
        assert errors(aligned, mdata)[[0, 1, 2, 4, 5, 6, 7]].max() < 0.15


# ---------------------------------------------------------------------------------------------------- units


@pytest.mark.parametrize("method", ["class_balanced", "ranks"])
def test_predictions_are_in_the_units_of_the_query(cells, model, method):
    """Of aligned features only: those of an arm that was not aligned are as they were."""
    query, _ = prepare(others(cells), model)
    aligned = model.align_query(query, method)
    measured = query["ephys"].to_df().reindex(query.obs_names).to_numpy()
    spread = np.nanstd(measured, axis=0)
    both = np.abs(model.measured_values("ephys", aligned) - measured) / spread
    # Ranks of whole numbers that fall together come back as one of them.
    assert np.nanmean(both) < (1e-5 if method == "class_balanced" else 0.01)
    plain = model.predict("rna", "ephys", query)
    back = model.predict("rna", "ephys", aligned)

    def bias(predicted: pd.DataFrame) -> float:
        return float(np.abs(np.nanmean(predicted.to_numpy() - measured, axis=0) / spread).mean())

    assert bias(back) < 0.5 * bias(plain)
    pd.testing.assert_frame_equal(model.predict("rna", "rna", aligned), model.predict("rna", "rna", query))
    data = model.align(aligned)
    pd.testing.assert_frame_equal(model.predict("rna", "ephys", data), back)


def test_quantiles_are_in_the_units_of_the_query(cells, model):
    query, _ = prepare(others(cells), model)
    aligned = model.align_query(query)
    table = report(aligned)["alignment"]
    inside = (0.05, 0.95)
    back = model.predict("rna", "ephys", aligned, quantiles=inside)
    plain = model.predict("rna", "ephys", query, quantiles=inside)
    for quantile in inside:
        found, before = (x.xs(quantile, axis=1, level="quantile") for x in (back, plain))
        expected = (before - table["shift"]) / table["factor"]
        scale = query["ephys"].to_df().std()
        assert ((found - expected).abs() / scale).max(axis=None) < 1e-3
    measured = query["ephys"].to_df().reindex(query.obs_names)
    lower, upper = (back.xs(q, axis=1, level="quantile") for q in inside)
    known = measured.notna() & lower.notna()
    covered = ((measured >= lower) & (measured <= upper)).where(known).mean(axis=None)
    assert 0.8 < covered < 0.98


def test_an_ensemble_aligns_like_a_model(cells, ensemble):
    mdata = others(cells)
    # Known families would calibrate sets.
    for annotated in (mdata, *mdata.mod.values()):
        annotated.obs = annotated.obs[[]]
    query, _ = prepare(mdata, ensemble)
    aligned = ensemble.align_query(query)
    assert errors(aligned, cells).mean() < 0.2
    table = report(aligned)["alignment"]
    for quantiles in (None, [0.1, 0.9]):
        plain, back = (
            ensemble.predict("rna", "ephys", x, quantiles=quantiles).to_numpy() for x in (query, aligned)
        )
        factor, shift = (
            table[name].repeat(1 if quantiles is None else 2).to_numpy() for name in ("factor", "shift")
        )
        np.testing.assert_allclose(back, (plain - shift) / factor, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(
        ensemble.models[0].measured_values("ephys", aligned),
        query["ephys"].to_df().reindex(query.obs_names),
        rtol=1e-3,
        atol=1e-3,
    )
    # Sets of classes are calibrated on other cells.
    for like in (query, aligned):
        assert not ensemble.map_query(like, source="ephys")["family_calibrated"].any()


# ---------------------------------------------------------------------------------------------------- files and forms


def test_saved_models_and_written_queries(cells, model, tmp_path):
    model.save(tmp_path / "model")
    loaded = CoupledAE.load(tmp_path / "model", adata=False)
    for mine, theirs in zip(
        model.fitted.distributions["ephys"], loaded.fitted.distributions["ephys"], strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)
    query, _ = prepare(others(cells), model)
    aligned = model.align_query(query)
    for before, path in ((query, tmp_path / "query.h5mu"), (aligned, tmp_path / "aligned.h5mu")):
        before.write_h5mu(path)
    again = loaded.align_query(mudata.read_h5mu(tmp_path / "query.h5mu"))
    np.testing.assert_allclose(again["ephys"].X, aligned["ephys"].X, rtol=1e-6)
    read = mudata.read_h5mu(tmp_path / "aligned.h5mu")
    assert report(read)["aligned"] == "class_balanced"
    assert not report(read)["shifted"]
    pd.testing.assert_frame_equal(report(read)["alignment"], report(aligned)["alignment"], check_names=False)
    pd.testing.assert_frame_equal(
        loaded.predict("rna", "ephys", read), model.predict("rna", "ephys", aligned), rtol=1e-5
    )
    with pytest.raises(ValueError, match="aligned already"):
        loaded.align_query(read)


@pytest.mark.parametrize("kind", ["layer", "integers", "sparse"])
def test_layers_whole_numbers_and_sparse_values(kind):
    mdata = make_mdata(160, {"rna": 12, "counted": 8}, {"rna": 1.0, "counted": 1.0})
    values = np.round(10 * mdata["counted"].X)
    layers = {"counted": "mine"} if kind == "layer" else None
    kinds = {"layer": np.asarray, "integers": lambda x: x.astype(np.int64), "sparse": sparse.csr_matrix}
    mdata["counted"].X = values
    mdata["counted"].layers["mine"] = values
    CoupledAE.setup_mudata(mdata, layers=layers)
    model = fit(mdata)
    other = mudata.MuData({"counted": mdata["counted"].copy()})
    other["counted"].X = kinds[kind](2 * values + 30)
    other["counted"].layers["mine"] = kinds[kind](2 * values + 30)
    query, said = prepare(other, model)
    assert len(said) == 1
    aligned = model.align_query(query)["counted"]
    found = aligned.layers["mine"] if kind == "layer" else aligned.X
    assert np.abs(found - values).mean() < 0.1 * values.std()
    if kind == "layer":
        np.testing.assert_array_equal(aligned.X, query["counted"].X)


# ---------------------------------------------------------------------------------------------------- refusals


def test_too_few_cells_are_refused_and_units_advised(cells, model):
    query, said = prepare(others(cells, n=45), model)
    assert len(said) == 1
    assert "correct factors by rename; 50 cells or more could be aligned" in said[0]
    with pytest.raises(ValueError, match=r"'ephys': the query has \d+ cells.*at least 50.*rename=\{'ephys'"):
        model.align_query(query)


def test_what_is_no_query_or_aligned_already_is_refused(cells, model):
    mdata = others(cells)
    with pytest.raises(ValueError, match=r"not prepared: query = CoupledAE\.prepare_query_mudata"):
        model.align_query(mdata)
    query, _ = prepare(mdata, model)
    for method in ("quantiles", None):
        with pytest.raises(ValueError, match="must be one of 'moments', 'ranks', 'class_balanced'"):
            model.align_query(query, method)
    with pytest.raises(ValueError, match="'ephys' is aligned already. Align what prepare_query_mudata"):
        model.align_query(model.align_query(query), "ranks")
    with pytest.raises(ValueError, match=r"'rna' cannot be aligned.*Modalities that can be: 'ephys'"):
        model.align_query(query, modality="rna")
    with pytest.raises(ValueError, match="ephis"):
        model.align_query(query, modality="ephis")
    rna, _ = prepare(mudata.MuData({"rna": mdata["rna"]}), model)
    with pytest.raises(ValueError, match="no narrow modality.*see normalize_query"):
        model.align_query(rna)
    query["ephys"].X[3, 2] = np.inf
    with pytest.raises(ValueError, match="infinite"):
        model.align_query(query)


@pytest.mark.parametrize("kind", [CoupledAE, Ensemble])
def test_only_trained_models_align(cells, model, kind):
    query, _ = prepare(others(cells), model)
    mdata = cells[:100].copy()
    kind.setup_mudata(mdata)
    with pytest.raises(RuntimeError, match="not trained"):
        kind(mdata).align_query(query)


def test_of_several_narrow_modalities_one_is_named():
    mdata = make_mdata(
        200, {"rna": 300, "ephys": 8, "morph": 6}, dict.fromkeys(("rna", "ephys", "morph"), 1.0)
    )
    CoupledAE.setup_mudata(mdata)
    model = fit(mdata)
    other = mudata.MuData({name: adata.copy() for name, adata in mdata.mod.items()})
    other["morph"].X = 1.5 * other["morph"].X + 4
    query, said = prepare(other, model)
    assert [text.split(":")[0] for text in said] == ["Modality 'morph'"]
    with pytest.raises(ValueError, match=r"share are 'ephys', 'morph'\. Name the one to align: modality="):
        model.align_query(query)
    with pytest.raises(ValueError, match="'rna' cannot be aligned.*more than 200 features"):
        model.align_query(query, modality="rna")
    aligned = model.align_query(query, modality="morph")
    assert np.abs(aligned["morph"].X - mdata["morph"].X).mean() < 0.1 * mdata["morph"].X.std()
    assert report(aligned)["aligned"] == ""
    assert report(model.align_query(aligned, modality="ephys"), "morph")["aligned"] == "class_balanced"


# ---------------------------------------------------------------------------------------------------- the warning


def test_one_warning_names_the_features_that_differ_most(cells, model):
    mdata = others(cells, shifted=False)
    spread = np.nanstd(cells["ephys"].X, axis=0)
    names = mdata["ephys"].var_names
    mdata["ephys"].X[:, 1] += 1.5 * spread[1]
    mdata["ephys"].X[:, 6] -= 1.5 * spread[6]
    query, said = prepare(mdata, model)
    assert len(said) == 1
    assert "is not distributed as the training cells" in said[0]
    assert f"{names[1]!r} (higher)" in said[0]
    assert f"{names[6]!r} (lower)" in said[0]
    assert said[0].endswith("then bring it to the training's distribution: query = model.align_query(query).")
    assert len(report(query)["unlike_training"]) == 0


def test_a_wrong_unit_is_one_warning_too(cells, model):
    mdata = others(cells)
    mdata["ephys"].X[:, 1] /= 1e6
    query, said = prepare(mdata, model)
    assert len(said) == 1
    assert mdata["ephys"].var_names[1] in said[0]
    assert "multiply by" in said[0]
    assert mdata["ephys"].var_names[1] in report(query)["unlike_training"]
    assert report(query)["shifted"]


@pytest.mark.parametrize("n", [6, 9, 12, 60])
def test_few_cells_in_si_units_warn(cells, model, n):
    ephys = others(cells, shifted=False)["ephys"][:n].copy()
    ephys.X = ephys.X / 1000
    query, said = prepare(mudata.MuData({"ephys": ephys}), model)
    assert len(said) == 1
    assert report(query)["shifted"]


@pytest.mark.parametrize("n", [1, 4, 6, 9, 30, 150])
def test_cells_like_those_of_the_training_do_not_warn(cells, model, n):
    """Drawn with fixed seeds; a false alarm in a hundred is what the test allows itself."""
    ephys = others(cells, shifted=False)["ephys"]
    said = []
    for seed in range(10):
        chosen = np.random.default_rng(seed).choice(ephys.n_obs, n, replace=False)
        said += prepare(mudata.MuData({"ephys": ephys[chosen].copy()}), model)[1]
    assert len(said) <= 1
