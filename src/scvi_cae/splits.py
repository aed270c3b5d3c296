"""Splits of cells into folds, as :meth:`scvi_cae.CoupledAE.train` takes them."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from scvi_cae._arguments import shorten

from .data import (
    Split,
    check_mudata,
    draw_split,
    obs_column,
    presence_pattern,
    strata_order,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mudata import MuData

__all__ = ["Split", "gala2021", "k_fold", "within"]

NOBODY = np.empty(0, dtype=np.int64)


def k_fold(
    mdata: MuData,
    n_folds: int = 10,
    *,
    stratify_by: str | Sequence[str] | None = None,
    group_by: str | None = None,
    validation_size: float = 0.0,
    seed: int = 0,
) -> list[Split]:
    """Folds in which every cell is a test cell exactly once.

    Every fold has its share of each combination of modalities that cells have, and of each category of
    ``stratify_by``, up to one cell; with groups, as nearly as whole groups allow.

    Parameters
    ----------
    mdata
        MuData whose cells are split.
    n_folds
        Number of folds, at least 2.
    stratify_by
        Columns of cells' annotations, in ``mdata.obs`` or a modality's ``.obs``, whose proportions every fold has. A
        missing value is a category of its own.
    group_by
        Column of groups that stay together: a mouse, a donor or a sequencing batch, to test across them; cell types,
        to test on types that were never seen. Cells without a group are groups of their own.
    validation_size
        Fraction of the cells outside a fold that choose the best epoch rather than train: with groups, whole ones of
        about as many cells, but at least one. None by default.
    seed
        Of the random numbers.

    Returns
    -------
    A split for each fold, for ``model.train(external_indexing=split)``.

    Raises
    ------
    ValueError
        If there are fewer cells or groups than folds, ``validation_size`` is not a fraction below 1, or there are
        too few groups to validate on some.
    KeyError
        If no table has a named column.

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
    if not isinstance(n_folds, (int, np.integer)) or not 2 <= n_folds <= mdata.n_obs:
        raise ValueError(
            f"n_folds={n_folds!r} must be a whole number from 2 to the number of cells, {mdata.n_obs}."
        )
    if not 0 <= validation_size < 1:
        raise ValueError(f"validation_size={validation_size} must be at least 0 and below 1.")
    present = {name: mdata.obs_names.isin(adata.obs_names) for name, adata in mdata.mod.items()}
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
    """Folds of whole groups; cells without one (-1) are dealt out singly."""
    n_groups = groups.max() + 1
    if n_groups < n_folds:
        raise ValueError(f"{name!r} has {n_groups} groups, too few for {n_folds} folds.")
    fold = np.empty(len(groups), dtype=np.int64)
    alone = np.flatnonzero(groups < 0)
    order = alone[strata_order([column[alone] for column in strata], rng)] if len(alone) else alone
    fold[order] = np.arange(len(order)) % n_folds
    together = np.flatnonzero(groups >= 0)
    kinds = pd.MultiIndex.from_arrays([pd.Index(column[together]).astype(str) for column in strata])
    codes = pd.factorize(kinds)[0]
    if np.bincount(codes).max() < n_folds:
        # scikit-learn refuses to stratify if every category is rarer than that; then sizes alone are balanced.
        codes = np.zeros_like(codes)
    folds = StratifiedGroupKFold(n_folds, shuffle=True, random_state=rng)
    with warnings.catch_warnings():
        # A category with fewer cells than there are folds is in some of them only; that cannot be helped.
        warnings.filterwarnings("ignore", message="The least populated class")
        for number, (_, test) in enumerate(folds.split(together, codes, groups=groups[together])):
            fold[together[test]] = number
    return [np.flatnonzero(fold == number) for number in range(n_folds)]


def _validation(
    cells: np.ndarray,
    strata: Sequence[np.ndarray],
    groups: np.ndarray | None,
    size: float,
    rng: np.random.RandomState,
) -> np.ndarray:
    """A fraction of the cells: of whole groups, and of those without a group."""
    if not size:
        return NOBODY
    alone = cells if groups is None else cells[groups[cells] < 0]
    drawn = draw_split([column[alone] for column in strata], 1 - size, None, rng).validation
    chosen = [alone[drawn]] if len(alone) else [NOBODY]
    if groups is not None:
        together = cells[groups[cells] >= 0]
        names, sizes = np.unique(groups[together], return_counts=True)
        if len(names) < 2:
            raise ValueError(
                "A fold leaves a single group to train and validate on. Take fewer cells at a time (more folds) or no "
                "validation cells: validation_size=0."
            )
        # In random order, each group that still fits; the smallest one if none does.
        quota, taken = size * len(together), []
        for i in rng.permutation(len(names)):
            if sizes[i] <= quota:
                taken.append(names[i])
                quota -= sizes[i]
        chosen.append(together[np.isin(groups[together], taken or names[[sizes.argmin()]])])
    return np.sort(np.concatenate(chosen))


