"""Removal of features by their fraction of missing values and by their names."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from mudata import MuData

from scvi_cae._mudata import annotations_apart

from ._parameters import describe_reader
from ._target import open_target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

_KEY = "dropped_features"
_COLUMNS = ["fraction_missing", "reason"]

logger = logging.getLogger("scvi_cae.pp")


@describe_reader
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
    """Drop features that are missing in many cells or whose names contain a pattern.

    Gala et al. (2021) drop electrophysiological features that are missing in at least 10 % of the cells, and
    those with ``ramp``, ``mean`` or ``fi_`` in their names. For the same features of other cells, select
    them by name: ``test = test[:, train.var_names].copy()``.

    The matrix holds cells by features, dense, with NaN for missing values. Features are dropped from ``X``
    and all layers. A MuData's own index of features is updated.

    Parameters
    ----------
    %(data)s
    %(modality)s
    %(layer)s
    max_missing
        Fraction of missing values, above 0 and at most 1, at which a feature is dropped. By default 0.1, as
        published; 1 drops only features without any value.
    patterns
        Texts such as ``["ramp", "mean", "fi_"]``. Features whose name contains one of them, case-sensitive,
        are dropped. None by default.
    %(cells)s
    %(copy)s

    Returns
    -------
    ``None``, or the copy. ``.uns["dropped_features"]`` lists the dropped features: a data frame indexed by
    feature name, with columns ``fraction_missing`` and ``reason``. Later calls append to it. The same is
    logged by the logger ``scvi_cae.pp`` at level INFO, which ``logging.basicConfig(level="INFO")`` shows.

    Raises
    ------
    TypeError
        If the matrix is sparse.
    ValueError
        If no feature would remain, a value is infinite, or ``.uns["dropped_features"]`` is something else.

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
            f"max_missing={max_missing} must be above 0 and at most 1: the fraction of missing values at "
            "which a feature is dropped."
        )
    if isinstance(patterns, str) or not all(isinstance(pattern, str) and pattern for pattern in patterns):
        raise ValueError(f"patterns={patterns!r} must be a list of non-empty strings: ['ramp', 'mean'].")
    target = open_target(data, modality, layer, copy)
    adata = target.adata
    before = adata.uns.get(_KEY)
    if before is not None and not (isinstance(before, pd.DataFrame) and list(before) == _COLUMNS):
        raise ValueError(
            f"{target.name}: .uns[{_KEY!r}] is not a record of this function and would be overwritten. "
            "Rename it."
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
            f"{target.name}: none of the {len(dropped)} features would remain. Raise "
            f"max_missing={max_missing}, or use fewer patterns."
        )
    record = pd.DataFrame(
        {_COLUMNS[0]: fraction, _COLUMNS[1]: np.array(reasons, dtype=object)}, index=adata.var_names
    )[dropped]
    if dropped.any():
        adata._inplace_subset_var(~dropped)
        if isinstance(target.data, MuData):
            with annotations_apart():
                target.data.update_var()
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
    """Why a feature is dropped; empty if it is kept."""
    reasons = [f"{100 * missing:.1f} % missing"] if missing >= max_missing else []
    reasons += [f"name contains {pattern!r}" for pattern in patterns if pattern in name]
    return ", ".join(reasons)
