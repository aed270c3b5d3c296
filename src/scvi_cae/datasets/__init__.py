"""Patch-seq data sets as :class:`~mudata.MuData`: published data, simulations with known ground truth, and trained ensembles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._gala2021 import gala2021
from ._gouwens2020 import gouwens2020
from ._lee2023 import lee2023
from ._scala2020 import scala2020
from ._simulate import simulate_patchseq

if TYPE_CHECKING:
    from ._reference import reference

__all__ = ["gala2021", "gouwens2020", "lee2023", "reference", "scala2020", "simulate_patchseq"]


def __getattr__(name: str) -> Any:
    """Import on first use: models need scvi-tools, which takes seconds and which data need not wait for."""
    if name == "reference":
        from ._reference import reference

        return reference
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