def within(
    split: Sequence[np.ndarray | Sequence[int] | None], n_folds: int = 5, seed: int = 0
) -> list[Split]:
    """Folds of a split's training cells, each of which validates the model that the others train.

    The models of all folds together have validated on every training cell, without having trained on it: what
    intervals of an :class:`scvi_cae.Ensemble` are calibrated on. Train them with ``monitor=None``, so that these cells
    do not choose the epoch either.

    Parameters
    ----------
    split
        Training, validation and test cells, the last two optional.
    n_folds
        Number of folds, at least 2.
    seed
        Of the random numbers.

    Returns
    -------
    A split for each fold, of random cells. Test cells are those of ``split`` and its validation cells, so that nothing
    is fitted to either.

    Raises
    ------
    ValueError
        If there are fewer training cells than folds.

    Examples
    --------
    >>> import scvi_cae
    >>> mdata = scvi_cae.datasets.simulate_patchseq(n_cells=200)
    >>> split = scvi_cae.splits.k_fold(mdata, 5)[0]
    >>> [len(fold.validation) for fold in scvi_cae.splits.within(split, 4)]
    [40, 40, 40, 40]
    """
    sets = [np.asarray(NOBODY if cells is None else cells) for cells in split]
    train, *others = (np.flatnonzero(cells) if cells.dtype == bool else cells for cells in sets)
    if not isinstance(n_folds, (int, np.integer)) or not 2 <= n_folds <= len(train):
        raise ValueError(
            f"n_folds={n_folds!r} must be a whole number from 2 to the number of training cells, {len(train)}."
        )
    order = np.random.RandomState(seed).permutation(train)
    test = np.sort(np.concatenate([NOBODY, *others]).astype(np.int64))
    folds = [np.sort(order[fold::n_folds]) for fold in range(n_folds)]
    return [Split(np.setdiff1d(train, fold), fold, test) for fold in folds]


def gala2021(mdata: MuData, n_folds: int = 50, labels_key: str = "cluster") -> list[Split]:
    """The splits of Gala et al. 2021, index for index.

    They stratify by cell type with scikit-learn's generator at seed 0, so that they depend on the order of cells:
    that of the published file, which :func:`scvi_cae.datasets.gala2021` keeps.

    Parameters
    ----------
    mdata
        MuData of the published cells in the published order.
    n_folds
        50
            The paper's cross-validation: folds 45 to 49 together are the test cells of all splits, and folds 1 to
            44 validate in turn; fold 0 always trains.
        20
            The later re-run with one validation fold each and no test cells (the published ``train.py``).
        40
            Likewise; of the minimal example.
        5
            The paper's clustering: each fold is the test cells of a split. It used the first one, 80 to 20 %, and
            looked at the same cells for validation.
    labels_key
        Column of cell types, in ``mdata.obs`` or a modality's ``.obs``.

    Returns
    -------
    The splits: 44, 20, 40 or 5.

    Raises
    ------
    ValueError
        If ``n_folds`` is another number, a cell has no label, or every label has fewer cells than there are folds.
    KeyError
        If no table has the column.

    Examples
    --------
    >>> import scvi_cae
    >>> mdata = scvi_cae.datasets.gala2021()  # doctest: +SKIP
    >>> splits = scvi_cae.splits.gala2021(mdata)  # doctest: +SKIP
    """
    if n_folds not in (50, 40, 20, 5):
        raise ValueError(f"n_folds={n_folds!r}: the published splits have 50, 40, 20 or 5 folds.")
    check_mudata(mdata)
    labels = obs_column(mdata, labels_key)
    if labels.isna().any():
        raise ValueError(
            f"Column {labels_key!r} is missing for {labels.isna().sum()} cells, such as "
            f"{shorten(mdata.obs_names[labels.isna()], 1)}; the published cells all have a label."
        )
    cells = np.arange(mdata.n_obs)
    with warnings.catch_warnings():
        # As published: rare types are not in every fold.
        warnings.filterwarnings("ignore", message="The least populated class")
        generator = StratifiedKFold(n_folds, shuffle=True, random_state=0)
        folds = [fold for _, fold in generator.split(cells, labels.astype(str).to_numpy())]
    if n_folds == 5:
        return [Split(np.setdiff1d(cells, fold), NOBODY, fold) for fold in folds]
    if n_folds == 50:
        test = np.sort(np.concatenate(folds[45:]))
        folds = folds[1:45]
    else:
        test = NOBODY
    return [Split(np.setdiff1d(cells, np.union1d(fold, test)), fold, test) for fold in folds]
