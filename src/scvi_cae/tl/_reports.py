"""Which features and which types a model predicts well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import pandas as pd

from scvi_cae._arguments import shorten
from scvi_cae.data import positions
from scvi_cae.evaluate import feature_correlation, feature_r2
from scvi_cae.model import Ensemble
from scvi_cae.module import mean_and_scale

from ._latents import labels_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mudata import MuData

    from scvi_cae.model import CoupledAE

    from ._latents import Cells

#: What units means of types are in.
Scale: TypeAlias = Literal["standard", "max"]


def prediction_report(
    model: CoupledAE | Ensemble,
    source: str | Sequence[str],
    target: str,
    mdata: MuData | None = None,
    cells: Cells = "held-out",
) -> pd.DataFrame:
    """How well each feature is predicted from another modality, beside how well its own modality reconstructs it.

    The latter is about what the former can reach: it goes through as few dimensions.

    Parameters
    ----------
    model
        Trained model, or ensemble.
    source
        Modality to predict from, or several.
    target
        Modality to predict.
    mdata
        MuData with the cells to score; the one the model was made with by default.
    cells
        Cells to score, by what they were to the training, or positions or a mask: by default the test cells, or the
        validation cells if there are none. Of them, those that have both source and target.

    Returns
    -------
    A row for each feature of ``target``, in its order, by name:

    ``r2``, ``correlation``
        Of the prediction from ``source``: :func:`scvi_cae.evaluate.feature_r2`, against the mean of the training cells,
        and :func:`scvi_cae.evaluate.feature_correlation`.
    ``r2_within``, ``correlation_within``
        The same of the prediction from ``target`` itself, of the same cells.
    ``n_cells``
        Number of cells in which the feature is measured.

    Raises
    ------
    RuntimeError
        If the model is not trained.
    ValueError
        If modalities are not coupled, ``target`` is a column of labels, there are no data or no mean of training cells
        (published weights), or none of the cells has source and target.

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
    """Mean of each feature over the cells of a type, as measured and as predicted from another modality.

    Parameters
    ----------
    model, source, target, mdata, cells
        As in :func:`prediction_report`.
    labels_key
        Column of cells' types, in ``mdata.obs`` or a modality's ``.obs``; cells without one are left out.
    features
        Features of ``target``; all by default. For genes that a paper lists, those that there are:
        ``[gene for gene in NEUROPEPTIDE_GENES if gene in mdata["rna"].var_names]``.
    min_cells
        Fewest cells of a type in which a feature is measured; means of fewer are NaN.
    scale
        ``None`` (default): in the units of the data. ``"standard"``: in standard deviations from the mean of the
        training cells. ``"max"``: each feature divided by the largest absolute mean of a type in the data, as in
        Figure 2 of Gala et al. (2021).

    Returns
    -------
    A row for each type and feature, types sorted by name, features as in the data: ``type``, ``feature``, ``data`` (mean
    of the measured values), ``prediction`` (mean of the predictions of the same values), ``n_cells`` (number of cells
    averaged over). ``table.pivot(index="type", columns="feature", values="data")`` makes a heat map of it.

    Raises
    ------
    KeyError
        If there is no column ``labels_key``, or a feature is none of ``target``.
    ValueError
        As in :func:`prediction_report`; also if none of the cells has a type, or there is no such ``scale``.

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
    labels = labels_of(held.mdata, labels_key).iloc[held.cells].to_numpy(dtype=object)
    known = ~pd.isna(labels)
    if not known.any():
        raise ValueError(f"None of the {len(known)} cells to report on has a label {labels_key!r}.")
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
    # The same entries of data and prediction: a prediction of what was not measured has nothing beside it.
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
    """How well the profile of each type, and the differences between types in each feature, are predicted.

    Pearson correlations of the means of :func:`type_means`: of each type, over features, and of each feature, over
    types. Gala et al. (2021) report both beside Figure 2.

    Parameters
    ----------
    model, source, target, labels_key, mdata, cells, features, min_cells
        As in :func:`type_means`.
    scale
        As in :func:`type_means`; it matters for types only. ``"standard"`` (default): whether a type differs from the
        average cell as predicted. Otherwise, the correlation over features is mostly that of the features' own levels,
        which any type shares: with ``"max"``, as published, or ``None``, it is close to 1 for a model that knows no
        types.

    Returns
    -------
    A row for each type, then one for each feature: ``of`` (``"type"`` or ``"feature"``), ``name``, ``correlation`` (NaN
    if there are fewer than three means, or they do not vary), ``n_means`` (number of means that it is over), ``n_cells``
    (of a type: the most cells that have a feature; of a feature: all cells that have it).

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
        # Correlations are of columns.
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
    """Cells that have source and target, their measured values and what a model predicts of them.

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
        self._first = model.models[0] if isinstance(model, Ensemble) else model
        data = self._first.adata if mdata is None else mdata
        if data is None:
            raise ValueError("The model was loaded without data; give some: mdata=...")
        if target in self._first.labels:
            raise ValueError(f"{target!r} is a column of labels: it has classes, not features to report on.")
        self.mdata = data
        self.mean, self.scale = self._moments()
        chosen = self._positions(cells)
        # Predicting checks names of modalities, and says which cells have the source.
        prediction = model.predict(source, target, data, chosen).to_numpy()
        truth = self._first.comparable(target, self._first._aligned_modality(data, target).values(chosen))
        both = ~np.isnan(truth).all(1) & ~np.isnan(prediction).all(1)
        if not both.any():
            raise ValueError(
                f"None of the {len(chosen)} cells to report on has both {source!r} and {target!r}. Give others: cells=..."
            )
        self.cells, self.truth = chosen[both], truth[both]
        self._predictions = {_key(source): prediction[both]}
        self.features: list[str] = self._first.get_var_names()[target]

    def predict(self, source: str | Sequence[str]) -> np.ndarray:
        """Prediction of the target, on the scale of the truth."""
        if _key(source) not in self._predictions:
            table = self.model.predict(source, self.target, self.mdata, self.cells)
            self._predictions[_key(source)] = table.to_numpy()
        return self._first.comparable(self.target, self._predictions[_key(source)])

    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the target among the training cells."""
        own = self._first.adata
        if own is not None:
            training = np.flatnonzero(self._sets(own) == "training")
            if len(training):
                return mean_and_scale(self._first.comparable_values(self.target, training))
        elif (moments := self._first.feature_moments(self.target)) is not None:
            return moments
        raise ValueError(
            "The model does not know the mean of its training cells, which a prediction must beat: it was trained on "
            "other data, or loaded without those. Load it with them: CoupledAE.load(folder, adata=mdata)."
        )

    def _sets(self, mdata: MuData) -> np.ndarray:
        return self.model.cell_sets(mdata).to_numpy(dtype=object)

    def _positions(self, cells: Cells) -> np.ndarray:
        """Positions of cells that are named by what they were to the training, or given."""
        if not isinstance(cells, str):
            return positions(cells, self.mdata.n_obs, "cells")
        if cells not in ("held-out", "training", "all"):
            raise ValueError(f"cells={cells!r} must be 'held-out', 'training', 'all', positions or a mask.")
        if cells == "all":
            return np.arange(self.mdata.n_obs)
        sets = self._sets(self.mdata)
        held_out = "test" if (sets == "test").any() else "validation"
        chosen = np.flatnonzero(sets == ("training" if cells == "training" else held_out))
        if not len(chosen):
            raise ValueError(f"There are no {cells} cells in the data. Give cells='all', or positions.")
        return chosen


def _key(source: str | Sequence[str]) -> tuple[str, ...]:
    return (source,) if isinstance(source, str) else tuple(source)
