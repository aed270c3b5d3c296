"""Features that are missing too often, or not wanted."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from mudata import MuData

from scvi_cae._mudata import annotations_apart

from ._target import open_target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

_KEY = "dropped_features"
_COLUMNS = ["fraction_missing", "reason"]

logger = logging.getLogger("scvi_cae.pp")


def drop_features(
    data: AnnData | MuData,
    *,
    modality: str | None = None,
    layer: str | None = None,
    max_missing: float = 0.1,
    patterns: Sequence[str] = (),
    cells: Sequence[int] | np.ndarray | None = None,
    copy: bool = False,
) -> AnnData | MuData | None:
    """Drop features that are missing in many cells, or whose names contain a pattern.

    Gala et al. (2021) drop electrophysiological features that are missing in 10 % of the cells or more, then
    those with ``ramp``, ``mean`` or ``fi_`` in their names. Other cells get the same features by name:
    ``test = test[:, train.var_names].copy()``.

    Parameters
    ----------
    data
        AnnData, or MuData of which ``modality`` is used, and the MuData's own index of features updated. Cells by
        features, dense; NaN where not measured.
    modality
        Key of the modality, for a MuData only.
    layer
        Layer that says what is missing; ``X`` by default. Features are dropped from all.
    max_missing
        Fraction of cells from which on a feature is dropped, above 0 and at most 1. By default 0.1, as published;
        1 drops those without any value.
    patterns
        Texts, for example ``["ramp", "mean", "fi_"]``. Features whose name contains one of them are dropped; upper
        and lower case differ. None by default.
    cells
        Cells to count what is missing in, by default all: positions among the modality's own cells (not those of
        the MuData), or a mask over them, for example
        ``mdata["ephys"].obs_names.isin(names_of_training_cells)``.
    copy
        Return a changed copy rather than work in place.

    Returns
    -------
    ``None``, or the copy. ``.uns["dropped_features"]`` says what was dropped: a data frame indexed by the names
    of features, with ``fraction_missing`` and ``reason``. A further call adds to it. The same is logged, by
    logger ``scvi_cae.pp`` at level INFO, which ``logging.basicConfig(level="INFO")`` shows.

    Raises
    ------
    TypeError
        If the matrix is sparse.
    ValueError
        If no feature would be left, a value is infinite, or ``.uns["dropped_features"]`` is something else.

    References
    ----------
    Gala R, Budzillo A, Baftizadeh F, et al. Consistent cross-modal identification of cortical neurons with
    coupled autoencoders. Nature Computational Science 1, 120-127 (2021).
    https://doi.org/10.1038/s43588-021-00030-1

    Examples
    --------
    >>> import anndata, numpy as np, pandas as pd
    >>> from scvi_cae.pp import drop_features
    >>> ephys = anndata.AnnData(
    ...     np.array([[20.0, np.nan, 1.0], [25.0, 3.0, 2.0]]),
    ...     var=pd.DataFrame(index=["tau", "latency", "tau_ramp"]),
    ... )
    >>> drop_features(ephys, patterns=["ramp"])
    >>> ephys.var_names.tolist()
    ['tau']
    >>> ephys.uns["dropped_features"]["reason"].to_dict()
    {'latency': '50.0 % missing', 'tau_ramp': "name contains 'ramp'"}
    """
    if not 0 < max_missing <= 1:
        raise ValueError(
            f"max_missing={max_missing} must be above 0 and at most 1: it is the fraction of cells from which on a "
            "feature is dropped."
        )
    if isinstance(patterns, str) or not all(isinstance(pattern, str) and pattern for pattern in patterns):
        raise ValueError(f"patterns={patterns!r} must be a list of texts, none empty: ['ramp', 'mean'].")
    target = open_target(data, modality, layer, copy)
    adata = target.adata
    before = adata.uns.get(_KEY)
    if before is not None and not (isinstance(before, pd.DataFrame) and list(before) == _COLUMNS):
        raise ValueError(
            f"{target.name}: .uns[{_KEY!r}] is not a record of this function, and would be overwritten. Rename it."
        )
    values = target.read_dense()
    fraction = np.isnan(values[target.positions(cells)]).mean(axis=0)

    reasons = [
        _reason(name, missing, max_missing, patterns)
        for name, missing in zip(adata.var_names.astype(str), fraction, strict=True)
    ]
    dropped = np.array([bool(reason) for reason in reasons], dtype=bool)
    if dropped.all():
        raise ValueError(
            f"{target.name}: none of the {len(dropped)} features would be left. Raise max_missing={max_missing}, or "
            "give fewer patterns."
        )
    record = pd.DataFrame(
        {_COLUMNS[0]: fraction, _COLUMNS[1]: np.array(reasons, dtype=object)}, index=adata.var_names
    )[dropped]
    if dropped.any():
        adata._inplace_subset_var(~dropped)
        if isinstance(target.data, MuData):
            _update_features(target.data)
    adata.uns[_KEY] = record if before is None or before.empty else pd.concat([before, record])
    logger.info(
        "%s: dropped %d of %d features. %s",
        target.name,
        len(record),
        len(dropped),
        "; ".join(f"{name}: {reason}" for name, reason in record["reason"].items()),
    )
    return target.data if copy else None


def _reason(name: str, missing: float, max_missing: float, patterns: Sequence[str]) -> str:
    """Why a feature is dropped; empty if it is not."""
    reasons = [f"{100 * missing:.1f} % missing"] if missing >= max_missing else []
    reasons += [f"name contains {pattern!r}" for pattern in patterns if pattern in name]
    return ", ".join(reasons)


def _update_features(mdata: MuData) -> None:
    """Let the MuData know the features that its modalities have now."""
    with annotations_apart():
        mdata.update_var()
