"""The networks that arms are made of.

All of them take tensors of shape ``(..., n_cells, n)``. Where their parameters have a leading dimension of members,
:func:`scvi_cae.module.stack`, so must the tensors: then many models compute in one call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

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


def batch_shift(n_batches: int, n_out: int) -> Linear | None:
    """A shift of a layer's output for each technical batch, initialised to 0; ``None`` without batches."""
    if not n_batches:
        return None
    layer = Linear(n_batches, n_out, bias=False)
    nn.init.zeros_(layer.weight)
    return layer


class Encoder(nn.Module):
    r"""A linear map plus a nonlinear correction: :math:`f(x) = A x + \mathrm{MLP}(x)`.

    With few cells the linear map carries most of what can be learnt (ridge regression is hard to beat on
    Patch-seq), and the multilayer perceptron adds the nonlinear part. Both read the input in one product.

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
    n_batches
        Number of technical batches, each of which shifts the output of the first layer.
    """

    def __init__(
        self,
        n_in: int,
        hidden: Sequence[int],
        n_latent: int,
        activation: str,
        linear: bool,
        bias: bool,
        n_batches: int = 0,
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
        self.batch_shift = batch_shift(n_batches, self.first.out_features)
        self.activation = ACTIVATIONS[activation]()

    @property
    def first(self) -> Linear:
        """The layer that reads the features."""
        return cast("Linear", self.layers[0])

    @property
    def outer(self) -> list[nn.Parameter]:
        """Parameters of the first layer."""
        modules = [self.first, *([] if self.batch_shift is None else [self.batch_shift])]
        parameters = [parameter for module in modules for parameter in module.parameters()]
        return [*parameters, *([self.first_bias] if self.n_skipped else [])]

    def forward(self, x: torch.Tensor, batch_weights: torch.Tensor | None = None) -> torch.Tensor:
        """Map ``(..., n_cells, n_in)`` and weights of technical batches to ``(..., n_cells, n_latent)``."""
        x = self.first(x)
        if self.batch_shift is not None:
            x = x + self.batch_shift(batch_weights)
        if len(self.layers) == 1:
            return x
        skipped = None
        for layer in self.layers[1:]:
            if skipped is None and self.n_skipped:
                x, skipped = x[..., : -self.n_skipped], x[..., -self.n_skipped :]
                x = x + self.first_bias.unsqueeze(-2)
            x = layer(self.activation(x))
        return x if skipped is None else x + skipped


class CrossMap(nn.Module):
    """A linear map from one modality's latents to the inputs of another's decoder, initialised as the identity.

    The parameters are its difference to the identity, which weight decay therefore shrinks towards 0.

    Parameters
    ----------
    n_latent
        Number of latent dimensions.
    """

    def __init__(self, n_latent: int) -> None:
        super().__init__()
        self.difference = Linear(n_latent, n_latent, bias=False)
        nn.init.zeros_(self.difference.weight)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Map ``(..., n_cells, n_latent)``."""
        return z + self.difference(z)


class Decoder(nn.Module):
    r"""The mirror of :class:`Encoder`: :math:`f(z) = A z + \mathrm{MLP}(z)`, from latents to features.

    It has two parts: :meth:`hidden`, which computes the inputs of the last layer, and the last layer,
    :meth:`readout`, which is by far the largest. A squared error can be computed without its output.

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
    n_batches
        Number of technical batches, each of which shifts the first hidden layer and the output.
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
        n_batches: int = 0,
    ) -> None:
        super().__init__()
        widths = [n_latent, *hidden]
        self.layers = nn.ModuleList(Linear(n, m) for n, m in zip(widths[:-1], widths[1:], strict=True))
        self.skips = bool(linear and hidden)
        self.batch_shift = batch_shift(n_batches, hidden[0]) if hidden else None
        parts = [widths[-1], *([n_latent] if self.skips else [])]
        self.last = Linear(sum(parts) + n_batches, n_out)
        with torch.no_grad():
            # As for two layers side by side: each is initialised by its own number of inputs.
            for columns in self.last.weight[:, : sum(parts)].split(parts, dim=1):
                nn.init.uniform_(columns, -(columns.shape[1] ** -0.5), columns.shape[1] ** -0.5)
            self.last.weight[:, sum(parts) :].zero_()
            nn.init.uniform_(self.last.bias, -(widths[-1] ** -0.5), widths[-1] ** -0.5)
        self.activation = ACTIVATIONS[activation]()
        self.dropout = Dropout(dropout)
        self.nonnegative = nonnegative

    def hidden(self, z: torch.Tensor, batch_weights: torch.Tensor | None = None) -> torch.Tensor:
        """Map ``(..., n_cells, n_latent)`` and weights of technical batches to the inputs of the last layer."""
        h = z
        for i, layer in enumerate(self.layers):
            h = layer(h)
            if i == 0 and self.batch_shift is not None:
                h = h + self.batch_shift(batch_weights)
            h = self.activation(h)
        h = self.dropout(h)
        parts = [h, *([z] if self.skips else []), *([] if batch_weights is None else [batch_weights])]
        return torch.cat(parts, dim=-1) if len(parts) > 1 else h

    def readout(self, hidden: torch.Tensor) -> torch.Tensor:
        """Map :meth:`hidden` to ``(..., n_cells, n_out)``."""
        out = self.last(hidden)
        return out.relu() if self.nonnegative else out

    def forward(self, z: torch.Tensor, batch_weights: torch.Tensor | None = None) -> torch.Tensor:
        """Map ``(..., n_cells, n_latent)`` and weights of technical batches to ``(..., n_cells, n_out)``."""
        return self.readout(self.hidden(z, batch_weights))


