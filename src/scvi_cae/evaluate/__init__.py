"""How well a model predicts and matches cells that it was not trained on, beside simple baselines."""

from ._baselines import RidgeBaseline, TypeMeanBaseline
from ._metrics import foscttm, pooled_r2
from ._score import score

__all__ = ["RidgeBaseline", "TypeMeanBaseline", "foscttm", "pooled_r2", "score"]
