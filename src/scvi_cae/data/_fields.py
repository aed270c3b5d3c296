"""How a MuData is registered with scvi-tools: what the model will read, and what it was trained on."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import rich.pretty  # scvi-tools uses it in view_anndata_setup, and relies on someone to import it
import rich.table
from scvi.data.fields import BaseAnnDataField

from scvi_cae._arguments import shorten
from scvi_cae._normalization import Normalization

from ._checks import check_modality, check_mudata, check_not_empty, check_paired
from ._columns import gene_lengths, obs_column
from ._labels import label_names
from ._matrix import AlignedMatrix, match_features, modality_matrix
from ._names import near_misses, transposed
from ._normalization import find_normalization
from ._scan import origins, scan
from ._suspicious import warn_if_alike, warn_if_far
from ._value_checks import (
    check_counts,
    check_features_vary,
    check_finite,
    check_numbers,
    warn_if_counts,
    warn_if_unmeasured,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from mudata import MuData

    from scvi_cae.module.likelihoods import DataKind

    from ._scan import Scan


logger = logging.getLogger("scvi_cae")


def _table(title: str, column: str, names: list[str]) -> rich.table.Table:
    table = rich.table.Table(title=title)
    table.add_column(column)
    table.add_row(shorten(names))
    return table


def registry_key(modality: str) -> str:
    """Key of a modality in scvi-tools' registry.

    The prefix distinguishes a modality named "batch" from the technical batch; keys must not contain dots.
    """
    return "modality_" + modality.replace("%", "%25").replace(".", "%2E")


def annotation_key(what: str, name: str) -> str:
    """Key of an annotation in scvi-tools' registry.

    Parameters
    ----------
    what
        ``"batch"`` or ``"labels"``.
    name
        Modality of the technical batch, or column of the labels.
    """
    return f"{what}_{registry_key(name)}"


#: Key of the pairs of arms that share cells.
PAIRS = "pairs"


class Field(BaseAnnDataField):
    """What all fields share: keys, and no data that scvi-tools would copy.

    Parameters
    ----------
    registry_key
        Key in scvi-tools' registry.
    attr_name, attr_key
        Attribute of the data, and key within it.
    """

    is_empty = False

    def __init__(self, registry_key: str, attr_name: str, attr_key: str | None = None) -> None:
        super().__init__()
        self._registry_key = registry_key
        self._attr_name = attr_name
        self._attr_key = attr_key

    @property
    def registry_key(self) -> str:
        """Key in scvi-tools' registry."""
        return self._registry_key

    @property
    def attr_name(self) -> str:
        """Attribute of the data."""
        return self._attr_name

    @property
    def attr_key(self) -> str | None:
        """Key within the attribute."""
        return self._attr_key


