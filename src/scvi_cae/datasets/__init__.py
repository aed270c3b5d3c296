"""Patch-seq data sets as :class:`~mudata.MuData`: published data, and simulations with known ground truth."""

from ._gala2021 import gala2021
from ._gouwens2020 import gouwens2020
from ._lee2023 import lee2023
from ._scala2020 import scala2020
from ._simulate import simulate_patchseq

__all__ = ["gala2021", "gouwens2020", "lee2023", "scala2020", "simulate_patchseq"]
