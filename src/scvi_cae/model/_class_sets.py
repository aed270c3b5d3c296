"""Sets of classes that hold the class of a cell with a known probability."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._intervals import ROUNDING

if TYPE_CHECKING:
    from collections.abc import Sequence

#: What stands between the classes of a set.
SEPARATOR = " | "


def min_scores(coverage: float) -> int:
    """Smallest number of cells of known class for which a set of that coverage need not hold all classes."""
    return int(np.ceil(1 / (1 - coverage) - 1 - ROUNDING))


def threshold(scores: np.ndarray, coverage: float) -> float:
    """Smallest probability of a class that is in the set of a cell.

    Of ``n`` probabilities and that of one more cell, exchangeable with them, each has every rank with probability
    ``1 / (n + 1)``. That of the cell is among the ``floor((n + 1) * (1 - coverage))`` lowest, and its class left out, with
    a probability of at most ``1 - coverage``.

    Parameters
    ----------
    scores
        ``(n_cells,)`` probabilities that cells were given for their true class by a prediction that was not fitted to them.
    coverage
        Probability with which the set of a further cell holds its class.

    Returns
    -------
    The threshold; NaN if there are fewer than :func:`min_scores` cells.

    References
    ----------
    Sadinle, Lei and Wasserman, "Least ambiguous set-valued classifiers with bounded error levels", Journal of the
    American Statistical Association 2019.
    """
    rank = int(np.floor((len(scores) + 1) * (1 - coverage) + ROUNDING))
    return float(np.partition(scores, rank - 1)[rank - 1]) if rank else float("nan")


def set_names(probabilities: np.ndarray, smallest: float, classes: Sequence[str]) -> list[str]:
    """Classes of cells that reach a probability, and the most probable one in any case, as text.

    Parameters
    ----------
    probabilities
        ``(n_cells, n_classes)``.
    smallest
        The probability.
    classes
        Names of the classes.

    Returns
    -------
    For each cell the names in decreasing order of probability, with :data:`SEPARATOR` between them.
    """
    order = np.argsort(-probabilities, axis=1, kind="stable")
    sizes = np.maximum((probabilities >= smallest).sum(axis=1), 1)
    return [SEPARATOR.join(classes[k] for k in row[:size]) for row, size in zip(order, sizes, strict=True)]
