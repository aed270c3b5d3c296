"""Trees of cell types, and merging of types along them."""

from __future__ import annotations

from bisect import bisect_left
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeAlias

import networkx as nx
import numpy as np
import pandas as pd

from scvi_cae._arguments import check_whole, shorten
from scvi_cae._docstrings import insert_descriptions

from ._labels import as_text
from ._trees import checked_tree, tree_of_linkage, tree_of_pairs, tree_of_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path
    from typing import Self, TextIO

    from numpy.typing import ArrayLike

#: Rounding if no cut of the tree has exactly the requested number of classes.
Rounding: TypeAlias = Literal["up", "down"]

_describe = insert_descriptions(
    node="Name of a node.",
    n="Requested number of classes, at least 1.",
    rounding="""
        A merge may join three or more classes, so that no cut gives exactly ``n``. ``"up"`` (default): the
        smallest possible number of at least ``n``, as in Gala et al. (2021); ``"down"``: the largest possible
        number of at most ``n``. With fewer labels than ``n``, nothing is merged.
    """,
    KeyError="If a name or label is not in the taxonomy.",
    ValueError="If ``n`` or ``rounding`` is invalid, or all labels are missing.",
)


class Taxonomy:
    """A tree of cell types: leaves are types, internal nodes are groups of types.

    Use :meth:`from_csv` for a published dendrogram, :meth:`from_linkage` for a hierarchical clustering by
    SciPy, and :meth:`from_pairs` for types and their families.

    Parameters
    ----------
    graph
        Directed tree from parents to children; its nodes are names. The order of children, from left to
        right, is that of their edges. Nodes may have an attribute ``height``, at which their children merge;
        no node may be higher than its parent. Without this attribute, the height of a node is the number of
        levels below it.

    Attributes
    ----------
    graph : networkx.DiGraph
        The tree, frozen, with the attribute ``height`` at every node, for use with networkx.
    root : str
        Name of the root.
    nodes : list of str
        All nodes, parents before their children, from left to right.
    leaves : list of str
        The leaves, from left to right.

    Raises
    ------
    ValueError
        If the graph is not a tree, the name of a node is blank, or a node is higher than its parent.

    Notes
    -----
    White space at the ends of names is removed, in the tree, in arguments and in labels of cells: some leaves
    of the published dendrogram end in a blank, which data may or may not have.

    Examples
    --------
    >>> from scvi_cae.tl import Taxonomy
    >>> tree = Taxonomy.from_pairs(
    ...     {"Sst Chodl": "Sst", "Sst Hpse": "Sst", "Vip Lmo1": "Vip", "Vip Htr1f": "Vip"}
    ... )
    >>> tree.ancestors("Sst Chodl")
    ['Sst', 'root']
    >>> tree.descendants("Vip")
    ['Vip Lmo1', 'Vip Htr1f']
    >>> tree.merge(["Vip Lmo1", "Sst Hpse", "Sst Chodl", None], n=2).tolist()
    ['Vip', 'Sst', 'Sst', nan]
    """

    def __init__(self, graph: nx.DiGraph) -> None:
        self.graph: nx.DiGraph = nx.freeze(checked_tree(graph))
        self.root: str = next(node for node, degree in self.graph.in_degree() if degree == 0)
        self.nodes: list[str] = list(nx.dfs_preorder_nodes(self.graph, self.root))
        self.leaves: list[str] = [node for node in self.nodes if self.graph.out_degree(node) == 0]
        self._heights: dict[str, float] = dict(self.graph.nodes(data="height"))
        self._position = {node: position for position, node in enumerate(self.nodes)}

    @classmethod
    def from_csv(cls, path: str | Path | TextIO) -> Self:
        r"""Read a dendrogram in the format of the published taxonomy of mouse cortex.

        Parameters
        ----------
        path
            Path or open file of comma-separated values, with a row for each node and the columns ``label``
            (name), ``parent`` (name of the parent; empty or ``NA`` for the root), ``y`` (height at which its
            children merge) and ``x`` (position from left to right). Without ``y``, heights are numbers of
            levels; without ``x``, the order is that of the rows. Other columns are ignored.

        Returns
        -------
        The taxonomy.

        Raises
        ------
        ValueError
            If the column ``label`` or ``parent`` is missing, a label is blank or not unique, the number of
            roots is not one, or a parent is not a node.

        References
        ----------
        Tasic et al., "Shared and distinct transcriptomic cell types across neocortical areas", Nature 2018.
        Gala et al. (2021) use its dendrogram.

        Examples
        --------
        >>> import io
        >>> from scvi_cae.tl import Taxonomy
        >>> file = io.StringIO('x,y,label,parent\n1,1,n1,NA\n2,0,"Vip ",n1\n1,0,Sst,n1\n')
        >>> Taxonomy.from_csv(file).leaves
        ['Sst', 'Vip']
        """
        table = pd.read_csv(
            path,
            keep_default_na=False,  # a type may be named "None"
            na_values={column: ["", "NA", "NaN", "nan"] for column in ("parent", "x", "y")},
            dtype={"label": str, "parent": str},
        )
        return cls.from_frame(table)

    @classmethod
    def from_frame(cls, table: pd.DataFrame) -> Self:
        """Make a taxonomy from a table, such as that of :meth:`to_frame`.

        Parameters
        ----------
        table
            Columns as in :meth:`from_csv`; the parent of the root is missing or empty.

        Returns
        -------
        The taxonomy.

        Raises
        ------
        ValueError
            As in :meth:`from_csv`.
        """
        return cls(tree_of_table(table))

    @classmethod
    def from_linkage(cls, linkage: ArrayLike, labels: Sequence[str]) -> Self:
        """Make a taxonomy from a hierarchical clustering by SciPy.

        Parameters
        ----------
        linkage
            ``(n_leaves - 1, 4)`` array, as returned by :func:`scipy.cluster.hierarchy.linkage`, for example
            of the mean expression of types over the training cells. Leave out types with few cells: their
            means are noisy, and they remain separate classes until the last merges.
        labels
            ``(n_leaves,)`` names of the clustered observations.

        Returns
        -------
        The taxonomy. Internal nodes are named ``n1``, ``n2``, ... in the order of merging; heights are the
        distances of the linkage, and leaves have the order of SciPy's dendrogram.

        Raises
        ------
        ValueError
            If ``linkage`` is invalid; if the number of labels is not that of the leaves; if labels are
            duplicated, or equal to the name of an internal node; if a node is higher than its parent.

        Examples
        --------
        >>> from scipy.cluster.hierarchy import linkage
        >>> from scvi_cae.tl import Taxonomy
        >>> tree = Taxonomy.from_linkage(linkage([[0.0], [1.0], [5.0]]), ["Pvalb", "Sst", "Vip"])
        >>> tree.merge_to(2)
        {'Vip': 'Vip', 'Pvalb': 'n1', 'Sst': 'n1'}
        """
        return cls(tree_of_linkage(linkage, labels))

    @classmethod
    def from_pairs(cls, pairs: Mapping[str, str] | pd.DataFrame, root: str = "root") -> Self:
        """Make a taxonomy from pairs of child and parent.

        Parameters
        ----------
        pairs
            Parent of each child, such as the family of each type. Or a data frame with a row for each cell or
            type, whose columns are labels from the finest to the coarsest, such as
            ``mdata.obs[["rna_type", "rna_family"]]``. Rows without the finest label are left out; missing
            coarser labels are skipped, so that the next coarser label is the parent.
        root
            Name of the node above all nodes without a parent; not used if only one node has no parent.

        Returns
        -------
        The taxonomy. Heights are numbers of levels. Children keep the given order; those of a data frame are
        sorted (categories by their order).

        Raises
        ------
        ValueError
            If there are no pairs; if a label has two parents or is its own ancestor; if a label occurs in two
            columns, or is equal to ``root``.

        Examples
        --------
        >>> import scvi_cae
        >>> mdata = scvi_cae.datasets.simulate_patchseq(n_cells=200)
        >>> scvi_cae.tl.Taxonomy.from_pairs(mdata.obs[["cell_type", "family"]])
        Taxonomy of 9 leaves and 4 internal nodes
        """
        return cls(tree_of_pairs(pairs, root))

    def __repr__(self) -> str:
        return (
            f"Taxonomy of {len(self.leaves)} leaves and {len(self.nodes) - len(self.leaves)} internal nodes"
        )

    @_describe
    def ancestors(self, node: str) -> list[str]:
        """All nodes above a node, from its parent to the root.

        Parameters
        ----------
        %(node)s

        Raises
        ------
        %(KeyError)s
        """
        out, node = [], self._known(node)
        while parents := list(self.graph.predecessors(node)):
            node = parents[0]
            out.append(node)
        return out

    @_describe
    def descendants(self, node: str) -> list[str]:
        """All nodes below a node, parents before their children, from left to right.

        Parameters
        ----------
        %(node)s

        Raises
        ------
        %(KeyError)s
        """
        return self.order(nx.descendants(self.graph, self._known(node)))

    @_describe
    def subtree(self, node: str) -> Taxonomy:
        """The taxonomy below a node, which becomes the root.

        Parameters
        ----------
        %(node)s

        Raises
        ------
        %(KeyError)s
        """
        node = self._known(node)
        graph: nx.DiGraph = nx.DiGraph()
        graph.add_nodes_from((n, dict(self.graph.nodes[n])) for n in [node, *self.descendants(node)])
        # The order of edges is that of children.
        graph.add_edges_from(edge for edge in self.graph.edges if {*edge} <= {*graph})
        return Taxonomy(graph)

    @_describe
    def order(self, names: Iterable[str]) -> list[str]:
        """Sort nodes by their order in the tree, parents before their children, from left to right.

        Parameters
        ----------
        names
            Names of nodes.

        Raises
        ------
        %(KeyError)s
        """
        return sorted((self._known(name) for name in names), key=self._position.__getitem__)

    def merges(self) -> list[tuple[str, list[str]]]:
        """Merges of the tree, in order.

        Returns
        -------
        Internal nodes by ascending height, each with its children from left to right. The last one is the
        root, at which all types are merged. Nodes of equal height are sorted from left to right, children
        before their parents.
        """
        internal = [
            node for node in nx.dfs_postorder_nodes(self.graph, self.root) if self.graph.out_degree(node) > 0
        ]
        internal.sort(key=self._heights.__getitem__)  # stable
        return [(node, list(self.graph[node])) for node in internal]

    @_describe
    def merge_to(
        self, n: int, labels: Iterable[str | None] | None = None, rounding: Rounding = "up"
    ) -> dict[str, str]:
        """Class of each label after cutting the tree into ``n`` classes.

        Nodes merge by ascending height; nodes of equal height merge together, since the tree does not order
        them.

        Parameters
        ----------
        %(n)s
        labels
            Labels to count, such as those of the training cells: leaves without cells are not classes.
            Missing labels are ignored. By default, all leaves are counted.
        %(rounding)s

        Returns
        -------
        The class of each leaf and of each node among ``labels``, in the order of the tree. A class has the
        name of the highest merged node at or above the label, or that of the label if no such node is merged.

        Raises
        ------
        %(KeyError)s
        %(ValueError)s

        Examples
        --------
        >>> from scvi_cae.tl import Taxonomy
        >>> tree = Taxonomy.from_pairs({"a1": "a", "a2": "a", "a3": "a", "b1": "b"})
        >>> tree.merge_to(3)
        {'a1': 'a1', 'a2': 'a2', 'a3': 'a3', 'b1': 'b1'}
        >>> tree.merge_to(3, rounding="down")
        {'a1': 'a', 'a2': 'a', 'a3': 'a', 'b1': 'b'}
        """
        wanted = [] if labels is None else _present(labels)
        cut = self._cut(n, self.leaves if labels is None else wanted, rounding)
        return {
            label: self._class(label, cut) for label in self.order({*self.leaves, *map(self._known, wanted)})
        }

    @_describe
    def resolutions(self, labels: Iterable[str | None] | None = None) -> list[int]:
        """Numbers of classes that merging can give, in ascending order.

        Parameters
        ----------
        labels
            Labels to count, as in :meth:`merge_to`.

        Raises
        ------
        %(KeyError)s
        ValueError
            If all labels are missing.

        Examples
        --------
        >>> from scvi_cae.tl import Taxonomy
        >>> Taxonomy.from_pairs({"a1": "a", "a2": "a", "a3": "a", "b1": "b"}).resolutions()
        [1, 2, 4]
        """
        counted = self._counted(self.leaves if labels is None else labels)
        return sorted({self._n_classes(counted, cut) for cut in self._cuts})

    @_describe
    def merge(
        self,
        labels: Iterable[str | None],
        n: int,
        rounding: Rounding = "up",
        counted: Iterable[str | None] | None = None,
    ) -> pd.Series:
        """Merge the labels of cells to ``n`` classes.

        Parameters
        ----------
        labels
            ``(n_cells,)`` names of nodes, missing where unknown.
        %(n)s
        %(rounding)s
        counted
            Labels to count, such as those of the training cells; by default ``labels``.

        Returns
        -------
        Categorical Series. Categories are the classes that occur, in the order of the tree; missing labels
        stay missing. If ``labels`` is a Series, it has the same index.

        Raises
        ------
        %(KeyError)s
        %(ValueError)s
        """
        names = as_text(list(labels))
        cut = self._cut(n, names if counted is None else counted, rounding)
        values = [None if name is None else self._class(self._known(name), cut) for name in names]
        categories = self.order({value for value in values if value is not None})
        index = labels.index if isinstance(labels, pd.Series) else None
        return pd.Series(pd.Categorical(values, categories=categories), index=index)

    def to_frame(self) -> pd.DataFrame:
        """The taxonomy as a table, for example to store it in ``.uns`` or as CSV.

        Returns
        -------
        A row for each node, with the columns of :meth:`from_csv`: ``x`` (1, 2, ... for leaves, the mean over
        the children for other nodes), ``y`` (height), ``leaf``, ``label`` and ``parent`` (empty for the
        root).
        """
        x: dict[str, float] = {leaf: number + 1.0 for number, leaf in enumerate(self.leaves)}
        for node, children in reversed([(node, list(self.graph[node])) for node in self.nodes]):
            if children:
                x[node] = float(np.mean([x[child] for child in children]))
        return pd.DataFrame(
            {
                "x": [x[node] for node in self.nodes],
                "y": [self._heights[node] for node in self.nodes],
                "leaf": [self.graph.out_degree(node) == 0 for node in self.nodes],
                "label": self.nodes,
                "parent": [(self.ancestors(node) or [""])[0] for node in self.nodes],
            }
        )

    def _known(self, node: str) -> str:
        """Stripped name of a node."""
        name = str(node).strip()
        if name not in self.graph:
            raise KeyError(
                f"{name!r} is not in the taxonomy, whose leaves are {shorten(self.leaves)}. Leave out cells "
                "with other labels (set them to None), or add the label to the taxonomy."
            )
        return name

    def _counted(self, labels: Iterable[str | None]) -> list[str]:
        """Distinct nodes among labels."""
        counted = self.order({*_present(labels)})
        if not counted:
            raise ValueError("No labels to merge: all are missing.")
        return counted

    @cached_property
    def _cuts(self) -> list[float]:
        """Heights at which to cut the tree, in ascending order; at the first, nothing is merged."""
        return [-np.inf, *sorted({self._heights[node] for node, _ in self.merges()})]

    def _cut(self, n: int, labels: Iterable[str | None], rounding: Rounding) -> float:
        """Height at which ``n`` classes remain."""
        check_whole(n, "n")
        if rounding not in ("up", "down"):
            raise ValueError(f"rounding={rounding!r} must be 'up' or 'down'.")
        counted = self._counted(labels)
        # The number of classes decreases with the height of the cut, to one at the root.
        first = bisect_left(self._cuts, -n, key=lambda cut: -self._n_classes(counted, cut))
        if rounding == "up" and self._n_classes(counted, self._cuts[first]) < n:
            first = max(first - 1, 0)
        return self._cuts[first]

    def _n_classes(self, labels: Iterable[str], cut: float) -> int:
        return len({self._class(label, cut) for label in labels})

    def _class(self, node: str, cut: float) -> str:
        """The highest of a node and its ancestors that is merged at a height."""
        merged = [
            n
            for n in (node, *self.ancestors(node))
            if self.graph.out_degree(n) > 0 and self._heights[n] <= cut
        ]
        return merged[-1] if merged else node


def _present(labels: Iterable[str | None]) -> list[str]:
    """Labels that are not missing."""
    return [name for name in as_text(list(labels)) if name is not None]
