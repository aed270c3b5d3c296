"""Reading Gala et al. (2021): a tiny copy with the layout and the quirks of the files, and the real names and tree.

The published .mat file itself was not at hand: its keys, shapes and types here are as they are documented.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mudata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.io import savemat

import scvi_cae
from scvi_cae.datasets import gala2021
from scvi_cae.datasets._fetch import git_blob_id
from scvi_cae.datasets._gala2021 import DATA, KEYS, NAMES, REGISTRY, TAXONOMY

if TYPE_CHECKING:
    from mudata import MuData

CELLS = [601506507, 601506492, 1000000001, 601506501]  # not sorted
NAN = np.nan
DISPLAY = {
    "first_ap_v_0": "spc0 first AP v",
    "first_ap_v_1": "spc1 first AP v",
    "inst_freq_norm_0": "spc0 inst. freq. norm",
    "tau": "tau",
    "v_baseline": "v baseline",
}
TREE = """"x","y","pch","cex","col","members","midpoint","height","leaf","label","parent"
2.5,0.5,NA,NA,NA,4,1.5,0.5,NA,"n3",NA
1.5,0.25,NA,NA,NA,2,0.5,0.25,NA,"n60","n3"
1,0,19,0.5,"#FF88AD",1,NA,0,TRUE,"Vip Lmo1 Myl1","n60"
2,0,19,0.5,"#DDACC9",1,NA,0,TRUE,"Lamp5 Lsp1","n60"
3,0,19,0.5,"#FFDF11",1,NA,0,TRUE,"Sst Myh8 Etv1 ","n3"
4,0,19,0.5,"#B95541",1,NA,0,TRUE,"Sst Crh 4930553C11Rik ","n3"
"""


def objects(*entries: str) -> np.ndarray[Any, Any]:
    """Text as MATLAB's cells, which keep the spaces of each entry."""
    return np.array(entries, dtype=object)


def arrays() -> dict[str, Any]:
    return {
        "T_dat": np.log1p(np.array([[0, 5, 1e5], [2, 0, 0], [0, 0, 7], [1, 1, 1]], dtype=np.float32)),
        "gene_id": np.array(["Sst", "Gad1", "4930553C11Rik"]),  # written as characters, padded with spaces
        "E_pc_scaled": np.array([[1, 2, -25.5], [2, 1, 0], [NAN, 3, 1], [0, 0.5, 2]]),
        "pc_name": objects("first_ap_v_0", "first_ap_v_1", "inst_freq_norm_0"),
        "E_feature": np.array([[0.5, -6], [NAN, 6], [1, 0], [-1, 0.25]]),
        "feature_name": np.array(["tau", "v_baseline"]),
        "feature_mean": np.array([0.01, -70]),
        "feature_std": np.array([[0.005], [4.0]]),  # a column; lists are written as rows
        "T_spec_id_label": np.array(CELLS, dtype=np.int64),
        "E_spec_id_label": np.array(CELLS, dtype=np.float64),
        "T_ispaired": np.ones(4),
        "E_ispaired": np.ones(4, dtype=bool),
        "sample_id": objects("SM_1", "SM_2", "SM_3", "SM_4"),
        "cluster": objects("Sst Myh8 Etv1 ", "Lamp5 Lsp1", "Sst Crh 4930553C11Rik ", "Lamp5 Lsp1"),
        "cluster_id": np.array([33, 4, 36, 4]),
        "cluster_color": objects("#FFDF11", "#DDACC9", "#B95541", "#DDACC9"),
        "map_conf": np.array(["I2", "Core", "I1", "Core"]),
        # left over from earlier versions: of other shapes, and not to be read
        "clusterID": np.array([1, 2]),
        "E_dat": np.zeros((2, 9)),
        "spc_name": np.array(["a", "b"]),
    }


