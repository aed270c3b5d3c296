"""Scores of one trained model or ensemble, and of baselines, on held-out cells."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_cae._docstrings import insert_descriptions
from scvi_cae.data import held_out, obs_column, positions

from ._held_out import DEFAULT_METRICS, HeldOut, check_metrics
from ._registry import resolve
from ._scores import Scores, warn_of_left_out

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scvi_cae.data import AlignedData
    from scvi_cae.model import CoupledAE, Ensemble

    from ._registry import Level

COLUMNS = ["method", "source", "target", "metric", "value", "n_cells"]

#: Parameters that ``score`` and ``cross_validate`` share.
describe = insert_descriptions(
    labels_key="""
        Column of the cells' types, in ``mdata.obs`` or a modality's ``.obs``. ``None`` (default) omits the
        metrics and baselines that need types. If types were assigned from one of the modalities, the type
        mean uses information from the held-out cells' own values in it; the other methods do not.
    """,
    family_key="""
        Column of the cells' families, each a group of types. ``None`` (default) omits the metrics and
        baselines that need families.
    """,
    baselines="""
        Baselines to fit and score. ``True`` (default): ridge regression and, with ``labels_key``, the type
        mean. ``False``: none. Or a list of names and of objects with ``fit(source, target)`` and
        ``predict(source)``, such as scikit-learn's regressors, or a dictionary of such by name. Objects
        receive NaN where values are missing. Names:

        ``"ridge"``, ``"kernel ridge"``, ``"tuned kernel ridge"``, ``"bagged kernel ridge"``, ``"srrr"``
            Regressions: :class:`RidgeBaseline`; :class:`KernelRidgeBaseline` with a fixed penalty, or one
            selected by leave-one-out; :class:`BaggedKernelRidgeBaseline`; :class:`SparseReducedRankBaseline`.
        ``"cca"``, ``"rcca"``, ``"weighted cca"``, ``"cca own decoder"``, ``"rcca own decoder"``
            :class:`CCABaseline` with as many dimensions as the model: without regularisation, with
            regularisation (0.3), with latents weighted by their squared correlations, and with the target's
            own decoder. Their latents are scored as well.
        ``"pca"``
            :class:`PCABaseline`: reconstruction of each modality from as many principal components.
        ``"family mean"``, ``"type mean"``, ``"shrunk type mean"``
            :class:`TypeMeanBaseline` of the cell's family or type, the last with a shrinkage of 3 cells
            towards the family.
        ``"ridge + type mean"``, ``"kernel ridge + type mean"``, ``"bagged kernel ridge + type mean"``
            :class:`WithTypeMean`: the mean of a regression and the shrunk type mean.
    """,
    metrics="""
        Names of the metrics to compute, described under Returns of :func:`score`. By default ``"r2"``,
        ``"accuracy"`` and ``"foscttm"`` in :func:`score`, and in :func:`cross_validate` :data:`METRICS`: all
        except those of intervals.
    """,
    per_feature="""
        Whether to score each feature as well: rows with its name in the column ``feature`` and the metrics
        ``"feature r2"`` (:func:`feature_r2`) and ``"feature correlation"`` (:func:`feature_correlation`).
    """,
)


@describe
def score(
    model: CoupledAE | Ensemble,
    indices: Sequence[int] | np.ndarray | None = None,
    labels_key: str | None = None,
    baselines: bool | Sequence[Any] | Mapping[str, Any] = True,
    *,
    family_key: str | None = None,
    metrics: Sequence[str] = DEFAULT_METRICS,
    per_feature: bool = False,
) -> pd.DataFrame:
    """Score a trained model and baselines on the same held-out cells.

    Scores are of reconstructions of each modality, of predictions of one modality from another for each
    coupled pair and direction, of predictions from a modality and the cell's labels if the model has labels,
    and of the agreement of the latents of each coupled pair. All methods are scored on the same values
    (counts at equal library size; for labels, the fraction predicted correctly). Baselines are fitted to the
    training cells of the model. What all methods are measured by is that of the training and validation cells
    together, as far as they are not scored: means and standard deviations in R2, and means of labels. Features
    that are constant among these cells, or measured in no training cell, are not scored.

    Parameters
    ----------
    model
        Trained model or ensemble, with the data that it was trained on. The training cells of an ensemble are
        those of any of its models.
    indices
        Positions of the cells to score. By default the test cells of the last training, or its validation
        cells if it had no test cells. Scores on validation cells are slightly optimistic, since these cells
        selected the best epoch.
    %(labels_key)s
    %(baselines)s
    %(family_key)s
    %(metrics)s
    %(per_feature)s

    Returns
    -------
    One row per method, source, target and metric:

    ``method``
        Name of the model's class, or of the baseline.
    ``source``, ``target``
        Modalities. The type mean has no source; its rows name the source whose cells it is scored on. If a
        prediction is conditioned on labels, the source includes them: ``"rna + cell_type"``.
    ``metric``
        Lower is better, and 0 best, for ``"foscttm"`` and ``"crps"`` only. For the others, higher is better
        and 1 best, except for ``"coverage"``, which should be 0.9:

        ``"r2"``, ``"mean r2"``, ``"correlation"``
            :func:`pooled_r2`, and the means over features of :func:`feature_r2` and
            :func:`feature_correlation`.
        ``"r2 beyond family"``, ``"r2 beyond type"``
            :func:`r2_beyond` the mean of the cell's family, or the shrunk mean of its type, among the
            training and validation cells.
        ``"accuracy"``
            For labels as a modality, the fraction predicted correctly.
        ``"foscttm"``, ``"top-1"``, ``"top-10"``
            :func:`foscttm`; :func:`top_k_accuracy` of a cell's source among all targets.
        ``"family knn"``, ``"type knn"``
            Label transfer (:func:`transfer_labels`): accuracy of labels that held-out cells are given by the
            training cell whose target latent is nearest to their source latent.
        ``"coverage"``, ``"crps"``
            For the model's quantiles from 5 to 95 %: the fraction of values between the outermost two, and
            the continuous ranked probability score in standard deviations (:func:`interval_scores`). Both
            need a model with validation cells.
    ``value``
        Score. NaN if no cell can be scored (``"foscttm"``: fewer than two cells).
    ``n_cells``
        Number of cells scored: cells with source and target, or with source and label for label transfer.

    Raises
    ------
    RuntimeError
        If the model is not trained.
    ValueError
        If the model has no data, or was trained on other data (published weights); if ``indices`` are not
        positions in the data, or are not given and the training had neither test nor validation cells; if a
        baseline or a metric is unknown, or a baseline lacks its labels.
    KeyError
        If no column ``labels_key`` or ``family_key`` exists.

    Warns
    -----
    UserWarning
        If features are not scored although held-out cells have values to predict.

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
    scores = compute_scores(
        model,
        indices,
        labels_key,
        baselines,
        family_key=family_key,
        metrics=metrics,
        per_feature=per_feature,
    )
    warn_of_left_out([("", scores)])
    return scores.table


