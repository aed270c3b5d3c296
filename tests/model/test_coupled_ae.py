from __future__ import annotations

import gc
import inspect
import weakref

import anndata
import mudata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import scvi
from hypothesis import given, settings
from hypothesis import strategies as st

import scvi_cae
from conftest import QUIET, fit, make_mdata, make_modality
from scvi_cae import CoupledAE


def has(mdata, modality):
    return mdata.obs_names.isin(mdata[modality].obs_names)


def test_default_arms_follow_the_number_of_features(mdata):
    module = CoupledAE(mdata).module
    assert module.arm("ephys").config.dropout == 0.2
    assert module.arm("ephys").config.noise == 0.1
    assert module.arm("ephys").config.hidden == (128, 128)
    wide = make_mdata(60, {"rna": 1000, "ephys": 8})
    CoupledAE.setup_mudata(wide)
    config = CoupledAE(wide).module.arm("rna").config
    assert config.dropout == pytest.approx(1 - 7 / 1000**0.5)
    assert config.noise == 0
    assert config.hidden == (64,)


def test_settings_of_arms(mdata):
    model = CoupledAE(mdata, arms={"rna": {"hidden": [7], "dropout": 0.3}})
    assert model.module.arm("rna").config.hidden == (7,)
    assert model.module.arm("rna").config.dropout == 0.3
    assert model.module.arm("ephys").config.hidden == (128, 128)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_latent": 0}, "n_latent=0"),
        ({"n_latent": 2.5}, "n_latent=2.5"),
        ({"arms": {"atac": {}}}, "no modality 'atac'"),
        ({"arms": {"rna": {"width": 3}}}, r"arms\['rna'\].*width"),
        ({"arms": {"rna": {"dropout": 2}}}, r"arms\['rna'\].*dropout=2"),
        ({"coupling": -1.0}, "the weight of .* is -1.0"),
        ({"coupling": float("nan")}, "must be a number"),
        ({"coupling": {("rna", "atac"): 1}}, "not a pair of the modalities"),
        ({"coupling": {("rna", "rna"): 1}}, "not a pair of the modalities"),
        ({"coupling": {("rna", "ephys"): 1, ("ephys", "rna"): 1}}, "names a pair twice"),
    ],
)
def test_wrong_arguments(mdata, arguments, message):
    with pytest.raises(ValueError, match=message):
        CoupledAE(mdata, **arguments)


def test_not_set_up():
    with pytest.raises(ValueError, match="set up"):
        CoupledAE(make_mdata())


def test_latents(trained, trained_mdata):
    mdata = trained_mdata
    joint = trained.get_latent_representation()
    assert joint.shape == (mdata.n_obs, 3)
    assert joint.dtype == np.float32
    assert np.isfinite(joint).all()
    own = {name: trained.get_latent_representation(modality=name) for name in mdata.mod}
    for name, z in own.items():
        np.testing.assert_array_equal(np.isfinite(z).all(1), has(mdata, name))
        np.testing.assert_array_equal(np.isnan(z).all(1), ~has(mdata, name))
    np.testing.assert_allclose(joint, np.nanmean([own["rna"], own["ephys"]], axis=0), rtol=1e-5)


def test_indices_and_batches(trained):
    z = trained.get_latent_representation()
    np.testing.assert_allclose(trained.get_latent_representation(indices=[5, 2, 5]), z[[5, 2, 5]], atol=1e-6)
    mask = np.arange(len(z)) % 2 == 0
    np.testing.assert_allclose(
        trained.get_latent_representation(indices=mask, batch_size=7), z[mask], atol=1e-6
    )
    assert trained.get_latent_representation(indices=[]).shape == (0, 3)


def test_inference_is_deterministic(trained):
    np.testing.assert_array_equal(trained.get_latent_representation(), trained.get_latent_representation())


def test_prediction_is_in_natural_units_and_beats_the_mean(trained, trained_mdata):
    mdata = trained_mdata
    for source, target in (("rna", "ephys"), ("ephys", "rna"), ("rna", "rna")):
        prediction = trained.predict(source, target)
        truth = mdata[target].to_df().reindex(mdata.obs_names)
        assert prediction.index.equals(mdata.obs_names)
        assert list(prediction.columns) == list(truth.columns)
        np.testing.assert_array_equal(prediction.notna().all(axis=1), has(mdata, source))
        cells = mdata.obs_names[trained.validation_indices]
        error = ((prediction - truth).loc[cells] ** 2).stack().mean()
        assert error < 0.5 * ((truth - truth.mean()).loc[cells] ** 2).stack().mean()


