"""Patch-seq data sets as :class:`~mudata.MuData`: published data, and simulations with known ground truth."""

from ._gala2021 import gala2021
from ._scala2020 import scala2020
from ._simulate import simulate_patchseq

__all__ = ["gala2021", "scala2020", "simulate_patchseq"]
