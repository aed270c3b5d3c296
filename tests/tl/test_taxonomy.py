"""Trees of cell types."""

from __future__ import annotations

import io
import os
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import cut_tree, leaves_list, linkage
from scipy.spatial.distance import pdist

import scvi_cae
from scvi_cae.tl import Taxonomy

#: In the format of the published dendrogram: unsorted rows, a leaf that ends in a blank, a merge of three.
CSV = """"x","y","pch","col","height","leaf","label","parent"
3.5,0.9,NA,NA,0.9,NA,"n1",NA
1.5,0.2,NA,NA,0.2,NA,"n3","n2"
2,0,19,"#AAAAAA",0,TRUE,"Sst Myh8 ","n3"
1,0,19,"#BBBBBB",0,TRUE,"Sst Chodl","n3"
3,0,19,"#CCCCCC",0,TRUE,"Pvalb","n2"
2.2,0.5,NA,NA,0.5,NA,"n2","n1"
6,0,19,"#DDDDDD",0,TRUE,"None","n4"
5,0,19,"#EEEEEE",0,TRUE,"Vip","n4"
4,0,19,"#FFFFFF",0,TRUE,"Sncg","n4"
5,0.3,NA,NA,0.3,NA,"n4","n1"
"""


@pytest.fixture
def tree():
    return Taxonomy.from_csv(io.StringIO(CSV))


def test_a_csv_is_read_in_the_order_of_its_drawing(tree, tmp_path):
    assert tree.root == "n1"
    assert tree.leaves == ["Sst Chodl", "Sst Myh8", "Pvalb", "Sncg", "Vip", "None"]
    assert tree.nodes == ["n1", "n2", "n3", "Sst Chodl", "Sst Myh8", "Pvalb", "n4", "Sncg", "Vip", "None"]
    assert tree.graph.nodes["n2"]["height"] == 0.5
    (tmp_path / "tree.csv").write_text(CSV)
    assert Taxonomy.from_csv(tmp_path / "tree.csv").nodes == tree.nodes


def test_relatives(tree):
    assert tree.ancestors("Sst Myh8 ") == ["n3", "n2", "n1"]
    assert tree.ancestors("n1") == []
    assert tree.descendants("n2") == ["n3", "Sst Chodl", "Sst Myh8", "Pvalb"]
    assert tree.descendants("Vip") == []
    assert tree.order(["n4", "Pvalb", "n2"]) == ["n2", "Pvalb", "n4"]


def test_a_subtree_is_a_taxonomy(tree):
    part = tree.subtree("n2")
    assert (part.root, part.leaves) == ("n2", ["Sst Chodl", "Sst Myh8", "Pvalb"])
    assert part.graph.nodes["n3"]["height"] == 0.2
    assert repr(part) == "Taxonomy of 3 leaves and 2 internal nodes"


def test_merges_go_up(tree):
    assert tree.merges() == [
        ("n3", ["Sst Chodl", "Sst Myh8"]),
        ("n4", ["Sncg", "Vip", "None"]),
        ("n2", ["n3", "Pvalb"]),
        ("n1", ["n2", "n4"]),
    ]
    assert tree.resolutions() == [1, 2, 3, 5, 6]


@pytest.mark.parametrize(
    ("n", "rounding", "achieved"),
    [(1, "up", 1), (4, "up", 5), (4, "down", 3), (5, "up", 5), (5, "down", 5), (6, "up", 6), (60, "up", 6)],
)
def test_merging_may_overshoot(tree, n, rounding, achieved):
    classes = tree.merge_to(n, rounding=rounding)
    assert list(classes) == tree.leaves
    assert len(set(classes.values())) == achieved


def test_labels_without_cells_are_no_class(tree):
    labels = ["Vip", None, "Sst Chodl", "Vip ", np.nan, "Pvalb"]
    merged = tree.merge(pd.Series(labels, index=list("abcdef")), 2)
    # A merged node gives its name even if only one of its leaves has cells.
    assert merged.tolist() == ["n4", np.nan, "n2", "n4", np.nan, "n2"]
    assert merged.cat.categories.tolist() == ["n2", "n4"]
    assert merged.index.tolist() == list("abcdef")
    assert tree.merge(labels, 3).cat.categories.tolist() == ["Sst Chodl", "Pvalb", "Vip"]
    assert tree.resolutions(labels) == [1, 2, 3]
    # Other labels than those that are merged choose the cut.
    assert tree.merge(["Sst Chodl", "Sncg"], 2, counted=["Sst Chodl", "Sst Myh8", "Vip"]).tolist() == [
        "n3",
        "Sncg",
    ]


