"""Trees of cell types, and types merged along them."""

from __future__ import annotations

from bisect import bisect_left
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeAlias

import networkx as nx
import numpy as np
import pandas as pd

from scvi_cae._arguments import shorten
from scvi_cae.data import category_names

from ._trees import checked_tree, tree_of_linkage, tree_of_pairs, tree_of_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path
    from typing import Self, TextIO

    from numpy.typing import ArrayLike

#: What to do where merging jumps over the number of classes asked for.
Rounding: TypeAlias = Literal["up", "down"]


class Taxonomy:
    """A tree of cell types: leaves are types, internal nodes are groups of them.

    Make one with :meth:`from_csv` (a published dendrogram), :meth:`from_linkage` (hierarchical clustering by SciPy) or
    :meth:`from_pairs` (which type belongs to which family).

    Parameters
    ----------
    graph
        Directed tree from parents to children; its nodes are names. Children stand from left to right in the order in
        which their edges were added. Nodes may have an attribute ``height``, at which their children merge: no node's is
        above its parent's. Without it, a node's height is the number of levels below it.

    Attributes
    ----------
    graph : networkx.DiGraph
        The tree, frozen, with ``height`` at every node, for anything that networkx can do with trees.
    root : str
        Name of the root.
    nodes : list of str
        All nodes, parents before their children, from left to right.
    leaves : list of str
        The leaves, from left to right.

    Raises
    ------
    ValueError
        If the graph is no tree, a node's name is blank, or a node is higher than its parent.

    Notes
    -----
    Names are text without white space at either end: the published dendrogram has leaves that end in a blank, and data
    may or may not have it. Names given to any method, and labels of cells, are stripped alike.

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
        self._position = {node: position for position, node in enumerate(self.nodes)}

    @classmethod
    def from_csv(cls, path: str | Path | TextIO) -> Self:
        r"""Read a dendrogram as published with the cell types of mouse cortex.

        Parameters
        ----------
        path
            Path or open file, separated by commas, with a row for each node and the columns ``label`` (name),
            ``parent`` (name of the parent; empty or ``NA`` for the root), ``y`` (height at which its children merge) and
            ``x`` (place from left to right). Without ``y``, heights are numbers of levels; without ``x``, the order is
            that of the rows. Other columns are not read.

        Returns
        -------
        The taxonomy.

        Raises
        ------
        ValueError
            If ``label`` or ``parent`` is missing, a label is blank or not unique, there is not one root, or a parent is
            no node.

        References
        ----------
        Tasic et al., "Shared and distinct transcriptomic cell types across neocortical areas", Nature 2018, whose
        dendrogram Gala et al. 2021 classify by.

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
            As in :meth:`from_csv`, with a missing value for the root's parent.

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
            ``(n_leaves - 1, 4)`` array, as of :func:`scipy.cluster.hierarchy.linkage`, for example of the types' mean
            expression among the training cells. Leave out types of few cells: their means are noise, and stay classes
            of their own until the last merges.
        labels
            ``(n_leaves,)`` names of what was clustered.

        Returns
        -------
        The taxonomy. Internal nodes are named ``n1``, ``n2``, ... in the order in which they merge; heights are the
        linkage's distances, and leaves stand as in SciPy's dendrogram.

        Raises
        ------
        ValueError
            If ``linkage`` is none, the number of labels differs, two are alike or one has the name of an internal node,
            or a node is higher than its parent.

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
        """Make a taxonomy from what belongs to what.

        Parameters
        ----------
        pairs
            Parent of each child, such as the family of each type. Or a data frame whose columns are labels from the
            finest to the coarsest, a row for each cell or type: ``mdata.obs[["rna_type", "rna_family"]]``. Rows without
            the finest label are left out; a missing coarser one is skipped, so that the next coarser is the parent.
        root
            Name of the node above all that have no parent; not used if there is one such only.

        Returns
        -------
        The taxonomy. Heights are numbers of levels. Children stand in the order given; those of a data frame are
        sorted (categories by their order).

        Raises
        ------
        ValueError
            If there are no pairs, a label has two parents, or one that is its own ancestor; also if a name is a label of
            two columns, or ``root`` one of them.

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

    def __contains__(self, node: object) -> bool:
        return str(node).strip() in self.graph

    def height(self, node: str) -> float:
        """Height at which a node's children merge.

        Parameters
        ----------
        node
            Name of a node.
        """
        return self.graph.nodes[self._known(node)]["height"]

    def ancestors(self, node: str) -> list[str]:
        """All nodes above a node, from its parent to the root.

        Parameters
        ----------
        node
            Name of a node.

        Raises
        ------
        KeyError
            If there is no such node.
        """
        out, node = [], self._known(node)
        while parents := list(self.graph.predecessors(node)):
            node = parents[0]
            out.append(node)
        return out

    def descendants(self, node: str, leaves_only: bool = False) -> list[str]:
        """All nodes below a node, without itself, parents before their children and from left to right.

        Parameters
        ----------
        node
            Name of a node.
        leaves_only
            Whether internal nodes are left out.

        Raises
        ------
        KeyError
            If there is no such node.
        """
        below = self.order(nx.descendants(self.graph, self._known(node)))
        return [name for name in below if not leaves_only or self.graph.out_degree(name) == 0]

    def subtree(self, node: str) -> Taxonomy:
        """The taxonomy below a node, which becomes the root.

        Parameters
        ----------
        node
            Name of a node.

        Raises
        ------
        KeyError
            If there is no such node.
        """
        node = self._known(node)
        graph: nx.DiGraph = nx.DiGraph()
        graph.add_nodes_from((n, dict(self.graph.nodes[n])) for n in [node, *self.descendants(node)])
        # Edges in their own order: it is that of the children.
        graph.add_edges_from(edge for edge in self.graph.edges if {*edge} <= {*graph})
        return Taxonomy(graph)

    def order(self, names: Iterable[str]) -> list[str]:
        """Sort nodes as they stand in the tree, from left to right.

        Parameters
        ----------
        names
            Names of nodes, leaves or not; an internal node stands before what is below it.

        Raises
        ------
        KeyError
            If one is no node.
        """
        return sorted((self._known(name) for name in names), key=self._position.__getitem__)

    def merges(self) -> list[tuple[str, list[str]]]:
        """In which order types merge.

        Returns
        -------
        Internal nodes by ascending height, each with its children, from left to right. The last is the root, at which
        all are one. Nodes of equal height stand from left to right, but never before one below them.
        """
        internal = [
            node for node in nx.dfs_postorder_nodes(self.graph, self.root) if self.graph.out_degree(node) > 0
        ]
        internal.sort(key=self.height)  # stable
        return [(node, list(self.graph[node])) for node in internal]

    def merge_to(
        self, n: int, labels: Iterable[str | None] | None = None, rounding: Rounding = "up"
    ) -> dict[str, str]:
        """Which class each label is of, if the tree is cut where ``n`` classes are left.

        Nodes merge by ascending height; those of equal height together, since the tree does not say which comes first.

        Parameters
        ----------
        n
            Number of classes asked for, at least 1.
        labels
            Labels that count, such as those of the training cells: leaves of which there is no cell are no class. All
            leaves by default. Missing ones are ignored.
        rounding
            A merge may make three classes or more into one, so that no cut gives exactly ``n``. ``"up"`` (default): the
            fewest classes that are at least ``n``, as Gala et al. (2021) do; ``"down"``: the most that are at most
            ``n``. With fewer labels than ``n``, nothing merges.

        Returns
        -------
        From all nodes that are leaves, or among ``labels``, to the name of their class: the highest merged node above
        them, else their own. In the order of the tree.

        Raises
        ------
        KeyError
            If a label is not in the taxonomy.
        ValueError
            If ``n`` or ``rounding`` cannot be, or there are no labels.

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

    def resolutions(self, labels: Iterable[str | None] | None = None) -> list[int]:
        """Numbers of classes that merging can give, ascending.

        Parameters
        ----------
        labels
            Labels that count, as in :meth:`merge_to`.

        Raises
        ------
        KeyError
            If a label is not in the taxonomy.
        ValueError
            If there are no labels.

        Examples
        --------
        >>> from scvi_cae.tl import Taxonomy
        >>> Taxonomy.from_pairs({"a1": "a", "a2": "a", "a3": "a", "b1": "b"}).resolutions()
        [1, 2, 4]
        """
        counted = self._counted(self.leaves if labels is None else labels)
        return sorted({self._n_classes(counted, cut) for cut in self._cuts})

    def merge(
        self,
        labels: Iterable[str | None],
        n: int,
        rounding: Rounding = "up",
        counted: Iterable[str | None] | None = None,
    ) -> pd.Series:
        """Labels of cells, merged to ``n`` classes.

        Parameters
        ----------
        labels
            ``(n_cells,)`` names of nodes, missing where not known.
        n, rounding
            As in :meth:`merge_to`.
        counted
            Labels that count, such as those of the training cells; by default those that occur.

        Returns
        -------
        Categorical Series; categories are the classes that occur, in the order of the tree, missing labels stay missing.
        The index is that of ``labels``, if it is a Series.

        Raises
        ------
        KeyError
            If a label is not in the taxonomy.
        ValueError
            As in :meth:`merge_to`.
        """
        column = category_names(
            labels if isinstance(labels, pd.Series) else pd.Series(list(labels), dtype=object)
        )
        cut = self._cut(n, column if counted is None else counted, rounding)
        values = [None if name is None else self._class(self._known(name), cut) for name in column.tolist()]
        categories = self.order({value for value in values if value is not None})
        return pd.Series(pd.Categorical(values, categories=categories), index=column.index)

    def to_frame(self) -> pd.DataFrame:
        """The taxonomy as a table, for example to keep in ``.uns`` or as csv.

        Returns
        -------
        A row for each node and the columns of :meth:`from_csv`: ``x`` (of leaves, 1, 2, ...; of others, the mean of
        their children), ``y`` (height), ``leaf``, ``label`` and ``parent`` (empty text for the root).
        """
        x: dict[str, float] = {leaf: number + 1.0 for number, leaf in enumerate(self.leaves)}
        for node, children in reversed([(node, list(self.graph[node])) for node in self.nodes]):
            if children:
                x[node] = float(np.mean([x[child] for child in children]))
        return pd.DataFrame(
            {
                "x": [x[node] for node in self.nodes],
                "y": [self.height(node) for node in self.nodes],
                "leaf": [self.graph.out_degree(node) == 0 for node in self.nodes],
                "label": self.nodes,
                "parent": [(self.ancestors(node) or [""])[0] for node in self.nodes],
            }
        )

    def _known(self, node: str) -> str:
        """Name of a node, stripped."""
        name = str(node).strip()
        if name not in self.graph:
            raise KeyError(
                f"{name!r} is not in the taxonomy, whose leaves are {shorten(self.leaves)}. Leave out cells of other "
                "labels (set them to None), or add the label to the taxonomy."
            )
        return name

    def _counted(self, labels: Iterable[str | None]) -> list[str]:
        """Nodes among labels, each once."""
        counted = self.order({*_present(labels)})
        if not counted:
            raise ValueError("No labels to merge: all are missing.")
        return counted

    @cached_property
    def _cuts(self) -> list[float]:
        """Heights to cut the tree at, ascending; at the first, nothing merges."""
        return [-np.inf, *sorted({self.height(node) for node, _ in self.merges()})]

    def _cut(self, n: int, labels: Iterable[str | None], rounding: Rounding) -> float:
        """Height at which ``n`` classes are left."""
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
            raise ValueError(f"n={n!r} must be a whole number of at least 1.")
        if rounding not in ("up", "down"):
            raise ValueError(f"rounding={rounding!r} must be 'up' or 'down'.")
        counted = self._counted(labels)
        # The higher the cut, the fewer classes; at the root's height there is one.
        first = bisect_left(self._cuts, -n, key=lambda cut: -self._n_classes(counted, cut))
        if rounding == "up" and self._n_classes(counted, self._cuts[first]) < n:
            first = max(first - 1, 0)
        return self._cuts[first]

    def _n_classes(self, labels: Iterable[str], cut: float) -> int:
        return len({self._class(label, cut) for label in labels})

    def _class(self, node: str, cut: float) -> str:
        """The highest of a node and its ancestors that is merged at a height."""
        merged = [
            n for n in (node, *self.ancestors(node)) if self.graph.out_degree(n) > 0 and self.height(n) <= cut
        ]
        return merged[-1] if merged else node


def _present(labels: Iterable[str | None]) -> list[str]:
    """Labels that are not missing."""
    return [
        name for name in category_names(pd.Series(list(labels), dtype=object)).tolist() if name is not None
    ]