def test_query_cells_with_the_source_only(trained, trained_mdata):
    rna = trained_mdata["rna"][:20].copy()
    atac = make_modality(rna.X, rna.obs_names.to_numpy(), "peak_")
    expected = trained.predict("rna", "ephys").loc[rna.obs_names]
    for query in (
        mudata.MuData({"rna": rna}),
        mudata.MuData({"rna": rna[:, ::-1].copy()}),
        mudata.MuData({"rna": rna, "ephys": trained_mdata["ephys"][:0].copy()}),
        mudata.MuData({"rna": rna, "ephys": trained_mdata["ephys"][:3].copy(), "atac": atac}),
    ):
        prediction = trained.predict("rna", "ephys", adata=query).loc[rna.obs_names]
        np.testing.assert_allclose(prediction, expected, rtol=1e-4, atol=1e-4)
        assert np.isfinite(trained.get_latent_representation(query)[:20]).all()


def test_a_query_without_the_source(trained, trained_mdata):
    ephys = trained_mdata["ephys"][:5].copy()
    query = mudata.MuData({"ephys": ephys, "rna": trained_mdata["rna"][:0].copy()})
    assert trained.predict("rna", "ephys", adata=query).isna().all(axis=None)
    other = make_modality(ephys.X, ephys.obs_names.to_numpy(), "x_")
    with pytest.raises(ValueError, match="The data have no modality 'rna'; they have 'RNA'"):
        trained.predict("rna", "ephys", adata=mudata.MuData({"RNA": other}))
    with pytest.raises(ValueError, match="no modality 'rna', 'ephys'; they have 'RNA'"):
        trained.get_latent_representation(mudata.MuData({"RNA": other}))


def test_only_what_is_read_must_fit(trained, trained_mdata):
    rna = trained_mdata["rna"][:10].copy()
    query = mudata.MuData({"rna": rna, "ephys": trained_mdata["ephys"][:10, 3:].copy()})
    expected = trained.predict("rna", "ephys").loc[rna.obs_names]
    np.testing.assert_allclose(
        trained.predict("rna", "ephys", query).loc[rna.obs_names], expected, rtol=1e-4, atol=1e-4
    )
    with pytest.raises(ValueError, match="'ephys' lacks 3 features"):
        trained.get_latent_representation(query)


def test_inference_does_not_write_to_a_query_or_keep_it(trained, trained_mdata):
    query = mudata.MuData({"rna": trained_mdata["rna"][:10].copy()})
    trained.predict("rna", "ephys", adata=query)
    assert not query.uns
    reference = weakref.ref(query)
    del query
    gc.collect()
    assert reference() is None


def test_a_view_is_a_query(trained, trained_mdata):
    view = trained_mdata[:10]
    np.testing.assert_allclose(
        trained.get_latent_representation(view), trained.get_latent_representation()[:10], atol=1e-6
    )


@settings(max_examples=20)
@given(st.integers(0, 1000), st.sampled_from(["drop", "rename", "add"]), st.sampled_from(["rna", "ephys"]))
def test_queries_with_other_features_are_refused(trained, trained_mdata, seed, fault, modality):
    adata = trained_mdata[modality][:10].copy()
    i = seed % adata.n_vars
    if fault == "drop":
        adata = adata[:, np.arange(adata.n_vars) != i].copy()
        message = f"lacks 1 features of the model: '{modality}_{i}'"
    elif fault == "rename":
        adata.var_names = [name if k != i else "other" for k, name in enumerate(adata.var_names)]
        message = f"lacks 1 features of the model: '{modality}_{i}' and has 1 features unknown to it: 'other'"
    else:
        extra = adata[:, :1].copy()
        extra.var_names = ["other"]
        adata = anndata.concat([adata, extra], axis=1)
        message = "has 1 features unknown to it: 'other'"
    with pytest.raises(ValueError, match=message):
        trained.predict(modality, "ephys", adata=mudata.MuData({modality: adata}))


def test_queries_are_checked(trained, trained_mdata):
    with pytest.raises(TypeError, match="Expected a MuData, got AnnData"):
        trained.predict("rna", "ephys", adata=trained_mdata["rna"])
    rna = trained_mdata["rna"][:5].copy()
    rna.X[2, 3] = np.inf
    with pytest.raises(ValueError, match="infinite.*'rna_3'"):
        trained.predict("rna", "ephys", adata=mudata.MuData({"rna": rna}))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"indices": [0.5]}, "list of positions"),
        ({"indices": [True, False]}, "mask of all"),
        ({"indices": [10_000]}, "outside 0 to"),
        ({"indices": [-1]}, "outside 0 to"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": 2.5}, "batch_size=2.5"),
    ],
)
def test_wrong_cells(trained, arguments, message):
    for call in (
        trained.get_latent_representation,
        lambda **kwargs: trained.predict("rna", "ephys", **kwargs),
    ):
        with pytest.raises(ValueError, match=message):
            call(**arguments)


def test_inference_never_augments(trained):
    z = trained.get_latent_representation()
    trained.module.train()
    np.testing.assert_array_equal(trained.get_latent_representation(), z)


