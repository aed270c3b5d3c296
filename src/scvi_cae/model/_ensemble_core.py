"""What all parts of an ensemble share: its models, what stands beside them, and which of them have not seen a cell."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_cae.data import SETS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mudata import MuData

    from scvi_cae.data import AlignedData

    from ._combination import Stacks
    from ._companions import Companions
    from ._coupled_ae import CoupledAE


class EnsembleCore:
    """Models, regressions of the same training cells, and the weights of their predictions."""

    models: list[CoupledAE]
    n_models: int
    _mdata: MuData | None
    _untrained: CoupledAE | None
    _companions: list[Companions]
    _whole: Companions
    _stacks: Stacks

    def __repr__(self) -> str:
        state = "trained" if self.is_trained else "not trained"
        return f"{type(self).__name__} of {self.n_models} models of {', '.join(self.modalities)}, {state}."

    @property
    def is_trained(self) -> bool:
        """Whether the models are trained."""
        return bool(self.models)

    @property
    def adata(self) -> MuData | None:
        """The data; ``None`` for an ensemble that was loaded without."""
        return self._mdata

    @property
    def _first(self) -> CoupledAE:
        """A model that knows the set-up."""
        if self.models:
            return self.models[0]
        assert self._untrained is not None
        return self._untrained

    def _trained(self) -> CoupledAE:
        """The first model, or a RuntimeError before the training."""
        if not self.models:
            raise RuntimeError("The ensemble is not trained. Call ensemble.train() first.")
        return self.models[0]

    def _predictors(self, data: AlignedData) -> np.ndarray:
        """Boolean ``(n_cells, n_models)``: which models predict a cell, those that were not trained on it if there are any."""
        unseen = self._codes(data) != 0
        return unseen | ~unseen.any(axis=1, keepdims=True)

    def align(self, adata: MuData | AlignedData | None = None) -> AlignedData:
        """Data for several calls, see :meth:`scvi_cae.CoupledAE.align`; the first model's by default."""
        return self._first.align(adata)

    @property
    def modalities(self) -> list[str]:
        """Keys of the modalities."""
        return self._first.modalities

    @property
    def labels(self) -> list[str]:
        """Columns of labels."""
        return self._first.labels

    def get_var_names(self) -> dict[str, list[str]]:
        """Names of the features of each modality, and of the classes of each column of labels."""
        return self._first.get_var_names()

    def measured_values(
        self,
        modality: str,
        adata: MuData | AlignedData | None = None,
        indices: Sequence[int] | np.ndarray | None = None,
    ) -> np.ndarray:
        """Measured values on the scale of predictions, see :meth:`scvi_cae.CoupledAE.measured_values`."""
        return self._first.measured_values(modality, adata, indices)

    def set_membership(self, adata: MuData | AlignedData | None = None) -> pd.Series:
        """Set of each cell in the trainings, see :meth:`scvi_cae.CoupledAE.set_membership`.

        Parameters
        ----------
        adata
            MuData; the data of the training by default.

        Returns
        -------
        Categorical Series by cell: ``"training"`` if it was a training cell of any model, as every cell that takes part in
        :meth:`train` is, else ``"validation"`` if it was a validation cell of any, else ``"test"``. It applies to what all
        models compute together, such as latents; for predictions see :meth:`prediction_sets`.
        """
        data = self.align(adata)
        return self._as_sets(self._codes(data).min(1), data)

    def prediction_sets(self, adata: MuData | AlignedData | None = None) -> pd.Series:
        """Set of each cell in the trainings of the models that predict it, see :meth:`predict`.

        Parameters
        ----------
        adata
            MuData; the data of the training by default.

        Returns
        -------
        Categorical Series by cell: ``"validation"`` if it took part, but is predicted by a model that was not trained on
        it; ``"training"`` if all models were trained on it; ``"test"`` if it took no part.
        """
        data = self.align(adata)
        codes = self._codes(data)
        mixed = (codes == 0).any(1) & (codes > 0).any(1)
        sets = np.where(mixed, 1, codes.min(1))
        return self._as_sets(np.where((codes < 0).any(1), -1, sets), data)

    def _codes(self, data: AlignedData) -> np.ndarray:
        """``(n_cells, n_models)`` set of each cell by model: 0 training, 1 validation, 2 test, -1 unknown."""
        codes = [self._trained().set_membership(data).cat.codes]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are the same for each
            codes += [model.set_membership(data).cat.codes for model in self.models[1:]]
        return np.stack(codes, axis=1)

    @staticmethod
    def _as_sets(codes: np.ndarray, data: AlignedData) -> pd.Series:
        """Sets by cell from their numbers."""
        names = np.array([*SETS, None], dtype=object)[codes]
        return pd.Series(pd.Categorical(names, SETS), index=data.cells)
