"""Arms and the couplings between them: the computation for one minibatch."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, cast

import torch
from scvi.module.base import BaseModuleClass, LossOutput
from torch import nn

from ._arm import Arm
from ._coupling import COUPLING_LOSSES, mse_coupling
from ._networks import RandomStreams

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ._arm import Layers
    from ._config import ArmConfig
    from ._observation import Observation


def scale_gradient(z: torch.Tensor, factor: float) -> torch.Tensor:
    """``z``, with its gradient multiplied by ``factor``; 0 stops it."""
    if factor == 1:
        return z
    return z.detach() if factor == 0 else z.detach() + factor * (z - z.detach())


def source_weights(target: ArmConfig, sources: Sequence[ArmConfig]) -> tuple[float, ...]:
    """Weights of an arm's reconstructions: from itself, and from its sources, which share ``cross_weight``."""
    total = sum(source.source_weight for source in sources)
    shares = (source.source_weight / total if total else 0.0 for source in sources)
    return (1.0, *(target.cross_weight * share for share in shares))


class CoupledModule(BaseModuleClass):
    r"""Coupled autoencoders of any number of modalities and columns of labels, with one arm each.

    For arms :math:`m` with weights :math:`\alpha_m` and :math:`\beta_m`, pairs :math:`(i, j)` with weights
    :math:`\lambda_{ij}`, encoders :math:`e`, decoders :math:`d` and latents :math:`z_m = e_m(x_m)`:

    .. math::

        L = \sum_m \alpha_m \Big[ R_m(d_m(z_m))
            + \beta_m \sum_{s:\,\lambda_{sm} > 0} w_{ms} R_m(d_m(t_{ms}(z_s))) \Big]
            + \sum_{i<j} \lambda_{ij} C(z_i, z_j)

    :math:`R_m` is the reconstruction loss over the observed values of arm :math:`m`, taken over the cells that have
    it (and also have :math:`s`, in the second term); :math:`C` is the coupling loss, with distances over the cells
    that have both. :math:`t_{ms}` is the cross-modal map, a linear map through which the decoder of :math:`m` reads
    the latents of :math:`s`; the identity for an arm without ``cross_map``. The gradient that reaches :math:`z_s`
    through it is multiplied by the ``cross_gradient`` of the arm of :math:`m`: with 0, as published, a decoder learns
    to read the other latent, while encoders learn from their own reconstruction and the coupling only. The shares
    :math:`w_{ms}` of the sources sum to 1; they are equal unless arms differ in ``source_weight``.

    A pair with two weights :math:`(\lambda_i, \lambda_j)` is coupled by
    :math:`\lambda_i C(z_i, \mathrm{sg}[z_j]) + \lambda_j C(\mathrm{sg}[z_i], z_j)`: each encoder follows the other with
    a weight of its own. (:math:`C` is computed once, with scaled gradients, and enters the loss with the mean of the
    two weights.)

    Parameters
    ----------
    n_features
        Number of features of each arm, by name.
    n_latent
        Number of latent dimensions.
    arms
        Configuration of each arm.
    coupling
        Weight :math:`\lambda` of each pair of arms, or two weights, with which the first and the second encoder
        follow the other; other pairs are not coupled.
    coupling_loss
        Name of the coupling loss :math:`C`, or one for each pair: keys of ``COUPLING_LOSSES``.
    n_batches
        Number of technical batches of each arm that has them.
    """

    def __init__(
        self,
        n_features: Mapping[str, int],
        n_latent: int,
        arms: Mapping[str, ArmConfig],
        coupling: Mapping[tuple[str, str], float | tuple[float, float]],
        coupling_loss: str | Mapping[tuple[str, str], str] = "log_determinant",
        n_batches: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__()
        self.arm_names = tuple(n_features)
        self.n_latent = n_latent
        # By direction: the weight with which the first arm's encoder follows the second.
        weights: dict[tuple[str, str], float] = {}
        for (i, j), weight in coupling.items():
            weights[i, j], weights[j, i] = weight if isinstance(weight, tuple) else (weight, weight)
        pairs = {
            (i, j): (weights.get((i, j), 0.0), weights.get((j, i), 0.0))
            for i, j in combinations(self.arm_names, 2)
        }
        self.coupling = {pair: both for pair, both in pairs.items() if sum(both) > 0}
        named = (
            dict.fromkeys(self.coupling, coupling_loss) if isinstance(coupling_loss, str) else coupling_loss
        )
        self.coupling_losses = {pair: COUPLING_LOSSES[named[pair]] for pair in self.coupling}
        coupled = set(map(frozenset, self.coupling))
        self.sources = {
            target: tuple(source for source in self.arm_names if {source, target} in coupled)
            for target in self.arm_names
        }
        self.weights = {
            target: source_weights(arms[target], [arms[source] for source in sources])
            for target, sources in self.sources.items()
        }
        # A ModuleDict refuses some names that a modality may have.
        self._arms = nn.ModuleList(
            Arm(n, n_latent, arms[name], 1 + len(self.sources[name]), (n_batches or {}).get(name, 0))
            for name, n in n_features.items()
        )

    def arm(self, name: str) -> Arm:
        """The arm of a modality or of a column of labels."""
        return cast("Arm", self._arms[self.arm_names.index(name)])

    def source_number(self, source: str, target: str) -> int:
        """Number of a source of an arm; 0 for the arm itself."""
        return (target, *self.sources[target]).index(source)

    def map_latent(self, z: torch.Tensor, source: str, target: str) -> torch.Tensor:
        """Latents of an arm as the decoder of another, or its own, reads them."""
        return self.arm(target).map_latent(z, self.source_number(source, target))

    def adapt(self, arms: Collection[str], layers: Layers) -> None:
        """Restrict further training to some arms, or to some of their layers.

        Parameters
        ----------
        arms
            Names of the arms that learn.
        layers
            Their layers that learn: ``"all"``, or ``"outer"`` for those that touch the data.
        """
        for name in self.arm_names:
            self.arm(name).learn(layers if name in arms else "none")

    def draw_from(self, streams: Sequence[torch.Generator] | None) -> None:
        """Draw noise and dropout from given streams, one for each member, or again from torch's global generator."""
        for module in self.modules():
            if isinstance(module, RandomStreams):
                module.streams = streams

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the ``extra_metrics`` of :meth:`loss` in evaluation mode."""
        errors = [f"{t}_from_{s}" for t in self.arm_names for s in (t, *self.sources[t])]
        couplings = [f"{what}_{i}_{j}" for i, j in self.coupling for what in ("coupling", "distance")]
        return (*errors, "reconstruction_loss", *couplings)

    def forward(
        self, tensors: dict[str, Observation]
    ) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], LossOutput]:
        """Latents, inputs of the decoders' last layers and loss of a minibatch.

        scvi-tools' own version also checks the device of every tensor at each step; minibatches are there already.
        """
        latents = self.inference(tensors)
        hidden = self.generative(latents, {name: x.batch_weights for name, x in tensors.items()})
        return latents, hidden, self.loss(tensors, latents, hidden)

    def _get_inference_input(self, tensors: dict[str, Observation]) -> dict:
        return {"observations": tensors}

    def inference(self, observations: dict[str, Observation]) -> dict[str, torch.Tensor]:
        """Latents of each arm in ``observations``: ``(..., n_cells, n_latent)``."""
        return {name: self.arm(name).encode(x) for name, x in observations.items()}

    def _get_generative_input(
        self, tensors: dict[str, Observation], inference_outputs: dict[str, torch.Tensor]
    ) -> dict:
        return {
            "latents": inference_outputs,
            "batch_weights": {name: x.batch_weights for name, x in tensors.items()},
        }

    def generative(
        self, latents: dict[str, torch.Tensor], batch_weights: dict[str, torch.Tensor | None]
    ) -> dict[str, torch.Tensor]:
        """Inputs of the last layer of each arm's decoder, from its own latents and then from those of its sources.

        ``(..., n_sources, n_cells, n_hidden)``. A prediction is of the technical batch in which the target was
        measured.
        """
        hidden = {}
        for target in self.arm_names:
            sources = (target, *self.sources[target])
            # One pass for all sources is one wide product instead of several.
            factor = self.arm(target).config.cross_gradient
            others = (
                self.map_latent(scale_gradient(latents[source], factor), source, target)
                for source in sources[1:]
            )
            z = torch.cat([latents[target], *others], dim=-2)
            weights = batch_weights[target]
            if weights is not None:
                weights = torch.cat([weights] * len(sources), dim=-2)
            decoded = self.arm(target).decoder.hidden(z, weights)
            hidden[target] = decoded.unflatten(-2, (len(sources), -1))
        return hidden

    def loss(
        self,
        tensors: dict[str, Observation],
        inference_outputs: dict[str, torch.Tensor],
        generative_outputs: dict[str, torch.Tensor],
    ) -> LossOutput:
        """The objective of the class docstring.

        ``extra_metrics`` holds its terms, unweighted; ``reconstruction_loss``, the objective without the couplings;
        and, in evaluation mode, the ``distance`` of each coupled pair, the mean squared difference of its latents.
        """
        latents = inference_outputs
        terms: dict[str, torch.Tensor] = {}
        reconstruction: torch.Tensor | float = 0.0
        for target, hidden in generative_outputs.items():
            arm, sources = self.arm(target), (target, *self.sources[target])
            cells = torch.stack([tensors[source].present for source in sources], dim=-2)
            errors = arm.reconstruction_losses(hidden, tensors[target], cells)
            for source, error in zip(sources, errors.detach().unbind(-1), strict=True):
                terms[f"{target}_from_{source}"] = error
            weighted = sum(
                w * error for w, error in zip(self.weights[target], errors.unbind(-1), strict=True)
            )
            reconstruction = reconstruction + arm.config.weight * weighted
        total = torch.as_tensor(reconstruction)
        terms["reconstruction_loss"] = total.detach()
        for (i, j), weights in self.coupling.items():
            present = tensors[i].present, tensors[j].present
            mean_weight = sum(weights) / 2
            zi, zj = (
                scale_gradient(latents[m], w / mean_weight) for m, w in zip((i, j), weights, strict=True)
            )
            coupling = self.coupling_losses[i, j](zi, zj, *present)
            terms[f"coupling_{i}_{j}"] = coupling.detach()
            if not self.training:
                terms[f"distance_{i}_{j}"] = mse_coupling(zi.detach(), zj.detach(), *present)
            total = total + mean_weight * coupling
        # Padding of a minibatch has no modality.
        n_cells = torch.stack([x.present for x in tensors.values()]).amax(0).sum(-1)
        return LossOutput(loss=total, n_obs_minibatch=n_cells, extra_metrics=terms)
