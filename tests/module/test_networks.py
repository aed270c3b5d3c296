from __future__ import annotations

import copy

import pytest
import torch

from scvi_cae.module._networks import Augmentation, Decoder, Dropout, Encoder, LatentNorm, RandomStreams


def encoder(n_in=4, hidden=(6, 5), n_latent=3, activation="gelu", linear=True, bias=True):
    return Encoder(n_in, hidden, n_latent, activation, linear, bias)


def decoder(
    n_latent=3, hidden=(5, 6), n_out=4, activation="gelu", linear=True, dropout=0.0, nonnegative=False
):
    return Decoder(n_latent, hidden, n_out, activation, linear, dropout, nonnegative)


def test_linear_path_is_added_to_the_perceptron():
    x, z = torch.randn(7, 4), torch.randn(7, 3)
    with_path, without = encoder(), encoder(linear=False)
    rows, path = with_path.layers[0].weight.split([6, 3])
    without.load_state_dict(
        {
            **{k: v for k, v in with_path.state_dict().items() if k != "first_bias"},
            "layers.0.weight": rows,
            "layers.0.bias": with_path.first_bias,
        }
    )
    torch.testing.assert_close(with_path(x), without(x) + x @ path.T)
    with_path, without = decoder(), decoder(linear=False)
    columns, path = with_path.last.weight.split([6, 3], dim=1)
    without.load_state_dict({**with_path.state_dict(), "last.weight": columns})
    torch.testing.assert_close(with_path(z), without(z) + z @ path.T)


@pytest.mark.parametrize(
    ("hidden", "linear", "n_parameters"),
    [((), True, 15), ((), False, 15), ((6,), False, 51), ((6,), True, 63)],
)
def test_number_of_parameters(hidden, linear, n_parameters):
    assert sum(p.numel() for p in encoder(hidden=hidden, linear=linear).parameters()) == n_parameters
    mirrored = decoder(n_latent=4, hidden=hidden, n_out=3, linear=linear)
    assert sum(p.numel() for p in mirrored.parameters()) == n_parameters


def test_layers_start_as_torch_s_do():
    torch.manual_seed(0)
    weight, bias = decoder(n_latent=4, hidden=(100,), n_out=2000).last.parameters()
    assert 0.095 < weight[:, :100].abs().max() <= 0.1
    assert 0.49 < weight[:, 100:].abs().max() <= 0.5
    assert 0.095 < bias.abs().max() <= 0.1
    network = encoder(n_in=400, hidden=(1000,))
    assert 0.0499 < network.layers[0].weight.abs().max() <= 0.05
    assert 0.049 < network.first_bias.abs().max() <= 0.05


def test_a_leading_dimension_of_members_is_one_network_each():
    for network in (encoder(), encoder(linear=False, hidden=()), decoder(nonnegative=True)):
        members = [copy.deepcopy(network) for _ in range(3)]
        for member in members:
            for parameter in member.parameters():
                torch.nn.init.normal_(parameter)
        for name, _ in list(network.named_parameters()):
            parent, _, leaf = name.rpartition(".")
            rows = torch.stack([member.get_parameter(name) for member in members])
            setattr(network.get_submodule(parent), leaf, torch.nn.Parameter(rows))
        n = 4 if isinstance(network, Encoder) else 3
        x = torch.randn(3, 7, n)
        expected = torch.stack([member(part) for member, part in zip(members, x, strict=True)])
        torch.testing.assert_close(network(x), expected)


def test_augmentation_leaves_missing_values_and_inference_alone():
    augmentation = Augmentation(2, noise=1.0, dropout=0.0)
    values, observed = torch.zeros(100, 2), torch.tensor([[1.0, 0.0]]).expand(100, 2)
    corrupted = augmentation(values, observed)
    assert (corrupted[:, 1] == 0).all()
    assert 0.7 < corrupted[:, 0].std() < 1.3
    assert torch.equal(augmentation.eval()(values, observed), values)


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.8])
def test_dropout_keeps_the_mean(probability):
    torch.manual_seed(0)
    dropped = Dropout(probability)(torch.ones(500, 201))
    kept = dropped != 0
    # 100,500 entries: a standard deviation of 0.0016 at most.
    assert abs(kept.float().mean() - (1 - probability)) < 0.008
    assert dropped[kept].unique().item() == pytest.approx(1 / (1 - probability), rel=1e-4)
    # No entry, nor any position within the 64 bits of a draw, is preferred.
    assert (kept.float().mean(0) - (1 - probability)).abs().max() < 0.12
    assert (kept.flatten()[:100_000].view(-1, 4).float().mean(0) - (1 - probability)).abs().max() < 0.016


