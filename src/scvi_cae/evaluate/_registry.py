"""Registry of baselines by name."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from scvi_cae.regression import PENALTIES, BaggedKernelRidgeBaseline, KernelRidgeBaseline, RidgeBaseline

from ._baselines import TypeMeanBaseline, WithTypeMean
from ._latent import CCABaseline, PCABaseline
from ._sparse import SparseReducedRankBaseline

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Number of cells that the family's mean counts for in a shrunk type mean.
SHRINKAGE = 3.0

Level = Literal["family", "type"]


class Entry(NamedTuple):
    """A baseline to score.

    Parameters
    ----------
    baseline
        The baseline, not fitted.
    level
        Labels that it uses; ``None`` for none.
    within
        Whether it reconstructs each modality from itself instead of predicting one from another.
    """

    baseline: Any
    level: Level | None = None
    within: bool = False


#: Name of each baseline, and a function from the number of latent dimensions to the baseline.
BASELINES: dict[str, Callable[[int], Entry]] = {
    "ridge": lambda n: Entry(RidgeBaseline()),
    "kernel ridge": lambda n: Entry(KernelRidgeBaseline()),
    "tuned kernel ridge": lambda n: Entry(KernelRidgeBaseline(alpha=PENALTIES)),
    "bagged kernel ridge": lambda n: Entry(BaggedKernelRidgeBaseline()),
    "srrr": lambda n: Entry(SparseReducedRankBaseline()),
    "cca": lambda n: Entry(CCABaseline(n)),
    "cca own decoder": lambda n: Entry(CCABaseline(n, decoder="own")),
    "rcca": lambda n: Entry(CCABaseline(n, regularisation=0.3)),
    "rcca own decoder": lambda n: Entry(CCABaseline(n, regularisation=0.3, decoder="own")),
    "weighted cca": lambda n: Entry(CCABaseline(n, power=2.0)),
    "pca": lambda n: Entry(PCABaseline(n), within=True),
    "family mean": lambda n: Entry(TypeMeanBaseline(), "family"),
    "type mean": lambda n: Entry(TypeMeanBaseline(), "type"),
    "shrunk type mean": lambda n: Entry(TypeMeanBaseline(SHRINKAGE), "type"),
    "ridge + type mean": lambda n: Entry(WithTypeMean(RidgeBaseline(), SHRINKAGE), "type"),
    "kernel ridge + type mean": lambda n: Entry(WithTypeMean(KernelRidgeBaseline(), SHRINKAGE), "type"),
    "bagged kernel ridge + type mean": lambda n: Entry(
        WithTypeMean(BaggedKernelRidgeBaseline(), SHRINKAGE), "type"
    ),
}


def resolve(
    baselines: bool | Sequence[Any] | Mapping[str, Any], levels: Sequence[Level], n_latent: int
) -> dict[str, Entry]:
    """Baselines to score, by name.

    Parameters
    ----------
    baselines
        Names, objects, or a dictionary of either by name; ``True`` for ridge regression and, given types,
        their mean.
    levels
        Available labels.
    n_latent
        Number of dimensions of baselines with latents.

    Returns
    -------
    The baselines by name.

    Raises
    ------
    ValueError
        If a name is unknown or used twice, or a baseline needs labels that are not available.
    """
    if isinstance(baselines, bool):
        baselines = (["ridge"] + ["type mean"] * ("type" in levels)) if baselines else []
    if isinstance(baselines, str):
        baselines = [baselines]
    named = (
        list(baselines.items())
        if isinstance(baselines, Mapping)
        else [(b, b) if isinstance(b, str) else (type(b).__name__, b) for b in baselines]
    )
    entries: dict[str, Entry] = {}
    for name, baseline in named:
        if name in entries:
            raise ValueError(
                f"Two baselines are called {name!r}; give each its own name: baselines={{name: baseline}}."
            )
        if isinstance(baseline, str):
            if baseline not in BASELINES:
                raise ValueError(
                    f"There is no baseline {baseline!r}. Give one of {', '.join(map(repr, BASELINES))}, or "
                    "any object with fit(source, target) and predict(source)."
                )
            entry = BASELINES[baseline](n_latent)
        else:
            labelled = isinstance(baseline, (TypeMeanBaseline, WithTypeMean))
            entry = Entry(
                deepcopy(baseline), "type" if labelled else None, within=isinstance(baseline, PCABaseline)
            )
        if entry.level is not None and entry.level not in levels:
            key = "labels_key" if entry.level == "type" else "family_key"
            raise ValueError(f"Baseline {name!r} needs each cell's {entry.level}: give {key}.")
        entries[name] = entry
    return entries
