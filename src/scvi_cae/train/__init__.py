"""How a module is trained: batches, updates, best weights, interruption."""

from ._batches import CoupledDataSplitter
from ._callbacks import KeepBestWeights, StopOnDivergence
from ._history import HistoryLogger
from ._plan import CoupledTrainingPlan
from ._runner import InterruptibleRunner

__all__ = [
    "CoupledDataSplitter",
    "CoupledTrainingPlan",
    "HistoryLogger",
    "InterruptibleRunner",
    "KeepBestWeights",
    "StopOnDivergence",
]
