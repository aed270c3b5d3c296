"""The networks that arms are made of.

All of them take tensors of shape ``(..., n_cells, n)``. Where their parameters have a leading dimension of members,
:func:`scvi_cae.module.stack`, so must the tensors: then many models compute in one call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from ._reduce import cell_sum

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
}


class Linear(nn.Linear):
    """A linear layer whose parameters may have a leading dimension of members."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(..., n_cells, n_in)`` to ``(..., n_cells, n_out)``."""
        if self.weight.dim() == 2:
            return F.linear(x, self.weight, self.bias)
        if self.bias is None:
            return x @ self.weight.mT
        return torch.baddbmm(self.bias.unsqueeze(-2), x, self.weight.mT)


class Encoder(nn.Module):
    r"""A linear map plus a nonlinear correction: :math:`f(x) = A x + \mathrm{MLP}(x)`.

    With few cells the linear map carries most of what can be learnt (ridge regression is hard to beat on
    Patch-seq), and the multilayer perceptron adds what is not linear. Both read the input in one product.

    Parameters
    ----------
    n_in
        Number of features.
    hidden
        Widths of the hidden layers; none leaves the linear map alone.
    n_latent
        Number of outputs.
    activation
        One of ``ACTIVATIONS``.
    linear
        Whether to add the linear map :math:`A` (without bias: the perceptron's last layer has one).
    bias
        Whether the perceptron's last layer has a bias.
    """

    def __init__(
        self, n_in: int, hidden: Sequence[int], n_latent: int, activation: str, linear: bool, bias: bool
    ) -> None:
        super().__init__()
        self.n_skipped = n_latent if linear and hidden else 0
        widths = [n_in, *hidden]
        self.layers = nn.ModuleList(
            Linear(n, m, bias=i > 0 or not self.n_skipped)
            for i, (n, m) in enumerate(zip(widths[:-1], widths[1:], strict=True))
        )
        if self.n_skipped:
            # The rows of A stand below those of the first layer, whose bias they do not share.
            self.layers[0] = Linear(n_in, hidden[0] + n_latent, bias=False)
            self.first_bias = nn.Parameter(torch.empty(hidden[0]).uniform_(-(n_in**-0.5), n_in**-0.5))
        self.layers.append(Linear(widths[-1], n_latent, bias=bias))
        self.activation = ACTIVATIONS[activation]()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(..., n_cells, n_in)`` to ``(..., n_cells, n_latent)``."""
        *hidden, last = self.layers
        skipped = None
        for layer in hidden:
            x = layer(x)
            if skipped is None and self.n_skipped:
                x, skipped = x[..., : -self.n_skipped], x[..., -self.n_skipped :]
                x = x + self.first_bias.unsqueeze(-2)
            x = self.activation(x)
        x = last(x)
        return x if skipped is None else x + skipped


class Decoder(nn.Module):
    r"""The mirror of :class:`Encoder`: :math:`f(z) = A z + \mathrm{MLP}(z)`, from latents to features.

    It has two parts: :meth:`features`, the inputs of the last layer, and the last layer, :meth:`readout`. The last
    layer is by far the largest; a squared error can do without its output.

    Parameters
    ----------
    n_latent
        Number of inputs.
    hidden
        Widths of the hidden layers, from the latent; none leaves the linear map alone.
    n_out
        Number of features.
    activation
        One of ``ACTIVATIONS``.
    linear
        Whether to add the linear map :math:`A`.
    dropout
        Probability of dropping a unit of the last hidden layer while training.
    nonnegative
        Whether outputs are rectified.
    """

    def __init__(
        self,
        n_latent: int,
        hidden: Sequence[int],
        n_out: int,
        activation: str,
        linear: bool,
        dropout: float,
        nonnegative: bool,
    ) -> None:
        super().__init__()
        widths = [n_latent, *hidden]
        self.layers = nn.ModuleList(Linear(n, m) for n, m in zip(widths[:-1], widths[1:], strict=True))
        self.skips = bool(linear and hidden)
        self.last = Linear(widths[-1] + (n_latent if self.skips else 0), n_out)
        with torch.no_grad():
            # As for two layers side by side: each is initialised by its own number of inputs.
            for columns in self.last.weight.split(
                [widths[-1], n_latent] if self.skips else [widths[-1]], dim=1
            ):
                nn.init.uniform_(columns, -(columns.shape[1] ** -0.5), columns.shape[1] ** -0.5)
            nn.init.uniform_(self.last.bias, -(widths[-1] ** -0.5), widths[-1] ** -0.5)
        self.activation = ACTIVATIONS[activation]()
        self.dropout = Dropout(dropout)
        self.nonnegative = nonnegative

    def features(self, z: torch.Tensor) -> torch.Tensor:
        """Map ``(..., n_cells, n_latent)`` to the inputs of the last layer."""
        h = z
        for layer in self.layers:
            h = self.activation(layer(h))
        h = self.dropout(h)
        return torch.cat([h, z], dim=-1) if self.skips else h

    def readout(self, features: torch.Tensor) -> torch.Tensor:
        """Map :meth:`features` to ``(..., n_cells, n_out)``."""
        out = self.last(features)
        return out.relu() if self.nonnegative else out

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Map ``(..., n_cells, n_latent)`` to ``(..., n_cells, n_out)``."""
        return self.readout(self.features(z))


