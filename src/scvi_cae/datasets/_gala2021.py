"""Patch-seq of mouse visual cortex (Gouwens et al., 2020), as published by Gala et al. (2021)."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

from scvi_cae._assembly import join_modalities

from ._fetch import Registry, locate
from ._mat_file import MatFile

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData
    from mudata import MuData

DATA = "PS_v5_beta_0-4_pc_scaled_ipfx_eqTE.mat"
NAMES = "E_names.json"
TAXONOMY = "dend_RData_Tree_20181220.csv"

REGISTRY = Registry(
    name="gala2021",
    base_url="https://raw.githubusercontent.com/AllenInstitute/coupledAE-patchseq/6c0be92e7a919321a4b877623354ee48d5f75921/data/proc/",
    blobs={
        NAMES: "d4132a4eac80ac23a36990c798461e083c6beba9",
        TAXONOMY: "3b8c774d0e0ae7b45dcc8184da5a8e4293ba089d",
        DATA: "6270922577fca6005225df719c4358b7c80ca01b",
    },
)

#: Arrays that are read from the .mat file. Its clusterID, E_dat, spc_name and E_pc_zscored are left over from
#: earlier versions, and the last is damaged: outliers on both sides were set to -6.
KEYS = [
    "T_dat",
    "gene_id",
    "E_pc_scaled",
    "pc_name",
    "E_feature",
    "feature_name",
    "feature_mean",
    "feature_std",
    "T_spec_id_label",
    "E_spec_id_label",
    "T_ispaired",
    "E_ispaired",
    "sample_id",
    "cluster",
    "cluster_id",
    "cluster_color",
    "map_conf",
]
MAP_CONF = ["Core", "I1", "I2", "I3"]
TAXONOMY_COLUMNS = ["label", "parent", "x", "y", "leaf", "col"]


def gala2021(directory: str | Path | None = None) -> MuData:
    """Patch-seq of interneurons of mouse visual cortex, as used by Gala et al. (2021).

    GABAergic neurons of adult mouse primary visual cortex, recorded and sequenced (SMART-Seq v4) by Gouwens
    et al. (2020), with the genes, features and labels with which coupled autoencoders were published. Every
    cell has both modalities. The files are under the Allen Institute Software License, which forbids
    commercial use; they are downloaded from where they are published and are not part of this package.

    Parameters
    ----------
    directory
        Folder with the files ``PS_v5_beta_0-4_pc_scaled_ipfx_eqTE.mat``, ``E_names.json`` and
        ``dend_RData_Tree_20181220.csv``; the first may be a subset of the published file in cells and genes.
        ``None`` (default) reads ``$SCVI_CAE_DATA/gala2021`` if that environment variable is set. Otherwise,
        the published files are downloaded from github.com/AllenInstitute/coupledAE-patchseq at a fixed
        commit, verified by their git blob ids and stored in the user's cache folder, or in
        ``$SCVI_CAE_CACHE/gala2021`` if that variable is set.

    Returns
    -------
    MuData
        Both modalities have all cells, in the order of the file; ``.obs_names`` are specimen ids of the Allen
        Institute. The published file has 3411 cells.

        ``rna``
            3411 cells x 1252 genes. ``X``: log1p counts per million (CSR, float32), relative to all sequenced
            genes, so that the selected genes (beta score above 0.4, which measures how binary expression is
            across types) sum to less than a million. The file has no counts.
        ``ephys``
            3411 cells x 68 features (dense, float32) with 273 missing values (NaN), all scaled. ``var_names``
            are display names; ``var["internal_name"]`` are the names in the file.

            ``var["kind"]`` is "spc" for the first 44 features: scores of sparse principal components,
            computed separately for 12 parts of the recordings, ``var["block"]`` (``first_ap_v``, …,
            ``inst_freq_norm``). Each block is scaled to a total variance equal to its number of components,
            and is not centred.

            ``var["kind"]`` is "ipfx" for the other 24 features, without a block (NaN): features computed by
            the package ipfx, centred and scaled by ``var["mean"]`` and ``var["std"]`` (NaN for "spc"), and
            clipped to [-6, 6]. ``X * std + mean`` converts them to natural units, except for clipped values.

        ``.obs``
            ``sample_id``: name of the transcriptomic sample. ``cluster``: transcriptomic type in the taxonomy
            of Tasic et al. (2018), categorical in the order of the tree (59 types in the published file, 6 of
            them with at most 10 cells). ``cluster_id``: number of the type in that order. ``map_conf``:
            confidence of the mapping to the type, from "Core" to "I3" (categorical).
        ``.uns["cluster_colors"]``
            Colours of the categories of ``cluster``, in their order, where scanpy expects them.
        ``.uns["taxonomy"]``
            Reference taxonomy with one row per node (176): its ``label``, the ``parent``'s label (empty for
            the root), position ``x``, height ``y``, whether it is a ``leaf`` (a type), and its ``color``
            (empty for inner nodes). Every category of ``cluster`` is a leaf.

    Raises
    ------
    FileNotFoundError
        If the local folder lacks a file.
    ConnectionError
        If the files cannot be downloaded.
    ValueError
        If a downloaded file differs from the published one, or the layout of a file does: an array or a
        column is missing, has another shape or is not numeric, values are infinite, the modalities have
        different cells, a cell or gene is listed twice, features differ from those of ``E_names.json`` or
        their order, or a cluster is not in the taxonomy.

    Notes
    -----
    Two types have trailing spaces in the published files. Spaces around names are removed, so that types and
    taxonomy agree.

    This loader was written from descriptions of the published .mat file and has not been run on it.

    References
    ----------
    Gala R, Budzillo A, et al. Consistent cross-modal identification of cortical neurons with coupled
    autoencoders. Nature Computational Science 1, 120-127 (2021). https://doi.org/10.1038/s43588-021-00030-1

    Gouwens NW, Sorensen SA, et al. Integrated morphoelectric and transcriptomic classification of cortical
    GABAergic cells. Cell 183, 935-953 (2020). https://doi.org/10.1016/j.cell.2020.09.057

    Tasic B, Yao Z, et al. Shared and distinct transcriptomic cell types across neocortical areas. Nature 563,
    72-78 (2018). https://doi.org/10.1038/s41586-018-0654-5

    Examples
    --------
    >>> from scvi_cae.datasets import gala2021
    >>> mdata = gala2021()  # doctest: +SKIP
    >>> mdata["ephys"].var_names[0]  # doctest: +SKIP
    'spc0 first AP v'

    Features of ipfx in natural units:

    >>> ipfx = mdata["ephys"][:, mdata["ephys"].var["kind"] == "ipfx"]  # doctest: +SKIP
    >>> natural = ipfx.to_df() * ipfx.var["std"] + ipfx.var["mean"]  # doctest: +SKIP
    """
    files = locate(REGISTRY, directory)
    mat = MatFile(files[DATA], KEYS, REGISTRY.base_url + DATA)
    obs, colors = _read_cells(mat)
    modalities = {"rna": _read_rna(mat, obs.index), "ephys": _read_ephys(mat, obs.index, files[NAMES])}

    taxonomy = _read_taxonomy(files[TAXONOMY])
    leaves = set(taxonomy.loc[taxonomy["leaf"], "label"])
    if unknown := [cluster for cluster in obs["cluster"].cat.categories if cluster not in leaves]:
        raise ValueError(
            f"{files[TAXONOMY]}: no leaf {', '.join(map(repr, unknown))}, which is a cluster of cells in "
            f"{mat.path}. Use the taxonomy that is published with the cells."
        )
    mdata = join_modalities(modalities, obs)
    mdata.uns["cluster_colors"] = colors
    mdata.uns["taxonomy"] = taxonomy
    return mdata


def _read_cells(mat: MatFile) -> tuple[pd.DataFrame, list[str]]:
    """Annotations of the cells and colours of the clusters. Both modalities list cells in the same order."""
    cells = mat.unique_names("T_spec_id_label", "cell")
    n = len(cells)
    others = mat.names("E_spec_id_label", "cell", n)
    if len(differ := np.flatnonzero(cells != others)):
        row = differ[0]
        raise ValueError(
            f"{mat.path}: row {row + 1} is cell {cells[row]!r} in T_spec_id_label, but {others[row]!r} in "
            "E_spec_id_label. Use the same order of rows in both modalities, as published."
        )
    for key in ("T_ispaired", "E_ispaired"):
        # The row of an unpaired cell in the other modality is not documented.
        if len(unpaired := cells[mat.numbers(key, "cell", n) != 1]):
            raise ValueError(
                f"{mat.path}: cell {unpaired[0]!r} is unpaired according to {key}. Keep only cells with both "
                "modalities, as in the published file."
            )

    clusters = pd.DataFrame(
        {
            "cluster": mat.names("cluster", "cell", n),
            "cluster_id": mat.whole_numbers("cluster_id", "cell", n),
            "color": mat.names("cluster_color", "cell", n),
        },
        index=cells,
    )
    for cell, color in clusters["color"].items():
        if not re.fullmatch("#[0-9A-Fa-f]{6}", color):
            raise ValueError(
                f"{mat.path}: cluster_color of cell {cell!r} is {color!r}. Colours have the form #RRGGBB."
            )
    distinct = clusters.drop_duplicates().sort_values("cluster_id")
    for column, what in (
        ("cluster", "cluster_id or cluster_color"),
        ("cluster_id", "cluster or cluster_color"),
    ):
        if not distinct[column].is_unique:
            twice = distinct.loc[distinct[column].duplicated(), column].tolist()[0]
            raise ValueError(
                f"{mat.path}: cells of {column} {twice!r} differ in {what}. Each cluster needs one number "
                "and one colour."
            )

    confidence = mat.names("map_conf", "cell", n)
    for cell, level in zip(cells, confidence, strict=True):
        if level not in MAP_CONF:
            raise ValueError(
                f"{mat.path}: map_conf of cell {cell!r} is {level!r}, not one of {', '.join(MAP_CONF)}."
            )
    obs = pd.DataFrame(
        {
            "sample_id": mat.names("sample_id", "cell", n),
            "cluster": pd.Categorical(clusters["cluster"], distinct["cluster"].tolist()),
            "cluster_id": clusters["cluster_id"],
            "map_conf": pd.Categorical(confidence, MAP_CONF),
        },
        index=cells,
    )
    return obs, distinct["color"].tolist()


def _read_rna(mat: MatFile, cells: pd.Index) -> AnnData:
    genes = mat.unique_names("gene_id", "gene")
    values = mat.matrix("T_dat", cells, genes)
    if len(impossible := np.argwhere(~(values >= 0))):  # negative or NaN
        row, column = impossible[0]
        raise ValueError(
            f"{mat.path}: T_dat is {values[row, column]} for cell {cells[row]!r} and {genes[column]!r}. It "
            "must hold log1p counts per million."
        )
    return anndata.AnnData(
        sparse.csr_matrix(values), obs=pd.DataFrame(index=cells), var=pd.DataFrame(index=genes)
    )


def _read_ephys(mat: MatFile, cells: pd.Index, names_path: Path) -> AnnData:
    components = mat.unique_names("pc_name", "sparse principal component")
    features = mat.unique_names("feature_name", "feature")
    internal = [*components, *features]
    display = _read_names(names_path, internal, mat.path)
    values = [mat.matrix("E_pc_scaled", cells, components), mat.matrix("E_feature", cells, features)]

    scaling = {}
    for column in ("mean", "std"):
        published = mat.numbers(f"feature_{column}", "feature", len(features))
        if column == "std" and len(flat := features[published <= 0]):
            raise ValueError(
                f"{mat.path}: feature_std of {flat[0]!r} is not > 0. It must be the divisor of the feature."
            )
        scaling[column] = np.concatenate([np.full(len(components), np.nan), published])

    block = pd.Series(components).str.replace(r"_\d+$", "", regex=True)  # first_ap_v_0 -> first_ap_v
    kind = ["spc"] * len(components) + ["ipfx"] * len(features)
    var = pd.DataFrame(
        {
            "internal_name": internal,
            "kind": pd.Categorical(kind, ["spc", "ipfx"]),
            "block": pd.Categorical([*block, *[None] * len(features)], block.unique()),
            **scaling,
        },
        index=display,
    )
    return anndata.AnnData(np.hstack(values), obs=pd.DataFrame(index=cells), var=var)


def _read_names(path: Path, internal: list[str], mat_path: Path) -> list[str]:
    """Display names of the features, which the file lists in the order of the data."""
    try:
        names = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error}). Replace it by the published file.") from error
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise ValueError(
            f"{path}: not a JSON object of strings. It must map internal names of features to display names."
        )
    if len(names) != len(internal):
        raise ValueError(
            f"{path}: names {len(names)} features, but {mat_path} has {len(internal)} (pc_name and "
            "feature_name). Use files that are published together."
        )
    for i, (here, there) in enumerate(zip(names, internal, strict=True), start=1):
        if here.strip() != there:
            raise ValueError(
                f"{path}: feature {i} is {here!r}, but {there!r} in {mat_path} (pc_name, then feature_name). "
                "Use the same order in both, as published."
            )
    display = pd.Index(names.values()).str.strip()
    if not display.is_unique:
        twice = display[display.duplicated()][0]
        raise ValueError(f"{path}: several features have the display name {twice!r}. Make the names unique.")
    return display.tolist()


def _read_taxonomy(path: Path) -> pd.DataFrame:
    """Nodes of the tree. Missing text is empty, because h5mu files cannot store missing text."""
    table = pd.read_csv(path, dtype=dict.fromkeys(["label", "parent", "leaf", "col"], str))
    if missing := [column for column in TAXONOMY_COLUMNS if column not in table]:
        raise ValueError(
            f"{path}: no column {', '.join(map(repr, missing))}; it has {', '.join(map(repr, table))}. Use "
            "the layout of the published file."
        )
    for column in ("x", "y"):
        if not pd.api.types.is_numeric_dtype(table[column]) or not np.isfinite(table[column]).all():
            raise ValueError(
                f"{path}: column {column!r} is not a number in every row. Use the published file."
            )
    text = table[["label", "parent", "leaf", "col"]].fillna("").apply(lambda column: column.str.strip())
    taxonomy = pd.DataFrame(
        {
            "label": text["label"],
            "parent": text["parent"],
            "x": table["x"].astype(float),
            "y": table["y"].astype(float),
            "leaf": text["leaf"].str.upper() == "TRUE",
            "color": text["col"],
        }
    )
    labels, parents = pd.Index(taxonomy["label"]), taxonomy["parent"]
    if not labels.is_unique:
        twice = labels[labels.duplicated()][0]
        raise ValueError(f"{path}: node {twice!r} is listed more than once. Keep one row per node.")
    if len(orphans := taxonomy[~parents.isin(labels) & (parents != "")]):
        orphan = orphans.iloc[0]
        raise ValueError(
            f"{path}: the parent of node {orphan['label']!r}, {orphan['parent']!r}, is not listed. Add its "
            "row."
        )
    return taxonomy
