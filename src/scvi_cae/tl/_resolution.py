"""How fine a taxonomy can be read from the latents of a modality."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.pipeline import make_pipeline

from ._latents import cell_mask, labels_of, latents

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mudata import MuData

    from ._latents import Cells
    from ._taxonomy import Rounding, Taxonomy


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
    """Accuracy of classifying held-out cells by their latents, from few classes of a taxonomy to many.

    For each modality and number of classes, types are merged along the taxonomy, quadratic discriminant analysis (a
    normal distribution for each class) is fitted to the training cells' latents of the modality, and held-out cells are
    classified by theirs. This is Figure 1d, e of Gala et al. (2021).

    Parameters
    ----------
    mdata
        MuData with latents, as written by :meth:`scvi_cae.CoupledAE.write_latent` or :func:`pca_cca`.
    labels_key
        Column of cells' types, in ``mdata.obs`` or a modality's ``.obs``. All must be in ``taxonomy``; cells without a
        type are left out.
    taxonomy
        Tree along which types merge.
    n_classes
        Numbers of classes to ask for. By default all that the taxonomy can give with the types of the training cells,
        from 2 on.
    use_rep
        Beginning of the keys of latents in ``mdata.obsm``.
    modalities
        Modalities whose latents are classified; by default all that have some.
    train_cells
        Cells that the classifiers are fitted to, and whose types are counted in merging.
    cells
        Cells to classify, held-out ones by default.
    reg_param
        Regularisation of each class's covariance :math:`C`: :math:`(1 - r) C + r I`. Published: 0.01.
    min_cells
        Fewest training cells with the modality that a class is fitted to. Published: 6, of 3 dimensions. Raised to one
        more than there are dimensions, as a covariance takes: to compare numbers of dimensions, choose it for the
        largest.
    n_dimensions
        If given, and latents have more dimensions, such as those of an ensemble, they are reduced to so many principal
        components of the training cells.
    rounding
        What to do where the taxonomy has no cut with just as many classes, as in :meth:`Taxonomy.merge_to`.

    Returns
    -------
    A row for each modality and number of classes asked for:

    ``modality``
        Name.
    ``n_asked``, ``n_classes``
        Number of classes asked for, and that which merging gave, for all modalities alike.
    ``n_fitted``
        Number of those with enough training cells that have the modality.
    ``accuracy``
        Fraction of cells that are classified right; NaN if there are none.
    ``dummy_accuracy``
        The same if all cells are taken for the largest class of the training cells.
    ``n_cells``
        Number of cells classified: with a label, the modality, and a class that was fitted.
    ``n_left_out``
        Number of cells left out because their class was not fitted. Counted as wrong, they would make the accuracy
        ``accuracy * n_cells / (n_cells + n_left_out)``.
    ``n_training``
        Number of training cells that the classifier was fitted to.

    Raises
    ------
    KeyError
        If there are no such latents or labels, a label is not in the taxonomy, or nothing says which cells trained.
    ValueError
        If no training cell has a label and latents.

    Notes
    -----
    Types assigned from one of the modalities make that one easier to classify.

    Unlike the published code, no test cell has a say in which classes are scored or in what the dummy predicts, and the
    number of classes is that of the training cells' types.

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
    of = latents(mdata, use_rep, modalities)
    labels = labels_of(mdata, labels_key)
    known = labels.notna().to_numpy()
    has = {name: np.isfinite(z).all(1) & known for name, z in of.items()}
    training, asked = cell_mask(mdata, use_rep, train_cells), cell_mask(mdata, use_rep, cells)
    counted = labels[training & np.any(list(has.values()), axis=0)]
    if not len(counted):
        raise ValueError(
            f"No training cell has a label {labels_key!r} and latents of {' or '.join(map(repr, of))}."
        )
    if n_classes is None:
        n_classes = [n for n in taxonomy.resolutions(counted) if n > 1]
    rows = []
    for n in n_classes:
        classes = taxonomy.merge(labels, n, rounding, counted)
        row = {"n_asked": int(n), "n_classes": classes[counted.index].nunique()}
        for modality, z in of.items():
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
    """Scores of classifiers fitted to some cells on others."""
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
        accuracy = dummy  # of a single class
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