def write_mat(folder: Path, *, without: str = "", **changes: Any) -> None:
    content = arrays() | changes
    content.pop(without, None)
    savemat(folder / DATA, content)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_mat(tmp_path)
    (tmp_path / NAMES).write_text(json.dumps(DISPLAY))
    (tmp_path / TAXONOMY).write_text(TREE)
    return tmp_path


def test_the_tiny_file_has_what_is_read() -> None:
    assert set(KEYS) < set(arrays())


def test_modalities(folder: Path) -> None:
    mdata = gala2021(folder)
    names = ["601506507", "601506492", "1000000001", "601506501"]
    assert list(mdata.mod) == ["rna", "ephys"]
    for table in (mdata, mdata["rna"], mdata["ephys"]):
        assert list(table.obs_names) == names  # the order of the file

    rna = mdata["rna"]
    assert list(rna.var_names) == ["Sst", "Gad1", "4930553C11Rik"]
    assert sparse.issparse(rna.X)
    assert rna.X.format == "csr"
    assert rna.X.dtype == np.float32
    np.testing.assert_array_equal(rna.X.toarray(), arrays()["T_dat"])

    ephys = mdata["ephys"]
    assert list(ephys.var_names) == list(DISPLAY.values())
    assert ephys.X.dtype == np.float32
    expected = np.hstack([arrays()["E_pc_scaled"], arrays()["E_feature"]]).astype(np.float32)
    np.testing.assert_array_equal(ephys.X, expected)  # NaN stay NaN


def test_features_are_described(folder: Path) -> None:
    var = gala2021(folder)["ephys"].var
    assert list(var["internal_name"]) == list(DISPLAY)
    assert list(var["kind"]) == ["spc", "spc", "spc", "ipfx", "ipfx"]
    assert list(var["block"][:3]) == ["first_ap_v", "first_ap_v", "inst_freq_norm"]
    assert list(var["block"].cat.categories) == ["first_ap_v", "inst_freq_norm"]
    assert var["block"][3:].isna().all()
    np.testing.assert_array_equal(var["mean"], [NAN, NAN, NAN, 0.01, -70])
    np.testing.assert_array_equal(var["std"], [NAN, NAN, NAN, 0.005, 4])


def test_cells_are_described(folder: Path) -> None:
    mdata = gala2021(folder)
    obs = mdata.obs
    assert list(obs) == ["sample_id", "cluster", "cluster_id", "map_conf"]
    assert list(obs["sample_id"]) == ["SM_1", "SM_2", "SM_3", "SM_4"]
    assert list(obs["cluster"]) == ["Sst Myh8 Etv1", "Lamp5 Lsp1", "Sst Crh 4930553C11Rik", "Lamp5 Lsp1"]
    assert list(obs["cluster"].cat.categories) == ["Lamp5 Lsp1", "Sst Myh8 Etv1", "Sst Crh 4930553C11Rik"]
    assert list(mdata.uns["cluster_colors"]) == ["#DDACC9", "#FFDF11", "#B95541"]
    assert list(obs["cluster_id"]) == [33, 4, 36, 4]
    assert obs["cluster_id"].dtype == np.int64
    assert list(obs["map_conf"]) == ["I2", "Core", "I1", "Core"]
    assert list(obs["map_conf"].cat.categories) == ["Core", "I1", "I2", "I3"]


def test_taxonomy(folder: Path) -> None:
    mdata = gala2021(folder)
    tree = mdata.uns["taxonomy"]
    assert list(tree) == ["label", "parent", "x", "y", "leaf", "color"]
    expected = ["n3", "n60", "Vip Lmo1 Myl1", "Lamp5 Lsp1", "Sst Myh8 Etv1", "Sst Crh 4930553C11Rik"]
    assert list(tree["label"]) == expected
    assert list(tree["parent"]) == ["", "n3", "n60", "n60", "n3", "n3"]
    assert list(tree["x"]) == [2.5, 1.5, 1, 2, 3, 4]
    assert list(tree["y"]) == [0.5, 0.25, 0, 0, 0, 0]
    assert tree["leaf"].dtype == bool
    assert list(tree["leaf"]) == [False, False, True, True, True, True]
    assert list(tree["color"][:3]) == ["", "", "#FF88AD"]
    leaves = tree[tree["leaf"]].set_index("label")
    clusters = mdata.obs["cluster"].cat.categories
    assert list(leaves.loc[clusters, "color"]) == mdata.uns["cluster_colors"]


