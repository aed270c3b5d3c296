"""Coupled autoencoders for partially paired multimodal single-cell data."""

from importlib.metadata import version

from . import datasets
from .model import CoupledAE

__all__ = ["CoupledAE", "__version__", "datasets"]

__version__ = version("scvi-cae")
