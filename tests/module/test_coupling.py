from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scvi_cae.module import (
    COUPLING_LOSSES,
    covariance,
    full_covariance_coupling,
    log_determinant_coupling,
    min_variance_coupling,
    min_variance_coupling_2019,
    mse_coupling,
    smallest_variance,
)
from scvi_cae.module._coupling import VARIANCE_FLOOR

ZI = torch.tensor([[0.0, 0], [1, 0], [0, 2], [1, 2], [3, 1]], dtype=torch.float64)
ZJ = torch.tensor([[0.0, 1], [1, 1], [0, 3], [2, 2], [2, 0]], dtype=torch.float64)
ALL = torch.ones(5, dtype=torch.bool)


def reference(zi: np.ndarray, zj: np.ndarray, pairs: np.ndarray) -> float:
    """The published formula by a singular value decomposition, in numpy."""
    distance = ((zi - zj) ** 2).sum(1)[pairs].mean()
    variances = [
        np.linalg.svd(z - z.mean(0), compute_uv=False)[-1] ** 2 / (len(z) - 1) for z in (zi, zj[pairs])
    ]
    return distance / max(min(variances), 1e-2)


def test_published_values():
    assert smallest_variance(ZI, ALL).item() == pytest.approx(1.0)
    assert smallest_variance(ZJ, ALL).item() == pytest.approx(0.62798467)
    assert min_variance_coupling(ZI, ZJ, ALL, ALL).item() == pytest.approx(1.91087466)


def test_floor_is_active_for_shrunken_latents():
    assert min_variance_coupling(0.01 * ZI, 0.01 * ZJ, ALL, ALL).item() == pytest.approx(0.012)


@given(st.integers(0, 2**32 - 1), st.integers(6, 40), st.integers(1, 5))
def test_equals_the_published_formula(seed, n, d):
    rng = np.random.default_rng(seed)
    zi, zj, pairs = rng.normal(size=(n, d)), rng.normal(size=(n, d)), rng.random(n) < 0.7
    pairs[: d + 2] = True
    everyone = torch.ones(n, dtype=torch.bool)
    loss = min_variance_coupling(
        torch.from_numpy(zi), torch.from_numpy(zj), everyone, torch.from_numpy(pairs)
    )
    assert loss.item() == pytest.approx(reference(zi, zj, pairs), rel=1e-8)


@given(st.integers(0, 2**32 - 1), st.floats(0.5, 1e3))
def test_shrinking_or_growing_the_latents_changes_nothing(seed, scale):
    zi, zj = torch.from_numpy(np.random.default_rng(seed).normal(size=(2, 30, 3)))
    everyone = torch.ones(30, dtype=torch.bool)
    loss = min_variance_coupling(zi, zj, everyone, everyone)
    assert min_variance_coupling(scale * zi, scale * zj, everyone, everyone).item() == pytest.approx(
        loss.item()
    )


def test_gradient_flows_through_distance_and_variance():
    zi, zj = ZI.clone().requires_grad_(), ZJ.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: min_variance_coupling(a, b, ALL, ALL), (zi, zj))
    min_variance_coupling(zi, zj, ALL, ALL).backward()
    # Scaling both latents alike leaves the loss alone: the gradient is orthogonal to that direction.
    assert ((zi.grad * ZI).sum() + (zj.grad * ZJ).sum()).item() == pytest.approx(0, abs=1e-12)


def test_unpaired_cells_count_in_the_variance_only():
    present_j = torch.tensor([True, True, True, False, False])
    loss = min_variance_coupling(ZI, ZJ, ALL, present_j)
    distance = (ZI - ZJ)[:3].square().sum(1).mean()
    variance = min(smallest_variance(ZI, ALL), smallest_variance(ZJ[:3], ALL[:3]))
    assert loss.item() == pytest.approx((distance / max(variance, VARIANCE_FLOOR)).item())


@pytest.mark.parametrize("value", [1e6, -1e6])
def test_cells_without_a_modality_have_no_influence(value):
    present = torch.tensor([True, True, True, True, False])
    zi = ZI.clone().requires_grad_()
    other = torch.where(present[:, None], ZI, value).requires_grad_()
    loss, changed = (min_variance_coupling(z, ZJ, present, ALL) for z in (zi, other))
    assert torch.equal(loss, changed)
    loss.backward()
    assert torch.equal(zi.grad[4], torch.zeros(2, dtype=torch.float64))


