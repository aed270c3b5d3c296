"""What is computed: arms, couplings and losses; plain tensors in, tensors out."""

from ._arm import Arm, ArmConfig
from ._batch import Observation
from ._coupling import min_variance_coupling, smallest_variance
from ._module import CoupledModule
from ._reconstruction import masked_squared_error
from ._standardiser import Standardiser

__all__ = [
    "Arm",
    "ArmConfig",
    "CoupledModule",
    "Observation",
    "Standardiser",
    "masked_squared_error",
    "min_variance_coupling",
    "smallest_variance",
]
