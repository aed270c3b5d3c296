"""Regressions from one modality to another, and to labels, whose fit a saved model can hold."""

from ._kernel_ridge import PENALTIES, BaggedKernelRidgeBaseline, KernelRidgeBaseline
from ._pairs import PairBaseline, describe, patterns
from ._ridge import ALPHAS, RidgeBaseline

__all__ = [
    "ALPHAS",
    "PENALTIES",
    "BaggedKernelRidgeBaseline",
    "KernelRidgeBaseline",
    "PairBaseline",
    "RidgeBaseline",
    "describe",
    "patterns",
]
