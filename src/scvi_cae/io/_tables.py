"""From a laboratory's tables to a MuData."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, TypeAlias

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

from scvi_cae._arguments import shorten
from scvi_cae._assembly import categorical, join_modalities, units

from ._columns import Missing, renamed, resolve, settle
from ._names import checked, unify
from ._orientation import locate
from ._places import is_annotation, names_at, row_keys, words
from ._sources import read
from ._summary import summary
from ._table import without_repeats
from ._transcriptome import Preparation, prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from pathlib import Path

    from anndata import AnnData
    from mudata import MuData

    from ._places import Place
    from ._table import Table

    Source: TypeAlias = str | Path | pd.DataFrame | AnnData


def read_tables(
    rna: Source | None = None,
    ephys: Source | None = None,
    morph: Source | None = None,
    obs: Source | None = None,
    *,
    join: str | Sequence[str] | Callable[[str], str] | None = None,
    missing: str | float | Iterable[str | float] = (),
    target_sum: float = 1e6,
    library_size: str | None = None,
    genes: Sequence[str] | int | None = None,
    round_counts: bool = False,
    strip_versions: bool = False,
    drop_spike_ins: bool = False,
    drop_zero_genes: bool = False,
    transcriptomes: Collection[str] = ("rna",),
    transposed: Collection[str] | None = None,
    verbose: bool = True,
    **others: Source | None,
) -> MuData:
    """A MuData from tables of a laboratory, one for each modality.

    A table is a path or a :class:`pandas.DataFrame` or :class:`anndata.AnnData`. Files may be text (csv, tsv, with any
    separator, decimal mark and encoding, compressed or not), parquet (which needs pyarrow), h5ad, 10x h5, or a folder with
    ``matrix.mtx``; which of them is found from their contents. Cells may be rows or columns; their names are found where
    the tables agree. Nothing is removed, filled in or renamed unless the summary says so.

    Parameters
    ----------
    rna
        Transcriptome: counts, or other values. Counts are kept in ``layers["counts"]`` (CSR, int32), and ``X`` has log1p
        counts per ``target_sum`` (CSR, float32). Values that look like logarithms are left as they are.
    ephys, morph, **others
        Features, in their units (dense, float32), NaN where missing. Columns of text become annotations, in ``.obs`` of
        the modality; ``true`` and ``false`` become 1 and 0; units at the end of names, ``(mV)``, are in ``.var["unit"]``.
        In ``others``, the keyword is the name of the modality.
    obs
        Annotations of cells, in ``.obs`` of the MuData; text is categorical. Cells without other data are left out with a
        warning.
    join
        How names are compared that differ between tables in the way they are written: ``"case"``, ``"blanks"``,
        ``"decimals"`` (``17.0`` for 17), ``"all"`` of these, ``"suffix"`` (an end that all names of a table share), or
        several of them; a regular expression with parentheses around the part of a name that is to be kept
        (``"ses-([0-9]+)"``; names that it does not match stay); or a function from a name to a name, which names of all
        tables pass. By default (``None``) names
        must be equal, and the summary says which rule would join how many cells.
    missing
        Words and numbers that mean that a value is missing, such as ``["fail", -999]``. Empty entries, NA, N/A, NaN,
        None and null, in any case, always do.
    target_sum
        Sum of a cell's counts before the logarithm, counts per million by default.
    library_size
        Column of ``obs`` with the counts of each cell over all genes, for a table that has some of them. By default
        (``None``), a cell's counts are divided by their sum over the genes of the table. Either way, ``.uns`` has a record.
    genes
        Names of genes, or a number of genes of largest variance, to be kept after normalising; ``None`` keeps all. To choose
        genes by how well they predict another modality, use :func:`scvi_cae.pp.predictive_features` on training cells.
    round_counts
        Whether values that are not whole numbers, such as the expected counts of RSEM, are to be rounded to counts.
    strip_versions
        Whether versions of Ensembl identifiers are to be removed.
    drop_spike_ins
        Whether ERCC spike-ins are to be left out, before normalising.
    drop_zero_genes
        Whether genes without a count in any cell are to be left out.
    transcriptomes
        Which modalities are prepared like ``rna``.
    transposed
        Names of the tables that have cells in columns, the others having them in rows. ``None`` (default): found.
    verbose
        Whether the summary is printed. It is also in ``.uns["read_tables"]``.

    Returns
    -------
    MuData
        Modalities with their cells in the order of their tables; cells are the first table's, followed by those that the
        next ones add.

    Raises
    ------
    OSError
        If there is no such file.
    TypeError
        If a table is neither path, data frame nor AnnData.
    ValueError
        If a file is damaged or no table; if names of cells are not found, or two cells or features have the same; if a
        column mixes numbers and words; if counts are missing; or if an argument does not fit.

    Warns
    -----
    UserWarning
        If cells of ``obs`` are left out, since no modality has them.

    Examples
    --------
    >>> import pandas as pd
    >>> from scvi_cae.io import read_tables
    >>> counts = pd.DataFrame(
    ...     {"gene": ["Gad1", "Sst"], "cell_1": [3, 0], "cell_2": [5, 7]}
    ... )  # or "counts.csv.gz"
    >>> ephys = pd.DataFrame(
    ...     {"cell": ["cell_2", "cell_1"], "width (ms)": ["0.5", "n/a"], "layer": ["5", "L2"]}
    ... )
    >>> mdata = read_tables(rna=counts, ephys=ephys)
    2 cells, 2 modalities
    ...
    >>> mdata["rna"].layers["counts"].toarray()
    array([[3, 0],
           [5, 7]], dtype=int32)
    >>> mdata["ephys"].to_df()
            width (ms)
    cell_2         0.5
    cell_1         NaN
    """
    given = {"rna": rna, "ephys": ephys, "morph": morph, **others}
    sources = {name: source for name, source in given.items() if source is not None}
    if not sources:
        raise ValueError(
            "No modality is given. Give at least one table, such as rna='counts.csv' or ephys='features.csv'."
        )
    if obs is not None:
        sources["obs"] = obs
    elif library_size is not None:
        raise ValueError(
            f"library_size={library_size!r} is a column of obs, which is not given: obs='cells.csv'."
        )
    for argument, names in (
        ("transposed", transposed or ()),
        ("transcriptomes", set(transcriptomes) - {"rna"}),
    ):
        if isinstance(names, str) or (unknown := sorted(set(names) - set(sources))):
            raise ValueError(
                f"{argument}={names if isinstance(names, str) else unknown!r} must be a list of the tables {list(sources)}."
            )
    rules, means_missing = checked(join), Missing.of(missing)
    how = Preparation(target_sum, genes, round_counts, strip_versions, drop_spike_ins, drop_zero_genes)

    tables = {name: resolve(read(name, source), means_missing) for name, source in sources.items()}
    places = locate(tables, rules, transposed, transcriptomes)
    for name, place in places.items():
        if not place.transposed and tables[name].adata is None:
            tables[name] = without_repeats(tables[name], names_at(tables[name], place))
    names = unify(
        rules,
        {name: names_at(table, places[name]) for name, table in tables.items()},
        {name: table.source for name, table in tables.items()},
    )
    annotations = pd.DataFrame(index=pd.Index([], dtype=object))
    if "obs" in tables:
        annotations = _annotations(tables["obs"], places["obs"], names["obs"], means_missing)
    sizes = None if library_size is None else _column(annotations, library_size, tables["obs"].source)
    modalities = {}
    for name, table in tables.items():
        if name != "obs":
            adata = _oriented(table, places[name], means_missing)
            adata.obs_names = names[name]
            if name in transcriptomes:
                modalities[name] = prepare(adata, table.source, how, sizes, table.notes)
            else:
                modalities[name] = _features(adata)
    for adata in modalities.values():
        adata.obs_names, adata.var_names = _text(adata.obs_names), _text(adata.var_names)
    annotations.index = _text(annotations.index)
    mdata = join_modalities(modalities, annotations)
    where = {name: words(table, places[name]) for name, table in tables.items()}
    mdata.uns["read_tables"] = text = summary(mdata, tables, where, names, transcriptomes)
    if verbose:
        print(text)
    alone = annotations.index.difference(mdata.obs_names, sort=False)
    if len(alone):
        warnings.warn(
            f"{tables['obs'].source}: {len(alone)} cells left out, because no modality has them: {shorten(alone)}.",
            stacklevel=2,
        )
    return mdata


def _text(names: pd.Index) -> pd.Index:
    """Names in the type that pandas has for text: objects before version 3."""
    return pd.Index(names.tolist()) if len(names) else names


def _annotations(table: Table, place: Place, cells: pd.Index, missing: Missing) -> pd.DataFrame:
    """Annotations of cells: numbers, whole ones as such, and text, categorical."""
    columns = settle(table, place.column, cells, missing)
    numbers = columns.numbers.toarray() if sparse.issparse(columns.numbers) else columns.numbers
    frame = pd.DataFrame(numbers, columns=columns.names)
    for name, column in frame.items():
        if len(column) and (column == np.rint(column)).all() and column.abs().max() < 2**53:
            frame[name] = column.astype(np.int64)
    frame = pd.concat([frame, categorical(columns.text)], axis=1)
    frame.index = cells
    order = [name for name in table.header if name in frame]
    return renamed(table, frame[order])


def _column(annotations: pd.DataFrame, name: str, source: str) -> pd.Series:
    if name not in annotations or not pd.api.types.is_numeric_dtype(annotations[name]):
        raise ValueError(
            f"{source}: library_size={name!r} must be a column of numbers; it has {shorten(list(annotations), 20)}."
        )
    return annotations[name]


def _oriented(table: Table, place: Place, missing: Missing) -> AnnData:
    """The table as AnnData with cells in rows; what is text describes its rows, be they cells or features."""
    if table.adata is not None:
        adata = table.adata.T.copy() if place.transposed else table.adata.copy()
        adata.X = missing.masked(adata.X)
    else:
        key = place.column
        if place.transposed:
            keys = row_keys(table)
            if not keys:
                raise ValueError(
                    f"{table.source}: no column has the names of features. Make it the first column."
                )
            features = next(iter(keys))
            key, rows = features.column, names_at(table, features)
        else:
            rows = names_at(table, place)
        _check_distinct(rows, table)
        columns = settle(table, None if key == -1 else key, rows, missing)
        text = renamed(table, categorical(columns.text).set_axis(pd.Index(rows, dtype=object)))
        adata = anndata.AnnData(columns.numbers, obs=text, var=pd.DataFrame(index=columns.names))
        if place.transposed:
            adata = _described(adata).T.copy()
    _check_distinct(adata.var_names, table)
    if not adata.n_vars:
        raise ValueError(
            f"{table.source}: no column of {table.name!r} has numbers beside the names of cells. Give annotations of cells "
            "as obs=."
        )
    return adata


def _check_distinct(features: pd.Index, table: Table) -> None:
    """Check that no two features, or cells that were named before, have the same name."""
    twice = features[features.duplicated()].unique()
    if len(twice):
        raise ValueError(
            f"{table.source}: {len(twice)} features have the same name as another one: {shorten(twice)}. Keep one of "
            "each, or give them different names, for example their identifiers."
        )


def _described(genes: AnnData) -> AnnData:
    """Genes x cells without the columns of numbers that describe genes, which become annotations."""
    described = np.array([is_annotation(name) for name in genes.var_names], dtype=bool)
    out = genes[:, ~described].copy()
    for i in np.flatnonzero(described):
        column = genes.X[:, [i]]
        out.obs[genes.var_names[i]] = np.asarray(
            column.toarray() if sparse.issparse(column) else column
        ).ravel()
    return out


def _features(adata: AnnData) -> AnnData:
    """Features as they are, dense, with their units."""
    values: Any = adata.X
    adata.X = np.asarray(values.toarray() if sparse.issparse(values) else values).astype(np.float32)
    if "unit" not in adata.var:
        adata.var["unit"] = units(_text(adata.var_names))
    return adata
