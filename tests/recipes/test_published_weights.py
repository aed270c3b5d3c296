from __future__ import annotations

import os
from pathlib import Path

import anndata
import h5py
import mudata
import numpy as np
import pandas as pd
import pytest
import torch

from conftest import QUIET, make_mdata
from scvi_cae import CoupledAE, recipes
from scvi_cae.evaluate import score
from scvi_cae.module import min_variance_coupling

from .published_fixture import FIXTURE, make, write_weights

DATA = Path(os.environ.get("SCVI_CAE_DATA", "")) / "gala2021"


def to_mdata(fixture: dict[str, np.ndarray]) -> mudata.MuData:
    cells = pd.DataFrame(index=[f"cell{i}" for i in range(len(fixture["XT"]))])
    return mudata.MuData(
        {
            name: anndata.AnnData(
                fixture[key].copy(),
                obs=cells.copy(),
                var=pd.DataFrame(index=[f"{name}{i}" for i in range(fixture[key].shape[1])]),
            )
            for name, key in (("rna", "XT"), ("ephys", "XE"))
        }
    )


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> tuple[dict[str, np.ndarray], Path]:
    """The committed fixture, and its weights as a file."""
    fixture = dict(np.load(FIXTURE))
    path = tmp_path_factory.mktemp("published") / "weights.h5"
    write_weights(path, fixture)
    return fixture, path


@pytest.fixture(scope="session", params=["small", "published"])
def case(request, small) -> tuple[dict[str, np.ndarray], Path]:
    if request.param == "small":
        return small
    if not (DATA / "forward_fixture.npz").is_file():
        pytest.skip("needs SCVI_CAE_DATA with gala2021/forward_fixture.npz and pretrained_weights.h5")
    return dict(np.load(DATA / "forward_fixture.npz")), DATA / "pretrained_weights.h5"


def test_fixture_is_what_the_formulas_give():
    fixture = dict(np.load(FIXTURE))
    again = make()
    assert set(fixture) == set(again)
    for name, value in again.items():
        np.testing.assert_allclose(fixture[name], value, rtol=1e-12, atol=1e-12)


def test_outputs(case):
    fixture, path = case
    model = recipes.load_published_weights(path, to_mdata(fixture))
    outputs = {
        "zT": model.get_latent_representation(modality="rna"),
        "zE": model.get_latent_representation(modality="ephys"),
        "XrT": model.predict("rna", "rna"),
        "XrE": model.predict("ephys", "ephys"),
        "XrE_from_XT": model.predict("rna", "ephys"),
        "XrT_from_XE": model.predict("ephys", "rna"),
    }
    for name, found in outputs.items():
        np.testing.assert_allclose(np.asarray(found), fixture[name], rtol=0, atol=1e-4)


def test_losses(case):
    fixture, path = case
    model = recipes.load_published_weights(path, to_mdata(fixture))
    cells = np.arange(model.adata.n_obs)
    batch = {
        name: model.module.arm(name).observe(torch.from_numpy(aligned.values(cells)))
        for name, aligned in ((m, model.align()[m]) for m in model.modalities)
    }
    output = model.module(batch)[2]
    names = ("rna_from_rna", "ephys_from_ephys", "coupling_rna_ephys", "rna_from_ephys", "ephys_from_rna")
    np.testing.assert_allclose(
        [output.extra_metrics[name].item() for name in names], fixture["losses"], rtol=1e-4
    )
    assert output.loss.item() == pytest.approx(fixture["losses"].sum(), rel=1e-4)


def test_coupling_and_its_gradients(case):
    fixture, _ = case
    zi, zj = (torch.from_numpy(fixture[name]).requires_grad_() for name in ("mv_a", "mv_b"))
    everyone = torch.ones(50, dtype=torch.bool)
    loss = min_variance_coupling(zi, zj, everyone, everyone)
    loss.backward()
    assert loss.item() == pytest.approx(float(fixture["mv_full_loss"]), abs=1e-5)
    for z, name in ((zi, "ga"), (zj, "gb")):
        np.testing.assert_allclose(z.grad, fixture[f"mv_full_{name}"], rtol=0, atol=1e-5)


def test_published_number_of_parameters(case):
    fixture, path = case
    model = recipes.load_published_weights(path, to_mdata(fixture))
    expected = 157_826 if fixture["XT"].shape[1] == 1252 else 864
    assert sum(p.numel() for p in model.module.parameters()) == expected


def test_it_saves_and_loads_like_any_other(small, tmp_path):
    fixture, path = small
    mdata = to_mdata(fixture)
    model = recipes.load_published_weights(path, mdata)
    model.save(tmp_path / "model")
    loaded = CoupledAE.load(tmp_path / "model", adata=False)
    pd.testing.assert_frame_equal(
        loaded.predict("rna", "ephys", adata=mdata), model.predict("rna", "ephys"), check_exact=True
    )
    assert loaded.module.arm("ephys").config == model.module.arm("ephys").config