class ModalityField(Field):
    """One modality's matrix, whichever cells it covers.

    scvi-tools' own MuData fields assume that every cell has every modality, and number a modality's rows by
    the MuData's cells. This one registers the feature names only; :class:`AlignedMatrix` reads the values.

    Parameters
    ----------
    modality
        Key of the modality.
    layer
        Layer to read, ``None`` for ``X``.
    to_train
        Whether a model is to be trained on the data: then every feature must vary, and counts give a warning where
        the likelihood needs other values.
    data_kind
        What the values must be: ``"values"`` or ``"counts"``.
    length_key
        Column of ``.var`` with the lengths of genes; ``None`` if the likelihood does not use them.

    Attributes
    ----------
    measured
        Boolean ``(n_rows,)``: which rows hold a value; set when the values are checked.
    """

    measured: np.ndarray

    def __init__(
        self,
        modality: str,
        layer: str | None,
        to_train: bool = True,
        data_kind: DataKind = "values",
        length_key: str | None = None,
    ) -> None:
        super().__init__(registry_key(modality), "X" if layer is None else "layers", layer)
        self.modality = modality
        self.layer = layer
        self.to_train = to_train
        self.data_kind = data_kind
        self.length_key = length_key

    @property
    def mod_key(self) -> str:
        """Key of the modality."""
        return self.modality

    def _checked(self, mdata: MuData, digests: bool = False) -> Scan:
        """Check names and values of the modality, in one pass over the matrix; perhaps for rows that are alike."""
        check_modality(mdata, self.modality, self.layer)
        adata = mdata.mod[self.modality]
        matrix = modality_matrix(mdata, self.modality, self.layer)
        check_numbers(matrix, self.modality, self.layer, adata.var_names)
        found = scan(matrix, digests)
        self.measured = found.measured
        check_finite(found, self.modality, adata.obs_names, adata.var_names)
        if self.data_kind == "counts":
            check_counts(found, self.modality, self.layer, adata.layers)
        return found

    def validate_field(self, mdata: MuData) -> None:
        """Check names and values of the modality."""
        self._checked(mdata)

    def register_field(self, mdata: MuData) -> dict:
        """Check the modality and register its features."""
        found = self._checked(mdata, digests=self.to_train)
        check_not_empty(mdata, self.modality)
        obs_names, var_names = mdata.mod[self.modality].obs_names, mdata.mod[self.modality].var_names
        if self.to_train:
            check_features_vary(found, self.modality, var_names)
            warn_if_alike(found, self.modality, obs_names, len(var_names))
            if self.data_kind != "counts":
                warn_if_counts(found, self.modality)
                matrix = modality_matrix(mdata, self.modality, self.layer)
                warn_if_far(matrix, found, self.modality, obs_names, var_names)
        warn_if_unmeasured(found.measured, self.modality, obs_names)
        state: dict[str, Any] = {"column_names": [str(name) for name in var_names]}
        origin = origins(found) if self.data_kind == "values" else None
        if origin is not None:
            state["origins"] = origin.tolist()
        normalization = (
            find_normalization(
                mdata.mod[self.modality].uns,
                modality_matrix(mdata, self.modality, self.layer),
                self.modality,
                var_names,
            )
            if self.data_kind == "values"
            else Normalization("counts")
        )
        if normalization is not None:
            state["normalization"] = normalization.to_registry()
            how = "stated" if normalization.stated else "inferred from values"
            logger.info("Modality %r: values are %s (%s).", self.modality, normalization, how)
        if self.length_key is not None:
            state["lengths"] = gene_lengths(mdata.mod[self.modality], self.modality, self.length_key).tolist()
        return state

    def transfer_field(self, state_registry: dict, mdata_target: MuData, **kwargs: Any) -> dict:
        """Check that another MuData has the same features, if it has the modality at all."""
        check_mudata(mdata_target)
        if self.modality in mdata_target.mod:
            self.validate_field(mdata_target)
            names = mdata_target.mod[self.modality].var_names
            match_features(names, state_registry["column_names"], self.modality)
        return state_registry

    def get_summary_stats(self, state_registry: dict) -> dict:
        """Number of features."""
        return {f"n_features_{self.registry_key}": len(state_registry["column_names"])}

    def view_state_registry(self, state_registry: dict) -> rich.table.Table:
        """Table of the features."""
        record = state_registry.get("normalization")
        what = "" if record is None else f": {Normalization.from_registry(record)}"
        return _table(f"Modality {self.modality}{what}", "Features", state_registry["column_names"])


#: Largest number of categories that may be numbers with decimals, or as many as there are cells.
_MAX_NUMBERS = 20


