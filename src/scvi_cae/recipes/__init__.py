"""Published models and trainings as settings of :class:`scvi_cae.CoupledAE`."""

from ._gala2021 import Recipe, gala2021
from ._published_weights import load_published_weights

__all__ = ["Recipe", "gala2021", "load_published_weights"]
