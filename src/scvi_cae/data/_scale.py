"""The scale of a query's expression values: whether it is that of a model's training data, and how to bring it there."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from scipy import sparse

from scvi_cae._normalization import NORMALIZATION, Normalization

from ._matrix import modality_matrix
from ._normalization import find_normalization, linear_sums

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from anndata import AnnData
    from mudata import MuData

#: Key in ``.obs`` and ``.uns`` of a prepared query, of what :class:`QueryScale` holds.
SCALE = "scvi_cae_scale"
#: Layer with raw counts, where values themselves are not recognised.
COUNTS = "counts"
#: Smallest share of a model's total that a query's genes must hold for the total to be restored.
ENOUGH = 0.98
#: Smallest number of genes that may be all that were sequenced.
MANY_GENES = 10_000
#: Largest ratio of totals, and of the typical expression of a gene, on one scale.
SAME_TOTAL, SAME_EXPRESSION = 1.05, 1.5


class Reference(NamedTuple):
    """What expression values of a model's training data are.

    Parameters
    ----------
    normalization
        What the values are.
    features
        Names of the model's genes.
    expression
        ``(n_genes,)`` mean of each gene among the training cells, before the logarithm, NaN where none has a value.
    """

    normalization: Normalization
    features: pd.Index
    expression: np.ndarray

    @property
    def has_total(self) -> bool:
        """Whether values are relative to a known total."""
        return self.normalization.total is not None

    def counted(self, names: pd.Index) -> np.ndarray:
        """Boolean: which genes of a query the total is over; all, if its genes are unknown."""
        genes = self.normalization.genes
        return np.ones(len(names), dtype=bool) if genes is None else names.isin(genes)

    def coverage(self, names: pd.Index) -> float:
        """Share of the total that the genes of a query hold, as in the training cells; NaN if it is unknown."""
        genes, total = self.normalization.genes, self.normalization.total
        if total is None:
            return np.nan
        if genes is None:
            return 1.0 if len(names) >= MANY_GENES else np.nan
        lacking = set(genes).difference(names)
        if not lacking:
            return 1.0
        shares = dict(zip(self.features, np.nan_to_num(self.expression) / total, strict=True))
        in_total = [name for name in genes if name in shares]
        known = sum(shares[name] for name in in_total)
        lost = sum(shares[name] for name in in_total if name in lacking)
        others = len(genes) - len(in_total)
        lost_others = sum(name not in shares for name in lacking)
        return 1 - lost - max(1 - known, 0) * lost_others / max(others, 1)


@dataclass(frozen=True)
class QueryScale:
    """What is known of the scale of one modality of a query.

    Parameters
    ----------
    normalization
        What its values are, ``None`` if that is unknown.
    layer
        Layer with the values that ``normalization`` describes, ``None`` for those that the model reads.
    sums
        ``(n_cells,)`` sum of each cell's values, before the logarithm, over the query's genes that the model's total is
        over.
    coverage
        Share of that total that these genes hold, as in the training cells; NaN if it is unknown.
    """

    normalization: Normalization | None
    layer: str | None
    sums: np.ndarray
    coverage: float

    @classmethod
    def find(cls, adata: AnnData, matrix: Any, modality: str, names: pd.Index, reference: Reference) -> Self:
        """Find the scale of a modality, of all its genes.

        Parameters
        ----------
        adata
            The modality.
        matrix
            The values that the model reads.
        modality
            Its key.
        names
            Names of its genes, as in the model.
        reference
            What the model's values are.
        """
        found, layer = find_normalization(adata.uns, matrix, modality, names), None
        if found is None and COUNTS in adata.layers:
            counts = find_normalization({}, adata.layers[COUNTS], modality, names)
            if counts is not None and counts.kind == "counts":
                found, layer, matrix = counts, COUNTS, adata.layers[COUNTS]
        if found is None:
            return cls(None, None, np.full(adata.n_obs, np.nan), np.nan)
        counted = reference.counted(names)
        return cls(found, layer, linear_sums(matrix, counted, found), reference.coverage(names))

    def write(self, adata: AnnData) -> None:
        """Keep it with a prepared query."""
        if self.normalization is not None:
            adata.uns[NORMALIZATION] = self.normalization.to_uns()
        adata.obs[SCALE] = self.sums
        adata.uns[SCALE] = {"coverage": self.coverage, "layer": self.layer or ""}

    @classmethod
    def read(cls, adata: AnnData) -> Self | None:
        """Inverse of :meth:`write`; ``None`` if nothing was kept."""
        if SCALE not in adata.uns or SCALE not in adata.obs:
            return None
        kept: Mapping[str, Any] = adata.uns[SCALE]
        record = adata.uns.get(NORMALIZATION)
        normalization = None if record is None else Normalization.from_uns(record)
        sums = adata.obs[SCALE].to_numpy(dtype=float)
        return cls(normalization, str(kept["layer"]) or None, sums, float(kept["coverage"]))

    @property
    def enough_genes(self) -> bool:
        """Whether the query's genes hold nearly all of the model's total."""
        return self.coverage >= ENOUGH

    def restores(self, reference: Reference) -> bool:
        """Whether the model's values can be computed exactly."""
        if self.normalization is None:
            return False
        if reference.normalization.of_counts:
            return self.normalization.of_counts
        return reference.has_total and self.enough_genes

    @property
    def described(self) -> str:
        """What the values are, in words."""
        if self.normalization is None:
            return "not recognised as counts or as logarithms of counts"
        return "not recognised, but for the counts in its layers" if self.layer else str(self.normalization)

    def obstacle(self, reference: Reference) -> str:
        """Why the model's values cannot be computed exactly."""
        wanted = reference.normalization
        if self.normalization is None:
            return "Counts in X, or in layers['counts'], would be brought onto its total."
        if wanted.of_counts:
            return "How many counts a cell had cannot be told from them; give raw counts."
        if wanted.total is None or wanted.genes is None:
            return "Over which genes the model's total is was not recorded, so that it cannot be restored."
        return (
            f"The genes here hold {max(self.coverage, 0):.0%} of that total in the training cells, so that it cannot be "
            "restored."
        )

    def agrees(self, reference: Reference, matrix: Any) -> bool:
        """Whether values are on the model's scale, as far as can be told.

        Parameters
        ----------
        reference
            What the model's values are.
        matrix
            ``(n_cells, n_genes)`` values of the model's genes, NaN where the query lacks one.
        """
        found, wanted = self.normalization, reference.normalization
        if self.layer is not None:
            return False
        if found is None:  # then they are compared as if they were on the model's
            return self._typical(reference, matrix, wanted)
        if (found.kind, found.is_log and not np.isclose(found.base, wanted.base)) != (wanted.kind, False):
            return False
        if wanted.of_counts:
            return True
        if wanted.total is not None and self.restores(reference):
            return self._sums_to(wanted.total * self.coverage)
        if found.total is not None and self.coverage < ENOUGH and self._sums_to(found.total):
            # The total is over these genes, and the model's over more.
            return False
        return self._typical(reference, matrix, found)

    def _sums_to(self, total: float) -> bool:
        sums = self.sums[self.sums > 0]
        return not len(sums) or float(np.median(np.abs(np.log(sums / total)))) < np.log(SAME_TOTAL)

    def _typical(self, reference: Reference, matrix: Any, normalization: Normalization) -> bool:
        ratio = median_ratio(reference, matrix, normalization, None)
        return bool(np.isnan(ratio) or 1 / SAME_EXPRESSION < ratio < SAME_EXPRESSION)

    def convert(self, reference: Reference, matrix: Any, modality: str) -> tuple[Any, Self]:
        """Bring values onto the model's scale: exactly, or else by one factor for all cells.

        Parameters
        ----------
        reference
            What the model's values are.
        matrix
            ``(n_cells, n_genes)`` values of the model's genes that ``normalization`` describes, NaN where the query lacks
            one.
        modality
            Key of the modality.

        Returns
        -------
        The new values, and their scale.

        Raises
        ------
        ValueError
            If one factor is needed, and no gene is expressed in both the query and the training cells.
        """
        wanted = reference.normalization
        found, exact = self.normalization or wanted, self.restores(reference)
        if self.normalization is None or (exact and wanted.of_counts):
            factors = np.ones(matrix.shape[0])
        else:  # a cell without counts stays so
            factors = np.divide(1.0, self.sums, out=np.zeros(len(self.sums)), where=self.sums > 0)
        if not exact:
            ratio = median_ratio(reference, matrix, found, factors)
            if np.isnan(ratio):
                raise ValueError(
                    f"Modality {modality!r}: no gene is expressed both in the query and in the training cells, so that "
                    "medians cannot be matched. Leave the modality out, or give its genes the model's names: rename=..."
                )
            factors *= ratio
        elif wanted.total is not None:
            factors *= wanted.total * self.coverage
        values = _converted(matrix, found, wanted, factors)
        known = wanted if exact else replace(wanted, genes=None, total=None)
        return values, replace(self, normalization=known, layer=None, sums=self.sums * factors)


