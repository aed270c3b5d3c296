"""What distinguishes one modality's arm from another's: data, not code."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from ._networks import ACTIVATIONS

Initialisation = Literal["torch", "glorot"]
NoiseUnit = Literal["std", "variance"]
ErrorOver = Literal["observed", "all"]
Likelihood = Literal["squared_error", "gaussian", "negative_binomial", "categorical"]


@dataclass(frozen=True)
class ArmConfig:
    """Networks, augmentation and losses of one modality's arm.

    The defaults are those of :class:`scvi_cae.CoupledAE`, where nothing else is said; the published networks are
    other values of the same settings, see :func:`scvi_cae.recipes.gala2021`.

    Parameters
    ----------
    likelihood
        How values are read, and how predictions are compared with them: ``"squared_error"`` of standardised values,
        ``"gaussian"``, the same with a variance learnt for each feature, ``"negative_binomial"`` for raw counts, or
        ``"categorical"`` for labels.
    hidden
        Widths of the encoder's hidden layers; the decoder has them in reverse.
    activation
        Activation of the hidden layers: ``"elu"``, ``"gelu"``, ``"relu"`` or ``"silu"``.
    linear
        Whether encoder and decoder have a linear path beside the hidden layers.
    initialisation
        Of the layers' weights: ``"torch"``, or ``"glorot"``, which is what Keras does (uniform after Glorot and
        Bengio, with biases of 0).
    standardise
        Whether the arm works on features centred and scaled by the training cells, rather than on values as they
        are. Predictions are in the data's units either way.
    dropout
        Probability of dropping an input feature while training.
    scale_missing
        Whether a missing feature is treated much like a dropped one: with :math:`o` of :math:`n` features observed,
        those are scaled up by :math:`(n / o)^p`, :math:`p` the probability of dropout.
    noise
        Noise added to observed inputs while training, in ``noise_unit``.
    noise_unit
        ``"std"``: the noise's standard deviation is ``noise`` times that of the feature; ``"variance"``: ``noise``
        times the feature's variance, as published, which is larger for features that vary more. Both are of the
        training cells, and both are 1 for standardised features.
    latent_bias
        Whether the encoder's last layer has a bias. Batch normalisation takes it out again: its gradient is nothing
        but rounding, which Adam makes steps of. The published networks have it.
    latent_norm
        Whether the latent is batch-normalised. Without it, the scale of the latent is left to the losses.
    latent_momentum
        Weight of the newest batch in the running statistics of the normalisation.
    latent_eps
        Added to the variance in the normalisation.
    decoder_dropout
        Probability of dropping a unit of the decoder's last hidden layer while training.
    nonnegative
        Whether predictions cannot be negative (a rectified output), as suits log-transformed counts; only
        without ``standardise``.
    error_over
        What a squared error is averaged over: the ``"observed"`` values, or ``"all"`` entries of the cells that
        have the modality, as published, so that a cell with missing values weighs less.
    weight
        Weight of the modality's own reconstruction in the objective.
    cross_weight
        Weight of predicting the modality from others, all together, relative to its own reconstruction.
    source_weight
        The modality's share among those that others are predicted from, relative to the others' shares.
    pull
        How much the other modalities' encoders learn from that, relative to the decoder: 0 for not at all, as
        published.
    translate
        Whether the decoder reads another modality's latent through a linear map of its own, which is learnt: what
        cannot be told from the other modality is shrunk on the way, and need not be in the latent itself.

    Raises
    ------
    ValueError
        If a setting is not valid; the message names it.
    """

    likelihood: Likelihood = "squared_error"
    hidden: tuple[int, ...] = (64,)
    activation: str = "gelu"
    linear: bool = True
    initialisation: Initialisation = "torch"
    standardise: bool = True
    dropout: float = 0.1
    scale_missing: bool = True
    noise: float = 0.0
    noise_unit: NoiseUnit = "std"
    latent_bias: bool = False
    latent_norm: bool = True
    latent_momentum: float = 0.1
    latent_eps: float = 1e-5
    decoder_dropout: float = 0.0
    nonnegative: bool = False
    error_over: ErrorOver = "observed"
    weight: float = 1.0
    cross_weight: float = 1.0
    source_weight: float = 1.0
    pull: float = 1.0
    translate: bool = True

    def __post_init__(self) -> None:
        """Check every setting."""
        if not isinstance(self.hidden, (tuple, list)):
            raise ValueError(f"hidden={self.hidden!r} must be a list of layer widths: hidden=(64,).")
        object.__setattr__(self, "hidden", tuple(self.hidden))
        if any(not isinstance(n, int) or n < 1 for n in self.hidden):
            raise ValueError(f"hidden={self.hidden} must hold layer widths of at least 1.")
        for name, choices in (
            ("likelihood", get_args(Likelihood)),
            ("activation", ACTIVATIONS),
            ("initialisation", get_args(Initialisation)),
            ("noise_unit", get_args(NoiseUnit)),
            ("error_over", get_args(ErrorOver)),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}={getattr(self, name)!r} must be one of {sorted(choices)}.")
        for name in ("dropout", "decoder_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 0 and below 1.")
        for name in ("noise", "cross_weight", "source_weight", "pull"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)} must be finite and not negative.")
        for name in ("weight", "latent_eps"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)} must be finite and positive.")
        if not 0 < self.latent_momentum <= 1:
            raise ValueError(f"latent_momentum={self.latent_momentum} must be above 0 and at most 1.")
        if self.decoder_dropout and not self.hidden:
            raise ValueError("decoder_dropout needs a hidden layer: hidden=(...).")
        if self.nonnegative and self.likelihood != "squared_error":
            raise ValueError(f"nonnegative=True is for likelihood='squared_error', not {self.likelihood!r}.")
        if self.nonnegative and self.standardise:
            raise ValueError(
                "nonnegative=True needs standardise=False: standardised values are negative below the mean."
            )