def initialise_as_keras(layer: nn.Module) -> None:
    """Initialise a linear layer as Keras does; leave other modules alone."""
    if isinstance(layer, nn.Linear):
        nn.init.xavier_uniform_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


class RandomStreams(nn.Module):
    """A module that draws random numbers from given streams, or else from torch's global generator.

    Each member has a stream of its own, so that a model trained with others draws the same numbers as alone.

    Attributes
    ----------
    streams
        One generator for each member, on the device of the data; ``None`` for torch's global generator.
    """

    streams: Sequence[torch.Generator] | None = None

    def members(self, x: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Generator | None]]:
        """Each member's part of ``(..., n_cells, n)`` values, and the stream it draws from."""
        if x.dim() == 2:
            yield x, self.streams[0] if self.streams else None
        else:
            streams: Sequence[torch.Generator | None] = self.streams or [None] * len(x)
            yield from zip(x, streams, strict=True)


class Fixable(nn.Module):
    """A module that computes differently in training, unless it is fixed.

    Attributes
    ----------
    fixed
        Whether to compute as in evaluation mode at all times.
    """

    fixed: bool = False


class Dropout(RandomStreams, Fixable):
    """Set entries to zero at random in training, and scale the others up.

    torch draws a Bernoulli variable for each entry, which on a CPU takes longer than the matrix products of a small
    network; here four entries share one draw of 64 random bits. Probabilities are rounded to 1/65,536.

    Parameters
    ----------
    probability
        Probability of dropping an entry.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability
        self.kept = round(65_536 * (1 - probability))

    @property
    def drops(self) -> bool:
        """Whether anything is ever dropped."""
        return self.kept < 65_536

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Drop entries of ``(..., n_cells, n)``."""
        if self.fixed or not self.training or not self.drops:
            return x
        with torch.no_grad():
            mask = torch.empty_like(x)
            # Member by member, whose values fit into a core's cache.
            for member, stream in self.members(mask):
                self._draw(member, stream)
        return mask * x if x.requires_grad else mask.mul_(x)

    def _draw(self, mask: torch.Tensor, stream: torch.Generator | None) -> None:
        """Fill a mask with 0 where an entry is dropped, and elsewhere with the factor that preserves the mean."""
        words = torch.empty(-(-mask.numel() // 4), dtype=torch.int64, device=mask.device)
        words.random_(-(2**63), None, generator=stream)
        bits = words.view(torch.int16)[: mask.numel()].view(mask.shape)
        torch.lt(bits, self.kept - 32_768, out=mask).mul_(65_536 / self.kept)


class Augmentation(Fixable):
    r"""Corrupt an arm's input in training by Gaussian noise, then dropout; compensate for missing values at all times.

    Parameters
    ----------
    n_features
        Number of features.
    noise
        Standard deviation of the noise, relative to the scale given to :meth:`fit` (1 before).
    dropout
        Probability of setting a feature of a cell to zero; the others are scaled by ``1 / (1 - dropout)``.
    scale_missing
        Whether observed features are scaled up by :math:`(n / o)^p`, with :math:`o` of :math:`n` observed and the
        probability :math:`p` of dropout.
    """

    noise_sd: torch.Tensor

    def __init__(self, n_features: int, noise: float, dropout: float, scale_missing: bool = True) -> None:
        super().__init__()
        self.noise = noise
        self.scale_missing = scale_missing
        self.noise_streams = RandomStreams()
        self.dropout = Dropout(dropout)
        self.register_buffer("noise_sd", torch.full((n_features,), float(noise)))

    def fit(self, scale: torch.Tensor) -> None:
        """Set the scale of each feature's noise, ``(n_features,)``."""
        self.noise_sd.copy_(self.noise * scale)

    def forward(self, values: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
        """Corrupt observed values only; a missing one stays at zero."""
        if self.training and self.noise > 0 and not self.fixed:
            noise = torch.empty_like(values)
            for member, stream in self.noise_streams.members(noise):
                member.normal_(generator=stream)
            values = values + self.noise_sd.unsqueeze(-2) * noise * observed
        if self.scale_missing and self.dropout.drops and observed.shape[-1] > 1:
            # Observed features replace missing ones as far as dropout has trained them to.
            n_observed = observed.sum(-1, keepdim=True).clamp(min=1)
            values = values * (observed.shape[-1] / n_observed) ** self.dropout.probability
        return self.dropout(values)


class LatentNorm(Fixable):
    """Batch normalisation of a latent, without scale and shift, over the cells that have the modality.

    :class:`torch.nn.BatchNorm1d` has no mask, so that cells without the modality would enter its statistics.

    Parameters
    ----------
    n_latent
        Number of latent dimensions.
    momentum
        Weight of the newest minibatch in the running statistics.
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
        """Normalise ``(..., n_cells, n_latent)`` latents by statistics of the cells that are ``present``."""
        if self.fixed or not self.training:
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
            # A minibatch with fewer than two cells of the modality has no spread.
            momentum = self.momentum * (n > 1).squeeze(-2)
            self.running_mean.lerp_(mean.squeeze(-2), momentum)
            self.running_var.lerp_(var.squeeze(-2), momentum)
        return centred * torch.rsqrt(var + self.eps)