def test_latents_are_not_written_to_a_view(trained, trained_mdata):
    with pytest.raises(ValueError, match="is a view"):
        trained.write_latent(trained_mdata[:10])


@pytest.mark.parametrize("key", ["", "a/b", "rna"])
def test_keys_that_cannot_name_latents(trained, trained_mdata, key):
    query = mudata.MuData({name: adata[:5].copy() for name, adata in trained_mdata.mod.items()})
    with pytest.raises(ValueError, match="cannot name latents"):
        trained.write_latent(query, key=key)


def test_names_of_modalities_and_features_are_free():
    mdata = make_mdata(60, {"rna.v2": 6, "100%": 5})
    for adata in mdata.mod.values():
        adata.var.index = pd.Index(range(adata.n_vars))
    CoupledAE.setup_mudata(mdata)
    assert fit(mdata).predict("rna.v2", "100%").shape == (mdata.n_obs, 5)


def test_unknown_modalities(trained):
    for call in (
        lambda: trained.get_latent_representation(modality="atac"),
        lambda: trained.predict("atac", "rna"),
        lambda: trained.predict("rna", "atac"),
    ):
        with pytest.raises(ValueError, match="no modality 'atac'; it has 'rna', 'ephys'"):
            call()


def test_uncoupled_modalities_do_not_predict_each_other(mdata):
    model = CoupledAE(mdata, n_latent=2, coupling=0.0)
    model.train(max_epochs=1, enable_progress_bar=False)
    model.predict("rna", "rna")
    with pytest.raises(ValueError, match="not coupled.*Give the pair a weight"):
        model.predict("rna", "ephys")


def test_untrained(mdata):
    model = CoupledAE(mdata, n_latent=2)
    for call in (model.get_latent_representation, model.write_latent, lambda: model.predict("rna", "ephys")):
        with pytest.raises(RuntimeError, match="not trained"):
            call()


def test_written_latents_work_in_scanpy(mdata):
    model = fit(mdata, max_epochs=5)
    model.write_latent(mdata)
    np.testing.assert_array_equal(mdata.obsm["X_cae"], model.get_latent_representation())
    for name in ("rna", "ephys"):
        z = pd.DataFrame(mdata.obsm[f"X_cae_{name}"], index=mdata.obs_names)
        np.testing.assert_array_equal(z, model.get_latent_representation(modality=name))
        np.testing.assert_array_equal(mdata[name].obsm["X_cae"], z.loc[mdata[name].obs_names])
    # Weights of UMAP would be compiled first, which takes seconds.
    sc.pp.neighbors(mdata, use_rep="X_cae", n_neighbors=5, method="gauss")
    assert mdata.obsp["connectivities"].shape == (mdata.n_obs, mdata.n_obs)


def test_latents_of_a_query_are_written_to_it(trained, trained_mdata):
    query = mudata.MuData({"rna": trained_mdata["rna"][:8].copy()})
    trained.write_latent(query, key="X_other")
    assert set(query.obsm) >= {"X_other", "X_other_rna"}
    assert "X_other_ephys" not in query.obsm
    assert query["rna"].obsm["X_other"].shape == (8, 3)


