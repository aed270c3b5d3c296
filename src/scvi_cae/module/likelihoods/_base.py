"""What a likelihood is: the interface that arms and models use."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import torch
from torch import nn

from scvi_cae.module._reconstruction import masked_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scvi_cae.module._config import ArmConfig
    from scvi_cae.module._networks import Decoder
    from scvi_cae.module._observation import Observation
    from scvi_cae.module._standardiser import Moments

    #: Function that begins a pass over the raw values of the training cells, in parts.
    Passes = Callable[[], Iterable[np.ndarray]]

#: Kinds of data: real values, raw counts, or indicators of classes.
DataKind = Literal["values", "counts", "classes"]


class Likelihood(nn.Module, ABC):
    """How raw values become inputs, how the decoder's output is compared with them, and what it predicts.

    Raw values are ``(n_cells, n_features)`` in the data's units, NaN where missing. The decoder's output, of the same
    shape, is unconstrained; each likelihood gives it a meaning.

    Parameters
    ----------
    n_features
        Number of features; of classes, for labels.
    n_sources
        Number of arms that predict the modality, its own included.
    config
        The arm's settings.

    Attributes
    ----------
    data_kind
        The data that the likelihood needs.
    minimum
        Smallest value that can be observed, by which quantiles are bounded.
    varies
        Boolean ``(n_features,)``: which features vary among the training cells. Others inform nothing: they enter no
        loss, and are predicted as their constant.
    measured
        Boolean ``(n_features,)``: which features have a value in some training cell. Others are predicted as NaN.
    constant
        ``(n_features,)`` values of features that are measured but do not vary.
    """

    data_kind: ClassVar[DataKind]
    minimum: ClassVar[float] = -torch.inf
    varies: torch.Tensor
    measured: torch.Tensor
    constant: torch.Tensor

    def __init__(self, n_features: int, n_sources: int, config: ArmConfig) -> None:
        super().__init__()
        self.n_features = n_features
        self.config = config
        self.register_buffer("varies", torch.ones(n_features, dtype=torch.bool))
        self.register_buffer("measured", torch.ones(n_features, dtype=torch.bool))
        self.register_buffer("constant", torch.zeros(n_features))

    def set_constants(self, varies: np.ndarray, measured: np.ndarray, constant: np.ndarray) -> None:
        """Set ``(n_features,)`` :attr:`varies`, :attr:`measured` and, for features that do not vary, :attr:`constant`."""
        self.varies.copy_(torch.from_numpy(varies & measured))
        self.measured.copy_(torch.from_numpy(measured))
        self.constant.copy_(torch.from_numpy(np.where(varies, 0.0, constant)))

    def with_constants(self, values: torch.Tensor) -> torch.Tensor:
        """``(n_cells, n_features)`` values or predictions, in which features that do not vary are their constant.

        A missing value stays missing, and a feature that is not measured is.
        """
        if self.varies.all():
            return values
        constant = self.constant.masked_fill(~self.measured, torch.nan)
        return torch.where(self.varies | torch.isnan(values), values, constant)

    def mean_over_features(
        self, errors: torch.Tensor, observed: torch.Tensor, counted: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Mean of errors over the observed values of features that vary.

        Parameters
        ----------
        errors
            ``(..., n_sources, n_cells, n_features)``.
        observed, counted
            As in :func:`~scvi_cae.module._reconstruction.masked_mean`.
        """
        varies = self.varies.to(errors.dtype).unsqueeze(-2).unsqueeze(-2)
        if observed.shape[-1] > 1:
            return masked_mean(errors, observed * varies, counted)
        return masked_mean(errors * varies, observed, counted) / self.share_varying

    @property
    def share_varying(self) -> torch.Tensor:
        """Share of the features that vary; of stacked modules, ``(n_members, 1)``."""
        share = self.varies.float().mean(-1).clamp(min=1 / self.n_features)
        return share.unsqueeze(-1) if share.dim() else share

    @abstractmethod
    def fit(self, passes: Passes) -> Moments:
        """Set what is computed from the training cells rather than learnt.

        Parameters
        ----------
        passes
            Function that begins a pass over the raw values of the training cells.

        Returns
        -------
        Moments of the values from which the encoder's inputs are made.
        """

    @abstractmethod
    def observe(self, raw: torch.Tensor) -> Observation:
        """Observation of ``(n_cells, n_features)`` raw values."""

    def complete(self, inputs: torch.Tensor, observed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs in which missing ones are what the others let expect, and the mask of what is there then.

        By default, nothing can be expected.

        Parameters
        ----------
        inputs
            ``(..., n_cells, n_features)`` inputs of the encoder.
        observed
            Mask of the observed ones, as in :class:`~scvi_cae.module._observation.Observation`.
        """
        return inputs, observed

    @abstractmethod
    def inputs(self, observation: Observation) -> torch.Tensor:
        """``(..., n_cells, n_features)`` values that the encoder reads, 0 where missing."""

    @abstractmethod
    def losses(
        self, decoder: Decoder, hidden: torch.Tensor, observation: Observation, cells: torch.Tensor
    ) -> torch.Tensor:
        """Reconstruction losses of predictions from several sources.

        Parameters
        ----------
        decoder
            The decoder.
        hidden
            ``(..., n_sources, n_cells, n_hidden)`` inputs of its last layer, computed from each source's latents.
        observation
            The values to predict.
        cells
            ``(..., n_sources, n_cells)`` mask: the cells that each source has.

        Returns
        -------
        ``(..., n_sources)`` means over the values of the cells that have source and target.
        """

    @abstractmethod
    def mean(self, output: torch.Tensor) -> torch.Tensor:
        """Expected values in the data's units, from the decoder's ``(n_cells, n_features)`` output."""

    @abstractmethod
    def link_scale(self, output: torch.Tensor) -> torch.Tensor:
        """Expected values on the scale on which effects of inputs are additive."""

    @property
    @abstractmethod
    def input_scale(self) -> torch.Tensor:
        """``(n_features,)`` change of a feature that corresponds to one unit of :meth:`inputs`."""

    @abstractmethod
    def expected_inputs(self, output: torch.Tensor) -> torch.Tensor:
        """:meth:`inputs` of cells whose values are those expected from the decoder's output."""

    def squared_errors(self, observation: Observation, output: torch.Tensor) -> torch.Tensor:
        """``(n_cells, n_features)`` squared differences of a cell's values, as inputs, from those expected."""
        return (self.inputs(observation) - self.expected_inputs(output)).square()

    def prediction_scale(self, raw: torch.Tensor) -> torch.Tensor:
        """Raw values on the scale of predictions: unchanged, but for counts."""
        return raw

    def learnt_scale(self, source: int) -> torch.Tensor | None:
        """Learnt standard deviation of the values about a prediction, if the likelihood learns one.

        Parameters
        ----------
        source
            Number of the source; 0 for the modality itself.

        Returns
        -------
        ``(n_features,)`` in the data's units, or ``None``.
        """
        return None


def readout(decoder: Decoder, hidden: torch.Tensor) -> torch.Tensor:
    """``(..., n_sources, n_cells, n_features)`` output of a decoder's last layer."""
    return decoder.readout(hidden.flatten(-3, -2)).unflatten(-2, hidden.shape[-3:-1])
