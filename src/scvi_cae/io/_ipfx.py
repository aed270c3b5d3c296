"""Tables of features that pipelines of ipfx wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._features import features_to_anndata, read_table

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData


def read_ipfx(
    table: pd.DataFrame | str | Path, *, cells: str | None = None, convention: str | None = None
) -> AnnData:
    """Read electrophysiological features that a pipeline of ipfx wrote.

    Its names go to those of a model by :func:`scvi_cae.pp.ephys_names`::

        mdata = mudata.MuData({"ephys": read_ipfx("features.csv")})
        rename = {"ephys": ephys_names(mdata["ephys"].var_names, "scala2020")}
        query = CoupledAE.prepare_query_mudata(mdata, model, rename=rename)

    Parameters
    ----------
    table
        Data frame, or path of a csv or tsv file, read as :func:`read_tables` reads it, with a row for each cell.
    cells
        Column that names the cells. By default, the index of a data frame if it holds text, else the first of
        ``specimen_id``, ``cell_specimen_id``, ``cell_name``, ``ephys_session_id``, ``cell_id``, ``cell`` and ``id``, in
        any case, else the index if it has a name.
    convention
        ``"gouwens2020"``, ``"ipfx"``, ``"lee2023"`` or another of :func:`scvi_cae.pp.ephys_names`; by default it is
        recognised from the names. It decides units: ``tau`` is in ms in the first and in s in the others.

    Returns
    -------
    AnnData of cells x features, dense, in the units of the table, NaN where a value is missing. ``var_names`` are the
    names in the table; ``.var`` has the ``concept``, ``unit`` and ``stimulus`` of each, empty if it is not in the table
    of names, and ``n_impossible``. Columns that are no features, such as numbers of sweeps, other identifiers and text,
    are in ``.obs``.

    Raises
    ------
    ValueError
        If no name is recognised, or names are of several conventions alike; if cells have no names, or the same; if a
        feature is not a number.

    Warns
    -----
    UserWarning
        If values are impossible, such as a negative resistance: beyond ``min`` and ``max`` of
        :func:`scvi_cae.pp.ephys_concepts`, or 1e9 in features that it lacks. They become NaN; the warning says how many
        of which feature, and shows one.

    Examples
    --------
    >>> import pandas as pd
    >>> from scvi_cae.io import read_ipfx
    >>> table = pd.DataFrame(
    ...     {
    ...         "specimen_id": [601, 602],
    ...         "vrest": [-71.5, -68.0],
    ...         "tau": [12.1, None],
    ...         "threshold_v_long_square": [-41.0, -38.5],
    ...         "thumbnail_sweep_num": [31, 28],
    ...     }
    ... )
    >>> ephys = read_ipfx(table)
    >>> ephys.var[["concept", "unit"]].loc["tau"].tolist()
    ['membrane_time_constant', 'ms']
    >>> ephys.obs_names.tolist(), list(ephys.obs)
    (['601', '602'], ['thumbnail_sweep_num'])
    """
    return features_to_anndata(read_table(table, cells), convention, "read_ipfx")