def test_latents_say_which_cells_are_held_out(tmp_path):
    mdata = make_mdata()
    CoupledAE.setup_mudata(mdata)
    model = CoupledAE(mdata, n_latent=2)
    n = mdata.n_obs
    order = np.random.RandomState(0).permutation(n)
    train, validation, test = np.split(order, [n // 2, 3 * n // 4])
    model.train(max_epochs=1, external_indexing=[train, validation, test], enable_progress_bar=False)
    model.write_latent()
    for name, cells in (("training", train), ("validation", validation), ("test", test)):
        assert set(np.flatnonzero(mdata.obs["X_cae_set"] == name)) == set(cells)
    query = mudata.MuData({"rna": mdata["rna"][:8].copy()})
    query["rna"].obs_names = [*query["rna"].obs_names[:6], "new1", "new2"]
    query.update()
    model.save(tmp_path / "model")
    sets = CoupledAE.load(tmp_path / "model", adata=False).set_membership(query)
    assert sets["new1"] == "test"
    pd.testing.assert_series_equal(sets[:6], mdata.obs["X_cae_set"][sets.index[:6]], check_names=False)


def test_a_copy_does_not_take_its_original_s_place():
    mdata = make_mdata()
    CoupledAE.setup_mudata(mdata)
    copy = mdata.copy()
    CoupledAE.setup_mudata(copy)
    assert CoupledAE(mdata, n_latent=2).adata is mdata
    assert CoupledAE(copy, n_latent=2).adata is copy


def test_chosen_modalities_and_layers():
    mdata = make_mdata(60, {"a": 6, "b": 5, "c": 4})
    mdata["b"].layers["scaled"] = mdata["b"].X * 100
    CoupledAE.setup_mudata(mdata, modalities=["c", "b"], layers={"b": "scaled"})
    model = fit(mdata)
    assert model.modalities == ["c", "b"]
    assert model.module.arm("b").likelihood.standardiser.mean.abs().mean() > 100
    alone = ~(has(mdata, "b") | has(mdata, "c"))
    np.testing.assert_array_equal(np.isnan(model.get_latent_representation()).all(1), alone)


def test_representation_says_what_it_is(trained, capsys):
    print(trained)
    out = capsys.readouterr().out
    assert "n_latent: 3" in out
    assert "ephys: 8 features" in out
    assert "Trained" in out


@pytest.mark.parametrize(
    "name", [n for n, f in inspect.getmembers(CoupledAE, callable) if n in CoupledAE.__dict__]
)
def test_documentation_has_no_placeholders(name):
    assert "%(" not in (inspect.getdoc(getattr(CoupledAE, name)) or "")


def shape_of_latents(coupling_loss: str, latent_norm: bool) -> tuple[float, float]:
    """Total variance of held-out latents, and how many dimensions they use (participation ratio); least of two."""
    mdata = scvi_cae.datasets.simulate_patchseq(n_cells=300)
    CoupledAE.setup_mudata(mdata)
    scvi.settings.seed = 0
    model = CoupledAE(
        mdata,
        n_latent=3,
        arms={
            name: {
                "published": {"latent_norm": latent_norm},
                "weight": 1.0,
                "cross_gradient": 0.0,
                "cross_map": False,
            }
            for name in ("rna", "ephys")
        },
        coupling=100.0,
        coupling_loss=coupling_loss,
        latent_axes="network",
    )
    # Nothing is chosen by validation cells, and to do without takes a third less time.
    model.train(max_epochs=60, train_size=0.7, validation_size=0.0, **QUIET)
    latents = (
        model.get_latent_representation(modality=m, indices=model.test_indices) for m in model.modalities
    )
    spectra = [np.linalg.eigvalsh(np.cov(z[~np.isnan(z).any(1)], rowvar=False)) for z in latents]
    return min(x.sum() for x in spectra), min(x.sum() ** 2 / (x**2).sum() for x in spectra)


@pytest.mark.slow
def test_distance_alone_makes_latents_collapse():
    """Gala et al. 2019: without normalisation to a point, with it to a line; other couplings keep every dimension."""
    point, line = shape_of_latents("mse", False), shape_of_latents("mse", True)
    kept = [
        shape_of_latents(loss, False) for loss in ("min_variance", "min_variance_2019", "full_covariance")
    ]
    assert line[1] < 1.3
    for total_variance, n_used in kept:
        assert point[0] < 0.05 * total_variance
        assert n_used > 2
    assert shape_of_latents("min_variance", True)[1] > 2


@pytest.mark.parametrize("coupling", [(1.0,), (1.0, -1.0), (1.0, 1.0, 1.0), ("a", 1.0)])
def test_wrong_directional_weights(mdata, coupling):
    with pytest.raises(ValueError, match="a tuple of two"):
        CoupledAE(mdata, coupling={("rna", "ephys"): coupling})


def test_unknown_coupling_loss(mdata):
    with pytest.raises(ValueError, match=r"coupling_loss='cosine' must be one of \['log_determinant'"):
        CoupledAE(mdata, coupling_loss="cosine")


def test_a_modality_coupled_to_none_is_named():
    mdata = make_mdata(n_features={"rna": 20, "ephys": 8, "morph": 6})
    CoupledAE.setup_mudata(mdata)
    with pytest.warns(UserWarning, match="'morph' is coupled to no other"):
        CoupledAE(mdata, coupling={("rna", "ephys"): 1.0})
    CoupledAE(mdata, coupling=0.0)  # nothing is coupled, and that was asked for


def test_directions_need_names(mdata):
    with pytest.raises(ValueError, match="a number, or a dictionary"):
        CoupledAE(mdata, coupling=(0.1, 0.9))


@pytest.mark.parametrize(
    "name",
    [
        "minify_adata",
        "convert_legacy_save",
        "get_normalized_expression",
        "get_from_registry",
        "transfer_fields",
    ],
)
def test_methods_of_scvi_tools_that_are_not_offered_say_so(trained, name):
    with pytest.raises(NotImplementedError, match=f"CoupledAE does not offer {name}: .* .*"):
        getattr(trained, name)("argument")


def test_the_set_up_of_a_saved_model_is_shown_without_running_its_code(trained, tmp_path, capsys):
    trained.save(tmp_path / "model")
    assert CoupledAE.load_registry(tmp_path / "model")["model_name"] == "CoupledAE"
    CoupledAE.view_setup_args(tmp_path / "model")
    assert "modalities" in capsys.readouterr().out
