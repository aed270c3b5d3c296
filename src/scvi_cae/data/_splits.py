"""Training, validation and test sets of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from scvi_cae._arguments import shorten

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Split(NamedTuple):
    """Training, validation and test set; every cell is in one of them.

    :meth:`scvi_cae.CoupledAE.train` takes it as ``external_indexing``.

    Parameters
    ----------
    train, validation, test
        Positions of the cells, ``int64``.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


#: Sets of a split, as ``write_latent`` names them.
SETS = ("training", "validation", "test")


def held_out(sets: np.ndarray) -> np.ndarray:
    """Cells that are held out: test cells or, where there is none, validation cells.

    Parameters
    ----------
    sets
        ``(n_cells,)`` name of each cell's set, one of :data:`SETS`, missing where unknown.

    Returns
    -------
    Boolean ``(n_cells,)``.
    """
    sets = np.asarray(sets, dtype=object)
    return sets == ("test" if (sets == "test").any() else "validation")


def presence_pattern(present: Mapping[str, np.ndarray]) -> np.ndarray:
    """``(n_cells,)`` code of the modalities that each cell has: one bit for each."""
    return np.sum([mask.astype(np.int64) << bit for bit, mask in enumerate(present.values())], axis=0)


def strata_order(strata: Sequence[np.ndarray | pd.Series], rng: np.random.RandomState) -> np.ndarray:
    """Order positions by stratum, at random within each.

    Every k-th cell of this order is a sample in which each stratum has its share, up to one cell.

    Parameters
    ----------
    strata
        ``(n_cells,)`` columns, the most important first; missing values are a value of their own.
    rng
        Random state.
    """
    keys = []
    for column in strata:
        values = np.asarray(column, dtype=object)
        names = np.where(pd.isna(values), "", values.astype(str))
        keys.append(pd.factorize(names, sort=True)[0])
    return np.lexsort((rng.random_sample(len(keys[0])), *reversed(keys)))


def draw_split(
    strata: Sequence[np.ndarray | pd.Series],
    train_size: float | None,
    validation_size: float | None,
    rng: np.random.RandomState,
) -> Split:
    """Split cells at random, each stratum in the same proportions up to one cell.

    Parameters
    ----------
    strata
        ``(n_cells,)`` columns, the most important first; missing values are a value of their own. Cells alike in
        all columns form a stratum.
    train_size
        Fraction of training cells, above 0 and at most 1; 0.9 by default, as in scvi-tools.
    validation_size
        Fraction of validation cells; by default all others. What is left is for testing.
    rng
        Random state.

    Raises
    ------
    ValueError
        If the fractions are not such.
    """
    train_size = 0.9 if train_size is None else train_size
    if not 0 < train_size <= 1:
        raise ValueError(f"train_size={train_size} must be above 0 and at most 1.")
    validation_size = 1 - train_size if validation_size is None else validation_size
    if not 0 <= validation_size <= 1 - train_size + 1e-9:
        raise ValueError(
            f"validation_size={validation_size} must be between 0 and 1 - train_size = {1 - train_size:g}."
        )
    order = strata_order(strata, rng)
    held_out = _every(len(order), 1 - train_size, rng)
    train, rest = order[~held_out], order[held_out]
    validation = _every(len(rest), validation_size / (1 - train_size) if train_size < 1 else 0.0, rng)
    return Split(np.sort(train), np.sort(rest[validation]), np.sort(rest[~validation]))


def _every(n: int, fraction: float, rng: np.random.RandomState) -> np.ndarray:
    """Boolean mask of ``fraction`` of ``n`` places, evenly spaced from a random start."""
    quota = (np.arange(n + 1) + rng.random_sample()) * min(fraction, 1.0)
    return np.diff(np.floor(quota + 1e-9)) > 0


