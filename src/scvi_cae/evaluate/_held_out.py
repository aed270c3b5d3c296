"""Scores of predictions, latents and intervals of held-out cells, collected as rows of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_cae.module import mean_and_spread

from ._baselines import TypeMeanBaseline
from ._features import feature_correlation, feature_r2
from ._matching import foscttm, top_k_accuracy
from ._metrics import pooled_r2, r2_beyond
from ._registry import SHRINKAGE
from ._transfer import label_accuracy, transfer_labels
from ._uncertainty import interval_scores

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from scvi_cae.data import AlignedData
    from scvi_cae.model import CoupledAE, Ensemble

    from ._registry import Entry, Level

#: Metrics of :func:`~scvi_cae.evaluate.score` by default.
DEFAULT_METRICS = ("r2", "accuracy", "foscttm")
#: All metrics of predictions and of latents.
METRICS = (
    *("r2", "mean r2", "correlation", "r2 beyond family", "r2 beyond type", "accuracy"),
    *("foscttm", "top-1", "top-10", "family knn", "type knn"),
)
#: Metrics of predicted quantiles, which need validation cells.
INTERVAL_METRICS = ("coverage", "crps")
#: Levels of the quantiles from which ``crps`` and, from the outermost two, ``coverage`` are computed.
QUANTILES = np.linspace(0.05, 0.95, 19).round(2).tolist()
#: Separates the names of sources that a prediction combines.
SEPARATOR = " + "


def check_metrics(metrics: Sequence[str]) -> None:
    """Raise a ValueError for an unknown metric."""
    known = (*METRICS, *INTERVAL_METRICS)
    unknown = [name for name in metrics if name not in known]
    if isinstance(metrics, str) or unknown:
        raise ValueError(f"metrics={metrics!r} must be a sequence of some of {', '.join(map(repr, known))}.")


class CellSet:
    """Some cells: their positions, their values in each arm, and which of them have the arm.

    Parameters
    ----------
    positions
        Positions of the cells.
    values
        ``(n_cells, n_features)`` measured values of each arm, NaN where missing.
    """

    def __init__(self, positions: np.ndarray, values: Mapping[str, np.ndarray]) -> None:
        self.positions, self.values = positions, values
        self.has = {arm: ~np.isnan(x).all(1) for arm, x in values.items()}

    def among(self, positions: np.ndarray) -> CellSet:
        """Those of the cells that are at some positions."""
        chosen = np.isin(self.positions, positions)
        return CellSet(self.positions[chosen], {arm: x[chosen] for arm, x in self.values.items()})


class HeldOut:
    """Values of training and held-out cells, and scores of methods on the held-out cells.

    Methods are fitted to the training cells. What they are measured by is the same for all of them, whatever each
    was given: the mean and scale of each feature, the features that are scored and the means of labels are those
    of the reference cells, the training and validation cells that are not scored. A feature is left out if it is
    constant among the reference cells, or if a model has no training cell with a value of it.

    Parameters
    ----------
    model
        Trained model or ensemble.
    data
        Its data.
    trained
        Positions of the training cells of each model.
    reference, cells
        Positions of the reference cells, and of the cells to score.
    labels
        Labels of all cells for ``"family"`` and ``"type"``, as far as given; missing where unknown.
    metrics
        Names of metrics.
    per_feature
        Whether to score each feature as well.

    Attributes
    ----------
    train, reference, cells
        The cells.
    left_out
        Names of the features of each modality that are left out although held-out cells have values to predict.
    """

    def __init__(
        self,
        model: CoupledAE | Ensemble,
        data: AlignedData,
        trained: Sequence[np.ndarray],
        reference: np.ndarray,
        cells: np.ndarray,
        labels: Mapping[Level, pd.Series],
        metrics: Sequence[str],
        per_feature: bool,
    ) -> None:
        self.model, self.data = model, data
        self.labels = dict(labels)
        self.metrics = metrics
        self.per_feature = per_feature
        # Large modalities are read once, not once per baseline.
        self.reference, self.cells = (
            CellSet(c, {m: model.measured_values(m, data, c) for m in (*model.modalities, *model.labels)})
            for c in (reference, cells)
        )
        self.train = self.reference.among(np.unique(np.concatenate(trained)))
        for label in model.labels:
            # Nothing is predicted from a class that a model has no training cell of.
            known = np.all(
                [np.any(self.reference.among(c).values[label] == 1, axis=0) for c in trained], axis=0
            )
            self.cells.has[label] = np.any(self.cells.values[label][:, known] == 1, axis=1)
        self.moments = {m: mean_and_spread(self.reference.values[m]) for m in model.modalities}
        measured = {
            m: np.all([~np.isnan(self.reference.among(c).values[m]).all(0) for c in trained], axis=0)
            for m in model.modalities
        }
        self._features = {m: measured[m] & (self.moments[m][1] > 0) for m in model.modalities}
        self.left_out = {}
        for m, scored in self._features.items():
            values = self.cells.values[m]
            lost = ~(np.isnan(values) | (measured[m] & np.isclose(values, self.moments[m][0]))).all(0)
            self.left_out[m] = np.asarray(model.get_var_names()[m])[lost & ~scored].tolist()
        self.rows: list[tuple[Any, ...]] = []
        self._references: dict[tuple[str, Level], np.ndarray] = {}

    def add(
        self,
        method: str,
        source: str,
        target: str,
        metric: str,
        value: float,
        n_cells: int,
        feature: str = "",
        conditioned_on: Sequence[str] = (),
    ) -> None:
        """Add a row to the table."""
        source = SEPARATOR.join([source, *conditioned_on])
        self.rows.append((method, source, target, metric, value, int(n_cells), feature))

    def labels_of(self, level: Level, cells: CellSet) -> np.ndarray:
        """Labels of cells."""
        return self.labels[level].iloc[cells.positions].to_numpy(dtype=object)

    def score_values(
        self,
        method: str,
        source: str,
        target: str,
        prediction: np.ndarray,
        conditioned_on: Sequence[str] = (),
    ) -> None:
        """Score a prediction, on the cells that have source and target.

        Parameters
        ----------
        method, source, target
            Names.
        prediction
            ``(n_cells, n_features)`` prediction of all cells to score.
        conditioned_on
            Label columns that the prediction uses in addition to the source.
        """
        truth = self.cells.values[target]
        features = self._features.get(target, np.ones(truth.shape[1], dtype=bool))
        both = self.cells.has[source] & ~np.isnan(truth[:, features]).all(1)
        truth, prediction = (values[np.ix_(both, features)] for values in (truth, prediction))
        n = both.sum()
        scores: dict[str, Callable[[], float]]
        if target in self.model.labels:
            scores = {"accuracy": lambda: float(np.mean(truth.argmax(1) == prediction.argmax(1)))}
        else:
            mean, scale = (values[features] for values in self.moments[target])
            scores = {
                "r2": lambda: pooled_r2(truth, prediction, mean, scale),
                "mean r2": lambda: _mean(feature_r2(truth, prediction, mean)),
                "correlation": lambda: _mean(feature_correlation(truth, prediction)),
            }
            if source != target:
                for level in self.labels:
                    scores[f"r2 beyond {level}"] = lambda level=level: r2_beyond(  # type: ignore[misc]
                        truth, prediction, self._mean_of(target, level)[np.ix_(both, features)], scale
                    )
        for metric, compute in scores.items():
            if metric in self.metrics:
                value = compute() if n else np.nan
                self.add(method, source, target, metric, value, n, conditioned_on=conditioned_on)
        if self.per_feature and target not in self.model.labels and n:
            names = self.model.get_var_names()[target]
            observed = np.zeros(len(names), dtype=int)
            observed[features] = (~np.isnan(truth)).sum(0)
            for metric, scored in (
                ("feature r2", feature_r2(truth, prediction, mean)),
                ("feature correlation", feature_correlation(truth, prediction)),
            ):
                values = np.full(len(names), np.nan)
                values[features] = scored
                for name, value, count in zip(names, values, observed, strict=True):
                    self.add(method, source, target, metric, value, count, str(name), conditioned_on)

    def _mean_of(self, target: str, level: Level) -> np.ndarray:
        """Prediction from the label only, of the reference cells: the family mean, or the type mean shrunk to it."""
        if (target, level) not in self._references:
            mean = TypeMeanBaseline(SHRINKAGE if level == "type" else 0.0)
            self._references[target, level] = self.fit_predict(mean, level, target, self.reference)
        return self._references[target, level]

    def fit_predict(
        self, type_mean: TypeMeanBaseline, level: Level, target: str, among: CellSet
    ) -> np.ndarray:
        """Fit a type mean to some cells, with families if shrunk, and predict the cells to score."""
        with_family = type_mean.shrinkage > 0
        labels, *families = self._baseline_labels(level, among, with_family)
        type_mean.fit(labels, among.values[target], *families)
        return type_mean.predict(*self._baseline_labels(level, self.cells, with_family))

    def _baseline_labels(self, level: Level, cells: CellSet, with_family: bool) -> list[np.ndarray]:
        """Labels of cells, of types with their families if known."""
        levels = [level]
        if with_family and level == "type" and "family" in self.labels:
            levels.append("family")
        return [self.labels_of(name, cells) for name in levels]

    def score_baseline(self, name: str, entry: Entry, source: str, target: str) -> None:
        """Fit a baseline to the training cells, and score it."""
        baseline = entry.baseline
        if isinstance(baseline, TypeMeanBaseline):
            assert entry.level is not None
            prediction = self.fit_predict(baseline, entry.level, target, self.train)
        else:
            train: list[np.ndarray] = []
            cells: list[np.ndarray] = []
            if entry.level is not None:
                train, cells = (self._baseline_labels(entry.level, c, True) for c in (self.train, self.cells))
            baseline.fit(self.train.values[source], self.train.values[target], *train)
            prediction = baseline.predict(self.cells.values[source], *cells)
        self.score_values(name, source, target, prediction)

    def score_transforms(self, name: str, baseline: Any, source: str, target: str) -> None:
        """Score the latents of a baseline that was fitted to a pair of modalities."""
        latents = {
            m: (transform(self.train.values[m]), transform(self.cells.values[m]))
            for m, transform in (
                (source, baseline.transform_source),
                (target, baseline.transform_target),
            )
        }
        self.score_latents(name, source, target, latents)

    def score_latents(
        self, method: str, a: str, b: str, latents: Mapping[str, tuple[np.ndarray, np.ndarray]]
    ) -> None:
        """Score the agreement of two modalities' latents, each given for training and for held-out cells."""
        both = self.cells.has[a] & self.cells.has[b]
        enough = both.sum() >= 2
        z = {m: latents[m][1][both] for m in (a, b)}
        if "foscttm" in self.metrics:
            self.add(method, a, b, "foscttm", foscttm(z[a], z[b]) if enough else np.nan, both.sum())
        for source, target in ((a, b), (b, a)):
            for k in (1, 10):
                if f"top-{k}" in self.metrics:
                    value = top_k_accuracy(z[source], z[target], k) if enough else np.nan
                    self.add(method, source, target, f"top-{k}", value, both.sum())
            self._score_labels(method, source, target, latents)

    def _score_labels(
        self, method: str, source: str, target: str, latents: Mapping[str, tuple[np.ndarray, np.ndarray]]
    ) -> None:
        """Score labels of held-out cells, given by the target latents nearest to their source latents."""
        for level in self.labels:
            if f"{level} knn" in self.metrics:
                true = self.labels_of(level, self.cells)
                scored = self.cells.has[source] & ~pd.isna(true)
                given = transfer_labels(
                    latents[target][0], self.labels_of(level, self.train), latents[source][1][scored]
                )
                value = label_accuracy(true[scored], given)
                self.add(method, source, target, f"{level} knn", value, scored.sum())

    def score_intervals(self, method: str, source: str, target: str) -> None:
        """Score the model's predicted quantiles, on the cells that have source and target."""
        requested = [metric for metric in INTERVAL_METRICS if metric in self.metrics]
        if not requested or target in self.model.labels:
            return
        both = self.cells.has[source] & self.cells.has[target]
        truth = self.cells.values[target][both]
        features = np.flatnonzero(~np.isnan(truth).all(0) & self._features[target])
        scores = dict.fromkeys(requested, np.nan)
        if len(features):
            table = self.model.predict(
                source, target, self.data, self.cells.positions[both], quantiles=QUANTILES
            )
            names = table.columns.unique(0)[features]
            scale = self.moments[target][1][features]
            means = interval_scores(truth[:, features], table[names], scale).mean()
            # Twice the pinball loss of evenly spaced quantiles approximates the CRPS.
            scores = {"coverage": means["coverage"], "crps": 2 * means["pinball"]}
        for metric in requested:
            self.add(method, source, target, metric, float(scores[metric]), both.sum())


def _mean(values: np.ndarray) -> float:
    """Mean of the values that are not NaN; NaN without any."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else np.nan
