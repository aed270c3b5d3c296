"""What a model is set up with: a MuData whose cells may lack any modality."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn
from uuid import uuid4

import numpy as np
from scvi.data import AnnDataManager
from scvi.data import AnnDataManagerValidationCheck as ValidationCheck
from scvi.model.base import BaseModelClass

from scvi_cae._arguments import shorten
from scvi_cae.data import (
    AlignedLabels,
    AlignedModality,
    ModalityField,
    ObsField,
    category_codes,
    category_names,
    check_modalities,
    check_mudata,
    check_not_view,
    check_paired,
    has_column,
    indicators,
    obs_column,
    registry_key,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from mudata import MuData

    from scvi_cae.module._config import Likelihood


#: Likelihoods that a matrix may have.
MATRIX_LIKELIHOODS = ("squared_error", "gaussian", "negative_binomial")


def annotation_key(what: str, name: str) -> str:
    """Key of an annotation in scvi-tools' registry: ``what`` it is, and of which column or modality."""
    return f"{what}_{registry_key(name)}"


class MuDataModel(BaseModelClass):
    """A scvi-tools model of partially paired modalities: registration, and values aligned by cell."""

    @property
    def measured(self) -> list[str]:
        """Keys of the modalities that are matrices, in the order of the set-up."""
        return list(self.registry_["setup_args"]["modalities"])

    @property
    def labels(self) -> list[str]:
        """Columns of labels that are modalities, too."""
        return list(self.registry_["setup_args"]["labels_key"])

    @property
    def modalities(self) -> list[str]:
        """Keys of all modalities, matrices first, then labels."""
        return [*self.measured, *self.labels]

    def _state(self, key: str) -> dict[str, Any]:
        return self.registry_["field_registries"][key]["state_registry"]

    def _features(self, modality: str) -> list[str]:
        """Names of a modality's features; classes, if it is one of labels."""
        if modality in self.labels:
            return list(self._state(annotation_key("labels", modality))["categories"])
        return list(self._state(registry_key(modality))["column_names"])

    def batches(self, modality: str) -> list[str]:
        """Names of the technical batches that a modality's networks are told of; none if it has no ``batch_key``."""
        if modality not in self.registry_["setup_args"]["batch_key"]:
            return []
        return list(self._state(annotation_key("batch", modality))["categories"])

    def _likelihood(self, modality: str) -> Likelihood:
        if modality in self.labels:
            return "categorical"
        return self.registry_["setup_args"]["likelihoods"].get(modality, MATRIX_LIKELIHOODS[0])

    def _check_modality(self, modality: str) -> None:
        if modality not in self.modalities:
            raise ValueError(f"The model has no modality {modality!r}; it has {shorten(self.modalities)}.")

    @classmethod
    def setup_anndata(cls, adata: AnnData, **kwargs: Any) -> NoReturn:
        """Refuse an AnnData: there is nothing to couple in a single modality."""
        raise TypeError(
            "CoupledAE couples modalities. Put them in a MuData and call setup_mudata: "
            'mudata.MuData({"rna": rna, "ephys": ephys}).'
        )

    @classmethod
    def setup_mudata(
        cls,
        mdata: MuData,
        modalities: Sequence[str] | None = None,
        layers: Mapping[str, str] | None = None,
        batch_key: str | Mapping[str, str] | None = None,
        labels_key: str | Sequence[str] | None = None,
        likelihoods: Mapping[str, str] | None = None,
        gene_length_key: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Register a MuData: what to couple, and where it is.

        Cells are matched by ``obs_names`` and may lack any modality; values may be NaN; matrices may be sparse
        or dense. Nothing is copied or changed, but for scvi-tools' identifiers in ``mdata.uns``.

        Parameters
        ----------
        mdata
            MuData with at least two modalities, labels included; not a view.
        modalities
            Keys of the modalities to couple; all by default.
        layers
            Layer to read of a modality, ``{"rna": "logcounts"}``; ``X`` of those not named.
        batch_key
            Column of cells' technical batch, in a modality's own ``.obs``, else in ``mdata.obs`` or another modality's:
            for all modalities, or for those named, ``{"rna": "sequencing_batch"}``. Encoder and decoder of such a modality are told a cell's batch,
            so that the latent need not be. A cell whose batch is missing, or is not among those of the training, counts
            as one of all of them, by their shares. Random splits of :meth:`train` keep its proportions.
        labels_key
            Column of cells' labels, in ``mdata.obs`` or a modality's ``.obs``, or several, such as family and type. Each is one more modality, with
            classes as features, that cells without a label lack: labels inform the space, and are predicted from it.
            They have no part in the joint latent. Random splits of :meth:`train` keep their proportions.
        likelihoods
            Likelihood of a modality, ``{"rna": "negative_binomial"}``: ``"squared_error"`` of standardised values,
            which those not named have; ``"gaussian"``, with a variance learnt for each feature; or
            ``"negative_binomial"``, for raw counts.
        gene_length_key
            Column of ``.var`` with lengths of genes, which the expected counts of modalities with a negative binomial
            likelihood are proportional to, as those of full-length protocols such as Smart-seq2 are.
        **kwargs
            Passed on by scvi-tools when it transfers a set-up to other data.

        Raises
        ------
        TypeError
            If ``mdata`` is not a MuData, or a modality does not hold numbers.
        ValueError
            If fewer than two modalities are left, or one is unknown, empty, or shares no cell with the others;
            if names of cells or features are not unique; if values are infinite; if a feature is all NaN or the
            same in every cell; if counts are not counts; if labels have fewer than two classes; if ``mdata`` is a view.
        KeyError
            If no table has a named column.

        Examples
        --------
        >>> import scvi_cae
        >>> mdata = scvi_cae.datasets.simulate_patchseq(n_cells=100)
        >>> scvi_cae.CoupledAE.setup_mudata(mdata, labels_key="cell_type")
        """
        check_mudata(mdata)
        chosen = (
            list(mdata.mod)
            if modalities is None
            else [modalities]
            if isinstance(modalities, str)
            else list(modalities)
        )
        layers, likelihoods = dict(layers or {}), dict(likelihoods or {})
        labels = [labels_key] if isinstance(labels_key, str) else list(labels_key or ())
        if isinstance(batch_key, str):
            batch_key = dict.fromkeys(chosen, batch_key)
        arguments = {
            "modalities": chosen,
            "layers": layers,
            "batch_key": dict(batch_key or {}),
            "labels_key": labels,
            "likelihoods": likelihoods,
            "gene_length_key": gene_length_key,
        }
        if "source_registry" not in kwargs:
            check_modalities(mdata, chosen, layers, labels)
            check_choices(chosen, arguments)
        cls._register(mdata, arguments, **kwargs)
        if "source_registry" not in kwargs:
            present = {
                m: AlignedModality(mdata, m, layers.get(m), mdata[m].var_names).present for m in chosen
            }
            check_paired(
                present | {key: category_names(obs_column(mdata, key)).notna().to_numpy() for key in labels}
            )

    @classmethod
    def _register(
        cls, mdata: MuData, arguments: Mapping[str, Any], to_train: bool = True, **kwargs: Any
    ) -> None:
        """Register checked names with scvi-tools; the fields check the values."""
        check_not_view(mdata)
        fields: list[Any] = []
        for name in arguments["modalities"]:
            counts = arguments["likelihoods"].get(name) == "negative_binomial"
            length_key = arguments["gene_length_key"] if counts else None
            fields.append(ModalityField(name, arguments["layers"].get(name), to_train, counts, length_key))
        fields += [
            ObsField(annotation_key("batch", modality), column, modality=modality)
            for modality, column in arguments["batch_key"].items()
        ]
        fields += [
            ObsField(annotation_key("labels", column), column, least=2) for column in arguments["labels_key"]
        ]
        manager = AnnDataManager(
            fields=fields,
            setup_method_args=cls._get_setup_method_args(cls=cls, mdata=mdata, **arguments),
            # scvi-tools refuses cells that lack a modality; here they are the normal case.
            validation_checks=ValidationCheck(check_fully_paired_mudata=False),
        )
        known = cls._setup_adata_manager_store.get(mdata.uns.get("_scvi_uuid"))
        if known is not None and known.adata is not mdata:
            # A copy carries its original's identifier, and would take its place.
            mdata.uns["_scvi_uuid"] = str(uuid4())
        manager.register_fields(mdata, **kwargs)
        cls.register_manager(manager)

    def get_var_names(self, legacy_mudata_format: bool = False) -> dict[str, list[str]]:
        """Feature names of each modality."""
        return {name: list(self._features(name)) for name in self.modalities}

    def _check_query(self, mdata: MuData, modalities: Sequence[str]) -> None:
        """Check modalities of other data than the model's own, as far as they have them."""
        layers = self.registry_["setup_args"]["layers"]
        for name in modalities:
            if name in mdata.mod and name in self.measured:
                counts = self._likelihood(name) == "negative_binomial"
                ModalityField(name, layers.get(name), counts=counts).validate_field(mdata)

    def _has(self, mdata: MuData, modality: str) -> bool:
        """Whether data have a modality, or a column of labels."""
        if modality not in self.labels:
            return modality in mdata.mod
        return has_column(mdata, modality)

    def _batch_indicators(self, mdata: MuData, modality: str) -> np.ndarray | None:
        """``(n_obs, n_batches)`` indicators of cells' batches; rows of 0 where they are not known."""
        names = self.batches(modality)
        if not names:
            return None
        try:
            column = obs_column(mdata, self.registry_["setup_args"]["batch_key"][modality], modality)
        except KeyError:  # a query need not have it
            return np.zeros((mdata.n_obs, len(names)), dtype=np.float32)
        return indicators(category_codes(column, names), len(names))

    def _aligned_modality(self, mdata: MuData, modality: str) -> AlignedModality | AlignedLabels:
        features = self._features(modality)
        if modality in self.labels:
            codes = np.full(mdata.n_obs, -1)
            if self._has(mdata, modality):
                codes = category_codes(obs_column(mdata, modality), features)
            return AlignedLabels(codes, len(features))
        layer = self.registry_["setup_args"]["layers"].get(modality)
        return AlignedModality(mdata, modality, layer, features, self._batch_indicators(mdata, modality))

    def _aligned(self, mdata: MuData) -> dict[str, AlignedModality | AlignedLabels]:
        return {name: self._aligned_modality(mdata, name) for name in self.modalities}


def check_choices(modalities: Sequence[str], arguments: Mapping[str, Any]) -> None:
    """Check likelihoods and batches that a user asks for.

    Raises
    ------
    ValueError
        If they are of modalities that are not coupled, if there is no such likelihood, or if lengths of genes are
        given for no counts.
    """
    for what in ("likelihoods", "batch_key"):
        stray = [name for name in arguments[what] if name not in modalities]
        if stray:
            raise ValueError(
                f"{what} names {shorten(stray)}, which is not among the modalities {shorten(modalities)}."
            )
    for name, likelihood in arguments["likelihoods"].items():
        if likelihood not in MATRIX_LIKELIHOODS:
            raise ValueError(
                f"likelihoods[{name!r}]={likelihood!r} must be one of {list(MATRIX_LIKELIHOODS)}. Labels, which are "
                "categorical, are columns: labels_key=..."
            )
    if (
        arguments["gene_length_key"] is not None
        and "negative_binomial" not in arguments["likelihoods"].values()
    ):
        raise ValueError(
            "gene_length_key is for modalities with a negative binomial likelihood; there is none. Log-transformed "
            "values take lengths into account by scvi_cae.pp.normalize_gene_length."
        )
