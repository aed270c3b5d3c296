"""What a model is set up with: a MuData whose cells may lack any modality."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn
from uuid import uuid4

from scvi import REGISTRY_KEYS
from scvi.data import AnnDataManager
from scvi.data import AnnDataManagerValidationCheck as ValidationCheck
from scvi.model.base import BaseModelClass

from scvi_cae.data import (
    AlignedModality,
    ModalityField,
    ObsField,
    check_modalities,
    check_mudata,
    check_not_view,
    check_paired,
    registry_key,
    shorten,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from mudata import MuData


class MuDataModel(BaseModelClass):
    """A scvi-tools model of partially paired modalities: registration, and values aligned by cell."""

    @property
    def modalities(self) -> list[str]:
        """Keys of the modalities, in the order of the set-up."""
        return list(self.registry_["setup_args"]["modalities"])

    def _features(self, modality: str) -> list[str]:
        return self.registry_["field_registries"][registry_key(modality)]["state_registry"]["column_names"]

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
        batch_key: str | None = None,
        labels_key: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Register a MuData: what to couple, and where it is.

        Cells are matched by ``obs_names`` and may lack any modality; values may be NaN; matrices may be sparse
        or dense. Nothing is copied or changed, but for scvi-tools' identifiers in ``mdata.uns``.

        Parameters
        ----------
        mdata
            MuData with at least two modalities, not a view.
        modalities
            Keys of the modalities to couple; all by default.
        layers
            Layer to read of a modality, ``{"rna": "logcounts"}``; ``X`` of those not named.
        batch_key
            Column of cells' technical batch, in ``mdata.obs`` or a modality's ``.obs``. Random splits of
            :meth:`train` keep its proportions.
        labels_key
            Column of cells' labels, likewise. Random splits of :meth:`train` keep its proportions.
        **kwargs
            Passed on by scvi-tools when it transfers a set-up to other data.

        Raises
        ------
        TypeError
            If ``mdata`` is not a MuData, or a modality does not hold numbers.
        ValueError
            If fewer than two modalities are left, or one is unknown, empty, or shares no cell with the others;
            if names of cells or features are not unique; if values are infinite; if a feature is all NaN or the
            same in every cell; if ``mdata`` is a view.
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
        layers = dict(layers or {})
        if "source_registry" not in kwargs:
            check_modalities(mdata, chosen, layers)
        cls._register(mdata, chosen, layers, batch_key, labels_key, **kwargs)
        if "source_registry" not in kwargs:
            aligned = (AlignedModality(mdata, m, layers.get(m), mdata[m].var_names) for m in chosen)
            check_paired({name: x.present for name, x in zip(chosen, aligned, strict=True)})

    @classmethod
    def _register(
        cls,
        mdata: MuData,
        modalities: list[str],
        layers: dict[str, str],
        batch_key: str | None = None,
        labels_key: str | None = None,
        to_train: bool = True,
        **kwargs: Any,
    ) -> None:
        """Register checked names with scvi-tools; the fields check the values."""
        check_not_view(mdata)
        fields: list[Any] = [ModalityField(name, layers.get(name), to_train) for name in modalities]
        fields += [
            ObsField(key, column)
            for key, column in ((REGISTRY_KEYS.BATCH_KEY, batch_key), (REGISTRY_KEYS.LABELS_KEY, labels_key))
            if column is not None
        ]
        manager = AnnDataManager(
            fields=fields,
            setup_method_args=cls._get_setup_method_args(
                cls=cls,
                mdata=mdata,
                modalities=modalities,
                layers=layers,
                batch_key=batch_key,
                labels_key=labels_key,
            ),
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
            if name in mdata.mod:
                ModalityField(name, layers.get(name)).validate_field(mdata)

    def _aligned_modality(self, mdata: MuData, modality: str) -> AlignedModality:
        layer = self.registry_["setup_args"]["layers"].get(modality)
        return AlignedModality(mdata, modality, layer, self._features(modality))

    def _aligned(self, mdata: MuData) -> dict[str, AlignedModality]:
        return {name: self._aligned_modality(mdata, name) for name in self.modalities}
