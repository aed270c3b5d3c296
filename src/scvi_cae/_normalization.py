"""What the values of a transcriptome are: counts, counts per total, or the logarithm of one of these."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Key of the record in ``.uns`` of a modality.
NORMALIZATION = "normalization"
#: Kinds of values.
KINDS = ("counts", "per_total", "log", "log_counts")


@dataclass(frozen=True)
class Normalization:
    """What the values of a transcriptome are.

    Parameters
    ----------
    kind
        ``"counts"``; ``"per_total"``, counts divided by their sum in the cell and multiplied by ``total``; ``"log"``,
        the logarithm of 1 plus such values; or ``"log_counts"``, the logarithm of 1 plus counts.
    total
        Sum of a cell's values, before the logarithm, over ``genes``; ``None`` if it is unknown, and for counts.
    base
        Base of the logarithm.
    genes
        Names of the genes over which values sum to ``total``; ``None`` if they are unknown: all that were sequenced,
        of which the data may hold some.
    stated
        Whether ``.uns["normalization"]`` says so; otherwise it was inferred from values.
    """

    kind: str
    total: float | None = None
    base: float = math.e
    genes: tuple[str, ...] | None = field(default=None, repr=False)
    stated: bool = False

    @classmethod
    def from_uns(cls, record: Mapping[str, Any]) -> Self:
        """Read a record in ``.uns``.

        Parameters
        ----------
        record
            What :meth:`to_uns` returned, perhaps written to a file and read since.

        Raises
        ------
        ValueError
            If it is not such a record.
        """
        kind, total, base = (record.get(key) for key in ("kind", "total", "base"))
        genes = record.get("genes")
        if kind not in KINDS:
            raise ValueError(f'.uns["{NORMALIZATION}"]: kind={kind!r} must be one of {", ".join(KINDS)}.')
        total = None if total is None or np.isnan(float(total)) else float(total)
        return cls(
            str(kind),
            total,
            math.e if base is None else float(base),
            None if genes is None or not len(genes) else tuple(str(name) for name in genes),
            stated=True,
        )

    @classmethod
    def from_registry(cls, record: Mapping[str, Any]) -> Self:
        """Inverse of :meth:`to_registry`."""
        genes = record["genes"]
        return cls(**{**record, "genes": None if genes is None else tuple(genes)})

    def to_registry(self) -> dict[str, Any]:
        """The record for scvi-tools' registry, of plain values."""
        return {**asdict(self), "genes": None if self.genes is None else list(self.genes)}

    def to_uns(self) -> dict[str, Any]:
        """The record for ``.uns``, in types that files can hold."""
        record: dict[str, Any] = {"kind": self.kind, "base": self.base}
        if self.total is not None:
            record["total"] = self.total
        if self.genes is not None:
            record["genes"] = np.array(self.genes, dtype=object)
        return record

    @property
    def is_log(self) -> bool:
        """Whether values are logarithms."""
        return self.kind.startswith("log")

    @property
    def of_counts(self) -> bool:
        """Whether values depend on how many counts a cell has."""
        return self.kind.endswith("counts")

    def same_scale(self, other: Normalization) -> bool:
        """Whether values of another kind are on the same scale, apart from what their totals are over."""
        return (
            self.kind == other.kind
            and (not self.is_log or math.isclose(self.base, other.base, rel_tol=1e-6))
            and (
                self.of_counts
                or self.total is None
                or other.total is None
                or math.isclose(self.total, other.total, rel_tol=0.01)
            )
        )

    def linear(self, values: np.ndarray) -> np.ndarray:
        """Values before the logarithm, in double precision."""
        values = np.asarray(values, dtype=np.float64)
        return np.expm1(values * math.log(self.base)) if self.is_log else values

    def from_linear(self, values: np.ndarray) -> np.ndarray:
        """The inverse of :meth:`linear`."""
        return np.log1p(values) / math.log(self.base) if self.is_log else values

    def __str__(self) -> str:
        """In words: "natural logarithms of 1 + counts per 1,000,000 over 1,286 genes"."""
        counts = "counts"
        if not self.of_counts:
            counts += " per unknown total" if self.total is None else f" per {self.total:,.7g}"
            counts += " over unknown genes" if self.genes is None else f" over {len(self.genes):,} genes"
        if not self.is_log:
            return counts
        name = (
            "natural logarithms" if math.isclose(self.base, math.e) else f"logarithms of base {self.base:g}"
        )
        return f"{name} of 1 + {counts}"
