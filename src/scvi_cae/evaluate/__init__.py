"""How well a model predicts and matches cells that it was not trained on, beside simple baselines."""

from ._baselines import RidgeBaseline, TypeMeanBaseline
from ._cross_validate import cross_validate
from ._metrics import foscttm, pooled_r2
from ._score import score
from ._uncertainty import abstention, interval_scores, interval_width

__all__ = [
    "RidgeBaseline",
    "TypeMeanBaseline",
    "abstention",
    "cross_validate",
    "foscttm",
    "interval_scores",
    "interval_width",
    "pooled_r2",
    "score",
]
