"""Parameters fitted by an earlier call, for application to other cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anndata import AnnData

from scvi_cae._arguments import shorten
from scvi_cae.data._checks import check_unique

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import pandas as pd


def check_exclusive(fitted: AnnData | None, **arguments: object) -> None:
    """Check ``fitted``, and that no argument of the fit is given with it."""
    if fitted is None:
        return
    given = [name for name, value in arguments.items() if value is not None]
    if given:
        raise ValueError(
            f"With fitted=..., nothing is fitted, and {' and '.join(given)} would have no effect. Leave that "
            "out, or fitted."
        )
    if not isinstance(fitted, AnnData):
        raise TypeError(
            f"fitted must be the AnnData that an earlier call has scaled, not a {type(fitted).__name__}. "
            "From a MuData, pass the modality: fitted=mdata['ephys']."
        )


def stored_parameters(fitted: AnnData, keys: Sequence[str], var_names: pd.Index) -> list[np.ndarray]:
    """Columns of ``fitted.var`` for the features ``var_names``, in their order.

    Parameters
    ----------
    fitted
        The AnnData that an earlier call has written to.
    keys
        Names of the columns.
    var_names
        Features that need parameters. They are matched by name; ``fitted`` may have additional features.

    Raises
    ------
    ValueError
        If columns or features are missing, or feature names are not unique.
    """
    absent = [key for key in keys if key not in fitted.var]
    if absent:
        raise ValueError(
            f"fitted has no .var[{absent[0]!r}]: no earlier call has written it. Fit first, with the same "
            "key_added, and pass the AnnData that was scaled."
        )
    check_unique(fitted.var_names, "fitted", "feature", "Pass the AnnData that was scaled, unchanged.")
    unknown = var_names[~var_names.isin(fitted.var_names)]
    if len(unknown):
        raise ValueError(
            f"fitted has no parameters for {len(unknown)} of {len(var_names)} features: {shorten(unknown)}. "
            "Keep the features that were fitted: adata = adata[:, fitted.var_names].copy()."
        )
    return [fitted.var.loc[var_names, key].to_numpy(dtype=float) for key in keys]
