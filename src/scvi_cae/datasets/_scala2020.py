"""Patch-seq of mouse motor cortex (Scala et al., 2021)."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata.utils import make_index_unique
from scipy import sparse

from scvi_cae._assembly import categorical, feature_modality, rna_modality, units

from ._fetch import Registry, locate
from ._tables import join_measured, python_name, read_features, read_metadata

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData
    from mudata import MuData

COUNTS = "m1_patchseq_exon_counts.csv.gz"
EPHYS = "m1_patchseq_ephys_features.csv"
MORPH = "m1_patchseq_morph_features.csv"
METADATA = "m1_patchseq_meta_data.csv"

REGISTRY = Registry(
    name="scala2020",
    base_url="https://raw.githubusercontent.com/berenslab/mini-atlas/3bf98a524b8e48aa8647e1b9ae8f2351d9c712c9/data/",
    blobs={
        METADATA: "16948473ef9a41f37c2b7718c5b8224c5164f2af",
        EPHYS: "0808b5ec2580ed74b0d559ac441671e511281374",
        MORPH: "6aca3e71e6cda538964b143f8c42c30087a2a200",
        COUNTS: "dd33649f48d873be55553f60ff33986594d3d967",
    },
)

WRONG_MORPHOLOGY = "20171207_sample_1"  # known erratum: the reconstruction is not of this cell
UNKNOWN = ["?", "Slice Lost"]  # codes for missing numbers in the metadata

METADATA_TEXT = [
    "Slice",
    "Date",
    "Sample",
    "Mouse",
    "Mouse date of birth",
    "Mouse gender",
    "Mouse genotype",
    "Targeted layer",
    "Inferred layer",
    "Cre",
    "Sequencing batch",
    "RNA family",
    "RNA type",
    "RNA type top-3",
    "ALM/VISp top-3",
    "User",
    "Traced",
    "Exclusion reasons",
]
METADATA_NUMBERS = [
    "Number",
    "Mouse age",
    "Exon reads",
    "Intron reads",
    "Intergenic reads",
    "Number of genes detected",
    "RNA type confidence",
    "Length (bp)",
    "Yield (pg/µl)",
    "Hold Time (min)",
    "Soma depth (µm)",
    "Soma depth (4x)",
    "Cortical thickness (4x)",
    "Cortical thickness (µm)",
]
MORPH_TEXT = ["normalized layer", "cell class"]


def scala2020(directory: str | Path | None = None) -> MuData:
    """Patch-seq of mouse primary motor cortex (Scala et al., 2021).

    Neurons of adult mouse M1, recorded at room temperature, sequenced (Smart-seq2) and partly reconstructed.
    The data are partially paired: some cells lack a modality, and the modalities list their cells in
    different orders. All cells with counts are kept, including "low quality" cells: select cells by
    ``rna_family``.

    Parameters
    ----------
    directory
        Folder with the files ``m1_patchseq_meta_data.csv``, ``m1_patchseq_ephys_features.csv``,
        ``m1_patchseq_morph_features.csv`` and ``m1_patchseq_exon_counts.csv.gz``, which may be subsets of the
        published files in cells and genes. ``None`` (default) reads ``$SCVI_CAE_DATA/scala2020`` if that
        environment variable is set. Otherwise, the published files are downloaded from
        github.com/berenslab/mini-atlas at a fixed commit, verified by their git blob ids and stored in
        the user's cache folder, or in ``$SCVI_CAE_CACHE/scala2020`` if that variable is set.

    Returns
    -------
    MuData
        The cells of all modalities, joined by name; ``.obs_names`` are the cells of ``rna`` in their order,
        followed by the additional cells of ``ephys`` and ``morph`` in theirs. The published files have 1329
        cells.

        Modalities, each with its cells in the order of its file:

        ``rna``
            1329 cells x those of the 42,466 published genes that have a count in any cell.
            ``layers["counts"]``: raw exon counts (CSR, int32). ``X``: log1p counts per million of the genes
            in the file (CSR, float32), relative to the sum of the counts, since ``exon_reads`` differs from
            it by a factor of 100 and more in a few cells.
        ``ephys``
            1328 cells x 29 features (dense, float32), in natural units; NaN where a feature is undefined, in
            cells that fire too few action potentials. ``var["unit"]``: mV, ms, s, mV*s, pA, MOhm; empty for
            ratios, indices and numbers of action potentials.
        ``morph``
            645 cells x 61 features (dense, float32), lengths in µm; NaN where a feature is undefined, for
            example for axons that were not reconstructed. ``obs``: ``normalized_layer`` and ``cell_class``
            (exc, inh). ``20171207_sample_1`` is left out, because its published reconstruction is known to be
            wrong.

        The metadata are in ``.obs``. Text is categorical, and unknown values are NaN:

        ``number``
            Row in the metadata file, from 1.
        ``slice``, ``date``, ``sample``
            Brain slice, day of recording (YYYY-MM-DD) and cell within the day.
        ``mouse``, ``mouse_date_of_birth``, ``mouse_age``, ``mouse_gender``, ``mouse_genotype``
            The animal; age in days, gender M or F. Split by ``mouse`` to test across animals.
        ``targeted_layer``, ``inferred_layer``
            Targeted cortical layer and layer inferred from depth: 1, 2/3, 5 or 6.
        ``cre``
            Cre line and whether the cell was labelled, for example PV+, PV-; WT for wild type.
        ``exon_reads``, ``intron_reads``, ``intergenic_reads``, ``number_of_genes_detected``
            As published, over all genes. A few are wrong by a factor of 100 and more; compute them from the
            counts instead.
        ``sequencing_batch``
            "1" to "12".
        ``rna_family``, ``rna_type``
            Transcriptomic family and type, after the mouse M1 taxonomy of Yao et al. (2021). Family "low
            quality" has no type.
        ``rna_type_confidence``, ``rna_type_top_3``, ``alm_visp_top_3``
            Bootstrap confidence of the type (0 to 1); the three most likely types with their confidences, in
            the M1 taxonomy and in the ALM and VISp taxonomy of Tasic et al. (2018).
        ``length_bp``, ``yield_pg_ul``
            Mean length (base pairs) and yield (pg/µl) of the cDNA.
        ``user``, ``hold_time_min``
            Experimenter, and time for which the cell was held, in minutes.
        ``soma_depth_um``, ``soma_depth_4x``, ``cortical_thickness_um``, ``cortical_thickness_4x``
            Depth of the soma below the pia and thickness of the cortex, in µm and as measured at 4x
            magnification.
        ``traced``
            "y": reconstructed; "no axon"; "?".
        ``exclusion_reasons``
            Why the authors excluded a cell from their analyses; for 7 cells, which are kept here.

    Raises
    ------
    FileNotFoundError
        If the local folder lacks a file.
    ConnectionError
        If the files cannot be downloaded.
    ValueError
        If a downloaded file differs from the published one, or the layout of a file does: a column is missing
        or not numeric, a count is not a whole number, a cell is listed twice with different values or has no
        metadata.

    Warns
    -----
    UserWarning
        If genes are left out because no cell has a count of them, rows of the metadata because no modality
        has these cells, or rows because they repeat another row.

    References
    ----------
    Scala F, Kobak D, et al. Phenotypic variation of transcriptomic cell types in mouse motor cortex.
    Nature 598, 144-150 (2021). https://doi.org/10.1038/s41586-020-2907-3

    Examples
    --------
    >>> from scvi_cae.datasets import scala2020
    >>> mdata = scala2020()  # doctest: +SKIP
    >>> mdata["ephys"].var_names[0]  # doctest: +SKIP
    'AP Fano factor'
    """
    files = locate(REGISTRY, directory)
    ephys = read_features(files[EPHYS], "cell id")
    morph = read_features(files[MORPH], "cell id", MORPH_TEXT).drop(index=WRONG_MORPHOLOGY, errors="ignore")
    morph_text = categorical(morph[MORPH_TEXT]).rename(columns=python_name)
    metadata = read_metadata(
        files[METADATA], "Cell", METADATA_TEXT, METADATA_NUMBERS, unknown=UNKNOWN, sep="\t"
    )
    # The file computes micrometres from 4x measurements, so that missing ones become 0.
    unmeasured = metadata["cortical_thickness_4x"].isna()
    metadata["cortical_thickness_um"] = metadata["cortical_thickness_um"].mask(unmeasured)
    modalities = {
        "rna": _read_counts(files[COUNTS]),
        "ephys": _with_units(ephys),
        "morph": _with_units(morph.drop(columns=MORPH_TEXT), morph_text),
    }
    return join_measured(modalities, metadata, files[METADATA])


def _read_counts(path: Path) -> AnnData:
    """Read counts, genes x cells in the file, in chunks: never the whole file as a dense table."""
    blocks: list[sparse.csr_matrix] = []
    genes: list[str] = []
    cells: list[str] = []
    with pd.read_csv(path, index_col=0, chunksize=1000, keep_default_na=False) as chunks:
        for chunk in chunks:
            if chunk.empty:
                raise ValueError(
                    f"{path}: no counts. The file must hold raw counts, genes x cells, with cell names as "
                    "header."
                )
            counts = chunk.to_numpy()
            if counts.dtype.kind not in "iuf" or (counts < 0).any() or (counts != np.rint(counts)).any():
                raise ValueError(
                    f"{path}: the counts of genes {chunk.index[0]!r} to {chunk.index[-1]!r} are not all "
                    "whole numbers >= 0. The file must hold raw counts, genes x cells, with cell names as "
                    "header."
                )
            blocks.append(sparse.csr_matrix(counts.astype(np.int32)))
            genes += chunk.index.astype(str).tolist()
            cells = chunk.columns.astype(str).tolist()
    counts = sparse.vstack(blocks).T.tocsr()
    var = pd.DataFrame(index=make_index_unique(pd.Index(genes)))
    detected = np.asarray(counts.sum(0)).ravel() > 0
    if not detected.all():
        warnings.warn(
            f"{path}: {np.sum(~detected)} of {len(genes)} genes left out, because no cell has a count of "
            "them.",
            stacklevel=3,
        )
    return rna_modality(counts[:, detected], obs=pd.DataFrame(index=cells), var=var[detected])


def _with_units(features: pd.DataFrame, obs: pd.DataFrame | None = None) -> AnnData:
    """AnnData of features whose names end in their unit, if they have one: 'AP width (ms)'."""
    return feature_modality(features, obs, unit=list(units(features.columns)))
