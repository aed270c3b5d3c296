"""Learning curve: scores of held-out cells by the number of paired cells that methods are fitted to."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from functools import partial
from itertools import permutations, product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_cae._arguments import check_whole, shorten
from scvi_cae._docstrings import insert_descriptions
from scvi_cae.data import AlignedData
from scvi_cae.model import CoupledAE, Ensemble
from scvi_cae.splits import k_fold

from ._cross_validate import check_splits
from ._one_scale import MIN_VALUES, OneScale
from ._registry import resolve
from ._seeds import seed_set
from ._subset import Subset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mudata import MuData

    from scvi_cae.data import Setup, Split

    from ._registry import Entry

    #: Function of a MuData, set up, and a split of its cells, that returns a trained model.
    Trainer = Callable[[MuData, Split], Any]

logger = logging.getLogger("scvi_cae")

COLUMNS = ["method", "source", "target", "n_pairs", "reference", "fold", "seed", "metric", "value", "n_cells"]

#: Value of column ``reference`` where cells outside the pairs are left out.
NO_REFERENCE = "none"


def _train_ensemble(mdata: MuData, split: Split) -> Ensemble:
    """An ensemble with the default settings."""
    ensemble = Ensemble(mdata)
    ensemble.train(external_indexing=split, enable_progress_bar=False)
    return ensemble


def _train_one(mdata: MuData, split: Split) -> CoupledAE:
    """A model with the default settings."""
    model = CoupledAE(mdata)
    model.train(external_indexing=split, enable_progress_bar=False)
    return model


#: Functions that train the models with names.
MODELS: dict[str, Trainer] = {"Ensemble": _train_ensemble, "CoupledAE": _train_one}


@insert_descriptions(
    splits="Splits with test cells, such as those of :mod:`scvi_cae.splits`; or the number of folds."
)
def learning_curve(
    mdata: MuData,
    sizes: Sequence[int] = (50, 100, 200, 400),
    splits: int | Sequence[Split] = 10,
    seeds: Sequence[int] = (0,),
    *,
    reference: str | None | Sequence[str | None] = None,
    models: Sequence[str] | Mapping[str, Trainer] = ("Ensemble", "CoupledAE"),
    baselines: Sequence[Any] | Mapping[str, Any] = ("ridge", "tuned kernel ridge"),
    shuffle: bool = True,
) -> pd.DataFrame:
    """Score models and baselines that are fitted to few paired cells, on the held-out cells of each fold.

    A pair is a cell with all modalities. In each fold, methods are fitted to some of the pairs among the training cells:
    smaller sets are parts of larger ones. All other training cells are left out, or keep one modality, as where a large
    reference is at hand and pairs are expensive. All sizes are scored on the same cells, features and scale.

    Parameters
    ----------
    mdata
        MuData, set up by :meth:`scvi_cae.CoupledAE.setup_mudata`. Subsets are set up in the same way, labels and technical
        batches included.
    sizes
        Numbers of pairs.
    %(splits)s
    seeds
        Seeds of the models.
    reference
        Modality that the other training cells keep, such as ``"rna"``; ``None`` (default) to leave them out; or a list of
        such, ``[None, "rna"]``, of which each is scored. They keep their labels.
    models
        Models to train: names, ``"Ensemble"`` and ``"CoupledAE"`` with their default settings; or a dictionary of functions
        by name, which are given a MuData that is set up and a split of its cells, and return a trained model: what has
        ``predict(source, target, indices=...)``.
    baselines
        Regressions, as in :func:`score`, but for those that need labels or predict a modality from itself. They are
        fitted to the cells that have the source, with NaN where these lack the target: principal components of the
        source are those of the reference, too.
    shuffle
        Whether pairs are drawn at random from the training cells: the first ones of
        ``numpy.random.RandomState(number of the split).permutation(split.train)``. Otherwise, the first ones in the
        order of ``split.train``, such as the date of the recording.

    Returns
    -------
    A row for each method, direction of each coupled pair of modalities, size, reference, fold and seed:

    ``method``, ``source``, ``target``
        As in :func:`score`.
    ``n_pairs``, ``reference``
        Number of pairs, and what the other training cells keep; ``"none"`` if they are left out.
    ``fold``, ``seed``
        Number of the split, and seed of the model. Baselines have the first seed.
    ``metric``, ``value``, ``n_cells``
        ``"r2"``, :func:`pooled_r2` by the mean and standard deviation of all training cells of the split, whatever the
        size; and the number of cells scored. A feature that is constant among the cells that a method is fitted to is
        scored, as predicted by its constant.

    Raises
    ------
    ValueError
        If a size is not a whole number of at least 2, or is larger than the number of pairs among a split's training
        cells; if a reference is not a modality; if a model or a baseline is unknown, or a baseline is not such a
        regression; if a modality holds counts; if the pairs are too few to train a model; for splits, as
        :func:`cross_validate`.

    Warns
    -----
    UserWarning
        Once, of features that are not scored: those constant among all training cells, or with fewer than 10 values in
        the smallest set of pairs. And what trainings warn of.

    Notes
    -----
    Validation cells of a split take no part. Each fit is logged by logger ``scvi_cae`` at level INFO, which
    ``logging.basicConfig(level="INFO")`` shows.

    Examples
    --------
    >>> import scvi_cae
    >>> from scvi_cae.evaluate import compare, learning_curve
    >>> mdata = scvi_cae.datasets.simulate_patchseq(n_cells=200)
    >>> scvi_cae.CoupledAE.setup_mudata(mdata)
    >>> def train(mdata, split):
    ...     ensemble = scvi_cae.Ensemble(mdata, n_models=2, n_latent=3)
    ...     ensemble.train(max_epochs=10, external_indexing=split)
    ...     return ensemble
    >>> table = learning_curve(mdata, [20, 40], 3, reference=[None, "rna"], models={"ours": train})
    >>> means = table.groupby(["source", "target", "method", "reference", "n_pairs"])["value"].mean()
    >>> means.unstack().shape
    (12, 2)
    >>> few = table.query("n_pairs == 20 and reference == 'rna'")
    >>> compare(few, "ours", "ridge", test_fraction=1 / 3)["n_folds"].tolist()
    [3, 3]
    """
    model = CoupledAE(mdata)
    setup = model.setup
    _check_values(setup)
    references = _references(reference, setup)
    trainers = _trainers(models)
    entries = _regressions(baselines, model.module.n_latent)
    folds = check_splits(
        k_fold(mdata, splits) if isinstance(splits, (int, np.integer)) else splits, mdata.n_obs
    )
    data = AlignedData(mdata, setup)
    present = data.present(setup.modalities)
    drawn = [_draw(fold, number if shuffle else None, present) for number, fold in enumerate(folds)]
    _check_sizes(sizes, drawn, setup)
    directions = [(i, j) for i, j in permutations(setup.modalities, 2) if i in model.module.sources[j]]
    has_any = np.any(list(present.values()), axis=0)
    rows, left_out = [], []
    for number, (fold, pairs) in enumerate(zip(folds, drawn, strict=True)):
        test = fold.test[has_any[fold.test]]
        scale = OneScale(data, fold.train, test, pairs[: min(sizes)])
        left_out += [
            f"{shorten(features)} of {modality!r} in fold {number}"
            for modality, features in scale.left_out.items()
            if features
        ]
        for n_pairs, kept in product(sorted(set(sizes)), references):
            others = np.setdiff1d(fold.train, pairs[:n_pairs])
            others = others[:0] if kept is None else others[present[kept][others]]
            subset = Subset(pairs[:n_pairs], others, kept)
            for method, seed, predict in _fits(model, subset, scale, seeds, trainers, entries):
                where = (n_pairs, kept or NO_REFERENCE, number, seed)
                logger.info("Fitted %r: %d pairs, reference %s, fold %d, seed %d.", method, *where)
                for i, j in directions:
                    rows.append((method, i, j, *where, "r2", *scale.r2(i, j, predict(i, j))))
    if left_out:
        warnings.warn(
            "No method is scored on features that are constant among the training cells, or have fewer than "
            f"{MIN_VALUES} values in the {min(sizes)} pairs of the smallest size: {'; '.join(left_out)}. To score them, "
            "give larger sizes, or training cells that have them.",
            UserWarning,
            stacklevel=2,
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def _fits(
    whole: CoupledAE,
    subset: Subset,
    scale: OneScale,
    seeds: Sequence[int],
    trainers: Mapping[str, Trainer],
    entries: Mapping[str, Entry],
) -> Iterator[tuple[str, int, Callable[[str, str], np.ndarray]]]:
    """Fit each model with each seed, then each baseline: names, seeds, and functions that predict the test cells."""
    mdata, split = subset.mudata(whole, scale.test.positions)

    def predict(model: Any, source: str, target: str) -> np.ndarray:
        return model.predict(source, target, indices=split.test).to_numpy()

    for seed, (name, train) in product(seeds, trainers.items()):
        with seed_set(seed):
            yield name, seed, partial(predict, train(mdata, split))
    given = subset.of(scale.train)

    def regress(baseline: Any, source: str, target: str) -> np.ndarray:
        rows = given.has[source]
        baseline.fit(given.values[source][rows], given.values[target][rows])
        return np.asarray(baseline.predict(scale.test.values[source]))

    for name, entry in entries.items():
        yield name, seeds[0], partial(regress, entry.baseline)


def _draw(fold: Split, seed: int | None, present: Mapping[str, np.ndarray]) -> np.ndarray:
    """Training cells that have all modalities, in random order or, without a seed, as they are given."""
    order = fold.train if seed is None else np.random.RandomState(seed).permutation(fold.train)
    return order[np.all([mask[order] for mask in present.values()], axis=0)]


def _references(reference: str | None | Sequence[str | None], setup: Setup) -> list[str | None]:
    """Modalities that the other cells keep, checked."""
    references = [reference] if reference is None or isinstance(reference, str) else list(reference)
    unknown = [name for name in references if name is not None and name not in setup.modalities]
    if unknown:
        raise ValueError(
            f"reference names {shorten(unknown)}, which is not among the modalities {shorten(setup.modalities)}. "
            f"Give one of them, reference={setup.modalities[0]!r}, or None."
        )
    return references


def _check_values(setup: Setup) -> None:
    """Raise a ValueError for counts, whose predictions depend on the depth of the cells that a model is trained on."""
    counts = [name for name in setup.modalities if setup.likelihood(name).data_kind == "counts"]
    if counts:
        raise ValueError(
            f"Modality {counts[0]!r} holds counts, which are predicted at the mean library size of the training cells: "
            "that differs between sizes, and so would the scale of scores. Give logarithms instead: "
            f"scanpy.pp.normalize_total(mdata[{counts[0]!r}], target_sum=1e4), "
            f"scanpy.pp.log1p(mdata[{counts[0]!r}]), and setup_mudata(mdata) without a likelihood of it."
        )


def _check_sizes(sizes: Sequence[int], drawn: Sequence[np.ndarray], setup: Setup) -> None:
    """Raise a ValueError for sizes that are not numbers of pairs that every split has."""
    fewest = min(map(len, drawn))
    if not len(sizes):
        raise ValueError("sizes is empty; give numbers of pairs, such as sizes=[50, 100].")
    for size in sizes:
        check_whole(size, "each of sizes", minimum=2)
    if max(sizes) > fewest:
        number = [len(pairs) for pairs in drawn].index(fewest)
        raise ValueError(
            f"sizes has {max(sizes)}, but split {number} has {fewest} training cells with all of "
            f"{shorten(setup.modalities)}. Give sizes up to {fewest}: sizes={[n for n in sizes if n < fewest] + [fewest]}."
        )


def _trainers(models: Sequence[str] | Mapping[str, Trainer]) -> dict[str, Trainer]:
    """Functions that train models, by name."""
    if not isinstance(models, Mapping):
        names = [models] if isinstance(models, str) else list(models)
        unknown = [name for name in names if name not in MODELS]
        if unknown:
            raise ValueError(
                f"There is no model {unknown[0]!r}. Give some of {', '.join(map(repr, MODELS))}, or a dictionary of "
                "functions that train a model: models={name: train}, with train(mdata, split)."
            )
        return {name: MODELS[name] for name in names}
    return dict(models)


def _regressions(baselines: Sequence[Any] | Mapping[str, Any], n_latent: int) -> dict[str, Entry]:
    """Baselines that predict one modality from another without labels, by name."""
    entries = resolve(baselines, ["family", "type"], n_latent)
    for name, entry in entries.items():
        if entry.within or entry.level is not None:
            what = (
                "reconstructs a modality from itself" if entry.within else f"needs each cell's {entry.level}"
            )
            raise ValueError(
                f"Baseline {name!r} {what}, and a learning curve is of predictions from one modality alone. Leave it "
                "out, or score it by cross_validate."
            )
    return entries