def given_split(n_cells: int, external_indexing: Sequence[np.ndarray | Sequence[int] | None]) -> Split:
    """Split cells as given.

    Parameters
    ----------
    n_cells
        Number of cells.
    external_indexing
        Positions of the training, validation and test cells, the last two optional. Cells in none of them are
        test cells.

    Raises
    ------
    ValueError
        If positions are not whole numbers, out of range, repeated or in two sets.
    """
    names = ("training", "validation", "test")
    if not 1 <= len(external_indexing) <= 3:
        raise ValueError(
            f"external_indexing must hold 1 to 3 arrays of positions, not {len(external_indexing)}."
        )
    sets = [
        positions(() if cells is None else cells, n_cells, f"the {name} cells")
        for name, cells in zip(names, external_indexing, strict=False)
    ]
    count = np.bincount(np.concatenate(sets), minlength=n_cells)
    if (count > 1).any():
        raise ValueError(
            f"Cells are named twice in external_indexing: positions {shorten(np.flatnonzero(count > 1))}."
        )
    rest = np.flatnonzero(count == 0)
    sets += [np.empty(0, dtype=np.int64)] * (3 - len(sets))
    return Split(sets[0], sets[1], np.concatenate([sets[2], rest]))


def positions(cells: Sequence[int] | np.ndarray, n_cells: int, what: str = "indices") -> np.ndarray:
    """Positions of cells, checked.

    Parameters
    ----------
    cells
        Positions from 0, or a Boolean mask over all cells.
    n_cells
        Number of cells.
    what
        What the cells are called in an error.

    Returns
    -------
    ``int64`` array.

    Raises
    ------
    ValueError
        If the cells are not a list of whole numbers within range, nor a mask of the right length.
    """
    array = np.asarray(cells)
    if array.ndim == 1 and array.size == 0:
        return np.empty(0, dtype=np.int64)
    if array.shape == (n_cells,) and array.dtype == bool:
        return np.flatnonzero(array)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(
            f"Give {what} as a list of positions or as a mask of all {n_cells} cells, not as an array of "
            f"{array.dtype} of shape {array.shape}."
        )
    array = array.astype(np.int64)
    outside = array[(array < 0) | (array >= n_cells)]
    if outside.size:
        raise ValueError(f"Among {what} are positions outside 0 to {n_cells - 1}: {shorten(outside)}.")
    return array


def check_split(
    split: Split, present: Mapping[str, np.ndarray], pairs: Sequence[tuple[str, str]], n_least: int
) -> None:
    """Check that training and validation cells can train and validate every arm and every coupling.

    Parameters
    ----------
    split
        The split.
    present
        Boolean mask over all cells for each modality.
    pairs
        The coupled pairs of modalities.
    n_least
        Number of training pairs below which a coupling is undetermined: the number of latent dimensions.

    Raises
    ------
    ValueError
        If a modality or a pair has no cell among the training cells, or none among the validation cells of a
        split that has any; or if fewer than ``n_least`` training cells have both modalities of a pair.
    """
    if not len(split.train):
        raise ValueError("The split leaves no training cells.")
    fix = "Choose another split: train_size, validation_size, stratify_by or external_indexing."
    for name, cells, least in (("training", split.train, n_least), ("validation", split.validation, 1)):
        if not len(cells):
            continue
        for modality, mask in present.items():
            if not mask[cells].any():
                raise ValueError(f"None of the {len(cells)} {name} cells have modality {modality!r}. {fix}")
        for i, j in pairs:
            n_pairs = int((present[i] & present[j])[cells].sum())
            if n_pairs < least:
                few = "None" if n_pairs == 0 else f"Only {n_pairs}"
                need = f", fewer than the {least} latent dimensions" if n_pairs else ""
                raise ValueError(
                    f"{few} of the {len(cells)} {name} cells have both {i!r} and {j!r}{need}. {fix} "
                    "Fewer latent dimensions (n_latent) need fewer pairs, and a pair can be left uncoupled: "
                    "CoupledAE(mdata, coupling={...})."
                )
