"""What a likelihood is: the interface that arms and models use."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy as np

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
    """

    data_kind: ClassVar[DataKind]
    minimum: ClassVar[float] = -torch.inf

    def __init__(self, n_features: int, n_sources: int, config: ArmConfig) -> None:
        super().__init__()
        self.n_features = n_features
        self.config = config

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
