from __future__ import annotations

import pytest
import torch

from scvi_cae.module import COUPLING_LOSSES, ArmConfig, CoupledModule, Observation, member_state, stack

N_FEATURES = {"a": 90, "b": 7}


def member(seed: int, loss: str = "min_variance") -> CoupledModule:
    torch.manual_seed(seed)
    arms = {"a": ArmConfig(hidden=(8,), dropout=0.5), "b": ArmConfig(hidden=(5, 4), dropout=0.1, noise=0.3)}
    return CoupledModule(N_FEATURES, 3, arms, {("a", "b"): (1.0, 0.5)}, loss)


def batch(seed: int) -> dict[str, Observation]:
    """One modality measured by the cell, the other by the value."""
    generator = torch.Generator().manual_seed(seed)
    present = (torch.rand(2, 20, generator=generator) < 0.8).float()
    by_value = (torch.rand(20, 7, generator=generator) < 0.8).float() * present[1][:, None]
    a = torch.randn(20, 90, generator=generator) * present[0][:, None]
    b = torch.randn(20, 7, generator=generator) * by_value
    return {
        "a": Observation(a, present[0][:, None], present[0]),
        "b": Observation(b, by_value, by_value.amax(1)),
    }


@pytest.mark.parametrize("loss", COUPLING_LOSSES)
def test_members_compute_what_they_would_alone(loss):
    members, batches = [member(seed, loss) for seed in range(3)], [batch(seed) for seed in range(3)]
    stacked = stack(members)
    stacked.draw_from([torch.Generator().manual_seed(seed) for seed in range(3)])
    together = {
        name: Observation(
            *(torch.stack(parts) for parts in zip(*(b[name][:3] for b in batches), strict=True))
        )
        for name in N_FEATURES
    }
    latents, _, output = stacked.train()(together)
    output.loss.sum().backward()
    for i, (alone, data) in enumerate(zip(members, batches, strict=True)):
        alone.draw_from([torch.Generator().manual_seed(i)])
        z, _, expected = alone.train()(data)
        expected.loss.backward()
        torch.testing.assert_close(output.loss[i], expected.loss)
        for name, value in expected.extra_metrics.items():
            torch.testing.assert_close(output.extra_metrics[name][i], value)
        for name in N_FEATURES:
            torch.testing.assert_close(latents[name][i], z[name], rtol=1e-4, atol=1e-4)
        for (name, p), q in zip(alone.named_parameters(), stacked.parameters(), strict=True):
            torch.testing.assert_close(q.grad[i], p.grad, rtol=1e-3, atol=1e-4, msg=name)
        # Running statistics, too.
        for name, x in member_state(stacked.state_dict(), i).items():
            torch.testing.assert_close(x, alone.state_dict()[name], rtol=1e-4, atol=1e-5)


def test_members_stay_as_they_are():
    members = [member(0), member(1)]
    before = [{name: x.clone() for name, x in m.state_dict().items()} for m in members]
    for parameter in stack(members).parameters():
        torch.nn.init.zeros_(parameter)
    for m, state in zip(members, before, strict=True):
        assert all(torch.equal(x, state[name]) for name, x in m.state_dict().items())
