"""Scores of predictions and latents of held-out cells, row by row."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_cae.model import Ensemble
from scvi_cae.module import mean_and_scale

from ._baselines import TypeMeanBaseline
from ._features import feature_correlation, feature_r2
from ._matching import foscttm, top_k_accuracy
from ._metrics import pooled_r2, r2_beyond
from ._registry import SHRINKAGE
from ._transfer import label_accuracy, transfer_labels
from ._uncertainty import interval_scores

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from scvi_cae.model import CoupledAE

    from ._registry import Entry, Level

#: What tells of the model's few numbers how good it is.
MAIN = ("r2", "accuracy", "foscttm")
_OF_VALUES = ("r2", "mean r2", "correlation", "r2 beyond family", "r2 beyond type", "accuracy")
_OF_LATENTS = ("foscttm", "top-1", "top-10", "family knn", "family qda", "type knn", "type qda")
#: All but those of intervals, which need validation cells.
METRICS = (*_OF_VALUES, *_OF_LATENTS)
_OF_INTERVALS = ("coverage", "crps")
#: Levels of the quantiles that ``coverage`` (the outermost) and ``crps`` are computed of.
QUANTILES = np.linspace(0.05, 0.95, 19).round(2).tolist()


def check_metrics(metrics: Sequence[str]) -> None:
    """Raise for a metric that there is not.

    Parameters
    ----------
    metrics
        Names.

    Raises
    ------
    ValueError
        If one is not known.
    """
    known = (*METRICS, *_OF_INTERVALS)
    unknown = [name for name in metrics if name not in known]
    if isinstance(metrics, str) or unknown:
        raise ValueError(f"metrics={metrics!r} must be a sequence of some of {', '.join(map(repr, known))}.")


#: Between the names of sources that a prediction is made from together.
JOINED = " + "


class HeldOut:
    """Values of training and held-out cells, and the scores of methods on the latter.

    Parameters
    ----------
    model
        Trained model or ensemble with its data.
    train, cells
        Positions of training cells, and of those to score.
    labels
        Of ``"family"`` and ``"type"``, the labels of all cells, where known.
    metrics
        Names of metrics.
    per_feature
        Whether each feature is scored, too.
    """

    def __init__(
        self,
        model: CoupledAE | Ensemble,
        train: np.ndarray,
        cells: np.ndarray,
        labels: Mapping[Level, pd.Series],
        metrics: Sequence[str],
        per_feature: bool,
    ) -> None:
        self.model = model
        self.first = model.models[0] if isinstance(model, Ensemble) else model
        self.train, self.cells = train, cells
        self.labels = dict(labels)
        self.metrics = metrics
        self.per_feature = per_feature
        modalities = self.first.modalities
        self.values = {m: self.first.comparable_values(m, cells) for m in modalities}
        self.has = {m: ~np.isnan(x).all(1) for m, x in self.values.items()}
        # A modality as large as a transcriptome is read once, not once for each baseline.
        self.training = {m: self.first.comparable_values(m, train) for m in modalities}
        self.moments = {m: mean_and_scale(x) for m, x in self.training.items()}
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
        """Keep a score."""
        self.rows.append((method, source, target, metric, value, int(n_cells), feature))

    def told(self, level: Level, cells: np.ndarray) -> np.ndarray:
        """Labels of cells."""
        return self.labels[level].iloc[cells].to_numpy(dtype=object)

    @cached_property
    def _asked(self) -> set[str]:
        return set(self.metrics)

    def score_values(
        self, method: str, source: str, target: str, prediction: np.ndarray, told: Sequence[str] = ()
    ) -> None:
        """Score a prediction of the cells that have source and target, made with what labels are ``told``."""
        both = self.has[source] & self.has[target]
        n, truth, prediction = both.sum(), self.values[target][both], prediction[both]
        scores: dict[str, Callable[[], float]]
        if target in self.first.labels:
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
        source = JOINED.join([source, *told])
        for metric, compute in scores.items():
            if metric in self._asked:
                self.add(method, source, target, metric, compute() if n else np.nan, n)
        if self.per_feature and target not in self.first.labels and n:
            observed = (~np.isnan(truth)).sum(0)
            for metric, values in (
                ("feature r2", feature_r2(truth, prediction, mean)),
                ("feature correlation", feature_correlation(truth, prediction)),
            ):
                for name, value, count in zip(
                    self.first.get_var_names()[target], values, observed, strict=True
                ):
                    self.add(method, source, target, metric, value, count, str(name))

    def _reference(self, target: str, level: Level) -> np.ndarray:
        """What a label alone predicts: the mean of the family, or that of the type, shrunk to the former."""
        if (target, level) not in self._references:
            mean = TypeMeanBaseline(SHRINKAGE if level == "type" else 0.0)
            self._references[target, level] = self.fit_predict(mean, level, target)
        return self._references[target, level]

    def fit_predict(self, type_mean: TypeMeanBaseline, level: Level, target: str) -> np.ndarray:
        """The mean of a cell's label, of types beside that of the family."""
        train, cells = ([self.told(level, c)] for c in (self.train, self.cells))
        if type_mean.shrinkage and level == "type" and "family" in self.labels:
            train.append(self.told("family", self.train))
            cells.append(self.told("family", self.cells))
        type_mean.fit(train[0], self.training[target], *train[1:])
        return type_mean.predict(*cells)

    def score_baseline(self, name: str, entry: Entry, source: str, target: str) -> None:
        """Fit a baseline to the training cells and score it."""
        baseline = entry.baseline
        if isinstance(baseline, TypeMeanBaseline):
            assert entry.level is not None
            prediction = self.fit_predict(baseline, entry.level, target)
        else:
            told: list[list[np.ndarray]] = [[], []]
            if entry.level is not None:
                levels: list[Level] = ["type", "family"] if "family" in self.labels else ["type"]
                told = [[self.told(level, c) for level in levels] for c in (self.train, self.cells)]
            baseline.fit(self.training[source], self.training[target], *told[0])
            prediction = baseline.predict(self.values[source], *told[1])
        self.score_values(name, source, target, prediction)

    def score_transforms(self, name: str, baseline: Any, source: str, target: str) -> None:
        """Score the latents of a baseline that was fitted to a pair."""
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
        """Score how latents of two modalities agree: of each, those of training and of held-out cells."""
        both = self.has[a] & self.has[b]
        enough = both.sum() >= 2
        z = {m: latents[m][1][both] for m in (a, b)}
        if "foscttm" in self._asked:
            self.add(method, a, b, "foscttm", foscttm(z[a], z[b]) if enough else np.nan, both.sum())
        for source, target in ((a, b), (b, a)):
            for k in (1, 10):
                if f"top-{k}" in self._asked:
                    value = top_k_accuracy(z[source], z[target], k) if enough else np.nan
                    self.add(method, source, target, f"top-{k}", value, both.sum())
            self._score_labels(method, source, target, latents)

    def _score_labels(
        self, method: str, source: str, target: str, latents: Mapping[str, tuple[np.ndarray, np.ndarray]]
    ) -> None:
        """Score the labels that held-out cells get by their source, in the training cells' space of the target."""
        for level in self.labels:
            true = self.told(level, self.cells)
            scored = self.has[source] & ~pd.isna(true)
            for classifier in ("knn", "qda"):
                if f"{level} {classifier}" in self._asked:
                    given = transfer_labels(
                        latents[target][0],
                        self.told(level, self.train),
                        latents[source][1][scored],
                        classifier,
                        n_dimensions=self.first.module.n_latent,
                    )
                    value = label_accuracy(true[scored], given)
                    self.add(method, source, target, f"{level} {classifier}", value, scored.sum())

    def score_intervals(self, method: str, source: str, target: str) -> None:
        """Score the model's quantiles of the cells that have source and target."""
        asked = [metric for metric in _OF_INTERVALS if metric in self._asked]
        if not asked or target in self.first.labels:
            return
        both = self.has[source] & self.has[target]
        truth = self.values[target][both]
        features = np.flatnonzero(~np.isnan(truth).all(0))
        scores = dict.fromkeys(asked, np.nan)
        if len(features):
            table = self.model.predict(source, target, indices=self.cells[both], quantiles=QUANTILES)
            names = table.columns.unique(0)[features]
            of_features = interval_scores(
                truth[:, features], table[names], self.moments[target][1][features]
            ).mean()
            # Twice the pinball loss of evenly spaced quantiles is about the continuous ranked probability score.
            scores = {"coverage": of_features["coverage"], "crps": 2 * of_features["pinball"]}
        for metric in asked:
            self.add(method, source, target, metric, float(scores[metric]), both.sum())


def _mean(values: np.ndarray) -> float:
    """Mean of what is not NaN, if anything."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else np.nan
