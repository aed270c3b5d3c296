from __future__ import annotations

import pytest
import torch

from scvi_cae.module._networks import Augmentation, LatentNorm, SkipMLP


def test_linear_path_is_added_to_the_perceptron():
    network = SkipMLP(4, (6, 5), 3, "gelu", linear=True)
    x = torch.randn(7, 4)
    torch.testing.assert_close(network(x), network.mlp(x) + x @ network.linear.weight.T)


@pytest.mark.parametrize(
    ("hidden", "linear", "n_parameters"),
    [((), True, 15), ((), False, 15), ((6,), False, 51), ((6,), True, 63)],
)
def test_number_of_parameters(hidden, linear, n_parameters):
    assert sum(p.numel() for p in SkipMLP(4, hidden, 3, "relu", linear).parameters()) == n_parameters


def test_augmentation_leaves_missing_values_and_inference_alone():
    augmentation = Augmentation(2, noise=1.0, dropout=0.0)
    values, observed = torch.zeros(100, 2), torch.tensor([[True, False]]).expand(100, 2)
    corrupted = augmentation(values, observed)
    assert (corrupted[:, 1] == 0).all()
    assert 0.7 < corrupted[:, 0].std() < 1.3
    assert torch.equal(augmentation.eval()(values, observed), values)


def test_dropout_rate():
    corrupted = Augmentation(50, noise=0.0, dropout=0.8)(
        torch.ones(200, 50), torch.ones(200, 1, dtype=torch.bool)
    )
    assert 0.17 < (corrupted != 0).float().mean() < 0.23
    assert corrupted.max().item() == pytest.approx(5.0)


def test_latent_norm_is_batch_norm_of_the_present_cells():
    z, present = torch.randn(20, 3), torch.arange(20) < 12
    norm, reference = LatentNorm(3), torch.nn.BatchNorm1d(3, affine=False)
    torch.testing.assert_close(norm(z, present)[:12], reference(z[:12]))
    torch.testing.assert_close(norm.running_mean, reference.running_mean)
    # torch.nn.BatchNorm1d tracks the unbiased variance but normalises by the biased one; here both are biased.
    torch.testing.assert_close(norm.running_var - 0.9, (reference.running_var - 0.9) * 11 / 12)


def test_latent_norm_ignores_absent_cells():
    z, present = torch.randn(10, 3), torch.arange(10) < 6
    changed = torch.where(present[:, None], z, 1e9)
    a, b = LatentNorm(3), LatentNorm(3)
    assert torch.equal(a(z, present)[:6], b(changed, present)[:6])
    assert torch.equal(a.running_var, b.running_var)


@pytest.mark.parametrize("n_present", [0, 1])
def test_latent_norm_of_hardly_any_cell_keeps_its_statistics(n_present):
    norm, present = LatentNorm(3), torch.arange(5) < n_present
    assert norm(torch.randn(5, 3), present).isfinite().all()
    assert torch.equal(norm.running_mean, torch.zeros(3))
    assert torch.equal(norm.running_var, torch.ones(3))


def test_options_of_the_last_layer():
    network = SkipMLP(4, (6, 5), 3, "relu", linear=False, bias=False, dropout=0.5, nonnegative=True)
    assert network.mlp[-1].bias is None
    x = torch.randn(200, 4)
    dropped = network(x)
    assert (dropped >= 0).all()
    assert not torch.equal(network(x), dropped)
    assert torch.equal(network.eval()(x), network(x))
