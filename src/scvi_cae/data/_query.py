"""Other data as a model reads them: its modalities, with its features in its order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData
from anndata.abc import CSCDataset
from mudata import MuData
from scipy import sparse

from scvi_cae._arguments import shorten
from scvi_cae._mudata import annotations_apart

from ._checks import check_modality, check_mudata
from ._formulas import Formula, is_formula
from ._matrix import modality_matrix
from ._rows import on_disk, read_slice, row_chunks
from ._scale import QueryScale
from ._value_checks import check_numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ._scale import Reference

    #: Mapping, function or table that renames the features of a modality.
    Rename = Mapping[str, str] | Callable[[str], str] | pd.DataFrame


def prepare_query(
    mdata: MuData,
    features: Mapping[str, Sequence[str]],
    rename: Mapping[str, Rename] | None = None,
    min_features: float = 0.2,
    layers: Mapping[str, str] | None = None,
    references: Mapping[str, Reference] | None = None,
) -> tuple[MuData, pd.DataFrame]:
    """Bring other data to the features of a model: features that they lack become missing, others are left out.

    Parameters
    ----------
    mdata
        MuData of other cells; it may be a view, or backed by a file. It is not changed.
    features
        Names of the model's features, of each of its modalities, in its order.
    rename, min_features
        As in :meth:`scvi_cae.CoupledAE.prepare_query_mudata`.
    layers
        Layer that the model reads of a modality, ``X`` of those not named. Other layers are left out.
    references
        What the model's expression values are, of each modality that holds such.

    Returns
    -------
    mdata
        New MuData in memory, of the modalities that the model and the data have. Its values are floats, NaN in
        features that the data lack; what is sparse is CSR, and stores these NaN. ``.obs`` and ``.var`` are kept.
    report
        Data frame with a row for each modality: ``modality``; ``n_cells``; the numbers of the model's features
        that the data have, ``n_matched``, by another name, ``n_renamed``, and lack, ``n_missing``; the number of
        features that the model does not know, ``n_dropped``; and names, ``missing`` and ``dropped``.

    Raises
    ------
    TypeError, ValueError
        As :meth:`scvi_cae.CoupledAE.prepare_query_mudata`.

    Examples
    --------
    >>> from scvi_cae.data import prepare_query
    >>> from scvi_cae.datasets import simulate_patchseq
    >>> mdata = simulate_patchseq(100)
    >>> query, report = prepare_query(
    ...     mdata, {"ephys": ["Rin", "Rheobase (pA)", "tau"]}, {"ephys": {"Input resistance (MOhm)": "Rin"}}
    ... )
    >>> query["ephys"].var_names.tolist()
    ['Rin', 'Rheobase (pA)', 'tau']
    >>> report[["n_matched", "n_renamed", "missing"]].to_numpy().tolist()
    [[2, 1, ('tau',)]]
    """
    check_mudata(mdata)
    if not 0 <= min_features <= 1:
        raise ValueError(f"min_features={min_features} must be a fraction from 0 to 1.")
    shared = [name for name in mdata.mod if name in features]
    if not shared:
        raise ValueError(
            f"The data have no modality {shorten(list(features))}; they have {shorten(list(mdata.mod))}. Rename it "
            "to the model's name."
        )
    rename = _checked_rename(rename, shared)
    modalities, rows = {}, []
    for name in shared:
        layer = (layers or {}).get(name)
        check_modality(mdata, name, layer)
        names = mdata[name].var_names.astype(str)
        match = _match(names, pd.Index(features[name]).astype(str), rename.get(name), name)
        _check_enough(match, names, name, min_features)
        rows.append({"modality": name, "n_cells": mdata[name].n_obs, **_report(match, names)})
        scale = QueryScale.read(mdata[name])
        if scale is None and name in (references or {}):
            matrix = modality_matrix(mdata, name, layer)
            scale = QueryScale.find(mdata[name], matrix, name, match.renamed, (references or {})[name])
        modalities[name] = _select(mdata, name, {layer, None if scale is None else scale.layer}, match)
        if scale is not None:
            scale.write(modalities[name])
    has_any = np.any([mdata.obs_names.isin(adata.obs_names) for adata in modalities.values()], axis=0)
    with annotations_apart():
        # Without obs, cells would be in the order of the modalities.
        query = MuData(modalities, obs=pd.DataFrame(mdata.obs).loc[has_any].copy())
    return query, pd.DataFrame(rows)


def _checked_rename(rename: Mapping[str, Rename] | None, shared: list[str]) -> Mapping[str, Rename]:
    if rename is None:
        return {}
    if not isinstance(rename, Mapping):
        raise TypeError(
            f"rename must say of which modality it is, rename={{{shared[0]!r}: ...}}, but is a "
            f"{type(rename).__name__}."
        )
    for name, how in rename.items():
        if name not in shared:
            raise ValueError(
                f"rename names {name!r}, which is not among the modalities that the model and the data share: "
                f"{shorten(shared)}."
            )
        if not isinstance(how, (Mapping, pd.DataFrame)) and not callable(how):
            raise TypeError(
                f"rename[{name!r}] must be a dictionary, a function or a data frame, not a {type(how).__name__}."
            )
    return rename


class _Calculated(NamedTuple):
    """A feature that is calculated from others."""

    formula: Formula
    columns: np.ndarray
    """Positions in the data of the formula's features."""


