from __future__ import annotations

import mudata
import numpy as np
import pytest
import scvi
import torch

from conftest import QUIET, fit, make_mdata
from scvi_cae import CoupledAE


@pytest.fixture(scope="module")
def reference():
    mdata = make_mdata(300)
    CoupledAE.setup_mudata(mdata)
    return fit(mdata, max_epochs=100)


def other_lab(seed=0):
    """The same cells, recorded with another gain and offset."""
    mdata = make_mdata(300)
    rng = np.random.default_rng(seed)
    adata = mdata["ephys"]
    adata.X = (adata.X * rng.uniform(0.6, 1.4, adata.n_vars) + rng.normal(0, 4, adata.n_vars)).astype(
        np.float32
    )
    return mdata


def weights(model, name):
    return {key: x.clone() for key, x in model.module.arm(name).state_dict().items()}


def test_it_starts_from_the_reference(reference):
    query = make_mdata(300)
    model = CoupledAE.load_query_data(query, reference)
    assert model.adata is query
    np.testing.assert_array_equal(model.predict("rna", "ephys"), reference.predict("rna", "ephys"))


def test_only_the_named_arms_learn_and_the_reference_stays(reference):
    before = weights(reference, "ephys"), weights(reference, "rna")
    model = CoupledAE.load_query_data(other_lab(), reference, arms=["ephys"])
    model.train(max_epochs=5, **QUIET)
    assert all(torch.equal(x, before[1][key]) for key, x in weights(model, "rna").items())
    assert all(torch.equal(x, before[0][key]) for key, x in weights(reference, "ephys").items())
    changed = {key for key, x in weights(model, "ephys").items() if not torch.equal(x, before[0][key])}
    assert changed == {
        "encoder.layers.0.weight",
        "encoder.first_bias",
        "decoder.last.weight",
        "decoder.last.bias",
    }
    everything = CoupledAE.load_query_data(other_lab(), reference, arms="ephys", layers="all")
    everything.train(max_epochs=5, **QUIET)
    changed = {key for key, x in weights(everything, "ephys").items() if not torch.equal(x, before[0][key])}
    assert "decoder.layers.0.weight" in changed
    assert not {key for key in changed if "running" in key or "standardiser" in key}


def test_fine_tuning_makes_up_for_another_set_up(reference):
    query = other_lab()
    cells = np.arange(query.n_obs)
    paired = np.flatnonzero([query.obs_names.isin(query[m].obs_names) for m in ("rna", "ephys")][0])
    test = paired[::3]
    errors = {}
    for epochs in (0, 60):
        model = CoupledAE.load_query_data(query, reference, arms=["ephys"])
        if epochs:
            scvi.settings.seed = 0
            split = (np.setdiff1d(cells, test), None, test)
            model.train(epochs, external_indexing=split, plan_kwargs={"lr": 3e-3, "anchor": 0.0}, **QUIET)
        truth = query["ephys"].to_df().reindex(query.obs_names[test])
        errors[epochs] = ((model.predict("rna", "ephys", indices=test) - truth) ** 2).mean(axis=None)
    assert errors[60] < 0.5 * errors[0]


def test_a_query_without_pairs_leaves_the_reference_little(reference):
    """Only the penalty holds the latents that the other arms read."""
    query = mudata.MuData({"ephys": make_mdata(300)["ephys"].copy()})
    before = reference.predict("ephys", "rna", adata=query).to_numpy()
    change = {}
    for anchor in (None, 0.0):
        model = CoupledAE.load_query_data(query, reference)
        scvi.settings.seed = 0
        model.train(
            max_epochs=60, train_size=1.0, plan_kwargs={} if anchor is None else {"anchor": anchor}, **QUIET
        )
        change[anchor] = np.abs(model.predict("ephys", "rna").to_numpy() - before).mean()
    assert 0 < change[None] < 0.3 * change[0.0]
    assert change[None] < 0.05 * before.std()


def test_a_few_pairs_of_an_aligned_query_do_not_undo_the_reference(reference):
    """Of 20 pairs and 280 cells without transcriptomes, beside what alignment alone gives."""
    query, errors = other_lab(), {}
    truth = query["ephys"].to_df()
    few = mudata.MuData({"ephys": query["ephys"].copy(), "rna": query["rna"][:20].copy()})
    with pytest.warns(UserWarning, match="not distributed as|unlike|far from"):
        prepared = CoupledAE.prepare_query_mudata(few, reference)
    aligned = reference.align_query(prepared, "moments", "ephys")
    aligned = mudata.MuData({"ephys": aligned["ephys"], "rna": prepared["rna"]})
    values = aligned["ephys"].to_df()
    others = query["rna"].obs_names[20:].intersection(truth.index)
    unseen = mudata.MuData({"rna": query["rna"][others].copy()})
    for adapt in (False, True):
        model = CoupledAE.load_query_data(aligned, reference)
        if adapt:
            model.train(max_epochs=100, train_size=1.0, **QUIET)
        errors[adapt] = ((model.predict("rna", "ephys", unseen) - values.loc[others]) ** 2).mean(axis=None)
    assert errors[True] < 1.05 * errors[False]


def test_a_bad_anchor(reference):
    model = CoupledAE.load_query_data(make_mdata(300), reference)
    with pytest.raises(ValueError, match="anchor=-1 must be"):
        model.train(max_epochs=1, plan_kwargs={"anchor": -1}, **QUIET)


def test_an_adapted_model_is_saved_with_what_learns(reference, tmp_path):
    query = other_lab()
    model = CoupledAE.load_query_data(query, reference, arms=["ephys"])
    model.train(max_epochs=2, **QUIET)
    model.save(tmp_path / "adapted")
    loaded = CoupledAE.load(tmp_path / "adapted", adata=query.copy())
    before = weights(loaded, "rna")
    loaded.train(max_epochs=2, **QUIET)
    assert all(torch.equal(x, before[key]) for key, x in weights(loaded, "rna").items())


def test_a_reference_in_a_folder(reference, tmp_path):
    reference.save(tmp_path / "reference")
    model = CoupledAE.load_query_data(make_mdata(300), tmp_path / "reference")
    np.testing.assert_allclose(model.predict("rna", "ephys"), reference.predict("rna", "ephys"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"arms": ["morph"]}, "no modality 'morph'"),
        ({"arms": []}, "nothing would learn"),
        ({"layers": "inner"}, "layers='inner' must be"),
    ],
)
def test_bad_arguments(reference, arguments, message):
    with pytest.raises(ValueError, match=message):
        CoupledAE.load_query_data(make_mdata(), reference, **arguments)


def test_an_arm_without_data_cannot_learn(reference):
    query = mudata.MuData({"ephys": make_mdata()["ephys"].copy()})
    with pytest.raises(ValueError, match="the data lack 'rna'"):
        CoupledAE.load_query_data(query, reference, arms=["rna"])
    with pytest.raises(ValueError, match="none of the model's modalities"):
        CoupledAE.load_query_data(mudata.MuData({"x": make_mdata()["ephys"].copy()}), reference)


def test_a_query_need_not_have_labels_or_batches(tmp_path):
    mdata = make_mdata()
    mdata["rna"].obs["lane"] = np.resize(["x", "y"], mdata["rna"].n_obs)
    CoupledAE.setup_mudata(mdata, labels_key="kind", batch_key={"rna": "lane"})
    model = fit(mdata)
    query = make_mdata()
    del query.obs["kind"]
    adapted = CoupledAE.load_query_data(query, model)
    adapted.train(max_epochs=2, **QUIET)
    assert adapted.predict("rna", "kind").shape == (query.n_obs, 2)
