"""Scores of a model and of simple baselines on held-out cells."""

from scvi_cae.regression import (
    BaggedKernelRidgeBaseline,
    DiscriminantBaseline,
    KernelRidgeBaseline,
    LogisticBaseline,
    RidgeBaseline,
)

from ._baselines import TypeMeanBaseline, WithTypeMean
from ._compare import compare
from ._cross_validate import cross_validate
from ._features import feature_correlation, feature_r2
from ._held_out import METRICS
from ._latent import CCABaseline, PCABaseline
from ._learning_curve import learning_curve
from ._matching import foscttm, top_k_accuracy
from ._metrics import pooled_r2, r2_beyond
from ._score import score
from ._sparse import SparseReducedRankBaseline
from ._transfer import label_accuracy, transfer_labels
from ._uncertainty import abstention, interval_scores, interval_width

__all__ = [
    "METRICS",
    "BaggedKernelRidgeBaseline",
    "CCABaseline",
    "DiscriminantBaseline",
    "KernelRidgeBaseline",
    "LogisticBaseline",
    "PCABaseline",
    "RidgeBaseline",
    "SparseReducedRankBaseline",
    "TypeMeanBaseline",
    "WithTypeMean",
    "abstention",
    "compare",
    "cross_validate",
    "feature_correlation",
    "feature_r2",
    "foscttm",
    "interval_scores",
    "interval_width",
    "label_accuracy",
    "learning_curve",
    "pooled_r2",
    "r2_beyond",
    "score",
    "top_k_accuracy",
    "transfer_labels",
]
