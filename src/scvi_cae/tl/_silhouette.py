"""How well latents separate labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from sklearn.metrics import silhouette_samples

from ._latents import cell_mask, labels_of, latents
from ._parameters import describe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mudata import MuData

    from ._latents import Cells


@describe
def silhouettes(
    mdata: MuData,
    labels_key: str | Sequence[str],
    use_rep: str = "X_cae",
    cells: Cells = "held-out",
    by: Literal["label", "modality", "cell"] = "label",
) -> pd.DataFrame:
    r"""Silhouettes of labels in the latents of each modality.

    .. math:: s = \frac{b - a}{\max(a, b)}

    Here, :math:`a` is the mean Euclidean distance of a cell to the other cells with its label, and :math:`b`
    that to the cells with the nearest other label. The silhouette is close to 1 for cells far from other
    labels, 0 between two labels, and negative for cells closer to another label. It is 0 for the only cell
    with a label.

    Parameters
    ----------
    %(mdata)s
    labels_key
        Columns of labels, in ``mdata.obs`` or in the ``.obs`` of a modality. If ``mdata.obs`` has a column
        ``f"{labels_key}_{modality}"``, it labels the latents of that modality: ``"consistent_type"`` selects
        ``"consistent_type_rna"`` for ``"rna"``.
    %(use_rep)s
    %(cells)s
        Distances are computed between these cells only, and depend on their number.
    by
        Rows of the result: ``"label"``, ``"modality"`` or ``"cell"``.

    Returns
    -------
    Data frame with the columns ``modality``, ``key`` (as in ``labels_key``) and

    - by label: ``label``, ``mean``, ``sd`` (missing for a single cell) and ``n`` (number of cells), sorted
      by decreasing mean in each modality (Gala et al. 2021, Fig. 3d, e);
    - by modality: ``mean``, ``sd`` and ``n``, over cells;
    - by cell: ``cell``, ``label`` and ``silhouette``.

    Raises
    ------
    KeyError
        If latents, a column of labels or the set of each cell is missing.
    ValueError
        If cells have fewer than two labels, or as many labels as cells; if ``by`` is another word.

    See Also
    --------
    sklearn.metrics.silhouette_samples

    Examples
    --------
    >>> import scvi_cae
    >>> mdata = scvi_cae.datasets.simulate_patchseq(n_cells=200)
    >>> mdata.obsm["Z_rna"] = mdata.obsm["Z_ephys"] = mdata.obsm["X_true"]
    >>> table = scvi_cae.tl.silhouettes(
    ...     mdata, ["cell_type", "family"], use_rep="Z", cells="all", by="modality"
    ... )
    >>> table["n"].tolist()
    [200, 200, 200, 200]
    """
    if by not in ("label", "modality", "cell"):
        raise ValueError(f"by={by!r} must be 'label', 'modality' or 'cell'.")
    keys = [labels_key] if isinstance(labels_key, str) else list(labels_key)
    z = latents(mdata, use_rep)
    mask = cell_mask(mdata, use_rep, cells)
    tables = []
    for key in keys:
        for modality, values in z.items():
            column = f"{key}_{modality}" if f"{key}_{modality}" in mdata.obs else key
            labels = labels_of(mdata, column).to_numpy()
            known = mask & pd.notna(labels) & np.isfinite(values).all(1)
            given = labels[known].astype(str)
            n = len(set(given))
            if not 2 <= n < len(given):
                raise ValueError(
                    f"{len(given)} of the cells have latents of modality {modality!r} and a label in "
                    f"{column!r}, with {n} distinct labels. Silhouettes need at least two labels and more "
                    "cells than labels. Choose other cells or labels."
                )
            tables.append(
                pd.DataFrame(
                    {
                        "modality": modality,
                        "key": key,
                        "cell": mdata.obs_names[known],
                        "label": given.astype(object),
                        "silhouette": silhouette_samples(values[known], given),
                    }
                )
            )
    if not tables:
        raise ValueError("labels_key is empty. Name at least one column.")
    table = pd.concat(tables, ignore_index=True)
    if by == "cell":
        return table
    groups = ["modality", "key", "label"] if by == "label" else ["modality", "key"]
    summary = table.groupby(groups, sort=False)["silhouette"].agg(["mean", "std", "size"]).reset_index()
    summary = summary.rename(columns={"std": "sd", "size": "n"})
    if by == "modality":
        return summary
    # Modalities and keys keep their order; within them, labels are sorted by decreasing mean.
    part = summary.groupby(["modality", "key"], sort=False).ngroup()
    order = np.lexsort([-summary["mean"], part])
    return summary.iloc[order].reset_index(drop=True)