def test_dropout_of_nothing_and_in_evaluation():
    x = torch.randn(5, 3)
    assert torch.equal(Dropout(0.0)(x), x)
    assert torch.equal(Dropout(0.5).eval()(x), x)


def test_dropout_passes_its_gradient_to_what_it_kept():
    x = torch.randn(20, 7, requires_grad=True)
    dropped = Dropout(0.5)(x)
    dropped.sum().backward()
    torch.testing.assert_close(x.grad, torch.where(dropped == 0, 0.0, 2.0))


def test_each_member_draws_from_its_own_stream():
    """Together with others, a member draws what it draws alone."""
    x = torch.randn(3, 11, 7)
    together, alone = Augmentation(7, noise=0.5, dropout=0.4), Augmentation(7, noise=0.5, dropout=0.4)
    streams = [torch.Generator().manual_seed(seed) for seed in range(3)]
    for module in together.modules():
        if isinstance(module, RandomStreams):
            module.streams = streams
    together.noise_sd = together.noise_sd.expand(3, 7)
    first, second = (together(x, torch.ones(3, 11, 1)) for _ in range(2))
    assert not torch.equal(first, second)
    for seed in range(3):
        stream = torch.Generator().manual_seed(seed)
        for module in alone.modules():
            if isinstance(module, RandomStreams):
                module.streams = [stream]
        for expected in (first, second):
            torch.testing.assert_close(alone(x[seed], torch.ones(11, 1)), expected[seed])


def test_latent_norm_is_batch_norm_of_the_present_cells():
    z, present = torch.randn(20, 3), (torch.arange(20) < 12).float()
    norm, reference = LatentNorm(3), torch.nn.BatchNorm1d(3, affine=False)
    torch.testing.assert_close(norm(z, present)[:12], reference(z[:12]))
    torch.testing.assert_close(norm.running_mean, reference.running_mean)
    # torch.nn.BatchNorm1d tracks the unbiased variance but normalises by the biased one; here both are biased.
    torch.testing.assert_close(norm.running_var - 0.9, (reference.running_var - 0.9) * 11 / 12)


def test_latent_norm_ignores_absent_cells():
    z, present = torch.randn(10, 3), (torch.arange(10) < 6).float()
    changed = torch.where(present[:, None] > 0, z, 1e9)
    a, b = LatentNorm(3), LatentNorm(3)
    assert torch.equal(a(z, present)[:6], b(changed, present)[:6])
    assert torch.equal(a.running_var, b.running_var)


@pytest.mark.parametrize("n_present", [0, 1])
def test_latent_norm_of_hardly_any_cell_keeps_its_statistics(n_present):
    norm, present = LatentNorm(3), (torch.arange(5) < n_present).float()
    assert norm(torch.randn(5, 3), present).isfinite().all()
    assert torch.equal(norm.running_mean, torch.zeros(3))
    assert torch.equal(norm.running_var, torch.ones(3))


def test_options_of_the_last_layer():
    assert encoder(bias=False).layers[-1].bias is None
    network = decoder(dropout=0.5, nonnegative=True)
    z = torch.randn(200, 3)
    dropped = network(z)
    assert (dropped >= 0).all()
    assert not torch.equal(network(z), dropped)
    assert torch.equal(network.eval()(z), network(z))


@pytest.mark.parametrize("scale_missing", [True, False])
def test_observed_features_make_up_for_missing_ones(scale_missing):
    augmentation = Augmentation(4, noise=0.0, dropout=0.5, scale_missing=scale_missing).eval()
    observed = torch.tensor([[1.0, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]])
    values = observed * 3
    factors = [1, 2, 1] if scale_missing else [1, 1, 1]
    assert torch.equal(augmentation(values, observed), values * torch.tensor(factors)[:, None])
    # A cell has all of the modality, or none.
    assert torch.equal(augmentation(values, observed[:, :1]), values)
