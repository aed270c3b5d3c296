"""What a training leaves behind beside the weights, as one object, and as plain values in a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch

from scvi_cae.data import SETS, Split

from ._axes import Axes
from ._calibration import CalibrationCells, CalibrationData
from ._distribution import FeatureDistribution
from ._reference import ReferenceDistribution

if TYPE_CHECKING:
    from scvi_cae.data import AlignedData

#: Packages whose versions are recorded.
PACKAGES = ("scvi-cae", "scvi-tools", "torch", "anndata", "mudata", "numpy", "pandas")

NO_CELLS = np.empty(0, dtype=np.int64)


class FeatureMoments(NamedTuple):
    """Moments of features among the training cells, in the data's units.

    Parameters
    ----------
    mean, spread
        ``(n_features,)`` means and population standard deviations.
    expression
        ``(n_features,)`` means of genes before the logarithm; ``None`` for other features.
    """

    mean: np.ndarray
    spread: np.ndarray
    expression: np.ndarray | None = None


class Adaptation(NamedTuple):
    """What further training changes in a model of a query.

    Parameters
    ----------
    arms
        Names of the arms that learn.
    layers
        Their layers that learn, ``"outer"`` or ``"all"``.
    """

    arms: list[str]
    layers: Literal["outer", "all"]


def installed_versions() -> dict[str, str]:
    """Versions of the packages that a model depends on."""
    return {name: version(name) for name in PACKAGES}


@dataclass(frozen=True)
class Fitted:
    """State of a trained model beside its weights.

    Parameters
    ----------
    cells
        ``(n_cells,)`` names of the cells of the training's data; empty if they are unknown, as for published weights.
    split
        Positions of training, validation and test cells among ``cells``.
    fingerprints
        ``(n_cells,)`` fingerprint of each cell's values in each modality, 0 where it has none.
    moments
        Moments of the features of each modality that holds real values.
    axes
        Coordinates in which latents are given; ``None`` for those of the encoders.
    references
        Reference distribution of each modality, for novelty.
    distributions
        Distribution of the features of each narrow modality, with which queries are compared.
    calibration
        Latents and values of training and validation cells of each modality, for quantiles.
    history
        Metrics by epoch.
    adaptation
        What further training changes; ``None`` for everything.
    versions
        Versions of packages in the training.
    """

    cells: np.ndarray
    split: Split
    fingerprints: Mapping[str, np.ndarray] = field(default_factory=dict)
    moments: Mapping[str, FeatureMoments] = field(default_factory=dict)
    axes: Axes | None = None
    references: Mapping[str, ReferenceDistribution] = field(default_factory=dict)
    distributions: Mapping[str, FeatureDistribution] = field(default_factory=dict)
    calibration: Mapping[str, CalibrationData] = field(default_factory=dict)
    history: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    adaptation: Adaptation | None = None
    versions: Mapping[str, str] = field(default_factory=installed_versions)

    def split_in(self, names: pd.Index) -> Split:
        """Positions of training, validation and test cells among other names.

        Parameters
        ----------
        names
            Names of cells, in any order; cells that are not among them are left out.
        """
        names = names.astype(str)
        if np.array_equal(names, self.cells):
            return self.split
        found = (names.get_indexer(self.cells[cells]) for cells in self.split)
        return Split(*(positions[positions >= 0] for positions in found))

    def sets(self, data: AlignedData) -> tuple[pd.Categorical, np.ndarray]:
        """Set of each cell, by its name and its values: ``"training"``, ``"validation"`` or ``"test"`` (all others).

        Parameters
        ----------
        data
            Data of any cells.

        Returns
        -------
        sets
            Missing for a cell without any modality, for a cell that only shares its name with one that trained or
            validated the model, and for every cell if the training cells are unknown.
        strangers
            Positions of the cells that only share their name with a training or validation cell.
        """
        names = data.cells.astype(str)
        if not len(self.cells):
            return pd.Categorical([None] * len(names), SETS), np.empty(0, dtype=np.int64)
        sets = np.full(len(names), "test", dtype=object)
        # A cell that validated in one call of train and trained in another is a training cell.
        for name, cells in (("validation", self.split.validation), ("training", self.split.train)):
            sets[names.isin(self.cells[cells])] = name
        known = np.flatnonzero(sets != "test")
        strangers = known[~self._same_values(data, known)] if self.fingerprints else known[:0]
        sets[strangers] = None
        sets[~np.any(list(data.present(data.setup.arms).values()), axis=0)] = None
        return pd.Categorical(sets, SETS), strangers

    def _same_values(self, data: AlignedData, cells: np.ndarray) -> np.ndarray:
        """Whether cells have, in some modality, the values of the cell of the same name in the training's data.

        A cell that had none then, such as one with labels only, and has none now is the same, too.
        """
        places = pd.Index(self.cells).get_indexer(data.cells[cells].astype(str))
        then = np.stack([prints[places] for prints in self.fingerprints.values()])
        now = np.stack([data.fingerprints(name)[cells] for name in self.fingerprints])
        return ((now == then) & (now != 0)).any(0) | ((now == 0) & (then == 0)).all(0)

    def to_plain(self) -> Any:
        """Tensors, numbers, texts and containers of them, which :func:`torch.load` reads with ``weights_only=True``."""
        return to_plain(self)

    @staticmethod
    def from_plain(plain: Any) -> Fitted:
        """Inverse of :meth:`to_plain`.

        Raises
        ------
        ValueError
            If it is not what :meth:`to_plain` returns.
        """
        try:
            fitted = from_plain(plain)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"It holds no state of a training ({type(error).__name__}: {error}).") from error
        if not isinstance(fitted, Fitted):
            raise ValueError("It holds no state of a training.")
        return fitted


#: Types that are written as a tuple of their name and their fields.
TYPES: dict[str, type] = {
    cls.__name__: cls
    for cls in (
        Adaptation,
        Axes,
        CalibrationCells,
        CalibrationData,
        FeatureDistribution,
        FeatureMoments,
        Fitted,
        ReferenceDistribution,
        Split,
    )
}


def to_plain(value: Any) -> Any:
    """A value of :class:`Fitted` as plain values: anything but dictionaries and lists becomes a tuple with its type."""
    if is_dataclass(value) and not isinstance(value, type):
        parts = {part.name: to_plain(getattr(value, part.name)) for part in fields(value)}
        return (type(value).__name__, parts)
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return (type(value).__name__, {name: to_plain(item) for name, item in value._asdict().items()})
    if isinstance(value, pd.DataFrame):
        columns = {str(name): to_plain(column.to_numpy(dtype=float)) for name, column in value.items()}
        return ("DataFrame", {"index": to_plain(value.index.to_numpy()), "columns": columns})
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "iufb":
            return ("array", torch.tensor(value))
        return ("names", [str(item) for item in value])
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def from_plain(value: Any) -> Any:
    """Inverse of :func:`to_plain`."""
    if isinstance(value, Mapping):
        return {key: from_plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [from_plain(item) for item in value]
    if not isinstance(value, tuple):
        return value
    kind, content = value
    if kind == "array":
        return content.cpu().numpy()
    if kind == "names":
        return np.array(content, dtype=object)
    if kind == "DataFrame":
        columns = {name: from_plain(column) for name, column in content["columns"].items()}
        return pd.DataFrame(columns, index=pd.Index(from_plain(content["index"]), name="epoch"))
    return TYPES[kind](**from_plain(content))


def for_query(fitted: Fitted, cells: np.ndarray, adaptation: Adaptation) -> Fitted:
    """State of a model of a query before it is trained: that of its reference, with no cell in any set.

    Parameters
    ----------
    fitted
        State of the reference.
    cells
        Names of the query's cells.
    adaptation
        What further training changes.
    """
    return replace(
        fitted,
        cells=cells,
        split=Split(NO_CELLS, NO_CELLS, NO_CELLS),
        fingerprints={},
        history={},
        adaptation=adaptation,
    )
