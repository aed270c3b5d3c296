"""Coupled autoencoders for partially paired multimodal single-cell data."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import datasets, evaluate, io, pp, recipes, splits, tl
    from .model import CoupledAE, Ensemble, fit_many

__all__ = [
    "CoupledAE",
    "Ensemble",
    "__version__",
    "datasets",
    "evaluate",
    "fit_many",
    "io",
    "pp",
    "recipes",
    "splits",
    "tl",
]

__version__ = version("scvi-cae")


def __getattr__(name: str) -> Any:
    """Import on first use: scvi-tools takes seconds, which the command line's help need not."""
    if name in ("CoupledAE", "Ensemble", "fit_many"):
        return getattr(import_module(".model", __name__), name)
    if name in __all__:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
