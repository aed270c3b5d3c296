"""How a module is trained: batches, updates, best weights, interruption."""

from ._batches import CoupledDataSplitter
from ._callbacks import RECONSTRUCTION, KeepBestWeights, StopOnDivergence
from ._history import HistoryLogger
from ._plan import CoupledTrainingPlan
from ._runner import InterruptibleRunner

__all__ = [
    "RECONSTRUCTION",
    "CoupledDataSplitter",
    "CoupledTrainingPlan",
    "HistoryLogger",
    "InterruptibleRunner",
    "KeepBestWeights",
    "StopOnDivergence",
]
