"""Parts of the cells, each of which one model of an ensemble is not trained on."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
from scvi import settings

from scvi_cae._arguments import shorten
from scvi_cae.data import Split, given_split, obs_column, presence_pattern, strata_order
from scvi_cae.splits import within

from ._preparation import ClassesLackCells

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scvi_cae.data import AlignedData


def cross_fitting_folds(
    data: AlignedData,
    n_folds: int,
    group_by: str | None,
    external_indexing: Sequence[np.ndarray | Sequence[int] | None] | None,
) -> list[Split]:
    """Splits whose validation cells are one part of the cells each, with its share of every pattern of modalities.

    Parameters
    ----------
    data
        The data.
    n_folds
        Number of parts.
    group_by
        Column of groups that are not divided.
    external_indexing
        Positions of training cells, and of others that take no part.
    """
    present = data.present(data.setup.arms)
    has_any = np.any(list(present.values()), axis=0)
    if external_indexing is None:
        cells, others = np.flatnonzero(has_any), np.empty(0, dtype=np.int64)
    else:
        split = given_split(data.n_cells, external_indexing)
        cells = split.train[has_any[split.train]]
        others = np.sort(np.concatenate([split.validation, split.test]))
    if group_by is not None:
        seed = settings.seed or 0
        return within((cells, None, others), n_folds, seed, mdata=data.mdata, group_by=group_by)
    strata = [presence_pattern(present), *(obs_column(data.mdata, key) for key in data.setup.labels)]
    order = strata_order(
        [np.asarray(column)[cells] for column in strata], np.random.RandomState(settings.seed)
    )
    parts = [np.sort(cells[order[fold::n_folds]]) for fold in range(n_folds)]
    return [Split(np.setdiff1d(cells, part), part, others) for part in parts]


def warn_once(caught: Sequence[warnings.WarningMessage], n_models: int) -> None:
    """Repeat the warnings of several trainings, each text once, with the number of models that it is of.

    Classes that models lack, each model perhaps others, are named in one warning for each column of labels.
    """
    texts: dict[tuple[str, type[Warning]], int] = {}
    lacking: dict[str, set[str]] = {}
    for warning in caught:
        if isinstance(warning.message, ClassesLackCells):
            lacking.setdefault(warning.message.labels, set()).update(warning.message.classes)
            continue
        key = (str(warning.message), warning.category)
        texts[key] = texts.get(key, 0) + 1
    for labels, classes in lacking.items():
        warnings.warn(
            f"Labels {labels!r}: {len(classes)} classes have no training cell in some of the {n_models} models, which "
            f"never predict them: {shorten(sorted(classes))}. Give classes of few cells a common name, or no label.",
            UserWarning,
            stacklevel=3,
        )
    for (text, category), n in texts.items():
        of = f" (in {n} of {n_models} models)" if n < n_models else ""
        warnings.warn(text + of, category, stacklevel=3)