class _Match(NamedTuple):
    """Correspondence of a model's features to those of the data."""

    features: pd.Index
    """The model's features."""
    columns: np.ndarray
    """Position of each in the data, -1 if they lack it; calculated features are numbered on from the data's."""
    factors: np.ndarray
    """Factor of its values."""
    renamed: pd.Index
    """Names of the data's features, as in the model."""
    calculated: list[_Calculated]
    """Features that are calculated from the data's."""


def _match(names: pd.Index, features: pd.Index, rename: Rename | None, modality: str) -> _Match:
    n_own, renamed, factors = len(names), names, np.ones(len(names))
    calculated: list[_Calculated] = []
    if isinstance(rename, pd.DataFrame):
        renamed, factors, calculated = _by_table(names, features, rename, modality)
        names = _with_formulas(names, calculated)
    elif isinstance(rename, Mapping):
        _check_names(rename, names, features, modality)
        renamed = pd.Index([rename.get(name, name) for name in names])
    elif rename is not None:
        renamed = pd.Index([str(rename(name)) for name in names])
    known = renamed.isin(features)
    twice = known & renamed.duplicated(keep=False)
    if twice.any():
        same = renamed == renamed[twice][0]
        others = f" There are {twice.sum()} such features." if twice.sum() > same.sum() else ""
        raise ValueError(
            f"Modality {modality!r}: features {shorten(names[same])} of the data are all {str(renamed[same][0])!r} of "
            f"the model. Take all but one out of the data, or rename them otherwise.{others}"
        )
    columns = (
        pd.Series(np.flatnonzero(known), index=renamed[known]).reindex(features, fill_value=-1).to_numpy()
    )
    return _Match(features, columns, np.append(factors, 1.0)[columns], renamed[:n_own], calculated)


def _check_names(rename: Mapping[str, str], names: pd.Index, features: pd.Index, modality: str) -> None:
    for given, known, where in ((rename.keys(), names, "data"), (rename.values(), features, "model")):
        strange = [name for name in given if name not in known]
        if strange:
            raise ValueError(
                f"rename[{modality!r}] names {len(strange)} features that are not in the {where}: "
                f"{shorten(strange)}. It is to map names in the data to names in the model, such as "
                f"{shorten(names, 1)} to {shorten(features, 1)}."
            )


def _by_table(
    names: pd.Index, features: pd.Index, table: pd.DataFrame, modality: str
) -> tuple[pd.Index, np.ndarray, list[_Calculated]]:
    """Names and factors of the data's features after a table is applied, and of those that it calculates."""
    if table.shape[1] < 3 or (table.shape[1] > 3 and table.columns[2] != "factor"):
        raise ValueError(
            f"rename[{modality!r}] must have three columns, names in the data, names in the model, and factors; it has "
            f"{shorten(table.columns)}."
        )
    source, target = (pd.Index(table.iloc[:, i]).astype(str) for i in (0, 1))
    factor = pd.to_numeric(table.iloc[:, 2]).to_numpy(dtype=float)
    if not (np.isfinite(factor) & (factor != 0)).all():
        raise ValueError(f"rename[{modality!r}]: factors must be finite, and not 0.")
    renamed, factors = names.to_numpy(dtype=object, copy=True), np.ones(len(names))
    calculated, targets, multiples, seen = [], [], [], set()
    for text, feature, multiple in zip(source, target, factor, strict=True):
        formula = Formula.parse(text) if is_formula(text) else None
        needed = pd.Index(formula.names if formula else [text])
        if feature not in features or not needed.isin(names).all():
            continue
        columns = names.get_indexer(needed)
        if formula is None and text not in seen:
            renamed[columns], factors[columns] = feature, multiple
            seen.add(text)
        else:
            # A feature that gives a second one of the model is a formula, too.
            calculated.append(_Calculated(formula or Formula.parse(f"`{text}`"), columns))
            targets.append(feature)
            multiples.append(multiple)
    if not seen and not calculated:
        raise ValueError(
            f"rename[{modality!r}]: no row applies. Its column {str(table.columns[0])!r} is to name features of the "
            f"data, such as {shorten(names, 2)}, and {str(table.columns[1])!r} features of the model, such as "
            f"{shorten(features, 2)}."
        )
    return pd.Index([*renamed, *targets]), np.append(factors, multiples), calculated


def _with_formulas(names: pd.Index, calculated: list[_Calculated]) -> pd.Index:
    return pd.Index([*names, *(item.formula.text for item in calculated)])


def _check_enough(match: _Match, names: pd.Index, modality: str, min_features: float) -> None:
    n, n_matched = len(match.features), int((match.columns >= 0).sum())
    if n_matched and n_matched >= min_features * n:
        return
    raise ValueError(
        f"Modality {modality!r}: the data have {n_matched} of the {n} features of the model. They lack "
        f"{shorten(match.features[match.columns < 0])}; they have {shorten(names)}. If names differ, give "
        f"rename={{{modality!r}: {{name in the data: name in the model}}}}; else leave the modality out, or lower "
        f"min_features={min_features}."
    )


