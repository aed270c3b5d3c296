from __future__ import annotations

import pytest
import torch

from scvi_cae.module import (
    COUPLING_LOSSES,
    ArmConfig,
    CoupledModule,
    Observation,
    log_determinant_coupling,
)

N_FEATURES = {"a": 6, "b": 4, "keys.of": 5}
PAIRS = {("a", "b"): 1.0, ("keys.of", "a"): 2.0, ("b", "keys.of"): 0.5}


def make_batch(n: int = 30, gaps: bool = True, seed: int = 0) -> dict[str, Observation]:
    generator = torch.Generator().manual_seed(seed)
    batch = {}
    for name, n_features in N_FEATURES.items():
        observed = torch.rand(n, n_features, generator=generator) < (0.8 if gaps else 1.1)
        observed &= torch.rand(n, 1, generator=generator) < (0.8 if gaps else 1.1)
        values = torch.randn(n, n_features, generator=generator) * observed
        batch[name] = Observation(values, observed.float(), observed.any(1).float())
    return batch


def make_module(coupling: dict[tuple[str, str], float] = PAIRS, **config: object) -> CoupledModule:
    torch.manual_seed(0)
    settings = {"dropout": 0.0, "noise": 0.0, "hidden": (8,), **config}
    return CoupledModule(N_FEATURES, 2, dict.fromkeys(N_FEATURES, ArmConfig(**settings)), coupling)


