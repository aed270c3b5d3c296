"""Functions that compute in single precision while the networks compute in half precision."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ParamSpec

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")


def _widen(value: Any) -> Any:
    half = isinstance(value, torch.Tensor) and value.is_floating_point() and value.itemsize < 4
    return value.float() if half else value


def in_single_precision(function: Callable[P, torch.Tensor]) -> Callable[P, torch.Tensor]:
    """Compute a function of tensors in at least single precision, also under autocast.

    Differences of nearly equal numbers, as in a covariance or an error, lose their significant digits in half
    precision, and eigenvalues are not implemented for it.
    """

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> torch.Tensor:
        device = next(x.device.type for x in (*args, *kwargs.values()) if isinstance(x, torch.Tensor))
        if not torch.is_autocast_enabled(device):
            return function(*args, **kwargs)
        with torch.autocast(device, enabled=False):
            return function(*map(_widen, args), **{name: _widen(x) for name, x in kwargs.items()})

    return guarded
