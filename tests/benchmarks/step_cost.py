"""Cost of a training step of the package's module, relative to a straightforward torch implementation.

    python tests/benchmarks/step_cost.py [--repeats 7] [--steps 100] [--threads 1]

The straightforward implementation has the same layers and losses, those of an earlier default recipe
(minimum-variance coupling, no cross-modal map): an encoder and a decoder for each modality, each with one
hidden layer of 64 units and its own linear path, ``torch.nn.Dropout``, one pass of a decoder for each of the four predictions,
AdamW without fusion. Minibatches have 200 cells, 1,286 + 29 features and 10 dimensions. Both must first have
equal losses for equal weights and the same dropped entries. They are then timed in turn.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import nn

from scvi_cae.model._defaults import default_arm
from scvi_cae.module import ArmConfig, CoupledModule, Observation

N_FEATURES = {"rna": 1286, "ephys": 29}
N_LATENT, N_CELLS = 10, 200


class Plain(nn.Module):
    """A perceptron with one hidden layer, plus a linear path."""

    def __init__(self, n_in: int, n_out: int, bias: bool) -> None:
        super().__init__()
        self.hidden, self.last = nn.Linear(n_in, 64), nn.Linear(64, n_out, bias=bias)
        self.linear = nn.Linear(n_in, n_out, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Both paths."""
        return self.last(nn.functional.gelu(self.hidden(x))) + self.linear(x)


class PlainCoupledAE(nn.Module):
    """Two arms and their coupling, written directly."""

    def __init__(self) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict({m: Plain(n, N_LATENT, False) for m, n in N_FEATURES.items()})
        self.decoders = nn.ModuleDict({m: Plain(N_LATENT, n, True) for m, n in N_FEATURES.items()})
        self.norms = nn.ModuleDict({m: nn.BatchNorm1d(N_LATENT, affine=False) for m in N_FEATURES})
        self.dropouts = nn.ModuleDict({m: nn.Dropout(default_arm(n).dropout) for m, n in N_FEATURES.items()})
        self.noise = {m: default_arm(n).noise for m, n in N_FEATURES.items()}

    def copy(self, module: CoupledModule) -> None:
        """Copy the weights of the package's module."""
        with torch.no_grad():
            for m in N_FEATURES:
                arm, encoder, decoder = module.arm(m), self.encoders[m], self.decoders[m]
                encoder.hidden.weight.copy_(arm.encoder.layers[0].weight[:64])
                encoder.linear.weight.copy_(arm.encoder.layers[0].weight[64:])
                encoder.hidden.bias.copy_(arm.encoder.first_bias)
                encoder.last.weight.copy_(arm.encoder.layers[1].weight)
                decoder.hidden.load_state_dict(arm.decoder.layers[0].state_dict())
                decoder.last.weight.copy_(arm.decoder.last.weight[:, :64])
                decoder.linear.weight.copy_(arm.decoder.last.weight[:, 64:])
                decoder.last.bias.copy_(arm.decoder.last.bias)

    def forward(self, x: dict[str, torch.Tensor], present: torch.Tensor) -> torch.Tensor:
        """The loss."""
        z = {}
        for m, values in x.items():
            if self.training and self.noise[m]:
                values = values + self.noise[m] * torch.randn_like(values)
            z[m] = self.norms[m](self.encoders[m](self.dropouts[m](values)))
        loss = torch.zeros(())
        for target, values in x.items():
            for source in x:
                latent = z[source] if source == target else z[source].detach()
                error = (self.decoders[target](latent) - values).square() * present[:, None]
                loss = loss + (1.0 if source == target else 2.0) * error.sum() / (
                    present.sum() * values.shape[1]
                )
        a, b = z.values()
        variances = [torch.linalg.svdvals(s - s.mean(0))[-1] ** 2 / (len(s) - 1) for s in (a, b)]
        return loss + 0.5 * (a - b).square().sum(1).mean() / torch.minimum(*variances).clamp(min=1e-2)


def main() -> None:
    """Check, time, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    arms = {
        m: ArmConfig(
            dropout=default_arm(n).dropout,
            noise=default_arm(n).noise,
            cross_weight=2.0,
            cross_gradient=0.0,
            cross_map=False,
        )
        for m, n in N_FEATURES.items()
    }
    module = CoupledModule(N_FEATURES, N_LATENT, arms, {("rna", "ephys"): 0.5}, "min_variance").train()
    plain = PlainCoupledAE().train()
    plain.copy(module)
    x = {m: torch.randn(N_CELLS, n) for m, n in N_FEATURES.items()}
    present = torch.ones(N_CELLS)
    batch = {m: Observation(values, present[:, None], present) for m, values in x.items()}

    masks = {m: (torch.rand_like(values) < 0.5) * 2.0 for m, values in x.items()}
    for m in x:
        module.arm(m).augmentation.forward = lambda values, observed, m=m: values * masks[m]
        plain.dropouts[m].forward = lambda values, m=m: values * masks[m]
    noise, plain.noise = plain.noise, dict.fromkeys(x, 0.0)
    ours, theirs = module(batch)[2].loss.item(), plain(x, present).item()
    print(f"loss with the same entries dropped: {ours:.6f} and {theirs:.6f}")
    assert abs(ours - theirs) < 1e-4 * abs(theirs)
    plain.noise = noise
    for m in x:
        del module.arm(m).augmentation.forward, plain.dropouts[m].forward

    optimizers = {
        "package": torch.optim.AdamW(module.parameters(), lr=1e-3, fused=True),
        "straightforward": torch.optim.AdamW(plain.parameters(), lr=1e-3, foreach=False, fused=False),
    }
    losses = {"package": lambda: module(batch)[2].loss, "straightforward": lambda: plain(x, present)}

    def seconds(name: str) -> float:
        start = time.perf_counter()
        for _ in range(args.steps):
            optimizers[name].zero_grad()
            losses[name]().backward()
            optimizers[name].step()
        return (time.perf_counter() - start) / args.steps

    for name in losses:
        seconds(name)
    ratios = []
    for _ in range(args.repeats):
        a, b = seconds("package"), seconds("straightforward")
        ratios.append(a / b)
        print(
            f"package {1e3 * a:6.2f} ms/step   straightforward {1e3 * b:6.2f} ms/step   ratio {a / b:.2f}",
            flush=True,
        )
    print(f"median ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
