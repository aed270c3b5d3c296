"""Training in mixed precision: half for the networks, single for what would not bear it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from conftest import fit, make_mdata
from scvi_cae import CoupledAE
from scvi_cae.module import COUPLING_LOSSES, covariance

CALM = {name: {"dropout": 0.0, "noise": 0.0} for name in ("rna", "ephys")}


@pytest.mark.parametrize("coupling_loss", list(COUPLING_LOSSES))
def test_couplings_are_computed_in_single_precision(coupling_loss):
    torch.manual_seed(0)
    zi, zj = (100 + torch.randn(50, 4).bfloat16().float()).requires_grad_(), torch.randn(50, 4)
    present = torch.ones(50), (torch.rand(50) > 0.5).float()
    expected = COUPLING_LOSSES[coupling_loss](zi, zj, *present)
    (gradient,) = torch.autograd.grad(expected, zi)
    with torch.autocast("cpu", torch.bfloat16):
        value = COUPLING_LOSSES[coupling_loss](zi, zj, *present)
        half = COUPLING_LOSSES[coupling_loss](zi.bfloat16(), zj.bfloat16(), *present)
        assert covariance(zi, present[0]).dtype == torch.float32
    assert value.dtype == half.dtype == torch.float32
    assert half.isfinite()
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(torch.autograd.grad(value, zi)[0], gradient)


@pytest.mark.parametrize("missing", [0.0, 0.05])
@pytest.mark.parametrize("latent_norm", [True, False])
def test_half_precision_trains_as_single_does(missing, latent_norm):
    mdata = make_mdata(missing={"ephys": missing})
    CoupledAE.setup_mudata(mdata)
    arms = {name: {**CALM[name], "published": {"latent_norm": latent_norm}} for name in CALM}
    models = []
    for precision in ("32-true", "bf16-mixed"):
        torch.manual_seed(0)
        model = CoupledAE(mdata, n_latent=3, arms=arms)
        split = [np.arange(100), np.arange(100, mdata.n_obs)]
        seen = []
        hook = (
            model.module.arm("rna")
            .encoder.layers[0]
            .register_forward_hook(
                lambda module, args, out, seen=seen: seen.append(out.dtype) if module.training else None
            )
        )
        torch.manual_seed(0)
        model.train(
            max_epochs=15,
            precision=precision,
            external_indexing=split,
            enable_progress_bar=False,
            batch_size=50,
        )
        hook.remove()
        models.append(model)
        assert set(seen) == {torch.float32 if precision == "32-true" else torch.bfloat16}
    single, half = models
    numbers = [x for x in half.module.state_dict().values() if x.dtype != torch.bool]
    assert all(x.dtype == torch.float32 and x.isfinite().all() for x in numbers)
    for name in ("train_loss", "reconstruction_loss_validation", "coupling_rna_ephys_train"):
        a, b = (model.history[name].to_numpy(dtype=float) for model in models)
        # The first epochs see nearly the same weights; later ones drift apart.
        np.testing.assert_allclose(b[:2], a[:2], rtol=0.05)
        assert np.isfinite(b).all()
    # It learns, rather than going on with the first step's weights.
    final = [model.history["reconstruction_loss_validation"].to_numpy(dtype=float).min() for model in models]
    assert final[1] == pytest.approx(final[0], rel=0.1)
    assert half.get_latent_representation().dtype == np.float32


def test_half_precision_goes_on_from_a_checkpoint(tmp_path):
    mdata = make_mdata()
    CoupledAE.setup_mudata(mdata)
    fit(mdata, precision="bf16-mixed", checkpoint=tmp_path / "fit.ckpt")
    with pytest.raises(ValueError, match=r"train\(precision\) \('bf16-mixed' then, not there now\)"):
        fit(mdata, checkpoint=tmp_path / "fit.ckpt")
