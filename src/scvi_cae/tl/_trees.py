"""Graphs of trees, made from tables, hierarchical clusterings and pairs of names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import networkx as nx
import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import is_valid_linkage, to_tree

from scvi_cae._arguments import shorten
from scvi_cae.data import category_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import ArrayLike


def checked_tree(graph: nx.DiGraph) -> nx.DiGraph:
    """Copy of a tree with stripped names and a height at every node; see :class:`Taxonomy`."""
    tree: nx.DiGraph = nx.DiGraph()
    names = {node: _name(node) for node in graph}
    tree.add_nodes_from((names[node], dict(graph.nodes[node])) for node in graph)
    if len(tree) < len(graph):
        raise ValueError(
            f"Nodes of the taxonomy have the same name: {shorten(_duplicates(names.values()))}. Rename them."
        )
    tree.add_edges_from((names[parent], names[child]) for parent, child in graph.edges)
    _check(tree)
    if not all("height" in tree.nodes[node] for node in tree):
        for node in nx.dfs_postorder_nodes(tree):
            below = [tree.nodes[child]["height"] for child in tree[node]]
            tree.nodes[node]["height"] = 1.0 + max(below) if below else 0.0
    for node in tree:
        tree.nodes[node]["height"] = float(tree.nodes[node]["height"])
    inverted = [
        child
        for parent, child in tree.edges
        if not tree.nodes[child]["height"] <= tree.nodes[parent]["height"]
    ]
    if inverted:
        raise ValueError(
            f"Nodes are higher in the tree than their parents, or have no height: {shorten(inverted)}. The "
            "linkage methods 'centroid' and 'median' can produce such nodes; use method='average'."
        )
    return tree


def tree_of_table(table: pd.DataFrame) -> nx.DiGraph:
    """Make a tree from a table; see :meth:`Taxonomy.from_frame`."""
    absent = [column for column in ("label", "parent") if column not in table]
    if absent:
        raise ValueError(
            f"The table of a taxonomy has no column {shorten(absent)}; it has {shorten(list(table), 20)}. "
            "Add or rename columns."
        )
    labels = pd.Series([_name(label) for label in table["label"]], index=table.index, dtype=object)
    parents = category_names(table["parent"]).map(lambda name: name and name.strip())
    if not labels.is_unique:
        raise ValueError(
            f"Labels of the taxonomy are not unique: {shorten(_duplicates(labels))}. Rename them."
        )
    unknown = sorted(set(parents.dropna()) - set(labels))
    if unknown:
        raise ValueError(
            f"Parents are not among the labels of the taxonomy: {shorten(unknown)}. Add a row for each."
        )
    graph: nx.DiGraph = nx.DiGraph()
    heights = table["y"] if "y" in table else [None] * len(table)
    for label, height in zip(labels, heights, strict=True):
        graph.add_node(label, **({} if height is None else {"height": height}))
    order = np.argsort(table["x"].to_numpy(dtype=float), kind="stable") if "x" in table else range(len(table))
    for row in order:
        if not pd.isna(parents.iloc[row]):
            graph.add_edge(parents.iloc[row], labels.iloc[row])
    return graph


def tree_of_linkage(linkage: ArrayLike, labels: Sequence[str]) -> nx.DiGraph:
    """Make a tree from a hierarchical clustering by SciPy; see :meth:`Taxonomy.from_linkage`."""
    z = np.asarray(linkage, dtype=float)
    is_valid_linkage(z, throw=True)
    leaves = [_name(label) for label in labels]
    if len(leaves) != len(z) + 1:
        raise ValueError(
            f"{len(leaves)} labels for a linkage of {len(z) + 1} observations. Pass one label for each."
        )
    names = leaves + [f"n{number + 1}" for number in range(len(z))]
    if len(set(names)) < len(names):
        raise ValueError(
            f"Labels are not unique, or equal to the name of an internal node (n1, n2, ...): "
            f"{shorten(_duplicates(names))}. Rename them."
        )
    graph: nx.DiGraph = nx.DiGraph()
    _, clusters = to_tree(z, rd=True)
    for cluster in clusters:
        graph.add_node(names[cluster.id], height=cluster.dist)
        if not cluster.is_leaf():
            for child in (cluster.get_left(), cluster.get_right()):
                graph.add_edge(names[cluster.id], names[child.id])
    return graph


def tree_of_pairs(pairs: Mapping[str, str] | pd.DataFrame, root: str) -> nx.DiGraph:
    """Make a tree from pairs of child and parent; see :meth:`Taxonomy.from_pairs`."""
    edges = _edges_of_columns(pairs) if isinstance(pairs, pd.DataFrame) else list(pairs.items())
    graph: nx.DiGraph = nx.DiGraph()
    for child, parent in edges:
        graph.add_edge(_name(parent), _name(child))
    if not len(graph):
        raise ValueError("No pairs of a label and its parent. A taxonomy needs at least one.")
    several = [node for node, degree in graph.in_degree() if degree > 1]
    if several:
        parents = list(graph.predecessors(several[0]))
        raise ValueError(
            f"Labels with more than one parent: {shorten(several)}; the parents of {several[0]!r} are "
            f"{shorten(parents)}. Choose one parent for each label, for example the most frequent one."
        )
    tops = [node for node, degree in graph.in_degree() if degree == 0]
    if len(tops) > 1:
        if _name(root) in graph:
            raise ValueError(f"root={root!r} is the name of a label. Choose another name: root=...")
        graph.add_edges_from((root, top) for top in tops)
    return graph


def _name(label: object) -> str:
    """Name of a node as text, stripped."""
    name = "" if label is None or (isinstance(label, float) and np.isnan(label)) else str(label).strip()
    if not name:
        raise ValueError("A node of the taxonomy has no name. Name it, or leave it out.")
    return name


def _duplicates(names: Iterable[str]) -> list[str]:
    column = pd.Series(list(names), dtype=object)
    return column[column.duplicated()].drop_duplicates().tolist()


def _check(graph: nx.DiGraph) -> None:
    """Raise an error that names the problem if a graph is not a tree."""
    if not len(graph):
        raise ValueError("A taxonomy needs at least one node.")
    several = [node for node, degree in graph.in_degree() if degree > 1]
    if several:
        raise ValueError(f"Nodes with more than one parent: {shorten(several)}. Choose one parent for each.")
    roots = [node for node, degree in graph.in_degree() if degree == 0]
    if len(roots) > 1:
        raise ValueError(
            f"Nodes without a parent: {shorten(roots)}. A tree has one root; add a parent of the others."
        )
    if not nx.is_arborescence(graph):
        cycle = [parent for parent, _ in nx.find_cycle(graph)]
        raise ValueError(f"Nodes that are their own ancestors: {shorten(cycle)}. Remove one of their edges.")


def _edges_of_columns(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Children and parents from columns of labels, finest first."""
    if table.shape[1] < 2:
        raise ValueError(
            "Pass at least two columns of labels, from the finest to the coarsest, not "
            f"{list(table.columns)}."
        )
    rows = table.drop_duplicates().sort_values(list(table.columns)[::-1])
    names = pd.DataFrame({number: category_names(rows.iloc[:, number]) for number in range(rows.shape[1])})
    columns: dict[str, int] = {}
    edges: dict[tuple[str, str], None] = {}
    for row in names.to_numpy(dtype=object):
        if row[0] is None:
            continue
        levels = [(number, name.strip()) for number, name in enumerate(row) if name is not None]
        for number, name in levels:
            if columns.setdefault(name, number) != number:
                raise ValueError(
                    f"{name!r} is a label of column {table.columns[columns[name]]!r} and of "
                    f"{table.columns[number]!r}. Rename one of them."
                )
        for (_, child), (_, parent) in zip(levels[:-1], levels[1:], strict=True):
            edges[child, parent] = None
    return list(edges)
