"""Patch-seq data sets as :class:`~mudata.MuData`: real ones, and a simulated one whose truth is known."""

from ._scala2020 import scala2020
from ._simulate import simulate_patchseq

__all__ = ["scala2020", "simulate_patchseq"]
