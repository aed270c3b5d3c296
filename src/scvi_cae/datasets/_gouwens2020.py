"""Electrophysiology of mouse visual cortex (Gouwens et al., 2020), without transcriptomes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scvi_cae._assembly import feature_modality

from ._fetch import Registry, locate
from ._tables import by_pattern, join_measured, read_features, read_metadata, read_table, word_of

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from mudata import MuData

EPHYS = "efeature.csv"
METADATA = "20200711_patchseq_metadata_mouse.csv"
PROBABILITIES = "mapping_probabilities_nmspass.csv"
SAMPLES = "metadata_mouse.csv"

_PATCHSEQTOOLS = "https://raw.githubusercontent.com/AllenInstitute/patchseqtools/3c841b9fe8616cc0d88e4dc44b3048e8861c1687/manuscript_data/"

REGISTRY = Registry(
    name="gouwens2020",
    base_url="https://raw.githubusercontent.com/daifengwanglab/scMNC/ae9e39b5abe2ff0c85e3c986689c22c0ab6b2c3d/mouse_visual_cortex/data/",
    blobs={
        EPHYS: "94256848cad20d375004084ddc1fd966c8da4713",
        METADATA: "b0a810e3c58c34d9b6868eff53ace93cf5cf85a8",
        PROBABILITIES: "a76d3ac9fff0ecf084f02845229510db5665668c",
        SAMPLES: "adeb5ab7f7d73a3e3af2891a88562dc7e3c4eef8",
    },
    urls={
        PROBABILITIES: _PATCHSEQTOOLS + "Figure4Supplement1-heatmapdata-nmspass.csv",
        SAMPLES: _PATCHSEQTOOLS + "metadata_mouse.csv",
    },
)

#: Columns of the features that number sweeps instead of measuring the cell.
SWEEPS = ["rheobase_sweep_num", "thumbnail_sweep_num"]
UNITS = [
    ("ratio|^sag$|^adaptation$", ""),
    ("^(tau|avg_isi)$", "ms"),
    ("^latency$|_t_", "s"),
    ("^f_i_curve_slope$", "Hz/pA"),
    ("^ri$", "MOhm"),
    ("_i_", "pA"),
    ("_v_|^vrest$|^vm_for_sag$", "mV"),
]
STIMULI = [
    ("_ramp$", "ramp"),
    ("_short_square$", "short square"),
    ("_long_square$", "long square, rheobase sweep"),
    ("^(adaptation|latency|avg_isi)$", "long square, hero sweep"),
    ("", "long square"),
]
METADATA_TEXT = [
    "project",
    "cell_specimen_id",
    "cell_specimen_name",
    "hemisphere",
    "structure",
    "donor_id",
    "donor_name",
    "biological_sex",
    "age",
    "full_genotype",
    "dendrite_type",
    "apical_dendrite_status",
    "neuron_reconstruction_type",
    "transcriptomics_sample_id",
    "transcriptomics_batch",
    "Tree_first_cl_label",
    "t_type",
]
METADATA_NUMBERS = ["cell_soma_normalized_depth"]
EMPTY = ["ethnicity", "medical_conditions", "depth_from_pia_um"]  # in every row of the published file


def gouwens2020(directory: str | Path | None = None) -> MuData:
    """Electrophysiology and types of mouse visual cortex (Gouwens et al., 2020); no transcriptomes.

    Neurons of adult mouse visual cortex, nearly all GABAergic, recorded at 34 °C and sequenced (SMART-Seq
    v4). The features were computed from the published recordings by ipfx 1.0 for Huang et al. (2021); the
    transcriptomes themselves are not among these files, only the types to which they were mapped. Use
    :func:`gala2021` for cells of this study with transcriptomes.

    The files belong to others and are not part of this package: they are downloaded from where they are
    published. github.com/daifengwanglab/scMNC states no licence, and its recordings and types are from the
    Allen Institute, which has terms of use; github.com/AllenInstitute/patchseqtools is under the 2-clause BSD
    licence.

    Parameters
    ----------
    directory
        Folder with the files ``efeature.csv``, ``20200711_patchseq_metadata_mouse.csv``,
        ``mapping_probabilities_nmspass.csv`` (published as ``Figure4Supplement1-heatmapdata-nmspass.csv``)
        and ``metadata_mouse.csv``, which may be subsets of the published files. ``None`` (default) reads
        ``$SCVI_CAE_DATA/gouwens2020`` if that environment variable is set. Otherwise, the published files are
        downloaded at fixed commits, the first two from github.com/daifengwanglab/scMNC, the others from
        github.com/AllenInstitute/patchseqtools, verified by their git blob ids and stored in the user's cache
        folder, or in ``$SCVI_CAE_CACHE/gouwens2020`` if that variable is set.

    Returns
    -------
    MuData
        One modality, with the cells of ``efeature.csv`` in its order, 4435 in the published file.
        ``.obs_names`` are ids of the recording sessions as text, the number after ``ses-`` in the name of the
        recording.

        ``ephys``
            4435 cells x 45 features (dense, float32), in natural units; NaN where not measured (24,865
            values). 7 cells have no feature, since ipfx failed on their recordings; they are kept. ``obs``
            has two further columns of the file, ``rheobase_sweep_num`` and ``thumbnail_sweep_num``: numbers
            of the sweeps at the rheobase and above it (the "hero sweep"), which are not properties of the
            cell.

            ``var["unit"]``: mV, ms, s, pA, MOhm, Hz/pA; empty for ratios and indices. ``tau`` and
            ``avg_isi`` are in ms, all other times in s. Features named ``*_t_*`` are times since the start of
            the sweep: a long square begins at 0.5 s. ``var["stimulus"]``: "ramp", "short square" (3 ms), and
            "long square" (1 s), the latter followed by the sweep where the feature is of one sweep: "long
            square, rheobase sweep" for the first action potential, and "long square, hero sweep".

        The metadata are in ``.obs``. Text is categorical, and unknown values are NaN:

        ``t_type``, ``subclass``
            Transcriptomic type in the taxonomy of Tasic et al. (2018), and its first word: Lamp5, Pvalb,
            Serpinf1, Sncg, Sst, Vip, and Meis2 and L2/3 with one cell each. 165 cells have none.
        ``tree_first_cl_label``
            Identifier of the type.
        ``donor_id``, ``donor_name``, ``biological_sex``, ``age``, ``full_genotype``
            The animal: 1040 mice; sex M or F, age in days (P55). Split by ``donor_id`` to test across
            animals.
        ``hemisphere``, ``structure``
            Hemisphere, and area with layer in the Allen atlas, for example VISp2/3.
        ``cell_soma_normalized_depth``
            Depth of the soma, 0 (pia) to 1 (white matter); of 592 cells.
        ``dendrite_type``, ``apical_dendrite_status``, ``neuron_reconstruction_type``
            aspiny, sparsely spiny or spiny; intact, truncated or notchecked for spiny neurons; full or
            dendrite-only for reconstructed neurons.
        ``cell_specimen_id``, ``cell_specimen_name``, ``transcriptomics_sample_id``, ``transcriptomics_batch``
            The cell and its sample in the Allen Institute's databases.
        ``project``
            mIVSCC-MET for all cells.

        ``.obsm["mapping_probabilities"]``
            Probabilities of 61 GABAergic types and of ``Excitatory``, by mapping with bootstrapped genes;
            rows sum to 1. 4284 cells have them, NaN elsewhere. For 3863 of these, ``t_type`` is the most
            probable type.

    Raises
    ------
    FileNotFoundError
        If the local folder lacks a file.
    ConnectionError
        If the files cannot be downloaded.
    ValueError
        If a downloaded file differs from the published one, or the layout of a file does: a column is missing
        or not numeric, an ``ID`` contains no session, a cell is listed twice with different values or has no
        metadata.

    Warns
    -----
    UserWarning
        If rows of the metadata are left out because no cell of ``efeature.csv`` has them, or rows because
        they repeat another row.

    Notes
    -----
    Values are as published, with a few that cannot be right: ``ri`` is negative in 3 cells, ``sag`` above 1
    in 2, ``upstroke_downstroke_ratio_short_square`` negative in one, and some times in short squares negative
    in up to 5. Set-up of a model warns of such outliers, and models withstand them. Sessions 680563483 (type
    Vip Lmo1 Myl1) and 680897463 (Lamp5 Lsp1), of two mice, have the same value of every feature, so that at
    least one of them has those of another cell. Both are kept.

    References
    ----------
    Gouwens NW, Sorensen SA, et al. Integrated morphoelectric and transcriptomic classification of cortical
    GABAergic cells. Cell 183, 935-953 (2020). https://doi.org/10.1016/j.cell.2020.09.057

    Huang J, Sheng J, Wang D. Manifold learning analysis suggests strategies to align single-cell multimodal
    data of neuronal electrophysiology and transcriptomics. Communications Biology 4, 1308 (2021).
    https://doi.org/10.1038/s42003-021-02807-6

    Examples
    --------
    >>> from scvi_cae.datasets import gouwens2020
    >>> mdata = gouwens2020()  # doctest: +SKIP
    >>> mdata["ephys"].var.loc["tau", "unit"]  # doctest: +SKIP
    'ms'

    A model of electrophysiology and subclass:

    >>> import scvi_cae
    >>> scvi_cae.CoupledAE.setup_mudata(mdata, labels_key="subclass")  # doctest: +SKIP
    """
    files = locate(REGISTRY, directory)
    features = read_features(files[EPHYS], "ID", SWEEPS, pattern=r"_ses-(\d+)_")
    metadata = read_metadata(files[METADATA], "ephys_session_id", METADATA_TEXT, METADATA_NUMBERS)
    metadata = metadata.drop(columns=EMPTY, errors="ignore")
    apical = metadata["apical_dendrite_status"]
    metadata["apical_dendrite_status"] = apical.mask(apical == "NA")  # of neurons without an apical dendrite
    metadata["subclass"] = word_of(metadata["t_type"], 0)

    names = features.columns.drop(SWEEPS)
    ephys = feature_modality(
        features[names], features[SWEEPS], unit=by_pattern(names, UNITS), stimulus=by_pattern(names, STIMULI)
    )
    mdata = join_measured({"ephys": ephys}, metadata, files[METADATA])
    mdata.obsm["mapping_probabilities"] = _read_probabilities(files, mdata.obs["cell_specimen_id"])
    return mdata


def _read_probabilities(files: dict[str, Path], specimens: pd.Series) -> pd.DataFrame:
    """Probabilities of types by cell: specimens have samples in one file, and samples probabilities in the other."""
    probabilities = read_features(files[PROBABILITIES], "sample_id").rename(columns=str.strip)
    samples = read_table(files[SAMPLES], "cell_id", ["sample_id"], dtype=str)["sample_id"]
    rows = probabilities.reindex(specimens.astype(object).map(samples))
    return rows.set_index(specimens.index)
