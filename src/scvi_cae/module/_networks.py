"""The layers that arms are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
}


class SkipMLP(nn.Module):
    r"""A linear map plus a nonlinear correction: :math:`f(x) = A x + \mathrm{MLP}(x)`.

    With few cells the linear map carries most of what can be learnt (ridge regression is hard to beat on
    Patch-seq), and the multilayer perceptron adds what is not linear.

    Parameters
    ----------
    n_in, n_out
        Number of inputs and outputs.
    hidden
        Widths of the hidden layers; none leaves the linear map alone.
    activation
        One of ``"elu"``, ``"gelu"``, ``"relu"``, ``"silu"``.
    linear
        Whether to add the linear map :math:`A` (without bias: the perceptron's last layer has one).
    bias
        Whether the perceptron's last layer has a bias.
    dropout
        Probability of dropping a unit of the last hidden layer while training.
    nonnegative
        Whether outputs are rectified.
    """

    def __init__(
        self,
        n_in: int,
        hidden: Sequence[int],
        n_out: int,
        activation: str,
        linear: bool,
        *,
        bias: bool = True,
        dropout: float = 0.0,
        nonnegative: bool = False,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = n_in
        for n_hidden in hidden:
            layers += [nn.Linear(width, n_hidden), ACTIVATIONS[activation]()]
            width = n_hidden
        if dropout:
            layers.append(nn.Dropout(dropout))
        layers.append(nn.Linear(width, n_out, bias=bias))
        self.mlp = nn.Sequential(*layers)
        self.linear = nn.Linear(n_in, n_out, bias=False) if linear and hidden else None
        self.nonnegative = nonnegative

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(..., n_in)`` to ``(..., n_out)``."""
        out = self.mlp(x)
        if self.linear is not None:
            out = out + self.linear(x)
        return out.relu() if self.nonnegative else out


def initialise_as_keras(layer: nn.Module) -> None:
    """Initialise a linear layer as Keras does; leave other modules alone."""
    if isinstance(layer, nn.Linear):
        nn.init.xavier_uniform_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


class Augmentation(nn.Module):
    """Corrupt an arm's input while training: Gaussian noise, then dropout.

    Parameters
    ----------
    n_features
        Number of features.
    noise
        Standard deviation of the noise, relative to the scale given to :meth:`fit`; 1 before.
    dropout
        Probability of setting a feature of a cell to zero; the others are scaled by ``1 / (1 - dropout)``.
    """

    noise_sd: torch.Tensor

    def __init__(self, n_features: int, noise: float, dropout: float) -> None:
        super().__init__()
        self.noise = noise
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("noise_sd", torch.full((n_features,), float(noise)))

    def fit(self, scale: np.ndarray) -> None:
        """Set the scale of each feature's noise, ``(n_features,)``."""
        self.noise_sd.copy_(torch.from_numpy(self.noise * scale))

    def forward(self, values: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
        """Corrupt observed values only; a missing one stays at zero."""
        if self.training and self.noise > 0:
            values = values + self.noise_sd * torch.randn_like(values) * observed
        return self.dropout(values)


class LatentNorm(nn.Module):
    """Batch normalisation of a latent, without scale and shift, over the cells that have the modality.

    :class:`torch.nn.BatchNorm1d` has no mask: cells without the modality would enter its statistics.

    Parameters
    ----------
    n_latent
        Number of latent dimensions.
    momentum
        Weight of the newest batch in the running statistics.
    eps
        Added to the variance.
    """

    running_mean: torch.Tensor
    running_var: torch.Tensor

    def __init__(self, n_latent: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum = momentum
        self.eps = eps
        self.register_buffer("running_mean", torch.zeros(n_latent))
        self.register_buffer("running_var", torch.ones(n_latent))

    def forward(self, z: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Normalise ``(n_cells, n_latent)`` latents; ``present`` ``(n_cells,)`` selects the statistics' cells."""
        if not self.training:
            return (z - self.running_mean) * torch.rsqrt(self.running_var + self.eps)
        weight = present[:, None] / present.sum().clamp(min=1)
        mean = (z * weight).sum(0)
        var = ((z - mean).square() * weight).sum(0)
        with torch.no_grad():
            # A batch with fewer than two cells of the modality says nothing about its spread.
            momentum = self.momentum * (present.sum() > 1)
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(var, momentum)
        return (z - mean) * torch.rsqrt(var + self.eps)