def median_ratio(
    reference: Reference, matrix: Any, normalization: Normalization, factors: np.ndarray | None
) -> float:
    """Median over genes of the mean among the training cells relative to the mean in a query.

    Parameters
    ----------
    reference
        What the model's values are.
    matrix
        ``(n_cells, n_genes)`` values of the model's genes in the query, NaN where it lacks one.
    normalization
        What they are.
    factors
        ``(n_cells,)`` factor of each cell's values; ``None`` for 1.

    Returns
    -------
    NaN if no gene is expressed in both.
    """
    linear = _converted(matrix, normalization, replace(normalization, kind="counts"), factors)
    n = max(linear.shape[0], 1)
    means = np.asarray(linear.sum(0)).ravel() / n if sparse.issparse(linear) else linear.sum(0) / n
    with np.errstate(divide="ignore", invalid="ignore"):
        both = (means > 0) & (reference.expression > 0)  # False where NaN
        ratios = reference.expression[both] / means[both]
    # Genes of few counts are noisy: half of the genes, those of highest expression, decide.
    high = reference.expression[both] >= np.median(reference.expression[both]) if both.any() else both[:0]
    return float(np.median(ratios[high])) if high.any() else np.nan


def _converted(matrix: Any, found: Normalization, wanted: Normalization, factors: np.ndarray | None) -> Any:
    """Values under another normalisation, each cell's multiplied by a factor before the logarithm; NaN stays NaN."""
    if sparse.issparse(matrix):
        out = matrix.tocsr().astype(np.float64)
        linear = found.linear(out.data)
        if factors is not None:
            linear = linear * np.repeat(factors, np.diff(out.indptr))
        out.data = wanted.from_linear(linear)
        return out
    linear = found.linear(np.asarray(matrix))
    if factors is not None:
        linear = linear * factors[:, None]
    return wanted.from_linear(linear)