def test_lists_may_be_rows_or_columns(folder: Path) -> None:
    as_rows = gala2021(folder)
    content = arrays()
    lists = {key: value[:, None] for key, value in content.items() if key in KEYS and value.ndim == 1}
    write_mat(folder, **lists)
    assert_same(gala2021(folder), as_rows)


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.float64, object, str])
def test_ids_may_be_numbers_or_text(folder: Path, dtype: type) -> None:
    write_mat(folder, T_spec_id_label=np.array(CELLS).astype(dtype))
    assert list(gala2021(folder).obs_names) == list(map(str, CELLS))


def test_one_cell(folder: Path) -> None:
    content = arrays()
    one = {key: content[key][:1] for key in KEYS if len(content[key]) == 4}
    write_mat(folder, **one)
    mdata = gala2021(folder)
    assert {name: modality.shape for name, modality in mdata.mod.items()} == {"rna": (1, 3), "ephys": (1, 5)}


def assert_same(a: MuData, b: MuData) -> None:
    for name in ("rna", "ephys"):
        pd.testing.assert_frame_equal(a[name].to_df(), b[name].to_df())
    columns = ["sample_id", "cluster", "cluster_id", "map_conf"]
    pd.testing.assert_frame_equal(a.obs[columns], b.obs[columns], check_dtype=False)
    pd.testing.assert_frame_equal(a["ephys"].var, b["ephys"].var, check_dtype=False)
    assert list(a.uns["cluster_colors"]) == list(b.uns["cluster_colors"])
    trees = [mdata.uns["taxonomy"].reset_index(drop=True) for mdata in (a, b)]
    pd.testing.assert_frame_equal(*trees, check_dtype=False)


def test_written_and_read_back(folder: Path) -> None:
    mdata = gala2021(folder)
    mdata.write(folder / "a.h5mu")
    back = mudata.read_h5mu(folder / "a.h5mu")
    assert_same(back, mdata)
    assert list(back.obs["cluster"].cat.categories) == list(mdata.obs["cluster"].cat.categories)
    assert back.uns["taxonomy"]["leaf"].dtype == bool


def test_a_model_can_be_set_up(folder: Path) -> None:
    mdata = gala2021(folder)
    scvi_cae.CoupledAE.setup_mudata(mdata, labels_key="cluster")


def test_environment_variable(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "parent").mkdir()
    (tmp_path / "parent" / "gala2021").symlink_to(folder, target_is_directory=True)
    monkeypatch.setenv("SCVI_CAE_DATA", str(tmp_path / "parent"))
    assert gala2021().n_obs == 4


def test_missing_file_is_named(folder: Path) -> None:
    (folder / DATA).unlink()
    with pytest.raises(FileNotFoundError, match=rf"no {DATA} in .*{REGISTRY.base_url}.*directory="):
        gala2021(folder)


@pytest.mark.parametrize("key", KEYS)
def test_missing_keys_are_named(folder: Path, key: str) -> None:
    write_mat(folder, without=key)
    with pytest.raises(ValueError, match=rf"eqTE\.mat: no {key}; it holds .*clusterID"):
        gala2021(folder)


