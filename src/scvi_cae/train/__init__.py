"""How a module is trained: minibatches, updates, best weights, interruption."""

from ._callbacks import RECONSTRUCTION, KeepBestWeights, StopOnDivergence
from ._history import HistoryLogger
from ._minibatches import PAIRED_FRACTION, CoupledDataSplitter, n_repeats
from ._plan import CoupledTrainingPlan
from ._processes import ShareWork
from ._progress import RowProgressBar, shown_losses
from ._resume import COSMETIC, ResumeFile, describe, describe_data, differences
from ._runner import InterruptibleRunner, InterruptibleTrainer
from ._together import KeepBestOfEach, StackedDataModule, StackedMinibatches, StackedTrainingPlan

__all__ = [
    "COSMETIC",
    "PAIRED_FRACTION",
    "RECONSTRUCTION",
    "CoupledDataSplitter",
    "CoupledTrainingPlan",
    "HistoryLogger",
    "InterruptibleRunner",
    "InterruptibleTrainer",
    "KeepBestOfEach",
    "KeepBestWeights",
    "StackedMinibatches",
    "StackedDataModule",
    "StackedTrainingPlan",
    "ResumeFile",
    "RowProgressBar",
    "ShareWork",
    "StopOnDivergence",
    "describe",
    "describe_data",
    "differences",
    "n_repeats",
    "shown_losses",
]
