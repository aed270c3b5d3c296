"""Agreement between two labellings of the same cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score, normalized_mutual_info_score

from scvi_cae.data import obs_column

from ._contingency import contingency, contingency_scores
from ._labels import as_text, label_names
from ._latents import cell_mask
from ._parameters import describe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mudata import MuData

    from ._latents import Cells

#: Used by Gala et al. (2021).
FACTORS = (1.0, 1.2, 1.5, 2.0, 3.0, 5.0)


@describe
def agreement(
    mdata: MuData,
    key1: str,
    key2: str,
    cells: Cells = "held-out",
    use_rep: str = "X_cae",
    factors: Sequence[float] = FACTORS,
) -> pd.Series:
    """Agreement between two labellings of the same cells, such as types assigned by two modalities.

    Parameters
    ----------
    mdata
        MuData.
    key1, key2
        Columns of labels, in ``mdata.obs`` or in the ``.obs`` of a modality. Only cells with both labels are
        used.
    %(cells)s
    use_rep
        Prefix of the column with the set of each cell, ``mdata.obs[f"{use_rep}_set"]``.
    factors
        Factors of the fractions of reliable labels, as in :func:`contingency_scores`.

    Returns
    -------
    Series of

    ``"n_cells"``
        Number of cells with both labels.
    ``"ari"``, ``"ami"``, ``"nmi"``
        Adjusted Rand index, adjusted mutual information and normalised mutual information. All are 1 for
        identical partitions; the first two are 0 on average for unrelated ones.
    ``"consistency"``, ``"occupancy"``, ``"reliable (1)"``, ...
        Fraction of cells with the same label, and fractions of labels, as in :func:`contingency_scores`. The
        labels are those of either column, including categories without cells. NaN if the columns have no
        label in common, such as types and a reference.

    Raises
    ------
    KeyError
        If a column is missing, or the set of each cell is.
    ValueError
        If no cell has both labels.

    Examples
    --------
    >>> import scvi_cae
    >>> mdata = scvi_cae.datasets.simulate_patchseq(n_cells=200)
    >>> found = scvi_cae.tl.agreement(mdata, "cell_type", "family", cells="all")
    >>> bool(0 < found["ami"] < 1)
    True
    """
    mask = cell_mask(mdata, use_rep, cells)
    columns = [obs_column(mdata, key)[mask] for key in (key1, key2)]
    names = [label_names(column) for column in columns]
    first, second = (as_text(column) for column in columns)
    known = pd.notna(first) & pd.notna(second)
    if not known.any():
        raise ValueError(
            f"None of the {mask.sum()} cells (cells={cells if isinstance(cells, str) else 'positions'!r}) "
            f"has both {key1!r} and {key2!r}. Choose other cells."
        )
    a, b = first[known].astype(str), second[known].astype(str)
    out: dict[str, float] = {
        "n_cells": int(known.sum()),
        "ari": adjusted_rand_score(a, b),
        "ami": adjusted_mutual_info_score(a, b),
        "nmi": normalized_mutual_info_score(a, b),
        "consistency": float("nan"),
        "occupancy": float("nan"),
        **{f"reliable ({factor:g})": float("nan") for factor in factors},
    }
    if set(names[0]) & set(names[1]):
        table = contingency(a, b, labels=list(dict.fromkeys([*names[0], *names[1]])))
        scores = contingency_scores(table)
        out |= {"consistency": scores.consistency, "occupancy": scores.occupancy}
        out |= {f"reliable ({factor:g})": contingency_scores(table, factor).reliable for factor in factors}
    return pd.Series(out, name=f"{key1} / {key2}", dtype=float)
