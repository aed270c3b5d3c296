"""How a modality's values are read, and how predictions are compared with them; one likelihood a file."""

from ._base import DataKind, Likelihood
from ._categorical import Categorical
from ._gaussian import Gaussian
from ._negative_binomial import NegativeBinomial
from ._squared_error import SquaredError

#: Likelihoods by name.
LIKELIHOODS: dict[str, type[Likelihood]] = {
    "squared_error": SquaredError,
    "gaussian": Gaussian,
    "negative_binomial": NegativeBinomial,
    "categorical": Categorical,
}

__all__ = [
    "LIKELIHOODS",
    "Categorical",
    "DataKind",
    "Gaussian",
    "Likelihood",
    "NegativeBinomial",
    "SquaredError",
]
