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


class HeldOut:
    """Values of training and held-out cells, and scores of methods on the held-out cells.

    Parameters
    ----------
    model
        Trained model or ensemble.
    data
        Its data.
    train, cells
        Positions of the training cells and of the cells to score.
    labels
        Labels of all cells for ``"family"`` and ``"type"``, as far as given; missing where unknown.
    metrics
        Names of metrics.
    per_feature
        Whether to score each feature as well.
    """

    def __init__(
        self,
        model: CoupledAE | Ensemble,
        data: AlignedData,
        train: np.ndarray,
        cells: np.ndarray,
        labels: Mapping[Level, pd.Series],
        metrics: Sequence[str],
        per_feature: bool,
    ) -> None:
        self.model, self.data = model, data
        self.train, self.cells = train, cells
        self.labels = dict(labels)
        self.metrics = metrics
        self.per_feature = per_feature
        arms = [*model.modalities, *model.labels]
        self.values = {m: model.measured_values(m, data, cells) for m in arms}
        self.has = {m: ~np.isnan(x).all(1) for m, x in self.values.items()}
        # Large modalities are read once, not once per baseline.
        self.training = {m: model.measured_values(m, data, train) for m in arms}
        # One scale and one set of features for all methods. A feature without spread has no scale.
        moments = {m: mean_and_spread(x) for m, x in self.training.items()}
        self.moments = {m: (mean, np.where(spread > 0, spread, 1.0)) for m, (mean, spread) in moments.items()}
        self.truth = {m: np.where(moments[m][1] > 0, x, np.nan) for m, x in self.values.items()}
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
    ) -> None:
        """Add a row to the table."""
        self.rows.append((method, source, target, metric, value, int(n_cells), feature))

    def labels_of(self, level: Level, cells: np.ndarray) -> np.ndarray:
        """Labels of cells by their positions."""
        return self.labels[level].iloc[cells].to_numpy(dtype=object)

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
        both = self.has[source] & self.has[target]
        n, truth, prediction = both.sum(), self.truth[target][both], prediction[both]
        scores: dict[str, Callable[[], float]]
        if target in self.model.labels:
            truth = self.values[target][both]
            scores = {"accuracy": lambda: float(np.mean(truth.argmax(1) == prediction.argmax(1)))}
        else:
            mean, scale = self.moments[target]
            scores = {
                "r2": lambda: pooled_r2(truth, prediction, mean, scale),
                "mean r2": lambda: _mean(feature_r2(truth, prediction, mean)),
                "correlation": lambda: _mean(feature_correlation(truth, prediction)),
            }
            if source != target:
                for level in self.labels:
                    scores[f"r2 beyond {level}"] = lambda level=level: r2_beyond(  # type: ignore[misc]
                        truth, prediction, self._reference(target, level)[both], scale
                    )
        source = SEPARATOR.join([source, *conditioned_on])
        for metric, compute in scores.items():
            if metric in self.metrics:
                self.add(method, source, target, metric, compute() if n else np.nan, n)
        if self.per_feature and target not in self.model.labels and n:
            observed = (~np.isnan(truth)).sum(0)
            for metric, values in (
                ("feature r2", feature_r2(truth, prediction, mean)),
                ("feature correlation", feature_correlation(truth, prediction)),
            ):
                for name, value, count in zip(
                    self.model.get_var_names()[target], values, observed, strict=True
                ):
                    self.add(method, source, target, metric, value, count, str(name))

    def _reference(self, target: str, level: Level) -> np.ndarray:
        """Prediction from the label only: the family mean, or the type mean shrunk to it."""
        if (target, level) not in self._references:
            mean = TypeMeanBaseline(SHRINKAGE if level == "type" else 0.0)
            self._references[target, level] = self.fit_predict(mean, level, target)
        return self._references[target, level]

    def fit_predict(self, type_mean: TypeMeanBaseline, level: Level, target: str) -> np.ndarray:
        """Fit a type mean to the training cells, with families if shrunk, and predict the cells to score."""
        train, cells = self._baseline_labels(level, with_family=type_mean.shrinkage > 0)
        type_mean.fit(train[0], self.training[target], *train[1:])
        return type_mean.predict(*cells)

    def _baseline_labels(
        self, level: Level, *, with_family: bool
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Labels of the training cells and of the cells to score, of types with their families if known."""
        levels = [level]
        if with_family and level == "type" and "family" in self.labels:
            levels.append("family")
        train, cells = ([self.labels_of(name, c) for name in levels] for c in (self.train, self.cells))
        return train, cells

    def score_baseline(self, name: str, entry: Entry, source: str, target: str) -> None:
        """Fit a baseline to the training cells, and score it."""
        baseline = entry.baseline
        if isinstance(baseline, TypeMeanBaseline):
            assert entry.level is not None
            prediction = self.fit_predict(baseline, entry.level, target)
        else:
            train: list[np.ndarray] = []
            cells: list[np.ndarray] = []
            if entry.level is not None:
                train, cells = self._baseline_labels(entry.level, with_family=True)
            baseline.fit(self.training[source], self.training[target], *train)
            prediction = baseline.predict(self.values[source], *cells)
        self.score_values(name, source, target, prediction)

    def score_transforms(self, name: str, baseline: Any, source: str, target: str) -> None:
        """Score the latents of a baseline that was fitted to a pair of modalities."""
        latents = {
            m: (transform(self.training[m]), transform(self.values[m]))
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
        both = self.has[a] & self.has[b]
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
        """Score labels of held-out cells, predicted from source latents by the nearest target latents."""
        for level in self.labels:
            true = self.labels_of(level, self.cells)
            scored = self.has[source] & ~pd.isna(true)
            if f"{level} knn" in self.metrics:
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
        both = self.has[source] & self.has[target]
        truth = self.values[target][both]
        features = np.flatnonzero(~np.isnan(truth).all(0))
        scores = dict.fromkeys(requested, np.nan)
        if len(features):
            table = self.model.predict(source, target, self.data, self.cells[both], quantiles=QUANTILES)
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
