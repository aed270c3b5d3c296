"""Standardisation of features that is robust to outliers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scvi_cae._arguments import shorten

from ._fitted import check_exclusive, stored_parameters
from ._parameters import describe_writer
from ._target import Target, floating, open_target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData


@describe_writer
def robust_scale(
    data: AnnData | MuData,
    *,
    modality: str | None = None,
    layer: str | None = None,
    mask_var: str | np.ndarray | None = None,
    percentiles: tuple[float, float] = (1.0, 99.0),
    max_value: float | None = 6.0,
    cells: Sequence[int] | np.ndarray | None = None,
    fitted: AnnData | None = None,
    key_added: str = "robust_scale",
    copy: bool = False,
) -> AnnData | MuData | None:
    """Standardise features by the mean and standard deviation of their central values (Gala et al., 2021).

    For each feature, the mean and the standard deviation (of the population, divided by n) are those of the
    values of the fitted cells from the lower to the upper percentile, both included. The values of all cells
    are standardised with them and clipped to ``max_value`` standard deviations on either side. Missing values
    are ignored and stay missing.

    The matrix holds cells by features, dense, with NaN for missing values.

    Parameters
    ----------
    %(data)s
    %(modality)s
    %(layer)s
    mask_var
        Features to scale; others are left as they are. A Boolean column of ``.var``, or a Boolean array over
        the features. All features by default.
    percentiles
        Lower and upper percentile, from 0 to 100, linearly interpolated between values as in
        :func:`numpy.percentile`. By default 1 and 99, as published.
    max_value
        Largest absolute value, in standard deviations; ``None`` for no clipping. By default 6, as published.
    %(cells)s
    fitted
        AnnData that an earlier call has scaled with the same ``key_added``, ``percentiles`` and
        ``max_value``. Its means and standard deviations are applied, matched by feature name; nothing is
        fitted.
    %(key_added)s
    %(copy)s

    Returns
    -------
    ``None``, or the copy. ``X`` or the layer is replaced, and written are

    ``.var[f"{key_added}_mean"]``, ``.var[f"{key_added}_std"]``
        Mean and standard deviation, in the unit of the feature; NaN for features that are not scaled.
    ``.uns[key_added]``
        ``percentiles`` and ``max_value``.

    Raises
    ------
    KeyError
        If column ``mask_var`` does not exist.
    TypeError
        If the matrix is sparse, or the mask is not Boolean.
    ValueError
        If a feature has no value in the fitted cells, or no two different values within the percentiles; if a
        value is infinite; if a key to be written exists, since the values are scaled already; if ``fitted``
        lacks features or has other options; if ``fitted`` is given together with ``mask_var`` or ``cells``.

    References
    ----------
    Gala R, Budzillo A, Baftizadeh F, et al. Consistent cross-modal identification of cortical neurons with
    coupled autoencoders. Nature Computational Science 1, 120-127 (2021).
    https://doi.org/10.1038/s43588-021-00030-1. There, the features are 24 electrophysiological features
    computed by the package ipfx.

    Examples
    --------
    Features in blocks and single features, fitted on training cells:

    >>> import anndata, numpy as np, pandas as pd
    >>> from scvi_cae import pp
    >>> ephys = anndata.AnnData(
    ...     np.random.default_rng(0).normal([0, 0, -70, 20], [30, 10, 5, 8], (200, 4)),
    ...     var=pd.DataFrame(
    ...         {"block": ["first_ap", "first_ap", None, None]}, index=["pc0", "pc1", "v_baseline", "tau"]
    ...     ),
    ... )
    >>> ephys.var["single"] = ephys.var["block"].isna()
    >>> train, test = ephys[:150].copy(), ephys[150:].copy()
    >>> pp.scale_blocks(train, "block")
    >>> pp.robust_scale(train, mask_var="single")
    >>> train.var["robust_scale_mean"].round(-1).tolist()
    [nan, nan, -70.0, 20.0]
    >>> pp.scale_blocks(test, fitted=train)
    >>> pp.robust_scale(test, fitted=train)
    >>> bool(np.abs(test.X[:, 2:].mean()) < 0.2)
    True
    """
    if len(percentiles) != 2 or not 0 <= percentiles[0] < percentiles[1] <= 100:
        raise ValueError(f"percentiles={percentiles} must be two numbers from 0 to 100, the lower first.")
    if max_value is not None and not max_value > 0:
        raise ValueError(f"max_value={max_value} must be above 0, or None for no clipping.")
    low, high = percentiles
    check_exclusive(fitted, mask_var=mask_var, cells=cells)
    target = open_target(data, modality, layer, copy)
    mean_key, std_key = f"{key_added}_mean", f"{key_added}_std"
    target.check_new(
        var=[mean_key, std_key],
        uns=[key_added],
        why="Its features have been scaled. Start from unscaled values, without these keys; to scale another "
        "layer or other features, use another key_added.",
    )
    values = target.read_dense()
    if fitted is None:
        mask = _mask(target, mask_var)
        mean, std = _moments(target, values[target.positions(cells)], mask, percentiles)
    else:
        mean, std = stored_parameters(fitted, [mean_key, std_key], target.adata.var_names)
        _check_options(fitted, key_added, (low, high), max_value)

    out = values.astype(floating(values.dtype))
    scaled = ~np.isnan(std)
    z = (values[:, scaled] - mean[scaled]) / std[scaled]
    out[:, scaled] = z if max_value is None else np.clip(z, -max_value, max_value)
    target.write(out)
    target.adata.var[mean_key] = mean
    target.adata.var[std_key] = std
    target.adata.uns[key_added] = {"percentiles": np.array([low, high], dtype=float), "max_value": max_value}
    return target.data if copy else None


def _mask(target: Target, mask_var: str | np.ndarray | None) -> np.ndarray:
    """Boolean ``(n_features,)``: which features to scale."""
    n_features = target.adata.n_vars
    if mask_var is None:
        return np.ones(n_features, dtype=bool)
    mask = np.asarray(target.var_column(mask_var, "mask_var") if isinstance(mask_var, str) else mask_var)
    if mask.dtype != bool or mask.shape != (n_features,):
        raise TypeError(
            f"{target.name}: mask_var must be Boolean, one value for each of the {n_features} features, not "
            f"{mask.dtype} of shape {mask.shape}."
        )
    if not mask.any():
        raise ValueError(
            f"{target.name}: mask_var is False for every feature, which leaves nothing to scale."
        )
    return mask


def _moments(
    target: Target, values: np.ndarray, mask: np.ndarray, percentiles: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """``(n_features,)`` means and standard deviations, NaN outside the mask."""
    target.check_measured(values, mask, "leave them out: mask_var=...")
    names = target.adata.var_names[mask]
    chosen = values[:, mask].astype(float)
    low, high = np.nanpercentile(chosen, percentiles, axis=0)
    central = np.where((chosen >= low) & (chosen <= high), chosen, np.nan)
    # Not by the standard deviation, which rounding of the mean keeps above 0. Few cells may leave no value.
    constant = ~(np.fmin.reduce(central, axis=0) < np.fmax.reduce(central, axis=0))
    if constant.any():
        raise ValueError(
            f"{target.name}: in the {len(values)} fitted cells, {constant.sum()} features have no two "
            f"different values from percentile {percentiles[0]:g} to {percentiles[1]:g}: "
            f"{shorten(names[constant])}. Leave them out (mask_var=...), or widen the percentiles."
        )
    mean, std = np.full((2, len(mask)), np.nan)
    mean[mask], std[mask] = np.nanmean(central, axis=0), np.nanstd(central, axis=0)
    return mean, std


def _check_options(
    fitted: AnnData, key: str, percentiles: tuple[float, float], max_value: float | None
) -> None:
    """Check that this call has the options of the call that fitted."""
    if key not in fitted.uns:
        raise ValueError(
            f"fitted has no .uns[{key!r}], which holds the options of its scaling. Pass the AnnData that was "
            "scaled."
        )
    then = fitted.uns[key]
    for name, now in (("percentiles", percentiles), ("max_value", max_value)):
        before = tuple(then[name].tolist()) if name == "percentiles" else then[name]
        if before != now:
            raise ValueError(
                f"fitted was scaled with {name}={before}, this call has {name}={now}. Use the same value."
            )