def gradients(module: CoupledModule, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    parameters = dict(module.named_parameters())
    grads = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    return dict(zip(parameters, grads, strict=True))


def test_sources_share_the_weight_of_cross_modal_predictions():
    arms = dict.fromkeys(N_FEATURES, ArmConfig(hidden=(4,), cross_weight=1.5))
    arms["keys.of"] = ArmConfig(hidden=(4,), cross_weight=1.0, source_weight=0.25)
    module = CoupledModule(N_FEATURES, 2, arms, PAIRS)
    expected = {"a": (1, 1.2, 0.3), "b": (1, 1.2, 0.3), "keys.of": (1, 0.5, 0.5)}
    for name, weights in module.weights.items():
        assert weights == pytest.approx(expected[name])


@pytest.mark.parametrize("cross_gradient", [0.0, 0.5, 1.0])
def test_other_encoders_learn_from_a_prediction_by_its_cross_gradient(cross_gradient):
    """The gradient of an encoder is that of its own terms, plus ``cross_gradient`` times that of what it predicts."""
    batch = make_batch()
    found = {}
    for value in (0.0, 1.0, cross_gradient):
        arms = dict.fromkeys(N_FEATURES, ArmConfig(hidden=(4,), dropout=0.0))
        arms["keys.of"] = ArmConfig(hidden=(4,), dropout=0.0, cross_gradient=value)
        torch.manual_seed(0)
        module = CoupledModule(N_FEATURES, 2, arms, PAIRS)
        found[value] = module(batch)[2].loss, gradients(module, module(batch)[2].loss)
    assert found[cross_gradient][0].item() == pytest.approx(found[0.0][0].item())
    for name, x in found[cross_gradient][1].items():
        expected = (1 - cross_gradient) * found[0.0][1][name] + cross_gradient * found[1.0][1][name]
        torch.testing.assert_close(x, expected, rtol=1e-3, atol=1e-5, msg=name)
        moves = not torch.allclose(found[1.0][1][name], found[0.0][1][name], rtol=1e-3, atol=1e-5)
        assert moves == (name.startswith(("_arms.0.encoder", "_arms.1.encoder"))), name


def test_loss_is_the_documented_sum():
    module, batch = make_module(weight=3.0, cross_weight=0.5), make_batch()
    z, _, output = module.eval()(batch)
    total = 0.0
    for target, x in batch.items():
        for source in batch:
            cells = (batch[source].present[:, None] * x.observed) > 0
            latent = z[source] if source == target else z[source].detach()
            weight = 3.0 if source == target else 3.0 * 0.5 / 2
            total += weight * (module.arm(target).decode(latent) - x.values)[cells].square().mean()
    assert output.extra_metrics["reconstruction_loss"].item() == pytest.approx(total.item(), rel=1e-5)
    for (i, j), weight in PAIRS.items():
        total += weight * log_determinant_coupling(z[i], z[j], batch[i].present, batch[j].present)
    assert output.loss.item() == pytest.approx(total.item(), rel=1e-5)
    distance = (z["a"] - z["b"])[(batch["a"].present * batch["b"].present) > 0].square().mean()
    assert output.extra_metrics["distance_a_b"].item() == pytest.approx(distance.item(), rel=1e-5)
    pairs = ("a_b", "a_keys.of", "b_keys.of")
    assert set(output.extra_metrics) == {
        "reconstruction_loss",
        *(f"{t}_from_{s}" for t in batch for s in batch),
        *(f"{what}_{pair}" for what in ("coupling", "distance") for pair in pairs),
    }
    assert tuple(output.extra_metrics) == module.metrics


def test_cross_modal_losses_do_not_reach_the_encoders_without_a_cross_gradient():
    module, batch = make_module(cross_gradient=0.0), make_batch()
    _, features, _ = module(batch)
    cells = torch.stack([batch[source].present for source in ("a", *module.sources["a"])])
    cross = module.arm("a").reconstruction_losses(features["a"], batch["a"], cells)[1:].sum()
    grads = gradients(module, cross)
    reached = {name for name, grad in grads.items() if grad is not None and grad.abs().sum() > 0}
    assert {name.split(".")[2] for name in reached} == {"decoder", "cross_maps"}
    assert all(name.startswith("_arms.0.") for name in reached)


def test_a_decoder_reads_other_latents_through_a_cross_modal_map():
    """The identity to begin with; a map of its own for each source; none for its own latent."""
    module, batch = make_module().eval(), make_batch()
    z = module.inference(batch)
    for target in N_FEATURES:
        for source in N_FEATURES:
            torch.testing.assert_close(module.map_latent(z[source], source, target), z[source])
    for x in module.arm("a").cross_maps:
        torch.nn.init.normal_(x.difference.weight)
    moved = {source: module.map_latent(z[source], source, "a") - z[source] for source in N_FEATURES}
    assert not moved["a"].any()
    assert moved["b"].abs().sum() > 0
    again = module.generative(z, dict.fromkeys(N_FEATURES))["a"]
    for k, source in enumerate(("a", *module.sources["a"])):
        expected = module.arm("a").decoder.hidden(module.map_latent(z[source], source, "a"))
        torch.testing.assert_close(again[k], expected)
    plain = make_module(cross_map=False)
    assert not [name for name, _ in plain.named_parameters() if "cross_maps" in name]
    torch.testing.assert_close(plain.map_latent(z["b"], "b", "a"), z["b"])


def test_uncoupled_pairs_do_not_exist():
    module = make_module({("a", "b"): 1.0, ("a", "keys.of"): 0.0})
    _, features, output = module(make_batch())
    assert module.coupling == {("a", "b"): (1.0, 1.0)}
    assert module.sources == {"a": ("b",), "b": ("a",), "keys.of": ()}
    assert {name: len(x) for name, x in features.items()} == {"a": 2, "b": 2, "keys.of": 1}
    assert [name for name in output.extra_metrics if name.startswith("coupling")] == ["coupling_a_b"]


@pytest.mark.parametrize("loss", COUPLING_LOSSES)
@pytest.mark.parametrize("weights", [(3.0, 0.5), (0.0, 1.0), (1.0, 0.0)])
def test_directional_weights_are_stopped_gradients(loss, weights):
    """Weights (w_a, w_b) of a pair give the gradients of w_a C(a, sg[b]) + w_b C(sg[a], b)."""
    torch.manual_seed(0)
    arms = dict.fromkeys(N_FEATURES, ArmConfig(dropout=0.0, hidden=(8,)))
    module, batch = CoupledModule(N_FEATURES, 2, arms, {("b", "a"): weights[::-1]}, loss), make_batch()
    latents, _, output = module(batch)
    a, b = latents["a"], latents["b"]
    present = batch["a"].present, batch["b"].present
    coupling = COUPLING_LOSSES[loss]
    directed = weights[0] * coupling(a, b.detach(), *present) + weights[1] * coupling(a.detach(), b, *present)
    uncoupled = CoupledModule(N_FEATURES, 2, arms, {("a", "b"): 1e-30}, loss)
    uncoupled.load_state_dict(module.state_dict())
    reconstruction = uncoupled.loss(
        batch, latents, uncoupled.generative(latents, dict.fromkeys(latents))
    ).loss
    value = output.extra_metrics["coupling_a_b"].item()
    assert value == pytest.approx(coupling(a, b, *present).item())
    assert output.loss.item() == pytest.approx(reconstruction.item() + sum(weights) / 2 * value, rel=1e-5)
    found, expected = (
        torch.autograd.grad(x, (a, b), retain_graph=True) for x in (output.loss, directed + reconstruction)
    )
    for x, y in zip(found, expected, strict=True):
        torch.testing.assert_close(x, y)


def test_values_behind_the_mask_have_no_influence():
    module, batch = make_module(), make_batch()
    # The data floor leaves zeros behind the mask; encoders are the only readers of values without a mask.
    corrupted = {
        name: x._replace(values=torch.where(x.present[:, None] > 0, x.values, 1e6))
        for name, x in batch.items()
    }
    losses = [module.train()(data)[2].loss for data in (batch, corrupted)]
    grads = [gradients(module, loss) for loss in losses]
    assert torch.equal(*losses)
    for name in grads[0]:
        torch.testing.assert_close(grads[0][name], grads[1][name], rtol=0, atol=0)


def test_a_batch_without_pairs_or_without_a_modality_has_finite_gradients():
    module, batch = make_module(), make_batch()
    batch["b"] = batch["b"].map(torch.zeros_like)
    grads = gradients(module, module(batch)[2].loss)
    assert all(grad is None or grad.isfinite().all() for grad in grads.values())
    assert all(grad is None or not grad.any() for name, grad in grads.items() if name.startswith("_arms.1."))


def test_every_cell_trains_its_own_arm():
    module, batch = make_module(), make_batch(gaps=False)
    alone = (torch.arange(30) < 10).float()
    batch["b"] = Observation(torch.zeros(30, 4), torch.zeros(30, 1), torch.zeros(30))
    batch["a"] = batch["a"]._replace(present=alone, observed=alone[:, None])
    latents, _, output = module(batch)
    expected = (module.arm("a").decode(latents["a"]) - batch["a"].values)[:10].square().mean()
    assert output.extra_metrics["a_from_a"].item() == pytest.approx(expected.item(), rel=1e-6)


def test_names_of_modalities_are_free():
    names = {"keys": 3, "type": 3, "a.b": 3}
    module = CoupledModule(names, 2, dict.fromkeys(names, ArmConfig()), {("keys", "type"): 1.0})
    assert module.arm("type").encoder is not module.arm("keys").encoder
