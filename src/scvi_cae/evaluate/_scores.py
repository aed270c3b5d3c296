"""A table of scores, and the features that it leaves out."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, NamedTuple

from scvi_cae._arguments import shorten

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd


class Scores(NamedTuple):
    """Scores of held-out cells.

    Parameters
    ----------
    table
        A row for each method, source, target and metric.
    left_out
        Names of the features of each modality that are not scored although held-out cells have values of them.
    """

    table: pd.DataFrame
    left_out: Mapping[str, Sequence[str]]


def warn_of_left_out(parts: Iterable[tuple[str, Scores]]) -> None:
    """Warn once of all features that are not scored.

    Parameters
    ----------
    parts
        Scores, each with what follows the names of its features: ``" in fold 0"``.
    """
    left_out = [
        f"{shorten(features)} of {modality!r}{where}"
        for where, scores in parts
        for modality, features in scores.left_out.items()
        if features
    ]
    if left_out:
        warnings.warn(
            "No method is scored on features that are constant among the training cells, or have no value there: "
            f"{'; '.join(left_out)}. To score them, choose training cells that have them.",
            UserWarning,
            stacklevel=3,
        )