CHANGED = {
    "not numeric": ({"T_dat": np.array([["a"] * 3] * 4)}, "T_dat is not numeric"),
    "cells of numbers": ({"E_feature": np.full((4, 2), "1", dtype=object)}, "E_feature is not numeric"),
    "genes in rows": ({"T_dat": np.ones((3, 4))}, "T_dat is 3 x 4, not 4 x 3"),
    "features lost": ({"E_feature": np.ones((4, 1))}, "E_feature is 4 x 1, not 4 x 2"),
    "cells lost": ({"E_pc_scaled": np.ones((3, 3))}, "E_pc_scaled is 3 x 3, not 4 x 3"),
    "list lost": ({"cluster_id": np.array([1, 2, 3])}, "cluster_id is 1 x 3, not a list of 4"),
    "list of rows": ({"gene_id": np.ones((2, 3))}, "gene_id is 2 x 3, not a list, one per gene"),
    "no cells": ({"T_spec_id_label": np.zeros((0, 0))}, "T_spec_id_label is empty"),
    "infinite score": (
        {"E_feature": np.array([[1, 2], [3, 4], [5, np.inf], [7, 8]])},
        "E_feature is infinite for cell '1000000001' and 'v_baseline'",
    ),
    "infinite as float32": (
        {"E_feature": np.full((4, 2), 1e39)},
        "E_feature is infinite for cell '601506507'",
    ),
    "infinite expression": (
        {"T_dat": np.array([[0, 1, 2], [np.inf, 0, 0], [0, 0, 0], [0, 0, 0]])},
        "T_dat is infinite for cell '601506492' and 'Sst'",
    ),
    "negative expression": (
        {"T_dat": np.array([[0, 1, 2], [0, -1, 0], [0, 0, 0], [0, 0, 0]])},
        r"T_dat is -1\.0 for cell '601506492' and 'Gad1'\. It must hold log1p",
    ),
    "missing expression": ({"T_dat": np.full((4, 3), NAN)}, "T_dat is nan for cell '601506507' and 'Sst'"),
    "gene twice": ({"gene_id": objects("Sst", "Gad1", "Sst ")}, "gene_id lists 'Sst' more than once"),
    "gene without name": ({"gene_id": objects("Sst", "  ", "Vip")}, "entry 2 of gene_id is not a name"),
    "cell twice": (
        {"T_spec_id_label": np.array([1, 2, 3, 2])},
        "T_spec_id_label lists '2' more than once. Keep each cell once",
    ),
    "cell without id": (
        {"T_spec_id_label": np.array([1, NAN, 3, 2])},
        "entry 2 of T_spec_id_label is not a name",
    ),
    "other cells": (
        {"E_spec_id_label": np.array([CELLS[0], CELLS[2], CELLS[1], CELLS[3]])},
        "row 2 is cell '601506492' in T_spec_id_label, but '1000000001' in E_spec_id_label",
    ),
    "unpaired": (
        {"E_ispaired": np.array([1, 1, 0, 1])},
        "cell '1000000001' is unpaired according to E_ispaired",
    ),
    "maybe paired": ({"T_ispaired": np.array([1, NAN, 1, 1])}, "entry 2 of T_ispaired is nan"),
    "cluster missing": (
        {"cluster": np.array(["Lamp5 Lsp1", NAN, "Lamp5 Lsp1", "Lamp5 Lsp1"], dtype=object)},
        "entry 2 of cluster is not a name",
    ),
    "cluster of two numbers": ({"cluster_id": np.array([33, 4, 36, 5])}, "cluster 'Lamp5 Lsp1' differ in"),
    "number of two clusters": ({"cluster_id": np.array([4, 4, 36, 4])}, "cluster_id 4 differ in cluster"),
    "fraction of a number": ({"cluster_id": np.array([33.5, 4, 36, 4])}, r"entry 1 of cluster_id is 33\.5"),
    "number as text": ({"cluster_id": objects("33", "4", "36", "4")}, "entry 1 of cluster_id is '33'"),
    "cluster of two colours": (
        {"cluster_color": objects("#FFDF11", "#DDACC9", "#B95541", "#DDACC8")},
        "cluster 'Lamp5 Lsp1' differ in cluster_id or cluster_color",
    ),
    "no colour": (
        {"cluster_color": objects("#FFDF11", "pink", "#B95541", "pink")},
        "cluster_color of cell '601506492' is 'pink'",
    ),
    "unknown confidence": (
        {"map_conf": objects("Core", "I1", "PoorQ", "I2")},
        "map_conf of cell '1000000001' is 'PoorQ', not one of Core, I1, I2, I3",
    ),
    "not in the taxonomy": (
        {"cluster": objects("Sst Myh8 Etv1 ", "n60", "Sst Crh 4930553C11Rik", "n60")},
        rf"{TAXONOMY}: no leaf 'n60'",
    ),
    "features in another order": (
        {"pc_name": objects("first_ap_v_1", "first_ap_v_0", "inst_freq_norm_0")},
        rf"{NAMES}: feature 1 is 'first_ap_v_0', but 'first_ap_v_1' in .*pc_name",
    ),
    "another feature": (
        {"feature_name": objects("tau", "sag")},
        rf"{NAMES}: feature 5 is 'v_baseline', but 'sag' in",
    ),
    "scale lost": ({"feature_std": np.array([1])}, "feature_std is 1 x 1, not a list of 2, one per feature"),
    "no scale": ({"feature_std": np.array([1, 0])}, "feature_std of 'v_baseline' is not > 0"),
    "missing mean": ({"feature_mean": np.array([1, NAN])}, "entry 2 of feature_mean is nan"),
}


