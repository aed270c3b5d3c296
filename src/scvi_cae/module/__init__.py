"""What is computed: arms, couplings and losses; plain tensors in, tensors out."""

from ._arm import Arm
from ._completion import Correlation, complete
from ._config import NARROW, ArmConfig, LikelihoodName, PublishedSettings
from ._coupling import (
    COUPLING_LOSSES,
    covariance,
    full_covariance_coupling,
    log_determinant_coupling,
    min_variance_coupling,
    min_variance_coupling_2019,
    mse_coupling,
    smallest_variance,
)
from ._limits import OUTLIER, robust_limits
from ._module import CoupledModule
from ._observation import Observation
from ._reconstruction import masked_mean
from ._stack import member_state, stack
from ._standardiser import Moments, Standardiser, mean_and_scale, mean_and_spread
from .likelihoods import LIKELIHOODS, Likelihood

__all__ = [
    "COUPLING_LOSSES",
    "LIKELIHOODS",
    "NARROW",
    "OUTLIER",
    "Arm",
    "ArmConfig",
    "Correlation",
    "CoupledModule",
    "Likelihood",
    "LikelihoodName",
    "Moments",
    "Observation",
    "PublishedSettings",
    "Standardiser",
    "complete",
    "covariance",
    "full_covariance_coupling",
    "masked_mean",
    "mean_and_scale",
    "mean_and_spread",
    "log_determinant_coupling",
    "min_variance_coupling",
    "min_variance_coupling_2019",
    "mse_coupling",
    "member_state",
    "robust_limits",
    "smallest_variance",
    "stack",
]