class ObsField(Field):
    """A categorical annotation of cells, which may be missing for some of them, and from a query altogether.

    Parameters
    ----------
    registry_key
        Key in scvi-tools' registry.
    column
        Name of the column.
    min_categories
        Smallest number of categories.
    modality
        Modality whose own ``.obs`` comes first.
    """

    def __init__(
        self, registry_key: str, column: str, min_categories: int = 1, modality: str | None = None
    ) -> None:
        super().__init__(registry_key, "obs", column)
        self._modality = modality
        self._min_categories = min_categories
        self._column = column

    def validate_field(self, mdata: MuData) -> None:
        """Check that the column exists and annotates some cell."""
        if self._names(mdata).isna().all():
            raise ValueError(f"Column {self._column!r} is missing for every cell.")

    def register_field(self, mdata: MuData) -> dict:
        """Register the categories."""
        self.validate_field(mdata)
        column, names = obs_column(mdata, self._column, self._modality), self._names(mdata)
        words = column[column.notna() & names.isna()].astype(str).str.strip()
        words = words[words != ""]
        if len(words):
            warnings.warn(
                f"Column {self._column!r}: {len(words)} cells have the text {shorten(words.unique())}, which is taken "
                f"for a missing value: {shorten(words.index)}. If it is a name, write it otherwise.",
                UserWarning,
                stacklevel=2,
            )
        self._check_categorical(column[names.notna()], names.dropna())
        categories = np.unique(names.dropna().to_numpy(dtype=str))
        if len(categories) < self._min_categories:
            raise ValueError(
                f"Column {self._column!r} has {len(categories)} class ({shorten(categories)}): labels that inform "
                f"the model must have at least {self._min_categories}."
            )
        return {"categories": categories.tolist()}

    def _check_categorical(self, values: pd.Series, names: pd.Series) -> None:
        """Check that there are fewer categories than cells, as a continuous column and names of cells do not have."""
        n_categories = names.nunique()
        numbers = [x for x in values.unique().tolist() if isinstance(x, (float, np.floating))]
        continuous = any(not float(x).is_integer() for x in numbers) and n_categories > _MAX_NUMBERS
        if len(names) > _MAX_NUMBERS and (n_categories == len(names) or continuous):
            raise ValueError(
                f"Column {self._column!r} has {n_categories} different values in {len(names)} cells, such as "
                f"{shorten(names.unique(), 3)}: it holds no categories. Give a column of types or batches, or make "
                f"categories of it: pandas.cut(mdata.obs[{self._column!r}], 5).astype(str)."
            )

    def transfer_field(self, state_registry: dict, mdata_target: MuData, **kwargs: Any) -> dict:
        """Keep the categories; another MuData need not have the column."""
        try:
            names = set(self._names(mdata_target).dropna())
        except KeyError:
            return state_registry
        unknown = sorted(names - set(state_registry["categories"]))
        if unknown:
            warnings.warn(
                f"Column {self._column!r} has {len(unknown)} values that the model does not know, and takes for missing: "
                f"{shorten(unknown)}. It knows {shorten(state_registry['categories'])}.",
                UserWarning,
                stacklevel=2,
            )
        return state_registry

    def _names(self, mdata: MuData) -> pd.Series:
        return label_names(obs_column(mdata, self._column, self._modality))

    def get_summary_stats(self, state_registry: dict) -> dict:
        """Number of categories."""
        return {f"n_{self._registry_key}": len(state_registry.get("categories", ()))}

    def view_state_registry(self, state_registry: dict) -> rich.table.Table:
        """Table of the categories."""
        return _table(self._column, "Categories", state_registry["categories"])


class PairsField(Field):
    """Pairs of modalities and labels that share cells, which a model couples by default.

    Parameters
    ----------
    modalities
        Fields of the modalities, which must be registered first.
    labels
        Columns of labels.
    """

    def __init__(self, modalities: Sequence[ModalityField], labels: Sequence[str]) -> None:
        super().__init__(PAIRS, "obs_names")
        self._modalities = modalities
        self._labels = labels

    def validate_field(self, mdata: MuData) -> None:
        """Nothing to check in data that need not be paired, such as a query."""

    def register_field(self, mdata: MuData) -> dict:
        """Check that every modality shares cells with another, and register the pairs that do."""
        present = {
            field.modality: AlignedMatrix(
                mdata,
                field.modality,
                field.layer,
                mdata.mod[field.modality].var_names,
                measured=field.measured,
            ).present
            for field in self._modalities
        }
        modalities = list(present)
        misses = near_misses({name: mdata.mod[name].obs_names for name in modalities})
        present |= {key: label_names(obs_column(mdata, key)).notna().to_numpy() for key in self._labels}
        hints = [str(miss) for miss in misses] or transposed({name: mdata.mod[name] for name in modalities})
        pairs = check_paired(present, " ".join(hints))
        if misses:
            warnings.warn(" ".join(map(str, misses)), UserWarning, stacklevel=2)
        sizes = ", ".join(f"{mask.sum()} with {name!r}" for name, mask in present.items())
        shared = ", ".join(f"{(present[i] & present[j]).sum()} with {i!r} and {j!r}" for i, j in pairs)
        logger.info("%d cells: %s; pairs: %s.", mdata.n_obs, sizes, shared)
        return {"pairs": [list(pair) for pair in pairs]}

    def transfer_field(self, state_registry: dict, mdata_target: MuData, **kwargs: Any) -> dict:
        """Keep the pairs."""
        return state_registry

    def get_summary_stats(self, state_registry: dict) -> dict:
        """Number of pairs."""
        return {"n_pairs": len(state_registry["pairs"])}

    def view_state_registry(self, state_registry: dict) -> rich.table.Table:
        """Table of the pairs."""
        return _table(
            "Pairs that share cells", "Pairs", [" and ".join(pair) for pair in state_registry["pairs"]]
        )
