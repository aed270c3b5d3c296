"""Descriptions of parameters that functions of this package share."""

from __future__ import annotations

from scvi_cae._docstrings import insert_descriptions

_CELLS = """\
Cells to use: ``"held-out"`` (the test cells, or the validation cells if there are no test cells),
``"training"``, ``"all"``, positions, or a mask."""
_LABELS_KEY = (
    "Column of cell types in ``mdata.obs`` or the ``.obs`` of a modality. Cells without a type are left out."
)

#: For functions that read latents from a MuData.
describe = insert_descriptions(
    mdata="""
        MuData with latents, as written by :meth:`scvi_cae.CoupledAE.write_latent` or
        :func:`scvi_cae.tl.pca_cca`.
    """,
    use_rep="""
        Prefix of the keys: the latents of modality ``m`` are in ``mdata.obsm[f"{use_rep}_{m}"]``, and the set
        of each cell (training, validation or test) is in ``mdata.obs[f"{use_rep}_set"]``.
    """,
    cells=_CELLS,
    labels_key=_LABELS_KEY,
    reference_key="""
        Column of reference labels, in ``mdata.obs`` or in the ``.obs`` of a modality. The Hungarian method
        matches types to labels one to one on the training cells, and types are numbered in the order of the
        labels; unmatched types follow by decreasing size. ``None`` (default): all types are numbered by
        decreasing size.
    """,
    key_added="Prefix of the keys that are written.",
    n_init="""
        Number of initialisations for each number of types. Each initialisation has its best number of types;
        the median of these is chosen.
    """,
    n_dimensions="""
        Maximum number of dimensions of a mixture. Latents with more dimensions, such as those of an ensemble,
        are reduced to the first principal components of the training cells: full covariance matrices in 50
        dimensions require more cells than are available.
    """,
    tol="""
        Convergence threshold: gain in log-likelihood per cell. The published 1e-6 takes three to eight times
        as long as the default.
    """,
    random_state="Seed.",
)

#: For functions that predict with a model.
describe_report = insert_descriptions(
    model="Trained model or ensemble.",
    source="Modality to predict from, or several.",
    target="Modality to predict.",
    mdata="MuData with the cells to score; by default the data that the model was made with.",
    cells=f"{_CELLS}\nOnly cells with both source and target are used.",
    labels_key=_LABELS_KEY,
    features="""
        Features of ``target``; all by default. To select the genes of a published list that were measured,
        use ``[gene for gene in NEUROPEPTIDE_GENES if gene in mdata["rna"].var_names]``.
    """,
    min_cells="Minimum number of cells of a type with a measured value; means over fewer cells are NaN.",
)
