"""Tables of electrophysiological features as AnnData: cells, concepts and units, and no impossible values."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

from scvi_cae._arguments import shorten
from scvi_cae.pp._ephys_names import ephys_concepts, recognise

from ._columns import Missing, resolve
from ._parse import read_text

#: Columns that name cells, in any case, the first that a table has.
_CELLS = ("specimen_id", "cell_specimen_id", "cell_name", "ephys_session_id", "cell_id", "cell", "id")
#: Columns of numbers that are no features.
_NO_FEATURES = re.compile(r"(?:^|_)(?:id|sweep_num|sweep_number|index)$|^failed|^unnamed:", re.IGNORECASE)
#: No feature is as large, in any unit; sentinels and failed fits are.
_LARGEST = 1e9


def read_table(table: pd.DataFrame | str | Path, cells: str | None) -> pd.DataFrame:
    """Read a table with a row for each cell, indexed by their names.

    Parameters
    ----------
    table
        Data frame, which is not changed, or path of a file of text, with any separator, decimal mark and encoding, as in
        :func:`scvi_cae.io.read_tables`.
    cells
        Column that names the cells; by default the index of a data frame if it holds text, else a column known to
        hold names, else the index if it has a name.

    Raises
    ------
    ValueError
        If cells have no names, or the same.
    """
    if isinstance(table, pd.DataFrame):
        where, frame = "The table", table.copy()
    else:
        where, frame = str(table), _from_file(Path(table), cells)
    frame.columns = frame.columns.astype(str)
    has_names = not pd.api.types.is_numeric_dtype(frame.index.dtype)
    if cells is None and not has_names:
        lower = {name.lower(): name for name in map(str, frame)}
        cells = next((lower[name] for name in _CELLS if name in lower), None)
        if cells is None and frame.index.name is None:
            raise ValueError(
                f"{where} has no column that is known to name cells, only {shorten(frame.columns)}. Name it: "
                "cells=..."
            )
    if cells is not None:
        if cells not in frame:
            raise ValueError(f"{where} has no column {cells!r}; it has {shorten(frame.columns)}.")
        frame = frame.set_index(cells)
    if frame.index.hasnans:
        raise ValueError(f"{where}: {np.sum(frame.index.isna())} cells have no name in {cells!r}.")
    frame.index = frame.index.astype(str)
    for kind, names in (("cells", frame.index), ("columns", frame.columns)):
        if not names.is_unique:
            raise ValueError(
                f"{where}: {kind} with the same name, {shorten(names[names.duplicated()].unique())}."
            )
    return frame


def _from_file(path: Path, cells: str | None) -> pd.DataFrame:
    """Read a file of text: columns of numbers, and text, of which names of cells are part whatever they look like."""
    missing = Missing.of(())
    table = resolve(read_text("ephys", path), missing)
    numbers = table.numbers.toarray() if sparse.issparse(table.numbers) else table.numbers
    columns: dict[int, np.ndarray | pd.Series] = {}
    for i, name in enumerate(table.header):
        where = np.flatnonzero(table.numeric == i)
        names_cells = name == cells if cells is not None else name.lower() in _CELLS
        if len(where) and not (names_cells and i in table.text):
            columns[i] = numbers[:, where[0]]
            if (columns[i] == np.rint(columns[i])).all() and np.abs(columns[i]).max(initial=0) < 2**53:
                columns[i] = columns[i].astype(np.int64)
        else:
            columns[i] = table.text[i].where(~missing.blank(table.text[i]))
    return pd.DataFrame(columns).set_axis(table.header, axis=1)


def features_to_anndata(frame: pd.DataFrame, convention: str | None, reader: str) -> anndata.AnnData:
    """Make an AnnData of a table of features.

    Parameters
    ----------
    frame
        Cells x columns.
    convention
        Convention of the columns' names, by default recognised.
    reader
        Name of the function that is called, for the warning.

    Returns
    -------
    As :func:`scvi_cae.io.read_ipfx`.

    Raises
    ------
    ValueError
        If no name is recognised.

    Warns
    -----
    UserWarning
        If impossible values became NaN.
    """
    headers = recognise(frame.columns, convention)
    numeric = frame.apply(pd.api.types.is_numeric_dtype) & ~frame.dtypes.map(pd.api.types.is_bool_dtype)
    is_feature = numeric & ~frame.columns.str.contains(_NO_FEATURES)
    is_feature |= frame.columns.isin(headers.index)
    try:
        values = frame.loc[:, is_feature].astype(np.float64)
    except ValueError as error:
        raise ValueError(
            f"Features must be numbers ({error}). Write missing values as empty fields."
        ) from error
    var = headers[["concept", "unit"]].reindex(values.columns, fill_value="")
    concepts = ephys_concepts()
    var["stimulus"] = concepts["stimulus"].reindex(var["concept"], fill_value="").to_numpy()
    impossible, limits = _impossible(values, headers, concepts)
    var["n_impossible"] = impossible.sum(axis=0).to_numpy()
    if impossible.to_numpy().any():
        warnings.warn(_report(values, impossible, limits, var["unit"], reader), UserWarning, stacklevel=3)
    obs = frame.loc[:, ~is_feature].copy()
    # Files hold no objects of which none is text.
    obs = obs.astype({name: np.float64 for name in obs if obs[name].isna().all()})
    return anndata.AnnData(values.mask(impossible).to_numpy(np.float32), obs=obs, var=var)


def _impossible(
    values: pd.DataFrame, headers: pd.DataFrame, concepts: pd.DataFrame
) -> tuple[pd.DataFrame, dict[str, tuple[float, float]]]:
    """Values beyond the limits of their concepts, and these limits in the units of the table."""
    limits = dict.fromkeys(map(str, values), (-_LARGEST, _LARGEST))
    for name, row in headers.iterrows():
        concept = concepts.loc[row["concept"]]
        bounds = [concept[side] / row["factor"] + row["zero"] for side in ("min", "max")]
        limits[str(name)] = (min(bounds), max(bounds))
    low, high = (pd.Series({name: pair[side] for name, pair in limits.items()}) for side in (0, 1))
    slack = 1e-9 * (high - low)  # a limit that the conversion rounds is possible
    return (values < low - slack) | (values > high + slack), limits


def _report(
    values: pd.DataFrame,
    impossible: pd.DataFrame,
    limits: dict[str, tuple[float, float]],
    units: pd.Series,
    reader: str,
) -> str:
    parts = []
    for name in impossible.columns[impossible.any()]:
        cells = impossible.index[impossible[name]]
        unit = f" {units[name]}" if units[name] not in ("", "1") else ""
        low, high = limits[name]
        every = "all " if 1 < len(cells) == values[name].notna().sum() else ""
        parts.append(
            f"{name!r} {every}{len(cells)} (such as {values.loc[cells[0], name]:.4g}{unit} in cell {cells[0]!r}; possible are "
            f"{low:g} to {high:g})"
        )
    more = f"; and {len(parts) - 5} more features, see .var['n_impossible']" if len(parts) > 5 else ""
    return (
        f"{reader}: impossible values became NaN: {'; '.join(parts[:5])}{more}. They are failed fits or sentinels, "
        "or in another unit if all are; correct the table if they should be kept."
    )
