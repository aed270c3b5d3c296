"""Electrophysiology and morphology of human cortical interneurons (Lee, Dalley et al., 2023), without transcriptomes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scvi_cae._assembly import feature_modality

from ._fetch import Registry, locate
from ._tables import by_pattern, join_measured, read_features, read_metadata, word_of

if TYPE_CHECKING:
    from pathlib import Path

    from mudata import MuData

EPHYS = "LeeDalley_ephys_fx.csv"
MORPH = "LeeDalley_morpho_features.csv"
METADATA = "LeeDalley_manuscript_metadata_v2.csv"

REGISTRY = Registry(
    name="lee2023",
    base_url="https://raw.githubusercontent.com/AllenInstitute/human_patchseq_gaba/5eb357a1cea246c7c847b5608a8fc7e87ea95b58/data/",
    blobs={
        EPHYS: "adb69da1e27b3b798c7b9b4065f817a3b519ae34",
        MORPH: "c3ed405fba8d5626729f875fdc56182473834b3f",
        METADATA: "521e675d85df3626101455898e90628bf58175c7",
    },
)

UNITS = [
    ("ratio|^adapt|isi_cv|norm_sq_var|^sag$|^sag_depol$", ""),
    ("^sag_area", "mV*s"),
    ("^(tau|sag_tau)$|^sag_peak_t|^width|^latency|^mean_isi|^median_isi", "s"),
    ("deltav|_v_|^v_baseline$|^vm_for_sag$", "mV"),
    ("^upstroke|^downstroke|^postap_slope", "mV/ms"),
    ("^fi_fit_slope$", "Hz/pA"),
    ("^rheobase_i$|^threshold_i", "pA"),
    ("^input_resistance$", "MOhm"),
    ("impedance", "GOhm"),
    ("^total_inductive_phase", "rad*Hz"),
    ("^phase", "rad"),
    ("^avg_rate|^first_isi_inv|freq", "Hz"),
]
STIMULI = [
    ("_ramp$", "ramp"),
    ("_short_square$", "short square"),
    ("_chirp$", "chirp"),
    ("_rheo$", "long square, rheobase sweep"),
    ("_hero$", "long square, hero sweep"),
    ("", "long square"),
]
METADATA_TEXT = [
    "cell_name",
    "Donor",
    "structure",
    "lobe",
    "disease_category",
    "Transcriptomic_type",
    "M_H_Hodge_cross_species_types",
    "condition",
    "condition2",
    "Qualitative_morphology_type",
    "Cortical_layer",
    "subclass_label",
    "Revised_subclass_label",
    "Virus",
    "patched_cell_container",
    "broad_class_label",
    "nwb_id",
]
METADATA_NUMBERS = ["Days_In_culture", "Genes_Detected", "marker_sum_norm_label"]
MODALITY_FLAGS = ["has_morphology", "has_ephys"]  # TRUE for the cells of the other files


def lee2023(directory: str | Path | None = None) -> MuData:
    """Electrophysiology, morphology and types of human cortical interneurons (Lee, Dalley et al., 2023); no transcriptomes.

    GABAergic neurons of human cortex, from neurosurgical tissue, recorded acutely or in slice
    culture, sequenced (SMART-Seq v4) and partly reconstructed. The transcriptomes are not among these files,
    only the types to which they were mapped.

    The files belong to the Allen Institute, whose licence forbids commercial redistribution; they are
    downloaded from where they are published and are not part of this package.

    Parameters
    ----------
    directory
        Folder with the files ``LeeDalley_ephys_fx.csv``, ``LeeDalley_morpho_features.csv`` and
        ``LeeDalley_manuscript_metadata_v2.csv``, which may be subsets of the published files. ``None``
        (default) reads ``$SCVI_CAE_DATA/lee2023`` if that environment variable is set. Otherwise, the
        published files are downloaded from github.com/AllenInstitute/human_patchseq_gaba at a fixed commit,
        verified by their git blob ids and stored in the user's cache folder, or in
        ``$SCVI_CAE_CACHE/lee2023`` if that variable is set.

    Returns
    -------
    MuData
        The cells of both modalities, joined by name; ``.obs_names`` are specimen ids of the Allen Institute
        as text, those of ``ephys`` in their order, followed by the additional cells of ``morph``. The
        published files have 709 cells, of 113 donors.

        ``ephys``
            704 cells x 93 features (dense, float32), in natural units; NaN where not measured (7,621 values).
            2 cells have no feature and are kept. The features of chirps are missing in more than half of the
            cells.

            ``var["unit"]``: mV, mV/ms, mV*s, s, Hz, Hz/pA, pA, MOhm, GOhm (impedances), rad, rad*Hz; empty
            for ratios and indices. All times are in s. ``var["stimulus"]``: "ramp", "short square" (3 ms),
            "chirp", and "long square" (1 s), the latter followed by the sweep where the feature is of one
            sweep: "long square, rheobase sweep" and "long square, hero sweep", above the rheobase.
        ``morph``
            140 cells x 51 features of axon, dendrites and soma (dense, float32), complete. Lengths in µm,
            surfaces in µm²; ``axon_branch_freq`` in branches per 100 µm.

        The metadata are in ``.obs``. Text is categorical, and unknown values are NaN:

        ``transcriptomic_type``, ``subclass``
            Transcriptomic type in the taxonomy of Hodge et al. (2019), 43 types, for example "Inh L2-4 PVALB
            WFDC2", and its third word: ADARB2, GAD1, LAMP5, PAX6, PVALB, SST, VIP.
        ``subclass_label``, ``revised_subclass_label``
            Four subclasses, PVALB, SST, VIP and LAMP5/PAX6/Other, as published. The revised ones assign the
            types "Inh L2-4 SST FRZB" and "Inh L5-6 SST MIR548F2", 98 cells whose ``subclass`` is SST, to
            PVALB, and "Inh L1 SST NMBR" and "Inh L1-2 SST BAGE2", 5 cells, to VIP.
        ``m_h_hodge_cross_species_types``
            Type shared with mouse: "Pvalb 2" or "Sst 5".
        ``broad_class_label``
            "GABAergic neuron" for all cells.
        ``donor``, ``disease_category``
            The patient, and why the tissue was removed, in the spelling of the file (both "tumor" and "Tumor
            status - primary"). Split by ``donor`` to test across patients.
        ``structure``, ``lobe``, ``cortical_layer``
            Cortical area (MTG, …), lobe (TemL, …) and layer (1 to 6, or 2_3 and 5_6).
        ``condition``, ``condition2``, ``days_in_culture``, ``virus``
            acute or culture; the same, with ``_microglial`` for cells with a microglial signature; days in
            culture, 0 for acute; virus by which the cell was labelled.
        ``qualitative_morphology_type``
            DBC (double bouquet), MC (Martinotti), Sparse SST or Basket, where assessed.
        ``genes_detected``, ``marker_sum_norm_label``
            Quality of the sample: number of genes, and sum of the expression of marker genes of the cell's
            class relative to that in the reference taxonomy.
        ``cell_name``, ``patched_cell_container``, ``nwb_id``
            The cell, its sample and its recording in the Allen Institute's databases.

    Raises
    ------
    FileNotFoundError
        If the local folder lacks a file.
    ConnectionError
        If the files cannot be downloaded.
    ValueError
        If a downloaded file differs from the published one, or the layout of a file does: a column is missing
        or not numeric, a cell is listed twice with different values or has no metadata.

    Warns
    -----
    UserWarning
        If rows of the metadata are left out because no modality has these cells (69 of the published file),
        or because they repeat another row (1, of cell 819133824).

    Notes
    -----
    Values are as published, with a few that cannot be right: ``input_resistance`` is negative in 2 cells, and
    ``upstroke_downstroke_ratio_short_square`` in 4. Set-up of a model warns of such outliers and withstands
    them.

    References
    ----------
    Lee BR, Dalley R, et al. Signature morphoelectric properties of diverse GABAergic interneurons in the
    human neocortex. Science 382, eadf6484 (2023). https://doi.org/10.1126/science.adf6484

    Hodge RD, Bakken TE, et al. Conserved cell types with divergent features in human versus mouse cortex.
    Nature 573, 61-68 (2019). https://doi.org/10.1038/s41586-019-1506-7

    Examples
    --------
    >>> from scvi_cae.datasets import lee2023
    >>> mdata = lee2023()  # doctest: +SKIP
    >>> mdata["ephys"].var.loc["tau", "unit"]  # doctest: +SKIP
    's'
    """
    files = locate(REGISTRY, directory)
    ephys = read_features(files[EPHYS], "specimen_id")
    morph = read_features(files[MORPH], "specimen_id", index_col=0)
    metadata = read_metadata(files[METADATA], "specimen_id_x", METADATA_TEXT, METADATA_NUMBERS)
    metadata = metadata.drop(columns=MODALITY_FLAGS, errors="ignore")
    metadata["subclass"] = word_of(metadata["transcriptomic_type"], 2)
    modalities = {
        "ephys": feature_modality(
            ephys, unit=by_pattern(ephys.columns, UNITS), stimulus=by_pattern(ephys.columns, STIMULI)
        ),
        "morph": feature_modality(morph),
    }
    return join_measured(modalities, metadata, files[METADATA])
