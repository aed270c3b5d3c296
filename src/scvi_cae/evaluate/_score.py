"""A model beside the baselines, on cells that it was not trained on."""

from __future__ import annotations

from functools import reduce
from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_cae.data import obs_column
from scvi_cae.model import Ensemble

from ._held_out import MAIN, HeldOut, check_metrics
from ._registry import resolve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scvi_cae.model import CoupledAE

    from ._registry import Level

COLUMNS = ["method", "source", "target", "metric", "value", "n_cells"]


def score(
    model: CoupledAE | Ensemble,
    indices: Sequence[int] | np.ndarray | None = None,
    labels_key: str | None = None,
    baselines: bool | Sequence[Any] | Mapping[str, Any] = True,
    *,
    family_key: str | None = None,
    metrics: Sequence[str] = MAIN,
    per_feature: bool = False,
) -> pd.DataFrame:
    """Score a trained model and the baselines on the same held-out cells.

    For each modality, how well the model reconstructs it; for each coupled pair and direction, how well the
    model and the baselines predict one from the other, over the same values (counts at equal library size; for
    labels, the fraction that is right); where the model knows labels, how well it predicts from a modality together
    with them; for each coupled pair, how well latents agree. The baselines are fitted to
    the training cells of the model; mean and standard deviation in the R2 are those of the training cells, too.

    Parameters
    ----------
    model
        Trained model, or ensemble of such, with the data that it was trained on. The training cells of an ensemble
        are those of any of its models.
    indices
        Positions of the cells to score. By default the test cells of the last training, or its validation
        cells if it had no test cells; these chose the best epoch, so that scores on them are a little kind
        to the model.
    labels_key
        Column of cells' types, in ``mdata.obs`` or a modality's ``.obs``. ``None`` (default) leaves out what needs
        them. Types that were assigned from one of the modalities tell the type mean something of the held-out cells'
        own values in it; the other methods are not told.
    baselines
        Baselines to fit and to score. ``True`` (default): ridge regression and, with ``labels_key``, the type mean;
        ``False``: none. Or a list of names and of objects with ``fit(source, target)`` and ``predict(source)``, such
        as scikit-learn's regressors, or a dictionary of such by name. Values are NaN where missing. Names:

        ``"ridge"``, ``"kernel ridge"``, ``"tuned kernel ridge"``, ``"bagged kernel ridge"``, ``"srrr"``
            Regressions: :class:`RidgeBaseline`; :class:`KernelRidgeBaseline` with a fixed penalty, or one chosen by
            leave-one-out; :class:`BaggedKernelRidgeBaseline`; :class:`SparseReducedRankBaseline`.
        ``"cca"``, ``"rcca"``, ``"weighted cca"``, ``"cca own decoder"``, ``"rcca own decoder"``
            :class:`CCABaseline` with as many dimensions as the model: without and with regularisation (0.3), with
            latents that are weighted by their squared correlations, and with the target's own decoder. Their latents
            are scored, too.
        ``"pca"``
            Each modality's reconstruction by as many principal components.
        ``"family mean"``, ``"type mean"``, ``"shrunk type mean"``
            :class:`TypeMeanBaseline` of the family or the type that the cell is said to have, the last with a
            shrinkage of 3 cells towards the family.
        ``"ridge + type mean"``, ``"kernel ridge + type mean"``, ``"bagged kernel ridge + type mean"``
            :class:`WithTypeMean`: the mean of a regression and the shrunk type mean.
        ``"mofa"``, ``"cca-zoo"``, ``"univi"``
            Of other packages: :class:`MOFABaseline`, :class:`CCAZooBaseline`, :class:`UniVIBaseline`.
    family_key
        Column of cells' families, each a group of types.
    metrics
        What to score; by default ``"r2"``, ``"accuracy"`` and ``"foscttm"``. :data:`METRICS` is all but those of
        intervals.
    per_feature
        Whether to score each feature, too: rows with a name in a column ``feature``, ``"feature r2"``
        (:func:`feature_r2`) and ``"feature correlation"`` (:func:`feature_correlation`).

    Returns
    -------
    One row per method, source, target and metric:

    ``method``
        Name of the model's class, or of the baseline.
    ``source``, ``target``
        Modalities. The type mean needs no source: its rows say with which source's it compares. A prediction that is
        made from labels, too, has them in its source: ``"rna + cell_type"``.
    ``metric``
        The higher the better, 1 at best, but for ``"foscttm"`` and ``"crps"`` (the lower, 0 at best):

        ``"r2"``, ``"mean r2"``, ``"correlation"``
            :func:`pooled_r2`, and the means over features of :func:`feature_r2` and :func:`feature_correlation`.
        ``"r2 beyond family"``, ``"r2 beyond type"``
            :func:`r2_beyond` the mean of the cell's family, or the shrunk mean of its type, among the training cells.
        ``"accuracy"``
            Of labels as a modality, the fraction that is right.
        ``"foscttm"``, ``"top-1"``, ``"top-10"``
            :func:`foscttm`; :func:`top_k_accuracy` of a cell's source among all targets.
        ``"family knn"``, ``"family qda"``, ``"type knn"``, ``"type qda"``
            Fraction of labels that are right if latents of the held-out cells' source are labelled by the nearest, or
            by the normal distributions, of training cells' latents of the target (:func:`transfer_labels`).
        ``"coverage"``, ``"crps"``
            Of the model's quantiles from 5 to 95 %: the fraction of values within, 0.9 if they are right, and the
            continuous ranked probability score, in standard deviations (:func:`interval_scores`). The model needs
            validation cells for them.
    ``value``
        NaN where no cell can be scored (or fewer than two, for ``"foscttm"``).
    ``n_cells``
        Number of cells scored: those that have both source and target; of label transfer, source and label.

    Raises
    ------
    RuntimeError
        If the model is not trained.
    ValueError
        If the model has no data, or was trained on others (published weights); if ``indices`` are not positions in it,
        or none are given and the training had neither test nor validation cells; if there is no such baseline or
        metric, or labels for it.
    KeyError
        If there is no column ``labels_key`` or ``family_key``.
    ImportError
        If a baseline's package is not installed.

    Examples
    --------
    >>> import scvi_cae
    >>> from scvi_cae.evaluate import METRICS, score
    >>> mdata = scvi_cae.datasets.simulate_patchseq(n_cells=200)
    >>> scvi_cae.CoupledAE.setup_mudata(mdata)
    >>> model = scvi_cae.CoupledAE(mdata, n_latent=5)
    >>> model.train(max_epochs=20, train_size=0.8, validation_size=0.1, enable_progress_bar=False)
    >>> score(model, labels_key="cell_type").columns.tolist()
    ['method', 'source', 'target', 'metric', 'value', 'n_cells']
    >>> table = score(model, labels_key="cell_type", baselines=["kernel ridge", "cca"], metrics=METRICS)
    >>> table["method"].unique().tolist()
    ['CoupledAE', 'kernel ridge', 'cca']
    """
    check_metrics(metrics)
    train, cells = _cells(model, indices)
    first, name = _members(model)[0], type(model).__name__
    keys: dict[Level, str | None] = {"family": family_key, "type": labels_key}
    labels = {level: obs_column(first.adata, key) for level, key in keys.items() if key is not None}
    entries = resolve(baselines, list(labels), first.module.n_latent)
    held_out = HeldOut(model, train, cells, labels, metrics, per_feature)

    def predicted(source: str | list[str], target: str) -> np.ndarray:
        return first.comparable(target, model.predict(source, target, indices=cells).to_numpy())

    for m in first.measured:
        held_out.score_values(name, m, m, predicted(m, m))
        for method, entry in entries.items():
            if entry.within:
                held_out.score_baseline(method, entry, m, m)

    for source, target in permutations(first.measured, 2):
        told = [label for label in first.labels if label in first.module.sources[target]]
        if told and source in first.module.sources[target]:
            held_out.score_values(name, source, target, predicted([source, *told], target), told)

    pairs = [pair for pair in first.module.coupling if not {*pair} & {*first.labels}]
    for source, target in permutations(first.modalities, 2):
        if source not in first.module.sources[target]:
            continue
        held_out.score_values(name, source, target, predicted(source, target))
        held_out.score_intervals(name, source, target)
        for method, entry in entries.items():
            if entry.within or (entry.level is not None and target in first.labels):
                continue
            held_out.score_baseline(method, entry, source, target)
            if (source, target) in pairs and hasattr(entry.baseline, "transform_target"):
                held_out.score_transforms(method, entry.baseline, source, target)

    def embedded(modality: str, which: np.ndarray) -> np.ndarray:
        return model.get_latent_representation(modality=modality, indices=which)

    coupled = dict.fromkeys(m for pair in pairs for m in pair)
    latents = {m: (embedded(m, train), embedded(m, cells)) for m in coupled}
    for a, b in pairs:
        held_out.score_latents(name, a, b, latents)
    table = pd.DataFrame(held_out.rows, columns=[*COLUMNS, "feature"])
    # Method by method, whatever the order in which things were computed.
    place = {method: number for number, method in enumerate([name, *entries])}
    table = table.sort_values(
        "method", key=lambda column: column.map(place), kind="stable", ignore_index=True
    )
    return table if per_feature else table[COLUMNS]


