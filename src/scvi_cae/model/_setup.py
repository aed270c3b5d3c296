"""Set-up of a MuData whose cells may lack any modality."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn
from uuid import uuid4

from scvi.data import AnnDataManager
from scvi.data import AnnDataManagerValidationCheck as ValidationCheck

from scvi_cae._arguments import shorten
from scvi_cae.data import (
    ModalityField,
    ObsField,
    PairsField,
    annotation_key,
    check_modalities,
    check_mudata,
    check_not_view,
)
from scvi_cae.module import LIKELIHOODS

from ._core import CoreModel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from mudata import MuData

#: Likelihoods of a modality; that of labels is not for a matrix.
MATRIX_LIKELIHOODS = tuple(
    name for name, likelihood in LIKELIHOODS.items() if likelihood.data_kind != "classes"
)


class SetupMixin(CoreModel):
    """Registration of a MuData with scvi-tools."""

    @classmethod
    def setup_anndata(cls, adata: AnnData, **kwargs: Any) -> NoReturn:
        """Raise a TypeError: an AnnData holds a single modality, which has no other to couple with."""
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
        """Register a MuData: the modalities to couple, and how to read them.

        Cells are matched by ``obs_names`` and may lack any modality; values may be NaN; matrices may be sparse
        or dense. Nothing is copied or changed except scvi-tools' identifiers in ``mdata.uns``.

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
            for all modalities, or for those named, ``{"rna": "sequencing_batch"}``. Encoder and decoder of such a
            modality are conditioned on batch, so that the latent need not represent it. A cell whose batch is missing
            or unknown to the training is conditioned on all batches, weighted by their shares. Random splits of
            :meth:`train` preserve its proportions.
        labels_key
            Column of cells' labels, in ``mdata.obs`` or a modality's ``.obs``, or several, such as family and type.
            Each is an arm like a modality, with classes as features, and cells may lack a label: labels inform the
            latent space and are predicted from it. They do not enter the joint latent. Random splits of :meth:`train`
            preserve their proportions.
        likelihoods
            Likelihood of a modality, ``{"rna": "negative_binomial"}``: ``"squared_error"`` of standardised values (the
            default); ``"gaussian"``, with a learnt variance of each feature; or ``"negative_binomial"`` for raw counts.
        gene_length_key
            Column of ``.var`` with lengths of genes, for modalities with a negative binomial likelihood: expected
            counts are proportional to them, as in full-length protocols such as Smart-seq2.
        **kwargs
            Arguments of scvi-tools when it transfers a set-up to other data.

        Raises
        ------
        TypeError
            If ``mdata`` is not a MuData, or a modality does not hold numbers.
        ValueError
            If fewer than two modalities are given, or one is unknown, empty, or shares no cell with the others;
            if names of cells or features are not unique; if values are infinite; if a feature is all NaN, or all of a modality are constant;
            if a negative binomial modality does not hold counts; if labels have fewer than two classes; if ``mdata``
            is a view; if a column of labels or batches holds no categories, or occurs twice.
        KeyError
            If no table has a named column.

        Warns
        -----
        UserWarning
            If features are constant: they enter no loss, and are predicted as their constant. If values lie far outside
            the spread of their feature, cells have the same values in every feature, names of cells match between
            modalities only after stripping or case-folding, or labels are words such as "nan", taken for missing.

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

    @classmethod
    def _register(
        cls, mdata: MuData, arguments: Mapping[str, Any], to_train: bool = True, **kwargs: Any
    ) -> None:
        """Register checked names with scvi-tools; the fields check the values."""
        check_not_view(mdata)
        modalities = []
        for name in arguments["modalities"]:
            kind = LIKELIHOODS[arguments["likelihoods"].get(name, MATRIX_LIKELIHOODS[0])].data_kind
            length_key = arguments["gene_length_key"] if kind == "counts" else None
            modalities.append(ModalityField(name, arguments["layers"].get(name), to_train, kind, length_key))
        batches = [
            ObsField(annotation_key("batch", modality), column, modality=modality)
            for modality, column in arguments["batch_key"].items()
        ]
        labels = [
            ObsField(annotation_key("labels", column), column, min_categories=2)
            for column in arguments["labels_key"]
        ]
        fields: list[Any] = [*modalities, *batches, *labels, PairsField(modalities, arguments["labels_key"])]
        manager = AnnDataManager(
            fields=fields,
            setup_method_args=cls._get_setup_method_args(cls=cls, mdata=mdata, **arguments),
            # scvi-tools refuses cells that lack a modality, which are normal here.
            validation_checks=ValidationCheck(check_fully_paired_mudata=False),
        )
        known = cls._setup_adata_manager_store.get(mdata.uns.get("_scvi_uuid"))
        if known is not None and known.adata is not mdata:
            # A copy has its original's identifier, and would replace it in the store.
            mdata.uns["_scvi_uuid"] = str(uuid4())
        manager.register_fields(mdata, **kwargs)
        cls.register_manager(manager)


def check_choices(modalities: Sequence[str], arguments: Mapping[str, Any]) -> None:
    """Check likelihoods and batches that a user asks for.

    Raises
    ------
    ValueError
        If they are for modalities that are not coupled, if a likelihood is unknown, or if lengths of genes are given
        without counts.
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
                f"likelihoods[{name!r}]={likelihood!r} must be one of {list(MATRIX_LIKELIHOODS)}. Labels are columns "
                "of .obs: labels_key=..."
            )
    kinds = {LIKELIHOODS[likelihood].data_kind for likelihood in arguments["likelihoods"].values()}
    if arguments["gene_length_key"] is not None and "counts" not in kinds:
        raise ValueError(
            "gene_length_key is for modalities with a negative binomial likelihood; there is none. Log-transformed "
            "values are corrected for length by scvi_cae.pp.normalize_gene_length."
        )