@pytest.mark.parametrize(("changes", "message"), CHANGED.values(), ids=CHANGED)
def test_another_layout_is_refused(folder: Path, changes: dict[str, Any], message: str) -> None:
    write_mat(folder, **changes)
    with pytest.raises(ValueError, match=message) as caught:
        gala2021(folder)
    assert str(folder) in str(caught.value)


NOT_MAT = {
    "pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 10\n",
        "Git LFS pointer.*git lfs",
    ),
    "page": (b"<!DOCTYPE html><html>not found</html>", "not a MAT file of version 5.*DOCTYPE.*Replace it"),
    "HDF5": (b"MATLAB 7.3 MAT-file, Platform: GLNXA64" + bytes(500), r"not a MAT file of version 5.*7\.3"),
    "empty": (b"", "not a MAT file"),
    "only the header": (b"MATLAB 5.0 MAT-file, Platform: GLNXA64", "damaged.*Replace it"),
}


@pytest.mark.parametrize(("content", "message"), NOT_MAT.values(), ids=NOT_MAT)
def test_what_is_no_mat_file_is_refused(folder: Path, content: bytes, message: str) -> None:
    (folder / DATA).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        gala2021(folder)


@pytest.mark.parametrize("compressed", [False, True])
def test_what_is_cut_off_is_refused(folder: Path, compressed: bool) -> None:
    content = arrays()
    savemat(folder / DATA, {key: content[key] for key in KEYS}, do_compression=compressed)
    written = (folder / DATA).read_bytes()
    for end in range(19, len(written), 41):
        (folder / DATA).write_bytes(written[:end])
        with pytest.raises(ValueError, match=r"damaged|no .*; it holds"):
            gala2021(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ("[1, 2]", "not a JSON object of strings"),
        ('{"tau": 1}', "not a JSON object of strings"),
        ('{"tau": "tau"}', "names 1 features, but .* has 5"),
        (json.dumps(DISPLAY | {"v_baseline": "tau"}), "several features have the display name 'tau'"),
    ],
)
def test_other_names_are_refused(folder: Path, content: str, message: str) -> None:
    (folder / NAMES).write_text(content)
    with pytest.raises(ValueError, match=rf"{NAMES}: .*{message}"):
        gala2021(folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"parent"', '"above"', "no column 'parent'.*'above'"),
        ("2.5,0.5", "here,0.5", "'x' is not a number"),
        ("2.5,0.5", "2.5,NA", "'y' is not a number"),
        ('"Lamp5 Lsp1"', '"Sst Myh8 Etv1"', "node 'Sst Myh8 Etv1' is listed more than once"),
        ('"n60","n3"', '"n60","n2"', "the parent of node 'n60', 'n2', is not listed"),
        ('TRUE,"Lamp5', 'NA,"Lamp5', "no leaf 'Lamp5 Lsp1'"),
    ],
)
def test_another_taxonomy_is_refused(folder: Path, old: str, new: str, message: str) -> None:
    (folder / TAXONOMY).write_text(TREE.replace(old, new))
    with pytest.raises(ValueError, match=rf"{TAXONOMY}: .*{message}"):
        gala2021(folder)


