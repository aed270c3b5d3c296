"""Default arms, and the weights of couplings."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from scvi_cae._arguments import shorten
from scvi_cae.module import LIKELIHOODS, NARROW, OUTLIER, ArmConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scvi_cae.data import Setup
    from scvi_cae.module import LikelihoodName

    #: Weight of a pair, or two, with which the first and the second encoder follow the other.
    Weight = float | tuple[float, float]


def default_arm(n_features: int, likelihood: LikelihoodName = "squared_error") -> ArmConfig:
    """Configuration of an arm without further settings.

    A wide modality, such as gene expression, measures everything many times over, and its encoder overfits unless
    most of its features are dropped at random; a narrow one is less redundant, and gets noise as well. Input dropout
    retains about ``7 * sqrt(n)`` of ``n`` features, but at least a fifth and at most four fifths. Noise dominates the
    mean error of a wide modality, so its weight is raised; other encoders would overfit its many targets, so they learn
    less from predicting it. Single features of a narrow modality depend on cell types in ways that take a deeper
    network. All of this was chosen on inner validation cells (docs/benchmark.md).

    The arm of labels is linear: each class has a position in the latent space, and logits are linear in the latent.
    Encoders of modalities learn to distinguish classes, but their decoders learn little from labels, from which they
    could only learn class means.

    Parameters
    ----------
    n_features
        Number of features.
    likelihood
        Name of the likelihood.
    """
    if LIKELIHOODS[likelihood].data_kind == "classes":
        return ArmConfig(
            likelihood,
            hidden=(),
            dropout=0.0,
            weight=0.1,
            cross_weight=4.0,
            source_weight=0.3,
            cross_map=False,
        )
    dropout = float(np.clip(1 - 7 / np.sqrt(n_features), 0.2, 0.8))
    wide = (dropout - 0.2) / 0.6
    return ArmConfig(
        likelihood,
        hidden=(64,) if n_features > NARROW else (128, 128),
        dropout=dropout,
        noise=0.1 if dropout == 0.2 else 0.0,
        clip=OUTLIER if n_features <= NARROW and LIKELIHOODS[likelihood].data_kind == "values" else None,
        weight=1 + 0.2 * wide,
        cross_gradient=1 - 0.75 * wide,
    )


def arm_configs(setup: Setup, arms: Mapping[str, Mapping[str, Any]]) -> dict[str, ArmConfig]:
    """Configuration of every arm: the defaults, with the settings that a user changes.

    Parameters
    ----------
    setup
        The set-up.
    arms
        Settings that differ from the defaults, by arm.

    Raises
    ------
    ValueError
        If an arm or a setting is unknown, or a setting is not valid.
    """
    for name, given in arms.items():
        setup.check_arm(name)
        if "likelihood" in given:
            raise ValueError(
                f"arms[{name!r}]: the likelihood is part of the set-up, which checks the data for it: "
                f"setup_mudata(mdata, likelihoods={{{name!r}: {given['likelihood']!r}}})."
            )
    configs = {}
    for name in setup.arms:
        default = default_arm(len(setup.features[name]), setup.likelihoods[name])
        if not arms.get(name, {}).get("standardise", True):
            default = replace(default, clip=None)
        try:
            configs[name] = replace(default, **arms.get(name, {}))
        except (TypeError, ValueError) as error:
            raise ValueError(f"arms[{name!r}]: {error}") from error
    return configs


def coupling_weights(
    setup: Setup, coupling: float | Mapping[tuple[str, str], Weight]
) -> dict[tuple[str, str], Weight]:
    """Weight of every pair of arms.

    Parameters
    ----------
    setup
        The set-up.
    coupling
        Weight of all pairs that share cells, or of each.

    Raises
    ------
    ValueError
        If a pair or a weight is not valid.

    Warns
    -----
    UserWarning
        If an arm is coupled to no other.
    """
    if not isinstance(coupling, Mapping):
        if not isinstance(coupling, Real):
            raise ValueError(
                f"coupling={coupling!r} must be a number, or a dictionary of pairs and their weights."
            )
        # Labels follow the modalities, not the reverse: see CoupledModule's ``cross_gradient``.
        coupling = {
            pair: (0.0, coupling) if set(pair) & set(setup.labels) else coupling for pair in setup.pairs
        }
    check_coupling(coupling, setup.arms)
    coupled = {name for pair, weight in coupling.items() if np.sum(weight) > 0 for name in pair}
    alone = [name for name in setup.arms if coupled and name not in coupled]
    if alone:
        warnings.warn(
            f"{shorten(alone)} is coupled to no other modality: it is an autoencoder of its own, and its latent is "
            "unrelated to the others'. Give a pair with it a weight in coupling, or leave it out: "
            "setup_mudata(mdata, modalities=[...]).",
            UserWarning,
            stacklevel=4,
        )
    return dict(coupling)


def check_coupling(coupling: Mapping[tuple[str, str], Weight], arms: Sequence[str]) -> None:
    """Raise a ValueError for pairs or weights that are not valid."""
    for pair, weight in coupling.items():
        if len(pair) != 2 or pair[0] == pair[1] or not set(pair) <= set(arms):
            raise ValueError(f"coupling: {pair!r} is not a pair of the modalities {shorten(arms)}.")
        both = weight if isinstance(weight, tuple) and len(weight) == 2 else (weight,)
        if not all(isinstance(w, Real) and 0 <= w < np.inf for w in both):
            raise ValueError(
                f"coupling: the weight of {pair!r} is {weight!r}; it must be a number of at least 0, or a tuple of "
                "two, with which the first and the second encoder follow the other."
            )
    if len({frozenset(pair) for pair in coupling}) < len(coupling):
        raise ValueError(f"coupling names a pair twice: {list(coupling)}.")


def coupling_losses(setup: Setup, coupling_loss: str) -> dict[tuple[str, str], str]:
    """Name of the coupling loss of every pair of arms."""
    return {
        # Fewer classes than dimensions have no variance in some of them.
        pair: "mse" if set(pair) & set(setup.labels) else coupling_loss
        for pair in combinations(setup.arms, 2)
    }