def check_scale(adata: AnnData, matrix: Any, modality: str, reference: Reference) -> bool:
    """Whether a prepared query is on a model's normalisation; otherwise, warn and say how to bring it there.

    Parameters
    ----------
    adata
        The modality of the prepared query.
    matrix
        The values that the model reads.
    modality
        Its key.
    reference
        What the model's values are.
    """
    scale = QueryScale.read(adata)
    if scale is None or scale.agrees(reference, matrix):
        return True
    exact = scale.restores(reference)
    call = "normalize_query(query)" if exact else "normalize_query(query, match_medians=True)"
    why = "" if exact else f" {scale.obstacle(reference)}"
    warnings.warn(
        f"Modality {modality!r}: its values are {scale.described}, and the model was trained on "
        f"{reference.normalization}.{why} Bring them onto it: query = model.{call}.",
        UserWarning,
        stacklevel=3,
    )
    return False


def normalize_expression(
    adata: AnnData, layer: str | None, modality: str, reference: Reference, match_medians: bool
) -> None:
    """Bring the values of a prepared query onto a model's normalisation, in place.

    Parameters
    ----------
    adata
        The modality of the prepared query.
    layer
        Layer that the model reads, ``None`` for ``X``.
    modality
        Its key.
    reference
        What the model's values are.
    match_medians
        As in :meth:`scvi_cae.CoupledAE.normalize_query`.

    Raises
    ------
    ValueError
        If the model's total cannot be restored, and ``match_medians`` is false; or if no gene is expressed in both.
    """
    scale = QueryScale.read(adata)
    matrix = adata.X if layer is None else adata.layers[layer]
    if scale is None or scale.agrees(reference, matrix):
        return
    if not scale.restores(reference) and not match_medians:
        raise ValueError(
            f"Modality {modality!r}: values are {scale.described}, and the model was trained on "
            f"{reference.normalization}. {scale.obstacle(reference)} To bring genes to the typical expression in the "
            "training cells by one factor, call model.normalize_query(query, match_medians=True)."
        )
    source = matrix if scale.layer is None else adata.layers[scale.layer]
    values, after = scale.convert(reference, source, modality)
    values = values.astype(matrix.dtype)
    if layer is None:
        adata.X = values
    else:
        adata.layers[layer] = values
    after.write(adata)


def warn_if_scale_differs(mdata: MuData, modality: str, layer: str | None, wanted: Normalization) -> None:
    """Warn of data, not prepared as a query, whose values are recognisably of another kind than a model's.

    Parameters
    ----------
    mdata
        The data.
    modality, layer
        The modality, and the layer that the model reads of it.
    wanted
        What the model's values are.
    """
    adata = mdata.mod[modality]
    if SCALE in adata.uns:
        return
    found = find_normalization(adata.uns, modality_matrix(mdata, modality, layer), modality, adata.var_names)
    if found is not None and not found.same_scale(wanted):
        warnings.warn(
            f"Modality {modality!r}: its values are {found}, and the model was trained on {wanted}. Bring them onto it: "
            "query = CoupledAE.prepare_query_mudata(mdata, model); query = model.normalize_query(query).",
            UserWarning,
            stacklevel=5,
        )
