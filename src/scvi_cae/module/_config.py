"""What distinguishes one arm from another: data, not code."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from ._networks import ACTIVATIONS

#: Largest number of features of a modality whose networks are deep, and whose features are of many units.
NARROW = 200

Initialisation = Literal["torch", "glorot"]
NoiseUnit = Literal["std", "variance"]
ErrorOver = Literal["observed", "all"]
LikelihoodName = Literal["squared_error", "gaussian", "negative_binomial", "categorical"]


def _check_choices(config: object, choices: Mapping[str, Any]) -> None:
    for name, known in choices.items():
        if getattr(config, name) not in known:
            raise ValueError(f"{name}={getattr(config, name)!r} must be one of {sorted(known)}.")


@dataclass(frozen=True)
class PublishedSettings:
    """Settings of an arm that exist to reproduce the published networks.

    The defaults are those of this package; :func:`scvi_cae.recipes.gala2021` changes them. A new model has no reason
    to.

    Parameters
    ----------
    initialisation
        Initialisation of the layers' weights: ``"torch"``, or ``"glorot"`` as in Keras (uniform after Glorot and
        Bengio, biases of 0).
    scale_missing
        Whether the values of a cell with missing features are scaled up as dropout scales them: with :math:`o` of
        :math:`n` features observed, by :math:`(n / o)^p`, where :math:`p` is the probability of dropout.
    noise_unit
        ``"std"``: the standard deviation of the noise is ``noise`` times that of the feature. ``"variance"``, as
        published: ``noise`` times the variance of the feature, which is larger for features that vary more. Both are
        computed from the training cells, and both are 1 for standardised features.
    latent_bias
        Whether the encoder's last layer has a bias. Batch normalisation removes it again: its gradient is rounding
        error, which Adam would amplify. The published networks have it.
    latent_norm
        Whether the latent is batch-normalised. Without it, the losses alone determine the scale of the latent.
    latent_momentum
        Weight of the newest minibatch in the running statistics of the normalisation.
    latent_eps
        Added to the variance in the normalisation.
    decoder_dropout
        Probability of dropping a unit of the decoder's last hidden layer in training.
    nonnegative
        Whether the output is rectified, as suits log-transformed counts; only without ``standardise``.
    error_over
        Entries over which a squared error is averaged: the ``"observed"`` values, or ``"all"`` entries of the cells
        that have the modality, as published, so that a cell with missing values has less weight.

    Raises
    ------
    ValueError
        If a setting is not valid; the message names it.
    """

    initialisation: Initialisation = "torch"
    scale_missing: bool = True
    noise_unit: NoiseUnit = "std"
    latent_bias: bool = False
    latent_norm: bool = True
    latent_momentum: float = 0.1
    latent_eps: float = 1e-5
    decoder_dropout: float = 0.0
    nonnegative: bool = False
    error_over: ErrorOver = "observed"

    def __post_init__(self) -> None:
        """Check every setting."""
        _check_choices(
            self,
            {
                "initialisation": get_args(Initialisation),
                "noise_unit": get_args(NoiseUnit),
                "error_over": get_args(ErrorOver),
            },
        )
        if not 0 <= self.decoder_dropout < 1:
            raise ValueError(f"decoder_dropout={self.decoder_dropout} must be at least 0 and below 1.")
        if not 0 < self.latent_eps < math.inf:
            raise ValueError(f"latent_eps={self.latent_eps} must be finite and positive.")
        if not 0 < self.latent_momentum <= 1:
            raise ValueError(f"latent_momentum={self.latent_momentum} must be above 0 and at most 1.")


@dataclass(frozen=True)
class ArmConfig:
    """Networks, augmentation and losses of one arm: the encoder, the decoder and the likelihood of a modality.

    Parameters
    ----------
    likelihood
        How values are read and how predictions are compared with them: ``"squared_error"`` of standardised values;
        ``"gaussian"``, the same with a learnt variance of each feature; ``"negative_binomial"`` for raw counts; or
        ``"categorical"`` for labels.
    hidden
        Widths of the encoder's hidden layers; the decoder has them in reverse.
    activation
        Activation of the hidden layers: ``"elu"``, ``"gelu"``, ``"relu"`` or ``"silu"``.
    linear
        Whether encoder and decoder have a linear path in parallel to the hidden layers.
    standardise
        Whether features are centred and scaled by the training cells. Predictions are in the data's units either way.
    clip
        Number of robust standard deviations from the median beyond which a value that lies apart from all others is an
        outlier: the encoder reads what exceeds the limit on a logarithmic scale, and no loss counts it. Only with
        ``standardise``; ``None`` for no limits.
    dropout
        Probability of dropping an input feature in training.
    noise
        Noise added to observed inputs in training, in standard deviations of the feature.
    weight
        Weight of the modality's own reconstruction in the objective.
    cross_weight
        Weight of predicting the modality from all others together, relative to its own reconstruction.
    source_weight
        The modality's share among the sources from which others are predicted, relative to the others' shares.
    cross_gradient
        Factor of the gradient that the prediction of this modality from others sends into the others' encoders: 1 to
        train these encoders as much as this decoder, 0 (as published) to train the decoder only.
    cross_map
        Whether the decoder reads another modality's latent through a learnt linear map: components that the source
        does not predict are shrunk by it, and need not be removed from the latent itself.
    published
        Settings that exist to reproduce the published networks, as :class:`PublishedSettings` or a dictionary of
        those that differ from the defaults.

    Raises
    ------
    ValueError
        If a setting is not valid; the message names it.
    """

    likelihood: LikelihoodName = "squared_error"
    hidden: tuple[int, ...] = (64,)
    activation: str = "gelu"
    linear: bool = True
    standardise: bool = True
    clip: float | None = None
    dropout: float = 0.1
    noise: float = 0.0
    weight: float = 1.0
    cross_weight: float = 1.0
    source_weight: float = 1.0
    cross_gradient: float = 1.0
    cross_map: bool = True
    published: PublishedSettings = field(default_factory=PublishedSettings)

    def __post_init__(self) -> None:
        """Check every setting."""
        if isinstance(self.published, Mapping):
            unknown = set(self.published) - {setting.name for setting in fields(PublishedSettings)}
            if unknown:
                raise ValueError(f"published has no setting {sorted(unknown)[0]!r}.")
            object.__setattr__(self, "published", PublishedSettings(**self.published))
        if not isinstance(self.hidden, (tuple, list)):
            raise ValueError(f"hidden={self.hidden!r} must be a list of layer widths: hidden=(64,).")
        object.__setattr__(self, "hidden", tuple(self.hidden))
        if any(not isinstance(n, int) or n < 1 for n in self.hidden):
            raise ValueError(f"hidden={self.hidden} must hold layer widths of at least 1.")
        _check_choices(self, {"likelihood": get_args(LikelihoodName), "activation": ACTIVATIONS})
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout} must be at least 0 and below 1.")
        for name in ("noise", "cross_weight", "source_weight", "cross_gradient"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)} must be finite and not negative.")
        if not 0 < self.weight < math.inf:
            raise ValueError(f"weight={self.weight} must be finite and positive.")
        if self.clip is not None and not 0 < self.clip < math.inf:
            raise ValueError(f"clip={self.clip} must be finite and positive, or None.")
        if self.clip is not None and not (
            self.standardise and self.likelihood in ("squared_error", "gaussian")
        ):
            raise ValueError("clip is for standardised values; leave it out: clip=None.")
        if self.published.decoder_dropout and not self.hidden:
            raise ValueError("decoder_dropout needs a hidden layer: hidden=(...).")
        if self.published.nonnegative and self.likelihood != "squared_error":
            raise ValueError(f"nonnegative=True is for likelihood='squared_error', not {self.likelihood!r}.")
        if self.published.nonnegative and self.standardise:
            raise ValueError(
                "nonnegative=True needs standardise=False: standardised values are negative below the mean."
            )
