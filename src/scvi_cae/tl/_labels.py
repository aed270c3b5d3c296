"""Labels of cells as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_cae.data import category_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike


def as_text(labels: pd.Series | ArrayLike | Sequence[str | None]) -> np.ndarray:
    """``(n_cells,)`` labels as text, ``None`` where missing or blank."""
    series = (
        labels if isinstance(labels, pd.Series) else pd.Series(np.asarray(labels, dtype=object), dtype=object)
    )
    return category_names(series).to_numpy(dtype=object)


def label_names(labels: pd.Series | ArrayLike) -> list[str]:
    """Distinct labels: categories in their order, or sorted labels if they are not categorical."""
    dtype = getattr(labels, "dtype", None)
    if isinstance(dtype, pd.CategoricalDtype):
        return [name for name in as_text(dtype.categories) if name is not None]
    return sorted({name for name in as_text(labels) if name is not None})
