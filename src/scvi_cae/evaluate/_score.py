"""A model beside the baselines, on cells that it was not trained on."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_cae.data import obs_column
from scvi_cae.module import mean_and_scale

from ._baselines import RidgeBaseline, TypeMeanBaseline
from ._metrics import foscttm, pooled_r2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scvi_cae.model import CoupledAE

COLUMNS = ["method", "source", "target", "metric", "value", "n_cells"]


def score(
    model: CoupledAE,
    indices: Sequence[int] | np.ndarray | None = None,
    labels_key: str | None = None,
    baselines: bool = True,
) -> pd.DataFrame:
    """Score a trained model and the baselines on the same held-out cells.

    For each modality, how well the model reconstructs it; for each coupled pair and direction, how well the
    model, ridge regression and the type mean predict one from the other (:func:`pooled_r2` of all three over
    the same values, counts at equal library size; for labels, the fraction that is right); for
    each coupled pair, how often the model mistakes a cell for another (:func:`foscttm`). The baselines are fitted to the training cells of the model; mean and standard
    deviation in the R2 are those of the training cells, too.

    Parameters
    ----------
    model
        Trained model with the data that it was trained on.
    indices
        Positions of the cells to score. By default the test cells of the last training, or its validation
        cells if it had no test cells; these chose the best epoch, so that scores on them are a little kind
        to the model.
    labels_key
        Column of cells' types, in ``mdata.obs`` or a modality's ``.obs``, for the type mean. ``None``
        (default) leaves the type mean out. Types that were assigned from one of the modalities tell the type
        mean something of the held-out cells' own values in it; the other methods are not told.
    baselines
        Whether to fit and score the baselines, too.

    Returns
    -------
    One row per method, source, target and metric:

    ``method``
        Name of the model's class, ``"ridge"`` or ``"type mean"``.
    ``source``, ``target``
        Modalities. The type mean needs no source: its rows say with which source's it compares.
    ``metric``
        ``"r2"`` or, for labels, ``"accuracy"`` (the higher the better, 1 at best), or ``"foscttm"`` (the lower the
        better, 0 at best).
    ``value``
        NaN where no cell can be scored (or fewer than two, for ``"foscttm"``).
    ``n_cells``
        Number of cells scored: those that have both source and target.

    Raises
    ------
    RuntimeError
        If the model is not trained.
    ValueError
        If the model has no data, or was trained on others (published weights); if ``indices`` are not positions in it, or none are given and the training had
        neither test nor validation cells.
    KeyError
        If there is no column ``labels_key``.

    Examples
    --------
    >>> import scvi_cae
    >>> from scvi_cae.evaluate import score
    >>> mdata = scvi_cae.datasets.simulate_patchseq(n_cells=200)
    >>> scvi_cae.CoupledAE.setup_mudata(mdata)
    >>> model = scvi_cae.CoupledAE(mdata, n_latent=5)
    >>> model.train(max_epochs=20, train_size=0.8, validation_size=0.1, enable_progress_bar=False)
    >>> score(model, labels_key="cell_type").columns.tolist()
    ['method', 'source', 'target', 'metric', 'value', 'n_cells']
    """
    train, cells = _cells(model, indices)
    mdata, name = model.adata, type(model).__name__
    labels = None if labels_key is None else obs_column(mdata, labels_key)
    values = {m: model.comparable_values(m, cells) for m in model.modalities}
    has = {m: ~np.isnan(x).all(1) for m, x in values.items()}
    # A modality as large as a transcriptome is read once, not once for each baseline.
    training = {m: model.comparable_values(m, train) for m in model.modalities}
    moments = {m: mean_and_scale(x) for m, x in training.items()}
    rows = []

    def add(method: str, source: str, target: str, prediction: np.ndarray) -> None:
        both = has[source] & has[target]
        truth, prediction = values[target][both], prediction[both]
        metric, value = ("accuracy" if target in model.labels else "r2"), np.nan
        if both.any():
            value = (
                float(np.mean(truth.argmax(1) == prediction.argmax(1)))
                if target in model.labels
                else pooled_r2(truth, prediction, *moments[target])
            )
        rows.append((method, source, target, metric, value, both.sum()))

    def predicted(source: str, target: str) -> np.ndarray:
        return model.comparable(target, model.predict(source, target, indices=cells).to_numpy())

    for m in model.measured:
        add(name, m, m, predicted(m, m))

    for source, target in permutations(model.modalities, 2):
        if source not in model.module.sources[target]:
            continue
        add(name, source, target, predicted(source, target))
        if not baselines:
            continue
        ridge = RidgeBaseline().fit(training[source], training[target])
        add("ridge", source, target, ridge.predict(values[source]))
        if labels is not None and target not in model.labels:
            type_mean = TypeMeanBaseline().fit(labels.iloc[train], training[target])
            add("type mean", source, target, type_mean.predict(labels.iloc[cells]))

    for a, b in model.module.coupling:
        if {a, b} & set(model.labels):
            continue
        both = has[a] & has[b]
        latents = (model.get_latent_representation(modality=m, indices=cells[both]) for m in (a, b))
        rows.append((name, a, b, "foscttm", foscttm(*latents) if both.sum() >= 2 else np.nan, both.sum()))
    return pd.DataFrame(rows, columns=COLUMNS)


def _cells(model: CoupledAE, indices: Sequence[int] | np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the training cells, and of those to score."""
    if not model.is_trained or model.train_indices is None:
        raise RuntimeError("The model is not trained: there is nothing to score. Call model.train() first.")
    if model.adata is None:
        raise ValueError(
            "The model has no data: load it with those it was trained on, CoupledAE.load(folder, adata=mdata)."
        )
    train = np.asarray(model.train_indices)
    if not len(train):
        raise ValueError(
            "The model was not trained on these data: the baselines have no training cells, and R2 no mean to beat."
        )
    if indices is not None:
        cells = np.asarray(indices)
        cells = np.flatnonzero(cells) if cells.dtype == bool else cells
    else:
        held_out = (model.test_indices, model.validation_indices)
        cells = next((np.asarray(x) for x in held_out if x is not None and len(x)), np.array([], dtype=int))
    if not len(cells):
        raise ValueError(
            "No held-out cells: the training had no test and no validation cells. Train with train_size < 1, or "
            "name cells: score(model, indices=...)."
        )
    n_obs = model.adata.n_obs
    if min(cells.min(), train.min()) < 0 or max(cells.max(), train.max()) >= n_obs:
        raise ValueError(
            f"Positions of training cells or of indices lie outside the {n_obs} cells of the data. Give the model "
            "the data that it was trained on, and positions in them."
        )
    return train, cells