def test_labels_may_be_internal_nodes(tree):
    assert tree.merge_to(2, ["n3", "n4"])["n3"] == "n3"
    assert tree.merge(["n3", "Vip"], 1).tolist() == ["n1", "n1"]


def test_a_linkage_is_cut_as_scipy_cuts_it():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(15, 3))
    z = linkage(points, "average")
    names = [f"type {i}" for i in range(15)]
    tree = Taxonomy.from_linkage(z, names)
    assert tree.leaves == [names[i] for i in leaves_list(z)]
    for n in (1, 2, 7, 15):
        classes = tree.merge_to(n)
        expected = cut_tree(z, n_clusters=n).ravel()
        assert len({(classes[name], group) for name, group in zip(names, expected, strict=True)}) == n


@given(
    n_leaves=st.integers(2, 12),
    seed=st.integers(0, 1000),
    n=st.integers(1, 15),
    rounding=st.sampled_from(["up", "down"]),
)
def test_merging_keeps_to_the_tree(n_leaves, seed, n, rounding):
    rng = np.random.default_rng(seed)
    # Points on a grid, so that some merge at the same height.
    z = linkage(pdist(rng.integers(0, 4, size=(n_leaves, 2))), "complete")
    tree = Taxonomy.from_linkage(z, [f"t{i}" for i in range(n_leaves)])
    classes = tree.merge_to(n, rounding=rounding)
    achieved = len(set(classes.values()))
    possible = [k for k in tree.resolutions() if (k >= n if rounding == "up" else k <= n)]
    assert achieved == (min(possible, default=achieved) if rounding == "up" else max(possible))
    assert possible or achieved == max(tree.resolutions())
    for leaf, name in classes.items():
        assert name in (leaf, *tree.ancestors(leaf))
    assert Taxonomy.from_frame(tree.to_frame()).nodes == tree.nodes


def test_families_of_types():
    tree = Taxonomy.from_pairs({"a2": "a", "a1": "a", "b1": "b"})
    assert (tree.root, tree.leaves) == ("root", ["a2", "a1", "b1"])
    # The tree does not order the merges of families.
    assert tree.resolutions() == [1, 2, 3]
    assert Taxonomy.from_pairs({"a2": "a", "a1": "a"}).root == "a"


def test_columns_of_labels():
    cells = pd.DataFrame(
        {
            "type": ["b1", "a2", "a2", None, "c1", "a1"],
            "family": ["b", "a", "a", "c", None, "a"],
            "class": ["inh", "inh", "inh", "exc", "exc", "inh"],
        }
    )
    tree = Taxonomy.from_pairs(cells)
    assert tree.ancestors("a1") == ["a", "inh", "root"]
    assert tree.ancestors("c1") == ["exc", "root"]
    assert tree.leaves == ["c1", "a1", "a2", "b1"]
    mdata = scvi_cae.datasets.simulate_patchseq(n_cells=100)
    tree = Taxonomy.from_pairs(mdata.obs[["cell_type", "family"]])
    assert set(tree.leaves) == set(mdata.obs["cell_type"].dropna())


def test_the_graph_is_networkx(tree):
    assert nx.lowest_common_ancestor(tree.graph, "Sst Chodl", "Pvalb") == "n2"
    assert nx.get_node_attributes(tree.graph, "height")["n3"] == 0.2
    with pytest.raises(nx.NetworkXError):
        tree.graph.add_edge("n1", "n9")


def edges(*pairs):
    return lambda: Taxonomy(nx.DiGraph(pairs))


