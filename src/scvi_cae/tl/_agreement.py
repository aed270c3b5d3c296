"""How far two labels of the same cells agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score, normalized_mutual_info_score

from scvi_cae.data import obs_column

from ._contingency import as_labels, contingency, contingency_scores, label_names
from ._latents import cell_mask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mudata import MuData

    from ._latents import Cells

#: The factors of Gala et al. (2021).
FACTORS = (1.0, 1.2, 1.5, 2.0, 3.0, 5.0)


def agreement(
    mdata: MuData,
    key1: str,
    key2: str,
    cells: Cells = "held-out",
    use_rep: str = "X_cae",
    factors: Sequence[float] = FACTORS,
) -> pd.Series:
    """Agreement of two labels, such as types by two modalities.

    Parameters
    ----------
    mdata
        MuData.
    key1, key2
        Columns of labels, in ``mdata.obs`` or a modality's ``.obs``. Only cells with both count.
    cells
        Which cells: ``"held-out"``, ``"training"``, ``"all"``, positions, or a mask.
    use_rep
        Beginning of the key of the column that says which cells trained, ``.obs[f"{use_rep}_set"]``.
    factors
        How many times as many cells as elsewhere a reliable label has on the diagonal of the contingency table.

    Returns
    -------
    Series of

    ``"n_cells"``
        cells with both labels,
    ``"ari"``, ``"ami"``, ``"nmi"``
        adjusted Rand index, adjusted and normalised mutual information: 1 for the same partition, the first two 0 on
        average for unrelated ones,
    ``"consistency"``, ``"occupancy"``, ``"reliable (1)"``, ...
        fraction of cells with the same label, and fractions of labels, as in
        :func:`scvi_cae.tl.contingency_scores`, of all labels that either column has, in categories too. Missing if the
        columns have no label in common, as types and a reference.

    Raises
    ------
    KeyError
        If there is no such column, or nothing says which cells trained.
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
    first, second = (as_labels(column) for column in columns)
    known = pd.notna(first) & pd.notna(second)
    if not known.any():
        raise ValueError(
            f"None of the {mask.sum()} cells (cells={cells if isinstance(cells, str) else 'positions'!r}) has both "
            f"{key1!r} and {key2!r}; there is nothing to compare. Give other cells."
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
