"""Tables of cells as they are published: features, and metadata under Python names; data sets made of them."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any

import pandas as pd

from scvi_cae._assembly import categorical, join_modalities

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from anndata import AnnData
    from mudata import MuData


def read_table(
    path: Path, key: str, required: Iterable[str] = (), *, pattern: str = "(.+)", **options: Any
) -> pd.DataFrame:
    """Read a table with one row per cell.

    Parameters
    ----------
    path
        Text file with a header; spaces around the names of columns are removed.
    key
        Column with the name of the cell, which becomes the index.
    required
        Columns that the table must have.
    pattern
        Regular expression for the name of the cell in column ``key``: its first group.
    **options
        Of :func:`pandas.read_csv`.
    """
    table = pd.read_csv(path, **{"dtype": {key: str}, **options})
    table.columns = table.columns.str.strip()
    if missing := [name for name in [key, *required] if name not in table]:
        raise ValueError(
            f"{path}: no column {', '.join(map(repr, missing))}; it has {', '.join(map(repr, table))}. Use "
            "the layout of the published file."
        )
    if (repeated := table.duplicated()).any():
        warnings.warn(f"{path}: rows left out that repeat another row: {repeated.sum()}.", stacklevel=4)
        table = table[~repeated]
    cells = table[key].str.extract(pattern, expand=False)
    if cells.isna().any():
        value = table.loc[cells.isna(), key].tolist()[0]
        raise ValueError(
            f"{path}: {key!r} is {value!r} in {cells.isna().sum()} rows, which does not name a cell "
            f"(regular expression {pattern!r}). Use the published file."
        )
    table = table.drop(columns=key).set_index(pd.Index(cells.to_numpy()))
    if not table.index.is_unique:
        twice = table.index[table.index.duplicated()][0]
        raise ValueError(f"{path}: cell {twice!r} is listed more than once. Keep one row per cell.")
    return table


def read_features(
    path: Path, key: str, obs_columns: Sequence[str] = (), *, pattern: str = "(.+)", **options: Any
) -> pd.DataFrame:
    """Read numeric features, and columns that do not measure the cell, ``obs_columns``; see :func:`read_table`."""
    table = read_table(path, key, obs_columns, pattern=pattern, **options)
    for name, column in table.drop(columns=list(obs_columns)).items():
        if not pd.api.types.is_numeric_dtype(column):
            raise ValueError(f"{path}: column {name!r} is not numeric. Leave missing values empty.")
    return table


def read_metadata(
    path: Path,
    key: str,
    text: Iterable[str],
    numbers: Sequence[str],
    unknown: Iterable[str] = (),
    **options: Any,
) -> pd.DataFrame:
    """Read metadata of cells, in the order of the file and under Python names.

    Parameters
    ----------
    path, key, **options
        As for :func:`read_table`.
    text
        Columns that the table must have. They and all further columns become categorical; NaN where empty.
    numbers
        Numeric columns that the table must have; NaN where empty or ``unknown``.
    unknown
        Codes for missing numbers.
    """
    table = read_table(path, key, [*text, *numbers], dtype=str, keep_default_na=False, **options)
    table = table.apply(lambda column: column.str.strip())
    table = table.mask(table == "")
    columns = dict(categorical(table.drop(columns=list(numbers))))
    for name in numbers:
        try:
            columns[name] = pd.to_numeric(table[name].mask(table[name].isin(unknown)))
        except ValueError as error:
            raise ValueError(
                f"{path}: column {name!r} is not numeric: {error}. Use the published file."
            ) from error
    return pd.DataFrame({python_name(name): columns[name] for name in table}, index=table.index)


def join_measured(modalities: Mapping[str, AnnData], metadata: pd.DataFrame, path: Path) -> MuData:
    """Join modalities, whose cells all need a row of the metadata in ``path``; warn of rows whose cells no modality has."""
    for name, modality in modalities.items():
        if len(unknown := modality.obs_names.difference(metadata.index)):
            raise ValueError(
                f"{path}: no row for {len(unknown)} cells of {name}, e.g. {unknown[0]!r}. Use the metadata "
                "file of the same data set, or remove these cells from the other files."
            )
    mdata = join_modalities(modalities, metadata)
    labels = mdata.obs.select_dtypes("category")
    mdata.obs = mdata.obs.assign(**labels.apply(lambda column: column.cat.remove_unused_categories()))
    if unmeasured := len(metadata) - mdata.n_obs:
        rows, cells = ("row", "this cell") if unmeasured == 1 else ("rows", "these cells")
        warnings.warn(f"{path}: {unmeasured} {rows} left out, because no modality has {cells}.", stacklevel=3)
    return mdata


def word_of(labels: pd.Series, number: int) -> pd.Series:
    """Word of each label, from 0, as categorical: a type's subclass. NaN for a missing label or word."""
    return categorical(labels.astype(object).str.split().str[number].to_frame()).iloc[:, 0]


def python_name(name: str) -> str:
    """Convert a name to a Python identifier: 'Yield (pg/µl)' to 'yield_pg_ul'."""
    return re.sub(r"\W+", "_", name.lower().replace("µ", "u")).strip("_")


def by_pattern(names: Iterable[str], rules: Iterable[tuple[str, str]]) -> list[str]:
    """Value of the first of the rules (regular expression, value) that each name contains; empty without one."""
    return [next((value for pattern, value in rules if re.search(pattern, name)), "") for name in names]