@pytest.fixture(scope="module")
def published() -> Path:
    """The published files but the .mat file."""
    folder = Path(os.environ.get("SCVI_CAE_DATA", "")) / "gala2021"
    if "SCVI_CAE_DATA" not in os.environ or not (folder / NAMES).is_file():
        pytest.skip("needs the real files: set SCVI_CAE_DATA to the folder that holds gala2021/")
    return folder


def test_real_files_are_the_registered_ones(published: Path) -> None:
    for name in (NAMES, TAXONOMY):
        assert git_blob_id(published / name) == REGISTRY.blobs[name]


def test_real_names_and_taxonomy(published: Path, tmp_path: Path) -> None:
    """The real features and types, of cells made up."""
    for name in (NAMES, TAXONOMY):
        shutil.copy(published / name, tmp_path)
    internal = np.array(list(json.loads((published / NAMES).read_text())), dtype=object)
    leaves = pd.read_csv(published / TAXONOMY).query("leaf == True & 70 < x").sort_values("x")
    n = len(leaves)
    rng = np.random.default_rng(0)
    write_mat(
        tmp_path,
        T_dat=rng.exponential(size=(n, 3)),
        E_pc_scaled=rng.normal(size=(n, 44)),
        pc_name=internal[:44],
        E_feature=rng.normal(size=(n, 24)),
        feature_name=internal[44:],
        feature_mean=np.zeros(24),
        feature_std=np.ones(24),
        sample_id=objects(*map(str, range(n))),
        cluster=leaves["label"].to_numpy(dtype=object),
        cluster_id=np.arange(n),
        cluster_color=leaves["col"].to_numpy(dtype=object),
        map_conf=objects(*["Core"] * n),
        **dict.fromkeys(["T_spec_id_label", "E_spec_id_label"], np.arange(1, n + 1)),
        **dict.fromkeys(["T_ispaired", "E_ispaired"], np.ones(n)),
    )
    mdata = gala2021(tmp_path)
    assert any(label.endswith(" ") for label in leaves["label"])
    assert list(mdata.obs["cluster"]) == list(leaves["label"].str.strip())

    var = mdata["ephys"].var
    assert var.index[0] == "spc0 first AP v"
    assert var.index[-1] == "long sq. stim. amp."
    sizes = var.groupby("block", observed=True).size()
    assert list(sizes) == [5, 6, 3, 2, 4, 6, 2, 2, 2, 3, 2, 7]
    assert list(sizes.index[[0, -1]]) == ["first_ap_v", "inst_freq_norm"]
    assert var.groupby("kind", observed=True).size().to_dict() == {"spc": 44, "ipfx": 24}

    tree = mdata.uns["taxonomy"]
    assert len(tree) == 176
    assert tree["leaf"].sum() == 93
    assert list(tree.loc[tree["parent"] == "", "label"]) == ["n3"]
    assert (tree["leaf"] == ~tree["label"].isin(tree["parent"])).all()
    assert ((tree["color"] != "") == tree["leaf"]).all()
    mdata.write(tmp_path / "a.h5mu")
    assert_same(mudata.read_h5mu(tmp_path / "a.h5mu"), mdata)