def table(**columns):
    return lambda: Taxonomy.from_frame(pd.DataFrame(columns))


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (edges(("a", "b"), ("c", "b")), "more than one parent: 'b'"),
        (edges(("a", "b"), ("c", "d")), "without a parent: 'a', 'c'"),
        (edges(("r", "a"), ("b", "c"), ("c", "b")), "their own ancestors: "),
        (edges(("a", "b"), ("a", "b ")), "same name: 'b'"),
        (edges(("a", " ")), "no name"),
        (lambda: Taxonomy(nx.DiGraph()), "at least one node"),
        (table(name=["a"]), "no column 'label', 'parent'; it has 'name'"),
        (table(label=["a", "b", "b"], parent=[None, "a", "a"]), "not unique: 'b'"),
        (table(label=["a", "b"], parent=[None, "c"]), "not among the labels of the taxonomy: 'c'"),
        (table(label=["a", "b"], parent=[None, "a"], y=[1.0, 2.0]), "higher in the tree.*'b'"),
        (table(label=["a", "b"], parent=[None, "a"], y=[np.nan, 0.0]), "no height: 'b'"),
        (lambda: Taxonomy.from_linkage(linkage([[0.0], [1.0]]), ["a"]), "1 labels for a linkage of 2"),
        (lambda: Taxonomy.from_linkage(linkage([[0.0], [1.0]]), ["a", "n1"]), "internal node.*'n1'"),
        (lambda: Taxonomy.from_linkage([[0, 1, 2]], ["a", "b"]), "4 columns"),
        (lambda: Taxonomy.from_pairs({}), "No pairs"),
        (lambda: Taxonomy.from_pairs({"a": "b", "b": "a"}), "their own ancestors"),
        (lambda: Taxonomy.from_pairs({"a": "root", "b": "c"}), "root='root' is the name of a label"),
        (lambda: Taxonomy.from_pairs(pd.DataFrame({"t": ["a"]})), "at least two columns"),
        (
            lambda: Taxonomy.from_pairs(pd.DataFrame({"t": ["a", "a"], "f": ["x", "y"]})),
            "more than one parent: 'a'; the parents of 'a' are 'x', 'y'",
        ),
        (
            lambda: Taxonomy.from_pairs(pd.DataFrame({"t": ["a", "x"], "f": ["x", "y"]})),
            "'x' is a label of column 'f' and of 't'",
        ),
    ],
)
def test_it_names_what_is_not_a_tree(make, problem):
    with pytest.raises(ValueError, match=problem):
        make()


def test_it_names_what_cannot_be_merged(tree):
    for call in (
        lambda: tree.ancestors("Meis2"),
        lambda: tree.merge(["Vip", "Meis2"], 2),
        lambda: tree.merge_to(2, ["Meis2"]),
        lambda: tree.merge(["Meis2"], 2, counted=["Vip"]),
    ):
        with pytest.raises(KeyError, match="'Meis2' is not in the taxonomy.*set them to None"):
            call()
    for n in (0, 1.5, True):
        with pytest.raises(ValueError, match="whole number"):
            tree.merge_to(n)
    with pytest.raises(ValueError, match="'nearest'"):
        tree.merge_to(2, rounding="nearest")
    with pytest.raises(ValueError, match="all are missing"):
        tree.merge([None], 2)


@pytest.mark.skipif(
    "SCVI_CAE_DATA" not in os.environ, reason="SCVI_CAE_DATA does not name a folder of real data"
)
def test_the_published_taxonomy():
    """Counts of the published analysis, which merges the types of its cells below node n59."""
    path = Path(os.environ["SCVI_CAE_DATA"]) / "gala2021" / "dend_RData_Tree_20181220.csv"
    if not path.exists():
        pytest.skip("SCVI_CAE_DATA has no published dendrogram")
    whole = Taxonomy.from_csv(path)
    assert (len(whole.nodes), len(whole.leaves)) == (176, 93)
    tree = whole.subtree("n59")
    assert (len(tree.nodes), len(tree.leaves), len(tree.merges())) == (112, 60, 52)
    labels = [leaf for leaf in tree.leaves if leaf != "Vip Igfbp6 Pltp"]
    achieved = {n: tree.merge(labels, n).nunique() for n in range(5, 61, 5)}
    assert achieved == {n: n for n in range(5, 60, 5)} | {15: 21, 20: 21, 60: 59}
    rare = {"Krt73", "Clrn1", "Slc17a8", "Pax6", "Car10", "Itga4"}
    common = [label for label in labels if label.split()[-1] not in rare]
    assert len(common) == 53
    merged = tree.merge(common, 33).cat.categories.tolist()
    assert len(merged) == 33
    assert merged[:6] == ["n81", "n82", "Lamp5 Lsp1", "Lamp5 Lhx6", "n87", "Sncg Vip Itih5"]
    assert merged[-3:] == ["n114", "n112", "Pvalb Vipr2"]