def test_it_embeds_cells_whose_genes_do_not_vary(small):
    """As few cells may well be; only training needs features that vary."""
    fixture, path = small
    cells = {**fixture, "XT": fixture["XT"].copy()}
    cells["XT"][:, 3] = 0.0
    model = recipes.load_published_weights(path, to_mdata(cells))
    model.write_latent()
    assert np.isfinite(model.adata.obsm["X_cae"]).all()
    assert model.adata.obs["X_cae_set"].isna().all()  # nobody knows


def test_it_trains_further_with_noise_scaled_by_the_data(small):
    fixture, path = small
    model = recipes.load_published_weights(path, to_mdata(fixture))
    np.testing.assert_allclose(
        model.module.arm("ephys").augmentation.noise_sd, 0.05 * np.nanvar(fixture["XE"], axis=0), rtol=1e-5
    )
    before = [p.clone() for p in model.module.parameters()]
    model.train(max_epochs=2, train_size=1.0, **QUIET)
    assert not any(torch.equal(p, q) for p, q in zip(before, model.module.parameters(), strict=True))


def test_there_is_nothing_to_score_it_against(small):
    fixture, path = small
    model = recipes.load_published_weights(path, to_mdata(fixture))
    with pytest.raises(ValueError, match="not trained on these data"):
        score(model, indices=[0, 1])


def test_later_weights_without_the_latent_s_bias(small, tmp_path):
    fixture, _ = small
    write_weights(tmp_path / "weights.h5", fixture, latent_bias=False)
    model = recipes.load_published_weights(tmp_path / "weights.h5", to_mdata(fixture))
    assert sum(p.numel() for p in model.module.parameters()) == 864 - 6


def test_modalities_may_have_other_names(small):
    fixture, path = small
    mdata = to_mdata(fixture)
    renamed = mudata.MuData({"extra": make_mdata(20)["rna"], "E": mdata["ephys"], "T": mdata["rna"]})
    model = recipes.load_published_weights(path, renamed, modalities=("T", "E"))
    found = model.predict("T", "E").loc[mdata.obs_names]
    np.testing.assert_allclose(found, fixture["XrE_from_XT"], atol=1e-4)


def test_it_says_what_does_not_fit(small, tmp_path):
    fixture, path = small
    mdata = to_mdata(fixture)
    with pytest.raises(FileNotFoundError, match="No file"):
        recipes.load_published_weights(tmp_path / "nothing.h5", mdata)
    (tmp_path / "text.h5").write_text("no weights")
    with pytest.raises(ValueError, match="not an HDF5 file"):
        recipes.load_published_weights(tmp_path / "text.h5", mdata)
    with pytest.raises(ValueError, match="No modality 'ephys'"):
        recipes.load_published_weights(path, mudata.MuData({"rna": mdata["rna"], "b": mdata["ephys"].copy()}))
    with pytest.raises(ValueError, match="must name two modalities"):
        recipes.load_published_weights(path, mdata, modalities="rna")
    fewer = mudata.MuData({"rna": mdata["rna"][:, :11].copy(), "ephys": mdata["ephys"]})
    with pytest.raises(ValueError, match="'rna' has 11 features, but the published networks read 12"):
        recipes.load_published_weights(path, fewer)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("Decoder_E", "no network 'Decoder_E'"),
        ("Encoder_T/TE/Encoder_T/Encoder_TBN", "Encoder_T has no layer 'norm'"),
        ("Encoder_E/TE/Encoder_E/Encoder_Efc2/kernel:0", "Encoder_E"),
        ("Decoder_T/TE/Decoder_T/Xout", "Decoder_T"),
        ("Encoder_T/TE/Encoder_T/Encoder_Tfc0/bias:0", "Encoder_T: a bias is missing"),
        ("Decoder_E/TE/Decoder_E/Decoder_EXout/bias:0", "Decoder_E: a bias is missing"),
        ("Encoder_E/TE/Encoder_E/Encoder_Efc4/bias:0", "encoders differ in latent_bias"),
        ("Encoder_T/TE/Encoder_T/Encoder_Tfc4/bias:0", "encoders differ in latent_bias"),
    ],
)
def test_an_incomplete_file(small, tmp_path, missing, message):
    fixture, path = small
    damaged = tmp_path / "damaged.h5"
    damaged.write_bytes(path.read_bytes())
    with h5py.File(damaged, "a") as file:
        del file[missing]
    with pytest.raises(ValueError, match=message):
        recipes.load_published_weights(damaged, to_mdata(fixture))


def test_a_file_of_another_model(small, tmp_path):
    fixture, _ = small
    with h5py.File(tmp_path / "other.h5", "w") as file:
        for name in ("Encoder_T", "Decoder_T", "Encoder_E", "Decoder_E"):
            file[f"{name}/dense_1/kernel:0"] = np.zeros((3, 3))
    with pytest.raises(ValueError, match="unknown layer 'dense_1/kernel:0'"):
        recipes.load_published_weights(tmp_path / "other.h5", to_mdata(fixture))
