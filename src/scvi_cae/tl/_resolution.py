"""Classification of cells from latents, at each resolution of a taxonomy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.pipeline import make_pipeline

from ._latents import cell_mask, labels_of, latents
from ._parameters import describe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mudata import MuData

    from ._latents import Cells
    from ._taxonomy import Rounding, Taxonomy


@describe
def classify_by_resolution(
    mdata: MuData,
    labels_key: str,
    taxonomy: Taxonomy,
    n_classes: Sequence[int] | None = None,
    *,
    use_rep: str = "X_cae",
    modalities: Sequence[str] | None = None,
    train_cells: Cells = "training",
    cells: Cells = "held-out",
    reg_param: float = 1e-2,
    min_cells: int = 6,
    n_dimensions: int | None = None,
    rounding: Rounding = "up",
) -> pd.DataFrame:
    """Accuracy of classifying held-out cells from their latents, from few classes of a taxonomy to many.

    For each modality and number of classes, types are merged along the taxonomy, quadratic discriminant
    analysis (a normal distribution for each class) is fitted to the latents of the training cells, and
    held-out cells are classified from their latents. This is Figure 1d, e of Gala et al. (2021).

    Parameters
    ----------
    %(mdata)s
    %(labels_key)s
        All types must be in ``taxonomy``.
    taxonomy
        Tree along which types are merged.
    n_classes
        Requested numbers of classes. By default all numbers from 2 that merging can give for the types of the
        training cells.
    %(use_rep)s
    modalities
        Modalities whose latents are classified; by default all with latents.
    train_cells
        Cells to which classifiers are fitted, and whose types are counted in merging.
    %(cells)s
        These cells are classified.
    reg_param
        Regularisation :math:`r` of the covariance :math:`C` of each class: :math:`(1 - r) C + r I`.
        Published: 0.01.
    min_cells
        Minimum number of training cells with the modality for a class to be fitted. Published: 6, with 3
        dimensions. It is raised to the number of dimensions plus one, which a covariance requires. To compare
        numbers of dimensions, choose it for the largest.
    n_dimensions
        Maximum number of dimensions. Latents with more dimensions, such as those of an ensemble, are reduced
        to principal components of the training cells. ``None`` (default): no reduction.
    rounding
        Rounding if no cut of the taxonomy has exactly the requested number of classes, as in
        :meth:`Taxonomy.merge_to`.

    Returns
    -------
    A row for each modality and requested number of classes:

    ``modality``
        Name.
    ``n_asked``, ``n_classes``
        Requested number of classes, and the number after merging, which is the same for all modalities.
    ``n_fitted``
        Number of classes with enough training cells with the modality.
    ``accuracy``
        Fraction of cells that are classified correctly; NaN without cells.
    ``dummy_accuracy``
        Accuracy of assigning all cells to the largest class of the training cells.
    ``n_cells``
        Number of classified cells: those with a label, the modality, and a class that was fitted.
    ``n_left_out``
        Number of cells left out because their class was not fitted. Counted as errors, they would reduce the
        accuracy to ``accuracy * n_cells / (n_cells + n_left_out)``.
    ``n_training``
        Number of training cells to which the classifier was fitted.

    Raises
    ------
    KeyError
        If latents, labels or the set of each cell are missing, or a label is not in the taxonomy.
    ValueError
        If no training cell has a label and latents.

    Notes
    -----
    If types were assigned from one of the modalities, that modality is easier to classify.

    Unlike in the published code, test cells influence neither which classes are scored nor what the dummy
    predicts, and the number of classes is that of the types of the training cells.

    Examples
    --------
    >>> import scvi_cae
    >>> mdata = scvi_cae.datasets.simulate_patchseq(n_cells=300)
    >>> scvi_cae.CoupledAE.setup_mudata(mdata)
    >>> model = scvi_cae.CoupledAE(mdata, n_latent=3)
    >>> model.train(max_epochs=20, train_size=0.8, enable_progress_bar=False)
    >>> model.write_latent(mdata)
    >>> tree = scvi_cae.tl.Taxonomy.from_pairs(mdata.obs[["cell_type", "family"]])
    >>> table = scvi_cae.tl.classify_by_resolution(mdata, "cell_type", tree)
    >>> table.pivot(index="n_classes", columns="modality", values="accuracy").shape
    (2, 2)
    """
    latents_of = latents(mdata, use_rep, modalities)
    labels = labels_of(mdata, labels_key)
    known = labels.notna().to_numpy()
    has = {name: np.isfinite(z).all(1) & known for name, z in latents_of.items()}
    training, asked = cell_mask(mdata, use_rep, train_cells), cell_mask(mdata, use_rep, cells)
    counted = labels[training & np.any(list(has.values()), axis=0)]
    if not len(counted):
        raise ValueError(
            f"No training cell has a label {labels_key!r} and latents of "
            f"{' or '.join(map(repr, latents_of))}. Choose other cells: train_cells=..."
        )
    if n_classes is None:
        n_classes = [n for n in taxonomy.resolutions(counted) if n > 1]
    rows = []
    for n in n_classes:
        classes = taxonomy.merge(labels, n, rounding, counted)
        row = {"n_asked": int(n), "n_classes": classes[counted.index].nunique()}
        for modality, z in latents_of.items():
            fit, scored = ((z[has[modality] & c], classes[has[modality] & c]) for c in (training, asked))
            scores = _classify(*fit, *scored, reg_param, min_cells, n_dimensions)
            rows.append({"modality": modality, **row, **scores})
    return pd.DataFrame(rows)


def _classify(
    z: np.ndarray,
    classes: pd.Series,
    query: np.ndarray,
    true: pd.Series,
    reg_param: float,
    min_cells: int,
    n_dimensions: int | None,
) -> dict[str, float]:
    """Fit classifiers to ``z`` and ``classes``, and score them on ``query`` and ``true``."""
    n = z.shape[1] if n_dimensions is None else min(n_dimensions, z.shape[1])
    sizes = classes.value_counts()
    fitted = sizes.index[sizes >= max(min_cells, n + 1)]
    enough, scored = classes.isin(fitted).to_numpy(), true.isin(fitted).to_numpy()
    z, given = z[enough], classes[enough].astype(str).to_numpy(dtype=object)
    query, expected = query[scored], true[scored].astype(str).to_numpy(dtype=object)
    accuracy, dummy = np.nan, np.nan
    if len(fitted) and len(query):
        dummy = float(
            np.mean(DummyClassifier(strategy="most_frequent").fit(z, given).predict(query) == expected)
        )
        accuracy = dummy  # with a single class, both predict it
        if len(fitted) > 1:
            qda = QuadraticDiscriminantAnalysis(reg_param=reg_param)
            model = make_pipeline(PCA(n, random_state=0), qda) if n < z.shape[1] else qda
            accuracy = float(np.mean(model.fit(z, given).predict(query) == expected))
    return {
        "n_fitted": len(fitted),
        "accuracy": accuracy,
        "dummy_accuracy": dummy,
        "n_cells": len(query),
        "n_left_out": int((~scored).sum()),
        "n_training": len(z),
    }
