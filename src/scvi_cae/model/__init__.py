"""What users call."""

from ._coupled_ae import CoupledAE
from ._ensemble import Ensemble
from ._many import Fit, fit_many

__all__ = ["CoupledAE", "Ensemble", "Fit", "fit_many"]