def _members(model: CoupledAE | Ensemble) -> list[CoupledAE]:
    """The models of an ensemble, or the one model."""
    return model.models if isinstance(model, Ensemble) else [model]


def _cells(
    model: CoupledAE | Ensemble, indices: Sequence[int] | np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the training cells, and of those to score."""
    members = _members(model)
    for member in members:
        if not member.is_trained or member.train_indices is None:
            raise RuntimeError(
                "The model is not trained: there is nothing to score. Call model.train() first."
            )
        if member.adata is None:
            raise ValueError(
                "The model has no data: load it with those it was trained on, CoupledAE.load(folder, adata=mdata)."
            )
    train = reduce(np.union1d, [np.asarray(member.train_indices) for member in members])
    if not len(train):
        raise ValueError(
            "The model was not trained on these data: the baselines have no training cells, and R2 no mean to beat."
        )
    if indices is not None:
        cells = np.asarray(indices)
        cells = np.flatnonzero(cells) if cells.dtype == bool else cells
    else:
        first = members[0]
        # What another model of the ensemble was trained on is not held out.
        held_out = (
            np.setdiff1d(
                [] if x is None else x, train if len(members) > 1 else [], assume_unique=True
            ).astype(int)
            for x in (first.test_indices, first.validation_indices)
        )
        cells = next((x for x in held_out if len(x)), np.array([], dtype=int))
    if not len(cells):
        raise ValueError(
            "No held-out cells: the training had no test and no validation cells. Train with train_size < 1, or "
            "name cells: score(model, indices=...)."
        )
    n_obs = members[0].adata.n_obs
    if min(cells.min(), train.min()) < 0 or max(cells.max(), train.max()) >= n_obs:
        raise ValueError(
            f"Positions of training cells or of indices lie outside the {n_obs} cells of the data. Give the model "
            "the data that it was trained on, and positions in them."
        )
    return train, cells