def compute_scores(
    model: CoupledAE | Ensemble,
    indices: Sequence[int] | np.ndarray | None = None,
    labels_key: str | None = None,
    baselines: bool | Sequence[Any] | Mapping[str, Any] = True,
    *,
    family_key: str | None = None,
    metrics: Sequence[str] = DEFAULT_METRICS,
    per_feature: bool = False,
) -> Scores:
    """Compute the table of :func:`score`, and the features that it leaves out, without a warning."""
    check_metrics(metrics)
    first, name = model.models[0], type(model).__name__
    if first.fitted is None:
        raise RuntimeError("The model is not trained, so it cannot be scored. Call model.train() first.")
    if first.adata is None:
        raise ValueError(
            "The model has no data. Load it with the data that it was trained on: "
            "CoupledAE.load(folder, adata=mdata)."
        )
    data = model.align()
    trained, reference, cells = _cells(model, data, indices)
    keys: dict[Level, str | None] = {"family": family_key, "type": labels_key}
    labels = {level: obs_column(data.mdata, key) for level, key in keys.items() if key is not None}
    entries = resolve(baselines, list(labels), first.module.n_latent)
    scorer = HeldOut(model, data, trained, reference, cells, labels, metrics, per_feature)
    sources = first.module.sources

    def predicted(source: str | list[str], target: str) -> np.ndarray:
        return model.predict(source, target, data, cells).to_numpy()

    for m in model.modalities:
        scorer.score_values(name, m, m, predicted(m, m))
        for method, entry in entries.items():
            if entry.within:
                scorer.score_baseline(method, entry, m, m)

    for source, target in permutations(model.modalities, 2):
        labels_used = [label for label in model.labels if label in sources[target]]
        if labels_used and source in sources[target]:
            prediction = predicted([source, *labels_used], target)
            scorer.score_values(name, source, target, prediction, conditioned_on=labels_used)

    pairs = [pair for pair in first.module.coupling if not {*pair} & {*model.labels}]
    for source, target in permutations([*model.modalities, *model.labels], 2):
        if source not in sources[target]:
            continue
        scorer.score_values(name, source, target, predicted(source, target))
        scorer.score_intervals(name, source, target)
        for method, entry in entries.items():
            if entry.within or (entry.level is not None and target in model.labels):
                continue
            scorer.score_baseline(method, entry, source, target)
            if (source, target) in pairs and hasattr(entry.baseline, "transform_target"):
                scorer.score_transforms(method, entry.baseline, source, target)

    def embedded(modality: str, which: np.ndarray) -> np.ndarray:
        return model.get_latent_representation(data, modality, which)

    coupled = dict.fromkeys(m for pair in pairs for m in pair)
    latents = {m: (embedded(m, scorer.train.positions), embedded(m, cells)) for m in coupled}
    for a, b in pairs:
        scorer.score_latents(name, a, b, latents)
    table = pd.DataFrame(scorer.rows, columns=[*COLUMNS, "feature"])
    # Rows were added in the order of computation; group them by method.
    order = {method: number for number, method in enumerate([name, *entries])}
    table = table.sort_values(
        "method", key=lambda column: column.map(order), kind="stable", ignore_index=True
    )
    return Scores(table if per_feature else table[COLUMNS], scorer.left_out)


def _cells(
    model: CoupledAE | Ensemble, data: AlignedData, indices: Sequence[int] | np.ndarray | None
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Positions of the training cells of each model, of the reference cells, and of the cells to score."""
    sets = model.set_membership(data).to_numpy(dtype=object)
    trained = [np.flatnonzero(m.set_membership(data) == "training") for m in model.models]
    if not all(map(len, trained)):
        raise ValueError(
            "The model was not trained on these data, so baselines and R2 have no training cells. Score it "
            "with the data that it was trained on."
        )
    cells = np.flatnonzero(held_out(sets)) if indices is None else positions(indices, data.n_cells)
    if not len(cells):
        raise ValueError(
            "No held-out cells: the training had no test and no validation cells. Train with train_size < 1, "
            "or give the cells to score: score(model, indices=...)."
        )
    reference = np.flatnonzero(sets == "training")
    reference = np.union1d(reference, np.setdiff1d(np.flatnonzero(sets == "validation"), cells))
    return trained, reference, cells
