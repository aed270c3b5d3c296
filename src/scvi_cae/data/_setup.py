"""What a model reads of a MuData, and the MuData as it reads it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from scvi_cae._arguments import shorten
from scvi_cae._normalization import Normalization
from scvi_cae.module import LIKELIHOODS

from ._checks import check_mudata
from ._columns import has_column, obs_column
from ._fields import PAIRS, ModalityField, annotation_key, registry_key
from ._identity import fingerprints
from ._labels import AlignedLabels, category_codes, indicators, label_names
from ._matrix import AlignedMatrix
from ._scale import warn_if_scale_differs
from ._transformation import Transformation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from mudata import MuData

    from scvi_cae.module import Likelihood, LikelihoodName

    from ._aligned import Aligned


@dataclass(frozen=True)
class Setup:
    """What :meth:`scvi_cae.CoupledAE.setup_mudata` has registered, by name of modality, labels or arm.

    Parameters
    ----------
    modalities
        Keys of the modalities, in the order of the set-up.
    labels
        Columns of labels, each of which has an arm like a modality.
    layers
        Layer of each modality that is not read from ``X``.
    likelihoods
        Name of each arm's likelihood.
    features
        Names of each arm's features: of the classes, for labels.
    batch_keys
        Column of technical batches of each modality that has one.
    batches
        Names of their technical batches.
    lengths
        Lengths of genes of each modality whose likelihood uses them.
    origins
        Values that are subtracted from the features of a modality, some of which lie far from 0.
    normalizations
        What the values of each modality are that holds expression of genes, as far as that is known.
    pairs
        Pairs of arms that share cells.
    """

    modalities: tuple[str, ...]
    labels: tuple[str, ...]
    layers: Mapping[str, str]
    likelihoods: Mapping[str, LikelihoodName]
    features: Mapping[str, tuple[str, ...]]
    batch_keys: Mapping[str, str]
    batches: Mapping[str, tuple[str, ...]]
    lengths: Mapping[str, tuple[float, ...]]
    origins: Mapping[str, tuple[float, ...]]
    normalizations: Mapping[str, Normalization]
    pairs: tuple[tuple[str, str], ...]

    @classmethod
    def from_registry(cls, registry: Mapping[str, Any]) -> Self:
        """Read scvi-tools' registry."""
        arguments = registry["setup_args"]
        states = {key: field["state_registry"] for key, field in registry["field_registries"].items()}
        modalities, labels = tuple(arguments["modalities"]), tuple(arguments["labels_key"])
        features = {name: tuple(states[registry_key(name)]["column_names"]) for name in modalities}
        features |= {name: tuple(states[annotation_key("labels", name)]["categories"]) for name in labels}
        default = next(iter(LIKELIHOODS))
        of_labels = next(name for name, x in LIKELIHOODS.items() if x.data_kind == "classes")
        likelihoods = {name: arguments["likelihoods"].get(name, default) for name in modalities}
        return cls(
            modalities=modalities,
            labels=labels,
            layers=dict(arguments["layers"]),
            likelihoods=likelihoods | dict.fromkeys(labels, of_labels),
            features=features,
            batch_keys=dict(arguments["batch_key"]),
            batches={
                name: tuple(states[annotation_key("batch", name)]["categories"])
                for name in arguments["batch_key"]
            },
            lengths={
                name: tuple(states[registry_key(name)]["lengths"])
                for name in modalities
                if "lengths" in states[registry_key(name)]
            },
            origins={
                name: tuple(states[registry_key(name)]["origins"])
                for name in modalities
                if "origins" in states[registry_key(name)]
            },
            normalizations={
                name: Normalization.from_registry(states[registry_key(name)]["normalization"])
                for name in modalities
                if "normalization" in states[registry_key(name)]
            },
            pairs=tuple((i, j) for i, j in states[PAIRS]["pairs"]),
        )

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of all arms: modalities, then labels."""
        return (*self.modalities, *self.labels)

    def origin(self, arm: str) -> np.ndarray | None:
        """``(n_features,)`` float64 values by which an arm's data are larger than what the model computes with."""
        return np.array(self.origins[arm]) if arm in self.origins else None

    def in_units(self, values: np.ndarray, arm: str) -> np.ndarray:
        """``(..., n_features)`` values as the data hold them: in double precision where features lie far from 0."""
        origin = self.origin(arm)
        return values if origin is None else values + origin

    def likelihood(self, arm: str) -> type[Likelihood]:
        """Class of an arm's likelihood."""
        return LIKELIHOODS[self.likelihoods[arm]]

    def check_arm(self, arm: str) -> None:
        """Raise a ValueError for a name that no arm has."""
        if arm not in self.arms:
            raise ValueError(f"The model has no modality {arm!r}; it has {shorten(self.arms)}.")

    def has(self, mdata: MuData, arm: str) -> bool:
        """Whether data have a modality, or a column of labels."""
        return has_column(mdata, arm) if arm in self.labels else arm in mdata.mod

    def differences(self, other: Setup) -> list[str]:
        """Names of arms that two set-ups read or model differently."""

        def read(setup: Setup, arm: str) -> tuple:
            parts = (setup.features, setup.layers, setup.likelihoods, setup.batches)
            return tuple(part.get(arm) for part in parts)

        arms = dict.fromkeys((*self.arms, *other.arms))
        return [arm for arm in arms if read(self, arm) != read(other, arm)]


