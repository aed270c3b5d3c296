"""Splits of cells for cross-validation, in the form that :meth:`scvi_cae.CoupledAE.train` accepts."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from scvi_cae._arguments import check_whole, shorten

from .data import Split, check_mudata, draw_split, has_values, obs_column, presence_pattern, strata_order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mudata import MuData

__all__ = ["Split", "gala2021", "k_fold", "within"]

NO_CELLS = np.empty(0, dtype=np.int64)


def k_fold(
    mdata: MuData,
    n_folds: int = 10,
    *,
    stratify_by: str | Sequence[str] | None = None,
    group_by: str | None = None,
    validation_size: float = 0.0,
    seed: int = 0,
) -> list[Split]:
    """Splits of a k-fold cross-validation, in which every cell is a test cell exactly once.

    Folds are stratified by the combination of modalities that a cell has and by ``stratify_by``: they contain
    equal numbers of cells of each stratum, up to one cell. With groups, the numbers are as equal as whole
    groups allow.

    Parameters
    ----------
    mdata
        MuData whose cells are split.
    n_folds
        Number of folds, at least 2.
    stratify_by
        Columns of ``mdata.obs`` or of a modality's ``.obs`` whose proportions are equal in all folds. A
        missing value is a category of its own.
    group_by
        Column of groups that are not divided between sets: mice, donors or sequencing batches, to test on new
        ones; cell types, to test on types that are absent from training. A cell without a group is a group of
        its own.
    validation_size
        Fraction of the cells outside a fold that form the validation set, which chooses the best epoch. With
        ``group_by``, the validation set consists of whole groups, at least one, with about this fraction of
        the cells. 0 by default.
    seed
        Seed of the random numbers.

    Returns
    -------
    One split per fold, for ``model.train(external_indexing=split)``.

    Raises
    ------
    ValueError
        If ``n_folds`` exceeds the number of cells or groups, ``validation_size`` is not at least 0 and below
        1, or the groups are too few for a validation set.
    KeyError
        If a column does not exist.

    Examples
    --------
    >>> import scvi_cae
    >>> mdata = scvi_cae.datasets.simulate_patchseq(n_cells=200)
    >>> folds = scvi_cae.splits.k_fold(mdata, 5, stratify_by="family")
    >>> [len(fold.test) for fold in folds]
    [40, 40, 40, 40, 40]
    >>> held_out_types = scvi_cae.splits.k_fold(mdata, 3, group_by="cell_type")
    """
    check_mudata(mdata)
    check_whole(n_folds, "n_folds", 2, mdata.n_obs, "the number of cells")
    if not 0 <= validation_size < 1:
        raise ValueError(f"validation_size={validation_size} must be at least 0 and below 1.")
    present = {name: has_values(mdata, name) for name in mdata.mod}
    keys = [stratify_by] if isinstance(stratify_by, str) else list(stratify_by or ())
    strata: list[np.ndarray] = [presence_pattern(present), *(obs_column(mdata, k).to_numpy() for k in keys)]
    rng = np.random.RandomState(seed)
    cells = np.arange(mdata.n_obs)
    if group_by is None:
        groups = None
        order = strata_order(strata, rng)
        tests = [np.sort(order[fold::n_folds]) for fold in range(n_folds)]
    else:
        groups = pd.factorize(obs_column(mdata, group_by))[0]
        tests = _grouped(strata, groups, n_folds, rng, group_by)
    splits = []
    for test in tests:
        rest = np.setdiff1d(cells, test)
        validation = _validation(rest, strata, groups, validation_size, rng)
        splits.append(Split(np.setdiff1d(rest, validation), validation, test))
    return splits


def _grouped(
    strata: Sequence[np.ndarray], groups: np.ndarray, n_folds: int, rng: np.random.RandomState, name: str
) -> list[np.ndarray]:
    """Folds of whole groups; cells without a group (-1) are distributed one by one."""
    n_groups = groups.max() + 1
    if n_groups < n_folds:
        raise ValueError(
            f"Column {name!r} has {n_groups} groups, too few for {n_folds} folds. Lower n_folds, or group by "
            "another column."
        )
    fold = np.empty(len(groups), dtype=np.int64)
    ungrouped = np.flatnonzero(groups < 0)
    order = (
        ungrouped[strata_order([column[ungrouped] for column in strata], rng)]
        if len(ungrouped)
        else ungrouped
    )
    fold[order] = np.arange(len(order)) % n_folds
    grouped = np.flatnonzero(groups >= 0)
    kinds = pd.MultiIndex.from_arrays([pd.Index(column[grouped]).astype(str) for column in strata])
    codes = pd.factorize(kinds)[0]
    if np.bincount(codes).max() < n_folds:
        # scikit-learn requires a stratum with at least one cell per fold; otherwise, balance sizes only.
        codes = np.zeros_like(codes)
    folds = StratifiedGroupKFold(n_folds, shuffle=True, random_state=rng)
    with warnings.catch_warnings():
        # A stratum with fewer cells than there are folds cannot be in all of them.
        warnings.filterwarnings("ignore", message="The least populated class")
        for number, (_, test) in enumerate(folds.split(grouped, codes, groups=groups[grouped])):
            fold[grouped[test]] = number
    return [np.flatnonzero(fold == number) for number in range(n_folds)]


def _validation(
    cells: np.ndarray,
    strata: Sequence[np.ndarray],
    groups: np.ndarray | None,
    size: float,
    rng: np.random.RandomState,
) -> np.ndarray:
    """Draw a fraction of the cells: whole groups, and cells without a group."""
    if not size:
        return NO_CELLS
    ungrouped = cells if groups is None else cells[groups[cells] < 0]
    drawn = draw_split([column[ungrouped] for column in strata], 1 - size, None, rng).validation
    chosen = [ungrouped[drawn]] if len(ungrouped) else [NO_CELLS]
    if groups is not None:
        grouped = cells[groups[cells] >= 0]
        names, sizes = np.unique(groups[grouped], return_counts=True)
        if len(names) < 2:
            raise ValueError(
                "A fold leaves a single group to train and validate on. Use more folds, or no validation "
                "cells: validation_size=0."
            )
        # In random order, take each group that still fits into the quota; the smallest group if none fits.
        quota, taken = size * len(grouped), []
        for i in rng.permutation(len(names)):
            if sizes[i] <= quota:
                taken.append(names[i])
                quota -= sizes[i]
        chosen.append(grouped[np.isin(groups[grouped], taken or names[[sizes.argmin()]])])
    return np.sort(np.concatenate(chosen))


def within(
    split: Sequence[np.ndarray | Sequence[int] | None],
    n_folds: int = 5,
    seed: int = 0,
    *,
    mdata: MuData | None = None,
    group_by: str | None = None,
) -> list[Split]:
    """Divide a split's training cells into folds, each of which validates a model trained on the others.

    Every training cell is a validation cell of exactly one model, which has not trained on it. Intervals of
    an :class:`scvi_cae.Ensemble` of these models are calibrated on these cells. Train with ``monitor=None``,
    so that they do not choose the epoch either.

    Parameters
    ----------
    split
        Training, validation and test cells; the last two are optional.
    n_folds
        Number of folds, at least 2.
    seed
        Seed of the random numbers.
    mdata
        MuData of the split, needed for ``group_by``.
    group_by
        Column of groups that are not divided between training and validation, as in :func:`k_fold`: intervals
        for new mice are calibrated on mice that a model has not seen. A cell without a group is a group of its
        own.

    Returns
    -------
    One split per fold, of random cells or groups. The test cells are the test and validation cells of ``split``, so
    that nothing is fitted to either.

    Raises
    ------
    ValueError
        If ``n_folds`` exceeds the number of training cells or of their groups, or ``group_by`` is given without
        ``mdata``.
    KeyError
        If the column does not exist.

    Examples
    --------
    >>> import scvi_cae
    >>> mdata = scvi_cae.datasets.simulate_patchseq(n_cells=200)
    >>> split = scvi_cae.splits.k_fold(mdata, 5)[0]
    >>> [len(fold.validation) for fold in scvi_cae.splits.within(split, 4)]
    [40, 40, 40, 40]
    """
    sets = [np.asarray(NO_CELLS if cells is None else cells) for cells in split]
    train, *others = (np.flatnonzero(cells) if cells.dtype == bool else cells for cells in sets)
    check_whole(n_folds, "n_folds", 2, len(train), "the number of training cells")
    rng = np.random.RandomState(seed)
    test = np.sort(np.concatenate([NO_CELLS, *others]).astype(np.int64))
    if group_by is None:
        order = rng.permutation(train)
        folds = [np.sort(order[fold::n_folds]) for fold in range(n_folds)]
    else:
        if mdata is None:
            raise ValueError(
                f"group_by={group_by!r} names a column of the data; give them as well: mdata=mdata."
            )
        train = np.sort(train)
        groups = pd.factorize(obs_column(mdata, group_by).to_numpy()[train])[0]
        one_stratum = np.zeros(len(train), dtype=np.int64)
        folds = [train[fold] for fold in _grouped([one_stratum], groups, n_folds, rng, group_by)]
    return [Split(np.setdiff1d(train, fold), fold, test) for fold in folds]


def gala2021(mdata: MuData, n_folds: int = 50, labels_key: str = "cluster") -> list[Split]:
    """Splits of Gala et al. (2021), identical to the published indices.

    The folds are stratified by cell type with scikit-learn's generator at seed 0. They depend on the order of
    cells, which must be that of the published file; :func:`scvi_cae.datasets.gala2021` preserves it.

    Parameters
    ----------
    mdata
        MuData of the published cells in the published order.
    n_folds
        50
            Cross-validation of the paper: folds 45 to 49 are the test set of all splits, each of folds 1 to
            44 is a validation set, and fold 0 is always in the training set.
        20
            Later run (the published ``train.py``): each fold is a validation set, without test cells.
        40
            Minimal example: likewise.
        5
            Clustering of the paper: each fold is the test set of a split. The paper used the first split, 80
            to 20 %, and validated on the same cells.
    labels_key
        Column of cell types, in ``mdata.obs`` or a modality's ``.obs``.

    Returns
    -------
    The splits: 44 for 50 folds, otherwise ``n_folds``.

    Raises
    ------
    ValueError
        If ``n_folds`` is another number, a cell has no label, or every label has fewer cells than there are
        folds.
    KeyError
        If the column does not exist.

    Examples
    --------
    >>> import scvi_cae
    >>> mdata = scvi_cae.datasets.gala2021()  # doctest: +SKIP
    >>> splits = scvi_cae.splits.gala2021(mdata)  # doctest: +SKIP
    """
    if n_folds not in (50, 40, 20, 5):
        raise ValueError(f"n_folds={n_folds!r} must be 50, 40, 20 or 5, as in the published splits.")
    check_mudata(mdata)
    labels = obs_column(mdata, labels_key)
    if labels.isna().any():
        raise ValueError(
            f"Column {labels_key!r} is missing for {labels.isna().sum()} cells, such as "
            f"{shorten(mdata.obs_names[labels.isna()], 1)}. All published cells have a label; name their "
            "column: labels_key=..."
        )
    cells = np.arange(mdata.n_obs)
    with warnings.catch_warnings():
        # As published, rare types are not in every fold.
        warnings.filterwarnings("ignore", message="The least populated class")
        generator = StratifiedKFold(n_folds, shuffle=True, random_state=0)
        folds = [fold for _, fold in generator.split(cells, labels.astype(str).to_numpy())]
    if n_folds == 5:
        return [Split(np.setdiff1d(cells, fold), NO_CELLS, fold) for fold in folds]
    if n_folds == 50:
        test = np.sort(np.concatenate(folds[45:]))
        folds = folds[1:45]
    else:
        test = NO_CELLS
    return [Split(np.setdiff1d(cells, np.union1d(fold, test)), fold, test) for fold in folds]
