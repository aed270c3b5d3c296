"""How well latents separate labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from sklearn.metrics import silhouette_samples

from ._latents import cell_mask, labels_of, latents

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mudata import MuData

    from ._latents import Cells


def silhouettes(
    mdata: MuData,
    labels_key: str | Sequence[str],
    use_rep: str = "X_cae",
    cells: Cells = "held-out",
    by: Literal["label", "modality", "cell"] = "label",
) -> pd.DataFrame:
    """Silhouettes of labels in each modality's latents.

    A cell's silhouette is (b - a) / max(a, b), with its mean Euclidean distances a to the other cells of its label and b
    to those of the nearest other label: 1 far from other labels, 0 between two, below 0 closer to another. It is 0 for
    the only cell of a label.

    Parameters
    ----------
    mdata
        MuData with latents, as written by :meth:`scvi_cae.CoupledAE.write_latent`.
    labels_key
        Columns of labels, in ``mdata.obs`` or a modality's ``.obs``. If there is a column ``f"{labels_key}_{modality}"`` in
        ``mdata.obs``, the modality's latents are labelled by it: ``"consistent_type"`` stands for
        ``"consistent_type_rna"`` and so on.
    use_rep
        Beginning of the latents' keys in ``.obsm``.
    cells
        Which cells: ``"held-out"``, ``"training"``, ``"all"``, positions, or a mask. Distances are among these only, and
        depend on how many there are.
    by
        A row for each label, for each modality as a whole, or for each cell.

    Returns
    -------
    Data frame with the columns ``modality``, ``key`` (as given in ``labels_key``) and

    - by label: ``label``, ``mean``, ``sd`` (missing for a single cell) and ``n`` cells; in each modality, the highest mean
      first (Gala et al. 2021, Fig. 3d, e);
    - by modality: ``mean``, ``sd`` and ``n``, over cells;
    - by cell: ``cell``, ``label`` and ``silhouette``.

    Raises
    ------
    KeyError
        If there are no latents, no such labels, or nothing says which cells trained.
    ValueError
        If fewer than two labels, or as many labels as cells, occur.

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
                    f"{len(given)} of the cells have latents of modality {modality!r} and a label in {column!r}, and {n} "
                    "labels; silhouettes need at least two labels, and more cells than labels. Give other cells or labels."
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
        raise ValueError("labels_key names no column; give at least one.")
    table = pd.concat(tables, ignore_index=True)
    if by == "cell":
        return table
    groups = ["modality", "key", "label"] if by == "label" else ["modality", "key"]
    summary = table.groupby(groups, sort=False)["silhouette"].agg(["mean", "std", "size"]).reset_index()
    summary = summary.rename(columns={"std": "sd", "size": "n"})
    if by == "modality":
        return summary
    # Modalities and keys stay in their order; within them, the highest first.
    part = summary.groupby(["modality", "key"], sort=False).ngroup()
    order = np.lexsort([-summary["mean"], part])
    return summary.iloc[order].reset_index(drop=True)
