"""Regressions from one modality to another, and to labels, whose fit a saved model can hold."""

from ._classifier import ClassifierBaseline
from ._discriminant import DiscriminantBaseline
from ._kernel_ridge import PENALTIES, BaggedKernelRidgeBaseline, KernelRidgeBaseline
from ._logistic import LogisticBaseline
from ._pairs import PairBaseline
from ._ridge import ALPHAS, RidgeBaseline

__all__ = [
    "ALPHAS",
    "PENALTIES",
    "BaggedKernelRidgeBaseline",
    "ClassifierBaseline",
    "DiscriminantBaseline",
    "KernelRidgeBaseline",
    "LogisticBaseline",
    "PairBaseline",
    "RidgeBaseline",
]
