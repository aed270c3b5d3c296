"""The model that users call, ensembles of it, and many fits at once."""

from ._coupled_ae import CoupledAE
from ._ensemble import Ensemble
from ._many import Fit, fit_many

__all__ = ["CoupledAE", "Ensemble", "Fit", "fit_many"]
