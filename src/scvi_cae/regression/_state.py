"""Fitted parameters as plain arrays, which a saved model can hold, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import torch

from scvi_cae.module import NARROW, Correlation, complete, mean_and_spread

if TYPE_CHECKING:
    from collections.abc import Mapping


class Standardisation(NamedTuple):
    """Training mean and standard deviation of features, of which some may be constant or never measured.

    Parameters
    ----------
    mean
        ``(n_features,)`` means, NaN for a feature without any value.
    spread
        ``(n_features,)`` population standard deviations, 0 for a constant feature.
    correlation
        ``(n_features, n_features)`` correlation of at most 200 features; ``None`` for more.
    """

    mean: np.ndarray
    spread: np.ndarray
    correlation: np.ndarray | None = None

    @classmethod
    def of(cls, values: np.ndarray) -> Self:
        """Fit to the ``(n_cells, n_features)`` values of the training cells, NaN where missing."""
        mean, spread = mean_and_spread(values)
        fitted = cls(np.where(np.isnan(values).all(0), np.nan, mean), spread)
        if values.shape[1] > NARROW:
            return fitted
        correlation = Correlation(values.shape[1])
        correlation.add(fitted(values))
        return fitted._replace(correlation=correlation.matrix)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Standardised values: 0 for a constant feature, NaN for one that was never measured."""
        return (values - self.mean) / np.where(self.spread > 0, self.spread, np.inf)

    def completed(self, values: np.ndarray) -> np.ndarray:
        """Standardised values; a missing one is its mean given the others, or of many features the training mean."""
        scores = self(values)
        if self.correlation is None:
            return np.nan_to_num(scores)
        parts = (scores, ~np.isnan(scores), self.correlation)
        return complete(*map(torch.from_numpy, parts)).numpy()

    def inverse(self, values: np.ndarray) -> np.ndarray:
        """Standardised values in their units: the constant, or NaN."""
        return values * self.spread + self.mean


class WithState:
    """Method whose settings are its public attributes, and whose fit is ``_parameters`` and standardisations.

    ``_parameters`` are arrays, numbers, texts, and lists and dictionaries of them.
    """

    _parameters: Mapping[str, Any]

    def state(self) -> dict[str, Any]:
        """What was fitted, as arrays, numbers, texts, and lists and dictionaries of them.

        Means and standard deviations keep double precision, since a feature may vary little beside its mean; all other
        arrays of floating-point numbers are in single precision, which changes predictions by about 1e-6 standard
        deviations at most.

        Returns
        -------
        A dictionary for :meth:`from_state`, with ``"kind"``, the name of the class.

        Raises
        ------
        RuntimeError
            If nothing was fitted yet.
        """
        kind = type(self).__name__
        if not hasattr(self, "_parameters"):
            raise RuntimeError(f"This {kind} is not fitted; call its fit first.")
        attributes = vars(self).items()
        return {
            "kind": kind,
            "settings": {name: value for name, value in attributes if not name.startswith("_")},
            "scales": {name: x._asdict() for name, x in attributes if isinstance(x, Standardisation)},
            "parameters": in_single_precision(self._parameters),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Make a fitted object from its state.

        Parameters
        ----------
        state
            What :meth:`state` returned.

        Returns
        -------
        An object of this class that predicts the same.

        Raises
        ------
        ValueError
            If it is the state of another class.
        """
        if state["kind"] != cls.__name__:
            raise ValueError(f"It is the state of a {state['kind']}; call {state['kind']}.from_state.")
        fitted = cls(**state["settings"])
        for name, moments in state["scales"].items():
            setattr(fitted, name, Standardisation(**moments))
        fitted._parameters = state["parameters"]
        return fitted


def in_single_precision(value: Any) -> Any:
    """Parameters with all arrays of floating-point numbers in single precision."""
    if isinstance(value, dict):
        return {name: in_single_precision(part) for name, part in value.items()}
    if isinstance(value, list):
        return [in_single_precision(part) for part in value]
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return value.astype(np.float32)
    return value
