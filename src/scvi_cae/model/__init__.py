"""What users call."""

from ._coupled_ae import CoupledAE

__all__ = ["CoupledAE"]