def initialise_as_keras(layer: nn.Module) -> None:
    """Initialise a linear layer as Keras does; leave other modules alone."""
    if isinstance(layer, nn.Linear):
        nn.init.xavier_uniform_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


class RandomStreams(nn.Module):
    """What draws random numbers: from the streams it is given, or else from torch's global one.

    A stream belongs to one member, so that a model trained among others draws what it would alone.

    Attributes
    ----------
    streams
        One generator for each member, on the device of the data; ``None`` for torch's own.
    """

    streams: Sequence[torch.Generator] | None = None

    def members(self, x: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Generator | None]]:
        """Each member's part of ``(..., n_cells, n)`` values, and the stream it draws from."""
        if x.dim() == 2:
            yield x, self.streams[0] if self.streams else None
        else:
            streams: Sequence[torch.Generator | None] = self.streams or [None] * len(x)
            yield from zip(x, streams, strict=True)


class Dropout(RandomStreams):
    """Set entries to zero at random while training, and scale the others up.

    torch draws a Bernoulli variable for each entry, which on a CPU takes longer than the products of a small network;
    here each entry gets 16 random bits, four entries from one draw. Probabilities are rounded to 1/65,536.

    Parameters
    ----------
    probability
        Probability of dropping an entry.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.kept = round(65_536 * (1 - probability))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Drop entries of ``(..., n_cells, n)``."""
        if not self.training or self.kept == 65_536:
            return x
        with torch.no_grad():
            mask = torch.empty_like(x)
            # Member by member, whose values fit into a core's cache.
            for member, stream in self.members(mask):
                self._draw(member, stream)
        return mask * x if x.requires_grad else mask.mul_(x)

    def _draw(self, mask: torch.Tensor, stream: torch.Generator | None) -> None:
        """Fill a mask with 0 where an entry is dropped, and else with what keeps the mean."""
        words = torch.empty(-(-mask.numel() // 4), dtype=torch.int64, device=mask.device)
        words.random_(-(2**63), None, generator=stream)
        bits = words.view(torch.int16)[: mask.numel()].view(mask.shape)
        torch.lt(bits, self.kept - 32_768, out=mask).mul_(65_536 / self.kept)


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
        self.noise_streams = RandomStreams()
        self.dropout = Dropout(dropout)
        self.register_buffer("noise_sd", torch.full((n_features,), float(noise)))

    def fit(self, scale: torch.Tensor) -> None:
        """Set the scale of each feature's noise, ``(n_features,)``."""
        self.noise_sd.copy_(self.noise * scale)

    def forward(self, values: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
        """Corrupt observed values only; a missing one stays at zero."""
        if self.training and self.noise > 0:
            noise = torch.empty_like(values)
            for member, stream in self.noise_streams.members(noise):
                member.normal_(generator=stream)
            values = values + self.noise_sd.unsqueeze(-2) * noise * observed
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
        """Normalise ``(..., n_cells, n_latent)`` latents; ``present`` ``(..., n_cells)`` are the statistics' cells."""
        if not self.training:
            return (z - self.running_mean.unsqueeze(-2)) * torch.rsqrt(self.running_var + self.eps).unsqueeze(
                -2
            )
        present = present.unsqueeze(-1)
        n = cell_sum(present)
        weight = present / n.clamp(min=1)
        mean = cell_sum(z * weight)
        centred = z - mean
        var = cell_sum(centred.square() * weight)
        with torch.no_grad():
            # A batch with fewer than two cells of the modality says nothing about its spread.
            momentum = self.momentum * (n > 1).squeeze(-2)
            self.running_mean.lerp_(mean.squeeze(-2), momentum)
            self.running_var.lerp_(var.squeeze(-2), momentum)
        return centred * torch.rsqrt(var + self.eps)