class AlignedData:
    """The arms' data of one MuData, by cell: what every method of a model computes with.

    A public call makes it once and passes it on. Each arm is aligned when it is first asked for; values are read
    from the MuData whenever they are asked for.

    Parameters
    ----------
    mdata
        The MuData.
    setup
        What a model reads of it.
    checked
        Whether the MuData is known to fit: the model was set up with it. Values of other data are checked.

    Raises
    ------
    TypeError, ValueError
        If other data are not a MuData of cells with unique names.
    """

    def __init__(self, mdata: MuData, setup: Setup, checked: bool = True) -> None:
        if not checked:
            check_mudata(mdata)
        self.mdata = mdata
        self.setup = setup
        self._checked = checked
        self._arms: dict[str, Aligned] = {}
        self._fingerprints: dict[str, np.ndarray] = {}

    @property
    def cells(self) -> pd.Index:
        """Names of the cells, as the index of a table of them."""
        return self.mdata.obs_names.rename("cell")

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self.mdata.n_obs

    def in_units(self, values: np.ndarray, arm: str) -> np.ndarray:
        """``(..., n_features)`` values in the units of these data: of a query as it was before it was aligned."""
        values = self.setup.in_units(values, arm)
        aligned = Transformation.read(self.mdata, arm)
        return values if aligned is None else aligned.inverse(values).astype(values.dtype)

    def __getitem__(self, arm: str) -> Aligned:
        """Data of one arm.

        Raises
        ------
        TypeError, ValueError
            If the modality has other features than the model, or its values are not what the likelihood needs.
        """
        if arm not in self._arms:
            self._arms[arm] = self._align(arm)
        return self._arms[arm]

    def _align(self, arm: str) -> Aligned:
        mdata, setup = self.mdata, self.setup
        features = setup.features[arm]
        if arm in setup.labels:
            codes = np.full(mdata.n_obs, -1)
            if setup.has(mdata, arm):
                codes = category_codes(obs_column(mdata, arm), features)
            return AlignedLabels(codes, len(features))
        measured = None
        layer = setup.layers.get(arm)
        if not self._checked and arm in mdata.mod:
            field = ModalityField(arm, layer, data_kind=setup.likelihood(arm).data_kind)
            field.validate_field(mdata)
            measured = field.measured
            if arm in setup.normalizations:
                warn_if_scale_differs(mdata, arm, layer, setup.normalizations[arm])
        return AlignedMatrix(
            mdata, arm, layer, features, self._batch_indicators(arm), setup.origin(arm), measured
        )

    def _batch_indicators(self, modality: str) -> np.ndarray | None:
        """``(n_cells, n_batches)`` indicators of technical batches, rows of 0 where unknown; ``None`` without batches."""
        if modality not in self.setup.batches:
            return None
        names = self.setup.batches[modality]
        try:
            column = obs_column(self.mdata, self.setup.batch_keys[modality], modality)
        except KeyError:  # a query need not have it
            return np.zeros((self.mdata.n_obs, len(names)), dtype=np.float32)
        codes = category_codes(column, names)
        if not self._checked:
            known = label_names(column)
            unknown = known[(codes < 0) & known.notna().to_numpy()].unique().tolist()
            if unknown:
                warnings.warn(
                    f"Modality {modality!r}: {len(unknown)} technical batches are unknown to the model, which conditions "
                    f"their cells on all of its own: {shorten(unknown)}. It knows {shorten(names)}.",
                    UserWarning,
                    stacklevel=2,
                )
        return indicators(codes, len(names))

    def fingerprints(self, arm: str) -> np.ndarray:
        """``(n_cells,)`` fingerprint of each cell's values, 0 where it has none; see :func:`fingerprints`."""
        if arm not in self._fingerprints:
            self._fingerprints[arm] = fingerprints(self[arm], np.arange(self.n_cells))
        return self._fingerprints[arm]

    def has(self, arm: str) -> bool:
        """Whether the MuData has the modality or the column of labels."""
        return self.setup.has(self.mdata, arm)

    def present(self, arms: Sequence[str]) -> dict[str, np.ndarray]:
        """Boolean ``(n_cells,)`` of each arm: which cells have a value."""
        return {arm: self[arm].present for arm in arms}
