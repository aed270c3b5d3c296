"""What all parts of a model share: its set-up, what its training left behind, and data aligned by cell."""

from __future__ import annotations

import warnings
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scvi.model.base import BaseModelClass

from scvi_cae._arguments import shorten
from scvi_cae.data import QUERY_REPORT, SETS, AlignedData, Setup, Split, positions

from ._parameters import describe

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mudata import MuData

    from scvi_cae.module import CoupledModule

    from ._calibration import Calibration
    from ._fitted import Fitted


def renaming_advice(there: Iterable[str], wanted: Sequence[str]) -> str:
    """What to do about modalities that data lack: rename one that has a similar name, or give it."""
    by_lower = {name.casefold(): name for name in there}
    for name in wanted:
        close = get_close_matches(name.casefold(), by_lower, n=1, cutoff=0.7)
        if close:
            return f" Rename it: mudata.MuData({{{name!r}: mdata[{by_lower[close[0]]!r}]}})."
    return " Give data with it, or ask for another one."


class CoreModel(BaseModelClass):
    """A scvi-tools model whose state is its set-up, its module and, after training, a :class:`Fitted`.

    Parameters
    ----------
    mdata
        MuData that was set up; ``None`` only together with ``registry``.
    registry
        Registry of an earlier set-up, for a model without data.

    Attributes
    ----------
    setup
        What the model reads of a MuData.
    """

    module: CoupledModule

    def __init__(self, mdata: MuData | None, registry: dict | None) -> None:
        super().__init__(mdata, registry)
        self.setup = Setup.from_registry(self.registry_)
        self.fitted = None

    @classmethod
    def _get_most_recent_anndata_manager(cls, adata: MuData, required: bool = False) -> Any:
        """The set-up of data, as in scvi-tools, whose message names ``setup_anndata``."""
        manager = super()._get_most_recent_anndata_manager(adata)
        if manager is None and required:
            raise ValueError(f"The MuData is not set up. Call {cls.__name__}.setup_mudata(mdata) first.")
        return manager

    @property
    def fitted(self) -> Fitted | None:
        """What the training left behind beside the weights; ``None`` before it."""
        return self._fitted

    @fitted.setter
    def fitted(self, fitted: Fitted | None) -> None:
        self._fitted = fitted
        self._calibrations: dict[tuple[tuple[str, ...], str], Calibration] = {}
        # scvi-tools reads these.
        self.is_trained_ = fitted is not None
        self.history_ = None if fitted is None else dict(fitted.history)

    def _trained(self) -> Fitted:
        """What the training left behind, or a RuntimeError before it."""
        if self._fitted is None:
            raise RuntimeError("The model is not trained. Call model.train() first.")
        return self._fitted

    def _split(self) -> Split | None:
        """Positions of training, validation and test cells in the model's data, by the cells' names and values."""
        if self._fitted is None:
            return None
        if self.adata is None:
            return self._fitted.split
        sets = self._sets(AlignedData(self.adata, self.setup))
        split = self._fitted.split_in(self.adata.obs_names)
        return Split(*(cells[sets[cells] == name] for name, cells in zip(SETS, split, strict=True)))

    def _sets(self, data: AlignedData) -> pd.Categorical:
        """Set of each cell in the training, missing where unknown."""
        sets, strangers = self._trained().sets(data)
        if len(strangers) and QUERY_REPORT in data.mdata.uns:
            # Data prepared as a query hold other cells, which may be named alike.
            sets = pd.Categorical(sets.astype(object), SETS)
            sets[strangers] = "test"
        elif len(strangers):
            warnings.warn(
                f"{len(strangers)} cells are named like cells that trained the model, but have other values: "
                f"{shorten(data.cells[strangers])}. They count neither as training nor as held-out cells. If they are "
                "other cells, bring them to the model by prepare_query_mudata, or give them other names; if they are "
                "the same, give their values as they were in the training.",
                UserWarning,
                stacklevel=3,
            )
        return sets

    @property
    def train_indices(self) -> np.ndarray | None:
        """Positions of the training cells in the model's data; ``None`` before training."""
        split = self._split()
        return None if split is None else split.train

    @property
    def validation_indices(self) -> np.ndarray | None:
        """Positions of the validation cells in the model's data; ``None`` before training."""
        split = self._split()
        return None if split is None else split.validation

    @property
    def test_indices(self) -> np.ndarray | None:
        """Positions of the test cells in the model's data; ``None`` before training."""
        split = self._split()
        return None if split is None else split.test

    @property
    def models(self) -> list[CoreModel]:
        """The model itself in a list, since an ensemble has several."""
        return [self]

    @property
    def modalities(self) -> list[str]:
        """Keys of the modalities, in the order of the set-up."""
        return list(self.setup.modalities)

    @property
    def labels(self) -> list[str]:
        """Columns of labels, each of which has an arm like a modality."""
        return list(self.setup.labels)

    def batches(self, modality: str) -> list[str]:
        """Names of the technical batches on which a modality's networks are conditioned; none without ``batch_key``."""
        return list(self.setup.batches.get(modality, ()))

    def get_var_names(self, legacy_mudata_format: bool = False) -> dict[str, list[str]]:
        """Names of the features of each modality, and of the classes of each column of labels."""
        return {name: list(self.setup.features[name]) for name in self.setup.arms}

    def feature_moments(self, modality: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Mean and standard deviation of a modality's features among the training cells, in the data's units.

        Parameters
        ----------
        modality
            Key of the modality.

        Returns
        -------
        Two ``(n_features,)`` arrays; ``None`` for counts and labels, and before training.
        """
        self.setup.check_arm(modality)
        moments = None if self._fitted is None else self._fitted.moments.get(modality)
        if moments is None:
            return None
        return self.setup.in_units(moments.mean, modality), moments.spread

    @describe
    def align(self, adata: MuData | AlignedData | None = None) -> AlignedData:
        """Align data once for several calls.

        Methods that take ``adata`` accept the result in its place. Use it for many calls on the same data, which must
        not change in between.

        Parameters
        ----------
        %(adata)s

        Returns
        -------
        The data as the model reads them.

        Raises
        ------
        RuntimeError
            If the model is not trained.
        ValueError
            If the data have none of the model's modalities, or other features or infinite values in one.
        """
        data = self._align(adata, self.modalities)
        for name in self.labels:
            data[name]
        return data

    def _align(self, adata: MuData | AlignedData | None = None, arms: Sequence[str] = ()) -> AlignedData:
        """Data for inference, of which at least one of ``arms`` must be there.

        Other data than the model's own are checked but not registered with scvi-tools, which would write to them
        and keep them alive. Aligned data are passed through, so that a call with many predictions aligns once.
        """
        for name in arms:
            self.setup.check_arm(name)
        self._trained()
        data = adata if isinstance(adata, AlignedData) else self._own_or_other(adata)
        if not any(data.has(name) for name in arms):
            raise ValueError(
                f"The data have no modality {shorten(arms)}; they have {shorten(list(data.mdata.mod))}."
                + renaming_advice(data.mdata.mod, arms)
            )
        for name in arms:
            data[name]  # checks other data before anything is computed
        return data

    def _own_or_other(self, adata: MuData | None) -> AlignedData:
        mdata = self.adata if adata is None else adata
        if mdata is None:
            raise ValueError("The model was loaded without data; give some: adata=mdata.")
        return AlignedData(mdata, self.setup, checked=mdata is self.adata)

    @staticmethod
    def _positions(data: AlignedData, indices: Sequence[int] | np.ndarray | None) -> np.ndarray:
        """Positions of cells; of all by default."""
        return np.arange(data.n_cells) if indices is None else positions(indices, data.n_cells)

    def _sources(self, source: str | Sequence[str], target: str) -> list[str]:
        """Arms to predict from: the target itself, or arms that are coupled to it."""
        sources = [source] if isinstance(source, str) else list(source)
        if not sources or len(set(sources)) < len(sources):
            raise ValueError(f"source={source!r} must name one modality, or several that differ.")
        for name in (*sources, target):
            self.setup.check_arm(name)
        for name in sources:
            if name != target and name not in self.module.sources[target]:
                raise ValueError(
                    f"{name!r} and {target!r} are not coupled in this model: its decoder of {target!r} never saw "
                    f"{name!r}. Give the pair a weight: CoupledAE(mdata, coupling={{({name!r}, {target!r}): 1.0}})."
                )
        return sources