def test_no_pairs_give_zero_loss_and_zero_gradient():
    zi = ZI.clone().requires_grad_()
    loss = min_variance_coupling(zi, ZJ, ALL, torch.zeros(5, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(zi.grad, torch.zeros_like(ZI))


def test_latents_that_are_not_finite_meet_the_floor():
    assert smallest_variance(torch.full((4, 2), torch.inf), ALL[:4]).item() == 0


def test_identical_latents_have_a_finite_gradient():
    zi = torch.ones(5, 2, requires_grad=True)
    min_variance_coupling(zi, ZJ.float(), ALL, ALL).backward()
    assert zi.grad.isfinite().all()


def draw(seed: int, n: int, d: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    zi, zj = torch.from_numpy(np.random.default_rng(seed).normal(size=(2, n, d)))
    return zi, zj, torch.ones(n, dtype=torch.bool)


@given(st.integers(0, 2**32 - 1), st.integers(8, 40), st.integers(1, 5))
def test_2019_forms(seed, n, d):
    """Against numpy: the mean over pairs and dimensions, one term for each modality, Mahalanobis distances."""
    zi, zj, everyone = draw(seed, n, d)
    a, b = zi.numpy(), zj.numpy()
    error = np.mean((a - b) ** 2)
    assert mse_coupling(zi, zj, everyone, everyone).item() == pytest.approx(error)
    covariances = [np.cov(z, rowvar=False).reshape(d, d) for z in (a, b)]
    two_terms = sum(error / max(np.linalg.eigvalsh(c)[0], 1e-2) for c in covariances)
    assert min_variance_coupling_2019(zi, zj, everyone, everyone).item() == pytest.approx(two_terms)
    mahalanobis = [np.mean([x @ np.linalg.inv(c + 1e-3 * np.eye(d)) @ x for x in a - b]) for c in covariances]
    assert full_covariance_coupling(zi, zj, everyone, everyone).item() == pytest.approx(np.mean(mahalanobis))


def test_full_covariance_does_not_care_for_the_scale_of_a_direction():
    zi, zj, everyone = draw(0, 200, 3)
    stretched = torch.tensor([30.0, 3.0, 100.0], dtype=torch.float64)
    loss = full_covariance_coupling(100 * zi, 100 * zj, everyone, everyone)
    changed = full_covariance_coupling(stretched * zi, stretched * zj, everyone, everyone)
    assert changed.item() == pytest.approx(loss.item(), rel=1e-3)


@pytest.mark.parametrize("name", COUPLING_LOSSES)
def test_every_coupling_is_symmetric_and_has_a_right_gradient(name):
    loss = COUPLING_LOSSES[name]
    zi, zj, everyone = draw(1, 12, 3)
    some = torch.arange(12) < 9
    one, other = loss(zi, zj, everyone, some), loss(zj, zi, some, everyone)
    assert one.item() == pytest.approx(other.item())
    variables = zi.requires_grad_(), zj.requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: loss(a, b, everyone, some), variables)


@pytest.mark.parametrize("name", COUPLING_LOSSES)
def test_every_coupling_looks_at_the_cells_it_should(name):
    """Unpaired cells do not count in distances, absent ones nowhere; no pairs give zero, with zero gradient."""
    loss = COUPLING_LOSSES[name]
    zi, zj, everyone = draw(2, 20, 2)
    present = torch.arange(20) < 14
    z = torch.where(present[:, None], zi, 1e5).requires_grad_()
    value = loss(z, zj, present, everyone)
    assert value.item() == pytest.approx(loss(zi, zj, present, everyone).item())
    value.backward()
    assert not z.grad[14:].any()
    nobody = torch.zeros(20, dtype=torch.bool)
    z = zi.clone().requires_grad_()
    nothing = loss(z, zj, everyone, nobody)
    nothing.backward()
    assert nothing.item() == 0
    assert not z.grad.any()


def test_covariance_is_numpy_s():
    zi, _, everyone = draw(3, 30, 4)
    np.testing.assert_allclose(covariance(zi, everyone), np.cov(zi, rowvar=False))


def test_log_determinant_is_about_how_much_each_direction_is_shared():
    """The sum over directions of log(1 - r) + 0.8 log(1 + r)."""
    rng = np.random.default_rng(0)
    n, agreement = 200_000, np.array([0.9, 0.5, 0.0])
    shared = rng.normal(size=(n, 3)) * np.sqrt(agreement)
    a, b = (shared + rng.normal(size=(n, 3)) * np.sqrt(1 - agreement) for _ in range(2))
    mixing = rng.normal(size=(3, 3)) + 3 * np.eye(3)
    everyone = torch.ones(n, dtype=torch.bool)
    expected = np.log(1 - agreement).sum() + 0.8 * np.log(1 + agreement).sum()
    for zi, zj in ((a, b), (a @ mixing, b @ mixing), (10 * a, 10 * b)):
        loss = log_determinant_coupling(torch.from_numpy(zi), torch.from_numpy(zj), everyone, everyone)
        assert loss.item() == pytest.approx(expected, abs=0.02)


def test_log_determinant_asks_more_of_directions_that_agree():
    """The force on a latent, per unit of its difference, in a direction of little and in one of much noise."""
    zi, noise, everyone = draw(4, 5000, 2)
    sd = torch.tensor([0.3, 3.0], dtype=torch.float64)
    zj = (zi + sd * noise) / (1 + sd**2).sqrt()
    zj.requires_grad_()
    log_determinant_coupling(zi, zj, everyone, everyone).backward()
    difference = (zi - zj).detach()
    force = -(zj.grad * difference).sum(0) / difference.square().sum(0)
    assert force[0] > 10 * force[1].abs()


def test_log_determinant_sees_latents_that_lie_apart():
    zi, noise, everyone = draw(5, 500, 2)
    zj = zi + 0.5 * noise
    loss = [log_determinant_coupling(zi, zj + shift, everyone, everyone).item() for shift in (0, 1, 3)]
    assert loss[0] < loss[1] < loss[2]


@pytest.mark.parametrize("n_pairs", [1, 2, 3])
def test_few_pairs_do_not_pass_for_agreement(n_pairs):
    """So few pairs differ in few directions; they do not count as agreeing in the others."""
    zi, zj, _ = draw(6, 500, 4)
    # Each modality has half of the cells; they share the pairs.
    first, second = torch.arange(500) < 250, torch.arange(500) >= 250 - n_pairs
    loss = log_determinant_coupling(zi.requires_grad_(), zj, first, second)
    loss.backward()
    assert loss.item() > -2
    assert zi.grad.isfinite().all()
