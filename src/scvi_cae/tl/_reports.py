"""Quality of cross-modal predictions by feature and by type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import pandas as pd

from scvi_cae._arguments import shorten
from scvi_cae.evaluate import feature_correlation, feature_r2
from scvi_cae.module import mean_and_scale

from ._latents import chosen_cells, labels_of
from ._parameters import describe_report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mudata import MuData

    from scvi_cae.model import CoupledAE, Ensemble

    from ._latents import Cells

#: Units of the means of types.
Scale: TypeAlias = Literal["standard", "max"]


@describe_report
def prediction_report(
    model: CoupledAE | Ensemble,
    source: str | Sequence[str],
    target: str,
    mdata: MuData | None = None,
    cells: Cells = "held-out",
) -> pd.DataFrame:
    """R2 and correlation of the prediction of each feature from another modality, and of its reconstruction.

    The reconstruction from the target itself is an approximate upper bound: it passes through the same number
    of latent dimensions.

    Parameters
    ----------
    %(model)s
    %(source)s
    %(target)s
    %(mdata)s
    %(cells)s

    Returns
    -------
    A row for each feature of ``target``, in its order, indexed by name:

    ``r2``, ``correlation``
        :func:`scvi_cae.evaluate.feature_r2`, relative to the mean of the training cells, and
        :func:`scvi_cae.evaluate.feature_correlation`, of the prediction from ``source``.
    ``r2_within``, ``correlation_within``
        The same of the reconstruction from ``target``, for the same cells.
    ``n_cells``
        Number of cells in which the feature is measured.

    Raises
    ------
    RuntimeError
        If the model is not trained.
    ValueError
        If the modalities are not coupled; if ``target`` is a column of labels; if the model has no data, or
        does not know the mean of its training cells (published weights; counts, if it was loaded with other
        cells); if no cell has both source and target.

    Examples
    --------
    >>> import scvi_cae
    >>> mdata = scvi_cae.datasets.simulate_patchseq(n_cells=200)
    >>> scvi_cae.CoupledAE.setup_mudata(mdata)
    >>> model = scvi_cae.CoupledAE(mdata, n_latent=5)
    >>> model.train(max_epochs=20, train_size=0.8, enable_progress_bar=False)
    >>> report = scvi_cae.tl.prediction_report(model, source="rna", target="ephys")
    >>> report.columns.tolist()
    ['r2', 'correlation', 'r2_within', 'correlation_within', 'n_cells']
    >>> best = report["r2"].nlargest(3).index
    """
    held = _Predicted(model, source, target, mdata, cells)
    out: dict[str, np.ndarray] = {}
    for suffix, of in (("", source), ("_within", target)):
        prediction = held.predict(of)
        out[f"r2{suffix}"] = feature_r2(held.truth, prediction, held.mean)
        out[f"correlation{suffix}"] = feature_correlation(held.truth, prediction)
    out["n_cells"] = (~np.isnan(held.truth)).sum(0)
    return pd.DataFrame(out, index=pd.Index(held.features, name="feature"))


@describe_report
def type_means(
    model: CoupledAE | Ensemble,
    source: str | Sequence[str],
    target: str,
    labels_key: str,
    mdata: MuData | None = None,
    *,
    cells: Cells = "held-out",
    features: Sequence[str] | None = None,
    min_cells: int = 1,
    scale: Scale | None = None,
) -> pd.DataFrame:
    """Mean of each feature over the cells of each type, measured and predicted from another modality.

    Parameters
    ----------
    %(model)s
    %(source)s
    %(target)s
    %(labels_key)s
    %(mdata)s
    %(cells)s
    %(features)s
    %(min_cells)s
    scale
        Units of the means. ``None`` (default): units of the data. ``"standard"``: standard deviations from
        the mean of the training cells. ``"max"``: each feature divided by its largest absolute measured mean
        over types, as in Figure 2 of Gala et al. (2021).

    Returns
    -------
    A row for each type and feature, types sorted by name, features in the order of the data: ``type``,
    ``feature``, ``data`` (mean of the measured values), ``prediction`` (mean of the predictions of the same
    values), ``n_cells`` (number of cells in the means).
    ``table.pivot(index="type", columns="feature", values="data")`` gives the matrix for a heat map.

    Raises
    ------
    KeyError
        If the column ``labels_key`` is missing, or ``target`` does not have a feature.
    ValueError
        As in :func:`prediction_report`; also if no cell has a type, or ``scale`` is another word.

    Examples
    --------
    >>> import scvi_cae
    >>> mdata = scvi_cae.datasets.simulate_patchseq(n_cells=200)
    >>> scvi_cae.CoupledAE.setup_mudata(mdata)
    >>> model = scvi_cae.CoupledAE(mdata, n_latent=5)
    >>> model.train(max_epochs=20, train_size=0.8, enable_progress_bar=False)
    >>> means = scvi_cae.tl.type_means(model, "rna", "ephys", "family")
    >>> means.columns.tolist()
    ['type', 'feature', 'data', 'prediction', 'n_cells']
    """
    if scale not in (None, "standard", "max"):
        raise ValueError(f"scale={scale!r} must be None, 'standard' or 'max'.")
    held = _Predicted(model, source, target, mdata, cells)
    labels = labels_of(held.data.mdata, labels_key).iloc[held.cells].to_numpy(dtype=object)
    known = ~pd.isna(labels)
    if not known.any():
        raise ValueError(
            f"None of the {len(known)} cells to report on has a label {labels_key!r}. Choose other cells: "
            "cells=..."
        )
    names = pd.Index(held.features)
    columns = np.arange(len(names)) if features is None else names.get_indexer(pd.Index(features))
    if (columns < 0).any():
        unknown = [name for name, column in zip(features or [], columns, strict=True) if column < 0]
        raise KeyError(f"Modality {target!r} has no features {shorten(unknown)}. Leave them out.")
    truth, prediction = held.truth[known][:, columns], held.predict(source)[known][:, columns]
    if scale == "standard":
        truth, prediction = ((x - held.mean[columns]) / held.scale[columns] for x in (truth, prediction))

    types, index = np.unique(labels[known].astype(str), return_inverse=True)
    members = (np.arange(len(types))[:, None] == index.ravel()).astype(float)
    observed = ~np.isnan(truth)
    n_cells = members @ observed
    # Means of predictions are over measured entries only, as those of the data.
    sums = [members @ np.where(observed, x, 0) for x in (truth, prediction)]
    empty = np.full(n_cells.shape, np.nan)
    means = [np.divide(s, n_cells, out=empty.copy(), where=n_cells >= max(min_cells, 1)) for s in sums]
    if scale == "max":
        largest = np.max(np.abs(np.nan_to_num(means[0])), axis=0)
        means = [np.divide(m, largest, out=m.copy(), where=largest > 0) for m in means]
    return pd.DataFrame(
        {
            "type": np.repeat(types, len(columns)).astype(object),
            "feature": np.tile(names[columns].to_numpy(dtype=object), len(types)),
            "data": means[0].ravel(),
            "prediction": means[1].ravel(),
            "n_cells": n_cells.astype(int).ravel(),
        }
    )


@describe_report
def type_report(
    model: CoupledAE | Ensemble,
    source: str | Sequence[str],
    target: str,
    labels_key: str,
    mdata: MuData | None = None,
    *,
    cells: Cells = "held-out",
    features: Sequence[str] | None = None,
    min_cells: int = 1,
    scale: Scale | None = "standard",
) -> pd.DataFrame:
    """Correlations of measured and predicted means: of each type over features, of each feature over types.

    The Pearson correlation of a type shows how well its profile is predicted, that of a feature how well its
    differences between types are. The means are those of :func:`type_means`. Gala et al. (2021) report both
    with Figure 2.

    Parameters
    ----------
    %(model)s
    %(source)s
    %(target)s
    %(labels_key)s
    %(mdata)s
    %(cells)s
    %(features)s
    %(min_cells)s
    scale
        Units of the means, as in :func:`type_means`; they change the correlations of types only.
        ``"standard"`` (default): the correlation measures how well the deviation of a type from the average
        cell is predicted. With ``"max"``, as published, or ``None``, differences in level between features
        dominate; all types share these, and the correlation is close to 1 even for a model that does not
        distinguish types.

    Returns
    -------
    A row for each type, then one for each feature: ``of`` (``"type"`` or ``"feature"``), ``name``,
    ``correlation`` (NaN with fewer than three means, or without variance), ``n_means`` (number of means),
    ``n_cells`` (for a type: the largest number of cells with a feature; for a feature: the number of cells
    with it).

    Raises
    ------
    KeyError, ValueError
        As in :func:`type_means`.

    Examples
    --------
    >>> import scvi_cae
    >>> mdata = scvi_cae.datasets.simulate_patchseq(n_cells=200)
    >>> scvi_cae.CoupledAE.setup_mudata(mdata)
    >>> model = scvi_cae.CoupledAE(mdata, n_latent=5)
    >>> model.train(max_epochs=20, train_size=0.8, enable_progress_bar=False)
    >>> report = scvi_cae.tl.type_report(model, "rna", "ephys", "family")
    >>> report.groupby("of")["correlation"].median().index.tolist()
    ['feature', 'type']
    """
    means = type_means(
        model,
        source,
        target,
        labels_key,
        mdata,
        cells=cells,
        features=features,
        min_cells=min_cells,
        scale=scale,
    )
    tables = []
    for of, other in (("type", "feature"), ("feature", "type")):
        # Correlations are computed by column.
        data, prediction, n_cells = (
            means.pivot(index=other, columns=of, values=values)[means[of].unique()]
            for values in ("data", "prediction", "n_cells")
        )
        n_means = data.notna().sum()
        correlation = np.full(data.shape[1], np.nan)
        enough = n_means.to_numpy() > 2
        if enough.any():
            truth, predicted = (x.to_numpy()[:, enough] for x in (data, prediction))
            correlation[enough] = feature_correlation(truth, predicted)
        tables.append(
            pd.DataFrame(
                {
                    "of": of,
                    "name": data.columns.to_numpy(dtype=object),
                    "correlation": correlation,
                    "n_means": n_means.to_numpy(),
                    "n_cells": (n_cells.max() if of == "type" else n_cells.sum()).to_numpy(),
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


class _Predicted:
    """Cells with source and target, their measured values and their predictions.

    Parameters
    ----------
    model, source, target, mdata, cells
        As in :func:`prediction_report`.
    """

    def __init__(
        self,
        model: CoupledAE | Ensemble,
        source: str | Sequence[str],
        target: str,
        mdata: MuData | None,
        cells: Cells,
    ) -> None:
        self.model, self.target = model, target
        if target in model.labels:
            raise ValueError(f"{target!r} is a column of labels. Reports are of modalities: target=...")
        self.data = model.align(mdata)
        self.mean, self.scale = self._moments()
        # An ensemble predicts cells of its training by models that were not trained on them.
        sets = getattr(model, "prediction_sets", model.set_membership)(self.data)
        chosen = chosen_cells(cells, self.data.n_cells, sets)
        # Predicting checks the names of modalities; predictions are NaN for cells without the source.
        prediction = model.predict(source, target, self.data, chosen).to_numpy()
        truth = model.measured_values(target, self.data, chosen)
        both = ~np.isnan(truth).all(1) & ~np.isnan(prediction).all(1)
        if not both.any():
            raise ValueError(
                f"None of the {len(chosen)} cells to report on has both {source!r} and {target!r}. Choose "
                "others: cells=..."
            )
        self.cells, self.truth = chosen[both], truth[both]
        self._predictions = {_key(source): prediction[both]}
        self.features: list[str] = model.get_var_names()[target]

    def predict(self, source: str | Sequence[str]) -> np.ndarray:
        """Predicted values of the target, on the scale of ``truth``."""
        if _key(source) not in self._predictions:
            table = self.model.predict(source, self.target, self.data, self.cells)
            self._predictions[_key(source)] = table.to_numpy()
        return self._predictions[_key(source)]

    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the target among the training cells."""
        first = self.model.models[0]
        if first.adata is not None:
            own = self.data if self.data.mdata is first.adata else self.model.align()
            training = np.flatnonzero(self.model.set_membership(own) == "training")
            if len(training):
                return mean_and_scale(self.model.measured_values(self.target, own, training))
        if (moments := first.feature_moments(self.target)) is not None:
            mean, spread = moments
            return mean, np.where(spread > 0, spread, 1.0)
        raise ValueError(
            f"The model does not know the mean of {self.target!r} in its training cells, to which R2 is relative: the data "
            "that it was loaded with hold none of them. Load it with those that it was trained on: "
            "CoupledAE.load(folder, adata=mdata)."
        )


def _key(source: str | Sequence[str]) -> tuple[str, ...]:
    return (source,) if isinstance(source, str) else tuple(source)
