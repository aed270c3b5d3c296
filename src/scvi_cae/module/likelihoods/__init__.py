"""How a modality's values are read, and how predictions are compared with them; one likelihood a file."""

from ._categorical import Categorical
from ._gaussian import Gaussian
from ._negative_binomial import NegativeBinomial
from ._squared_error import SquaredError

#: Likelihoods by name. That of labels is not for a matrix.
LIKELIHOODS = {
    "squared_error": SquaredError,
    "gaussian": Gaussian,
    "negative_binomial": NegativeBinomial,
    "categorical": Categorical,
}

__all__ = ["LIKELIHOODS", "Categorical", "Gaussian", "NegativeBinomial", "SquaredError"]
