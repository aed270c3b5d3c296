"""What was read: cells, pairs, features, missing values, and what is worth a look."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import PurePath
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_cae._arguments import shorten
from scvi_cae.data import near_misses
from scvi_cae.pp._ephys_names import recognise

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from anndata import AnnData
    from mudata import MuData

    from ._table import Table

_WIDTH = 110
#: Numbers that some programs write for missing values.
_SENTINELS = (-999, -9999, -99999)
#: Fewer names may be known by coincidence.
_SEVERAL = 3
#: A cell has few genes if it has less than this part of the median.
_FEW = 0.1


def summary(
    mdata: MuData,
    tables: Mapping[str, Table],
    places: Mapping[str, str],
    names: Mapping[str, pd.Index],
    transcriptomes: Collection[str],
) -> str:
    """A short text on what was read.

    Parameters
    ----------
    mdata
        What was made of the tables.
    tables
        The tables, with notes.
    places
        Where names of cells were found, in words.
    names
        Names of the cells of each table.
    transcriptomes
        Tables of genes.
    """
    width = max(len(name) for name in tables) + 2
    lines = [
        f"{mdata.n_obs:,} cells, {len(mdata.mod)} {'modality' if len(mdata.mod) == 1 else 'modalities'}",
        "",
    ]
    for name, table in tables.items():
        adata = mdata.mod.get(name)
        if adata is None:
            size = f"{mdata.obs.shape[1]:,} annotations"
        else:
            size = f"{adata.n_vars:,} {'genes' if name in transcriptomes else 'features'}"
        known = len(names[name].intersection(mdata.obs_names))
        facts = [
            f"{PurePath(table.source).name}: {len(names[name]):,} cells x {size}; cells' names in {places[name]}"
        ]
        if adata is not None and name not in transcriptomes:
            facts += _known_names(adata)
        facts += _features(adata) if adata is not None else [_annotated(mdata, known, len(names[name]))]
        facts += table.notes
        lines += _block(name, facts, width)
    lines += ["", *_patterns(mdata, width)]
    if misses := near_misses(names):
        lines += ["", "Names that nearly match"]
        for miss in misses:
            lines += _block("", [f"{miss.reason} To join them: join={miss.rule.name!r}"], 2)
    return "\n".join(lines)


def _block(name: str, facts: list[str], width: int) -> list[str]:
    """Facts below each other, beside a name."""
    lines = []
    for fact in facts:
        # Arguments are to be copied, and stay on one line.
        whole = re.sub(r"\w+=\[.*?\]", lambda found: found[0].replace(" ", "\0"), fact)
        first, *rest = wrap(whole, _WIDTH - width, break_long_words=False, break_on_hyphens=False)
        lines += [line.replace("\0", " ") for line in (first, *("  " + line for line in rest))]
    return [f"{name if i == 0 else '':<{width}}{line}" for i, line in enumerate(lines)]


def _annotated(mdata: MuData, known: int, n: int) -> str:
    lacking, alone = mdata.n_obs - known, n - known
    text = f"annotations of {known:,} of the {mdata.n_obs:,} cells" if lacking else "annotations of all cells"
    return text + (f"; {alone:,} more cells have no modality, and are left out" if alone else "")


def _features(adata: AnnData) -> list[str]:
    """Facts on the values of a modality."""
    values: Any = adata.X
    missing = np.isnan(
        values.toarray() if sparse.issparse(values) and np.isnan(values.data).any() else _dense(values)
    )
    facts = []
    if missing.any():
        facts.append(
            f"{int(missing.sum()):,} of {missing.size:,} values missing ({missing.mean():.1%}), in "
            f"{int(missing.any(axis=1).sum()):,} cells and {int(missing.any(axis=0).sum()):,} features"
        )
        for axis, names, what in ((1, adata.obs_names, "cells"), (0, adata.var_names, "features")):
            if (empty := missing.all(axis=axis)).any():
                facts.append(f"{int(empty.sum()):,} {what} without a value: {shorten(names[empty], 3)}")
    facts += [
        f"{int((_dense(values) == number).sum()):,} values are {number:g}: missing=[{number:g}] if that means missing"
        for number in _SENTINELS
        if (_dense(values) == number).any()
    ]
    if n := int(np.isinf(_dense(values)).sum()):
        facts.append(f"{n:,} infinite values, which a model refuses")
    text = [name for name in adata.obs if isinstance(adata.obs[name].dtype, pd.CategoricalDtype)]
    if text:
        facts.append(f"text, moved to .obs: {shorten(text)}")
    described = [name for name in adata.var if name != "unit"]
    if described:
        facts.append(f"annotations of features, in .var: {shorten(described)}")
    facts += _unusual(adata)
    return facts


def _known_names(adata: AnnData) -> list[str]:
    """How many features the table of electrophysiological names knows."""
    try:
        headers = recognise(adata.var_names)
    except ValueError:  # none, or names of several conventions
        return []
    if len(headers) < _SEVERAL:
        return []
    convention = headers["convention"].mode()[0]
    return [f"names of {convention!r} in scvi_cae.pp.ephys_names: {len(headers)} of {adata.n_vars} features"]


def _dense(values: Any) -> np.ndarray:
    """Stored values, enough to see that none of them is missing."""
    return values.data if sparse.issparse(values) else np.asarray(values)


def _unusual(adata: AnnData) -> list[str]:
    """Cells that are worth a look."""
    facts = []
    values: Any = adata.X
    if sparse.issparse(values):
        found = np.diff(sparse.csr_matrix(values).indptr)
        few = (found < _FEW * np.median(found)) & (found > 0)
        if few.any():
            facts.append(
                f"{int(few.sum()):,} cells with fewer than a tenth of the median number of genes ({np.median(found):,.0f}): "
                f"{shorten(adata.obs_names[few], 3)}"
            )
        alike, what = found == 0, "cells in which all values are 0"
    else:
        known = np.where(np.isnan(values), np.inf, values).min(axis=1)
        several = (~np.isnan(values)).sum(axis=1) > 1
        alike = several & (known == np.where(np.isnan(values), -np.inf, values).max(axis=1))
        what = "cells in which all values are equal"
    if alike.any():
        facts.append(f"{int(alike.sum()):,} {what}: {shorten(adata.obs_names[alike], 3)}")
    return facts


def _patterns(mdata: MuData, width: int) -> list[str]:
    """How many cells have which modalities, and how many each two of them share."""
    has = pd.DataFrame({name: mdata.obs_names.isin(adata.obs_names) for name, adata in mdata.mod.items()})
    if has.shape[1] == 1:
        return []
    counts = has.value_counts(sort=True)
    lines = ["Cells with"]
    for pattern, n in counts.items():
        there: Any = pattern
        names = list(has.columns[list(there)])
        lines.append(
            f"  {n:>7,}  {' and '.join(names) if len(names) < 3 else ', '.join(names)}{' alone' if len(names) == 1 else ''}"
        )
    pairs = [f"{int((has[i] & has[j]).sum()):,} of {i} and {j}" for i, j in combinations(has, 2)]
    return [*lines, f"Pairs: {', '.join(pairs)}"]