def _report(match: _Match, names: pd.Index) -> dict[str, Any]:
    found = match.columns >= 0
    taken = match.columns[found]
    sources = _with_formulas(names, match.calculated)
    parts = [match.calculated[i - len(names)].columns for i in taken[taken >= len(names)]]
    missing = tuple(match.features[~found])
    dropped = tuple(np.delete(names.to_numpy(), np.concatenate([taken[taken < len(names)], *parts])))
    return {
        "n_matched": int(found.sum()),
        "n_renamed": int((sources[taken] != match.features[found]).sum()),
        "n_missing": len(missing),
        "n_dropped": len(dropped),
        "missing": missing,
        "dropped": dropped,
    }


def _select(mdata: MuData, modality: str, layers: set[str | None], match: _Match) -> AnnData:
    """A modality with the features of a model, its ``X`` and some layers."""
    adata = mdata.mod[modality]
    own = (match.columns >= 0) & (match.columns < adata.n_vars)
    var = pd.DataFrame(adata.var).iloc[match.columns[own]].set_axis(match.features[own])
    if not own.all():
        # Files hold no numbers and NaN in one column of truth values, or of whole numbers.
        nullable = {"b": "boolean", "i": "Int64", "u": "UInt64"}
        kinds = {name: nullable.get(getattr(dtype, "kind", "O")) for name, dtype in var.dtypes.items()}
        var = var.astype({name: kind for name, kind in kinds.items() if kind}).reindex(match.features)
    matrices = {}
    for key in {None, *layers}:
        if key is not None or adata.X is not None:
            matrix = modality_matrix(mdata, modality, key)
            matrix = matrix.to_memory() if isinstance(matrix, CSCDataset) else matrix
            check_numbers(matrix, modality)
            matrices[key] = _take(matrix, match)
    kept = {key: matrix for key, matrix in matrices.items() if key is not None}
    return AnnData(matrices.get(None), obs=pd.DataFrame(adata.obs).copy(), var=var, layers=kept)


def _take(matrix: Any, match: _Match) -> Any:
    """Features of a model out of a matrix, in memory, as floats; NaN where the matrix lacks them."""
    found = match.columns >= 0
    columns, factors = match.columns[found], match.factors[found]
    dtype = matrix.dtype if matrix.dtype.kind == "f" else np.dtype(np.float32)
    if on_disk(matrix):
        # Never all features of all cells at once.
        blocks = (block for _, block in row_chunks(matrix))
        parts = [_columns(block, columns, match.calculated) for block in blocks]
        parts = parts or [_columns(read_slice(matrix, 0, 0), columns, match.calculated)]
    else:
        block = matrix.tocsr() if sparse.issparse(matrix) else np.asarray(matrix)
        parts = [_columns(block, columns, match.calculated)]
    if sparse.issparse(parts[0]):
        kept = (sparse.vstack(parts, format="csr") if len(parts) > 1 else parts[0]).astype(dtype)
        kept.data *= factors.astype(dtype)[kept.indices]
        return _spread(kept, found)
    out = np.full((matrix.shape[0], len(found)), np.nan, dtype=dtype)
    start = 0
    for part in parts:
        out[start : start + len(part), found] = part * factors
        start += len(part)
    return out


def _columns(block: Any, columns: np.ndarray, calculated: list[_Calculated]) -> Any:
    """Columns of some cells, those beyond the data's being calculated."""
    own = columns < block.shape[1]
    if own.all():
        return block[:, columns]
    made = []
    for formula, sources in (calculated[i - block.shape[1]] for i in columns[~own]):
        values = block[:, sources]
        made.append(formula(values.toarray() if sparse.issparse(values) else values))
    parts = block[:, columns[own]], np.column_stack(made)
    order = np.argsort(np.concatenate([np.flatnonzero(own), np.flatnonzero(~own)]))
    if not sparse.issparse(block):
        return np.concatenate(parts, axis=1)[:, order]
    csr = sparse.csr_array if isinstance(block, sparse.sparray) else sparse.csr_matrix
    return csr(sparse.hstack([parts[0], csr(parts[1])], format="csr"))[:, order]


def _spread(kept: Any, found: np.ndarray) -> Any:
    """Columns of a CSR matrix at the places of those ``found``, and stored NaN in between."""
    csr = sparse.csr_array if isinstance(kept, sparse.sparray) else sparse.csr_matrix
    n_cells, gaps = kept.shape[0], np.flatnonzero(~found)
    indices = np.tile(np.arange(len(gaps), dtype=np.int32), n_cells)
    missing = csr(
        (np.full(len(indices), np.nan, dtype=kept.dtype), indices, len(gaps) * np.arange(n_cells + 1)),
        shape=(n_cells, len(gaps)),
    )
    out = csr(sparse.hstack([kept, missing], format="csr"))
    places = np.concatenate([np.flatnonzero(found), gaps]).astype(out.indices.dtype)
    out.indices = places[out.indices]
    out.has_sorted_indices = False
    out.sort_indices()
    return out
