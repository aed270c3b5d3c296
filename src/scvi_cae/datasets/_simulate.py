"""Simulated Patch-seq with known ground truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

from scvi_cae._arguments import check_whole
from scvi_cae._assembly import join_modalities, rna_modality

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

# Transform from a feature's standardised signal to its value: additive, positive, rectified or a whole number
Scale = Literal["linear", "log", "rectified", "count"]


class _Feature(NamedTuple):
    name: str
    scale: Scale
    centre: float  # median, in the feature's unit
    spread: float  # standard deviation: of the value if linear or rectified, else of its logarithm
    block: str  # features of a block are missing together


# Names, units, centres and spreads after Scala et al. (2021), ordered so that the first few are diverse
_MAX_APS = "Max number of APs"
_EPHYS = [
    _Feature("Resting membrane potential (mV)", "linear", -65, 6, "passive"),
    _Feature("Input resistance (MOhm)", "log", 200, 0.5, "passive"),
    _Feature("AP width (ms)", "log", 1.0, 0.35, "spike"),
    _Feature(_MAX_APS, "count", 15, 0.75, "spike"),
    _Feature("ISI coefficient of variation", "log", 0.24, 0.5, "spike train"),
    _Feature("Rheobase (pA)", "log", 65, 0.6, "spike"),
    _Feature("AP threshold (mV)", "linear", -37, 6, "spike"),
    _Feature("Sag time (s)", "rectified", 0.05, 0.25, "hyperpolarisation"),
    _Feature("Membrane time constant (ms)", "log", 12, 0.45, "passive"),
    _Feature("AP amplitude (mV)", "linear", 82, 10, "spike"),
    _Feature("Spike frequency adaptation", "log", 0.75, 0.2, "spike train"),
    _Feature("Upstroke-to-downstroke ratio", "log", 2.3, 0.45, "spike"),
    _Feature("Rebound (mV)", "rectified", 2.0, 3.5, "hyperpolarisation"),
    _Feature("Afterhyperpolarization (mV)", "linear", -10, 6, "spike"),
    _Feature("ISI adaptation index", "log", 1.3, 0.4, "spike train"),
    _Feature("Latency (ms)", "log", 70, 0.8, "spike"),
    _Feature("AP amplitude adaptation index", "log", 0.87, 0.12, "spike train"),
    _Feature("Afterdepolarization (mV)", "rectified", -1.0, 1.5, "spike"),
    _Feature("AP coefficient of variation", "log", 0.19, 0.4, "spike train"),
    _Feature("AP Fano factor", "log", 1.7, 0.7, "spike train"),
    _Feature("ISI Fano factor", "log", 0.0016, 1.1, "spike train"),
    _Feature("ISI average adaptation index", "log", 1.1, 0.2, "spike train"),
    _Feature("AP amplitude average adaptation index", "log", 0.985, 0.02, "spike train"),
    _Feature("Latency @ +20pA current (ms)", "log", 30, 0.6, "spike"),
]
_MORPH = [
    _Feature("soma radius", "log", 7, 0.2, "soma"),
    _Feature("dendrite total length", "log", 2500, 0.5, "dendrite"),
    _Feature("axon total length", "log", 7000, 0.7, "axon"),
    _Feature("normalized depth", "linear", 0.5, 0.15, "soma"),
    _Feature("dendrite branch points", "count", 20, 0.5, "dendrite"),
    _Feature("axon branch points", "count", 60, 0.8, "axon"),
    _Feature("stems", "count", 6, 0.25, "soma"),
    _Feature("dendrite height", "log", 300, 0.4, "dendrite"),
    _Feature("axon height", "log", 450, 0.4, "axon"),
    _Feature("dendrite width", "log", 250, 0.35, "dendrite"),
    _Feature("axon width", "log", 450, 0.5, "axon"),
    _Feature("dendrite max branch order", "count", 6, 0.3, "dendrite"),
]
_PROTOCOLS = ("passive", "hyperpolarisation")  # ephys blocks that are missing after a failed protocol
_TRACINGS = ("axon", "dendrite")  # morphology blocks that are missing from a partial tracing

# Fractions of a feature's variance: predictable from other modalities, specific to its own, and noise
_SHARED, _PRIVATE, _NOISE = 0.65, 0.15, 0.2

_MINIMA = {
    "n_cells": 10,
    "n_genes": 20,
    "n_ephys": 4,
    "n_morph": 0,
    "n_families": 1,
    "n_latent": 1,
    "n_private": 0,
    "min_spikes": 0,
    "seed": 0,
}
_FRACTIONS = ("fraction_rna_only", "fraction_ephys_only", "fraction_morph", "missing_rate")


def simulate_patchseq(
    n_cells: int = 600,
    *,
    n_genes: int = 200,
    n_ephys: int = 24,
    n_morph: int = 0,
    n_families: int = 3,
    n_types: int = 9,
    n_latent: int = 5,
    n_private: int = 2,
    fraction_rna_only: float = 0.2,
    fraction_ephys_only: float = 0.1,
    fraction_morph: float = 0.5,
    missing_rate: float = 0.05,
    min_spikes: int = 5,
    seed: int = 0,
) -> MuData:
    """Simulate a partially paired Patch-seq experiment with known ground truth.

    Cell types of unequal frequency are grouped in families. The shared latent variables of a cell are the
    centre of its type plus continuous variation within the type; all modalities depend on them. Each modality
    also has private latent variables, which no other modality can predict. Given the latent variables,

    - counts are negative binomial, with gene means, library sizes and dropout as in Smart-seq data. Of the
      genes, about 40 % load on the shared latent variables, 20 % on the private ones and the others on none;
    - features are smooth, mildly nonlinear functions of the shared latent variables (65 % of the variance),
      private latent variables (15 %) and noise (20 %), with units and skewness as in Scala et al. (2021).

    Values are missing in blocks, as in real data: cells with few action potentials lack all features of spike
    trains; after a failed protocol or a partial tracing, all features measured on it are missing.

    Parameters
    ----------
    n_cells
        Number of cells of all modalities together, at least 10. With the default, training takes seconds on a
        CPU.
    n_genes
        Number of genes, at least 20.
    n_ephys
        Number of electrophysiological features, at least 4. The first 24 are named as in Scala et al., others
        ``Feature 25`` and so on.
    n_morph
        Number of morphological features, of which the first 12 have names; 0 (default) for no modality
        ``morph``. It does not affect other modalities.
    n_families, n_types
        Number of families, and number of cell types in all families together, at least ``n_families``.
    n_latent
        Number of shared latent variables. The default of 5 exceeds the 2 or 3 that are often plotted.
    n_private
        Number of private latent variables of each modality; may be 0.
    fraction_rna_only, fraction_ephys_only
        Fractions of cells without electrophysiology (and morphology), and without RNA. All other cells are
        paired: 70 % with the defaults. Both modalities must keep a cell.
    fraction_morph
        Fraction of the cells with electrophysiology that are reconstructed; used if ``n_morph`` > 0.
    missing_rate
        Probability that a cell lacks one block of ``ephys`` ("passive" or "hyperpolarisation"), and one of
        ``morph`` ("axon" or "dendrite"). 0 for none.
    min_spikes
        Cells with fewer action potentials than this lack the features of block "spike train": a few percent
        of cells with the default. 0 for none.
    seed
        Seed of the random numbers: the same seed and arguments give the same data. NumPy's global random
        state is neither used nor changed.

    Returns
    -------
    MuData
        Modalities ``rna``, ``ephys`` and, if ``n_morph`` > 0, ``morph``, each with its own order of cells.

        ``rna``
            ``layers["counts"]``: counts (CSR, int32). ``X``: log1p counts per million (CSR, float32).
        ``ephys``, ``morph``
            ``X``: features in natural units (dense, float32), NaN where missing. ``var["unit"]`` and
            ``var["block"]``: unit and block of each feature. ``obs["missing_block"]``: the block that a cell
            lacks, or "none"; ``obs["few_spikes"]`` (``ephys``): whether it lacks block "spike train".

        The ground truth, for all cells, in the order of ``.obs_names``:

        ``.obs["cell_type"]``, ``.obs["family"]``
            Categorical; also in the ``obs`` of each modality.
        ``.obsm["X_true"]``
            Shared latent variables, n_cells x n_latent, with mean 0 and standard deviation 1.
        ``.obsm["X_true_private_rna"]``, …
            Private latent variables, n_cells x n_private, standard normal; absent if ``n_private`` is 0.
        ``.uns["simulation"]``
            ``settings``: the arguments. ``genes_on_latent``: names of the genes that load on the shared
            latent variables. ``loadings``: features x n_latent for each modality; for genes in log mean per
            unit, 0 where a gene does not load; for other features the direction of their signal (of length
            1). ``loadings["rna"] @ loadings["ephys"].T`` is the association of genes with
            electrophysiological features.

    Raises
    ------
    ValueError
        If an argument is out of range.

    References
    ----------
    Scala F, Kobak D, et al. Phenotypic variation of transcriptomic cell types in mouse motor cortex.
    Nature 598, 144-150 (2021). https://doi.org/10.1038/s41586-020-2907-3

    Examples
    --------
    >>> from scvi_cae.datasets import simulate_patchseq
    >>> mdata = simulate_patchseq(100, seed=1)
    >>> mdata["rna"].shape, mdata["ephys"].shape
    ((90, 200), (80, 24))
    >>> mdata.obsm["X_true"].shape
    (100, 5)
    """
    settings: dict[str, float] = dict(locals())  # the arguments, before other variables are defined
    _check(settings)
    n_rna_only = round(fraction_rna_only * n_cells)
    n_ephys_only = min(round(fraction_ephys_only * n_cells), n_cells - n_rna_only)
    n_reconstructed = round(fraction_morph * (n_cells - n_rna_only)) if n_morph else 0
    for argument, n_left in {
        "fraction_ephys_only": n_cells - n_ephys_only,
        "fraction_rna_only": n_cells - n_rna_only,
        "fraction_morph": n_reconstructed or not n_morph,
    }.items():
        if not n_left:
            raise ValueError(f"{argument}={settings[argument]} leaves a modality without cells. Change it.")

    # One random stream per part, so that the options of one part do not change another.
    rng, rna_rng, ephys_rng, morph_rng = np.random.default_rng(seed).spawn(4)
    obs, shared = _cells(rng, n_cells, n_families, n_types, n_latent)
    rna_only, ephys_only, paired = np.split(rng.permutation(n_cells), [n_rna_only, n_rna_only + n_ephys_only])

    private = {"rna": rna_rng.standard_normal((n_cells, n_private))}
    rna, loadings = _simulate_rna(rna_rng, obs, shared, private["rna"], n_genes)
    modalities = {"rna": rna[rna_rng.permutation(np.r_[rna_only, paired])].copy()}
    all_loadings = {"rna": loadings}

    private["ephys"] = ephys_rng.standard_normal((n_cells, n_private))
    ephys, all_loadings["ephys"] = _simulate_features(
        ephys_rng, obs, shared, private["ephys"], _EPHYS, n_ephys
    )
    _lose_block(ephys_rng, ephys, _PROTOCOLS, missing_rate)
    _lose_spike_trains(ephys, min_spikes)
    recorded = ephys_rng.permutation(np.r_[ephys_only, paired])
    modalities["ephys"] = ephys[recorded].copy()

    if n_morph:
        private["morph"] = morph_rng.standard_normal((n_cells, n_private))
        morph, all_loadings["morph"] = _simulate_features(
            morph_rng, obs, shared, private["morph"], _MORPH, n_morph
        )
        _lose_block(morph_rng, morph, _TRACINGS, missing_rate)
        modalities["morph"] = morph[morph_rng.permutation(recorded)[:n_reconstructed]].copy()

    mdata = join_modalities(modalities, obs)
    order = obs.index.get_indexer(mdata.obs_names)
    mdata.obsm["X_true"] = shared[order]
    for name, latent in private.items():
        if n_private:
            mdata.obsm[f"X_true_private_{name}"] = latent[order]
    mdata.uns["simulation"] = {
        "settings": settings,
        "genes_on_latent": rna.var_names[all_loadings["rna"].any(axis=1)].to_numpy(dtype=object),
        "loadings": all_loadings,
    }
    return mdata


def _check(settings: dict[str, float]) -> None:
    for name, minimum in _MINIMA.items():
        check_whole(settings[name], name, minimum)
    if settings["n_types"] < settings["n_families"]:
        raise ValueError(
            f"n_types={settings['n_types']} is less than n_families={settings['n_families']}: "
            "each family needs a type."
        )
    for name in _FRACTIONS:
        if not 0 <= settings[name] <= 1:
            raise ValueError(f"{name}={settings[name]} must be a fraction, from 0 to 1.")
    if settings["fraction_rna_only"] + settings["fraction_ephys_only"] > 1:
        raise ValueError(
            f"fraction_rna_only={settings['fraction_rna_only']} and fraction_ephys_only="
            f"{settings['fraction_ephys_only']} sum to more than 1. Lower one of them."
        )


def _cells(
    rng: np.random.Generator, n_cells: int, n_families: int, n_types: int, n_latent: int
) -> tuple[pd.DataFrame, Array]:
    """Draw the type of each cell, and its shared latent variables around the centre of the type."""
    family_of_type = np.sort(np.arange(n_types) % n_families)
    rank_in_family = np.arange(n_types) - np.searchsorted(family_of_type, family_of_type)
    family_names = [f"family {f + 1}" for f in range(n_families)]
    type_names = [f"type {f + 1}.{r + 1}" for f, r in zip(family_of_type, rank_in_family, strict=True)]

    weights = rng.permutation(1 / np.arange(1, n_types + 1))  # most frequent : rarest = n_types : 1
    cell_type = rng.choice(n_types, n_cells, p=weights / weights.sum())
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical(np.array(type_names)[cell_type], type_names),
            "family": pd.Categorical(np.array(family_names)[family_of_type[cell_type]], family_names),
        },
        index=[f"cell_{i:0{len(str(n_cells))}d}" for i in range(1, n_cells + 1)],
    )
    family_centres = rng.normal(0, 1.2, (n_families, n_latent))
    type_centres = family_centres[family_of_type] + rng.normal(0, 0.9, (n_types, n_latent))
    shared = type_centres[cell_type] + rng.normal(0, 0.6, (n_cells, n_latent))
    return obs, _standardise(shared)


def _simulate_rna(
    rng: np.random.Generator, obs: pd.DataFrame, shared: Array, private: Array, n_genes: int
) -> tuple[AnnData, Array]:
    """Simulate counts of all cells; also return the loadings of genes on the shared latent variables."""
    n_cells = len(obs)
    role = rng.choice(["shared", "private", "none"], n_genes, p=[0.4, 0.2, 0.4])

    def load(latent: Array, which: str) -> Array:
        loadings = rng.normal(0, 1 / np.sqrt(max(latent.shape[1], 1)), (n_genes, latent.shape[1]))
        return np.where((role == which)[:, None], loadings, 0.0)

    loadings = load(shared, "shared")
    log_mean = rng.normal(0, 1.2, n_genes) + shared @ loadings.T + private @ load(private, "private").T
    library_size = rng.lognormal(np.log(60 * n_genes), 0.4, (n_cells, 1))
    mean = np.exp(log_mean)
    mean *= library_size / mean.sum(axis=1, keepdims=True)
    inverse_dispersion = rng.lognormal(np.log(3), 0.3, n_genes)
    counts = rng.poisson(rng.gamma(inverse_dispersion, mean / inverse_dispersion))
    counts[rng.random(counts.shape) > mean / (1 + mean)] = 0  # dropout, mainly of rare transcripts

    var = pd.DataFrame(index=[f"Gene{i:0{len(str(n_genes))}d}" for i in range(1, n_genes + 1)])
    return rna_modality(sparse.csr_matrix(counts.astype(np.int32)), obs.copy(), var), loadings


def _simulate_features(
    rng: np.random.Generator,
    obs: pd.DataFrame,
    shared: Array,
    private: Array,
    catalogue: Sequence[_Feature],
    n_features: int,
) -> tuple[AnnData, Array]:
    """Simulate features of all cells; also return their directions in the shared latent space."""
    further = [
        _Feature(f"Feature {i + 1}", "linear", 0, 1, "other") for i in range(len(catalogue), n_features)
    ]
    features = [*catalogue[:n_features], *further]

    def directions(latent: Array) -> Array:
        drawn = rng.standard_normal((n_features, latent.shape[1]))
        return drawn / np.linalg.norm(drawn, axis=1, keepdims=True).clip(1e-12)

    loadings = directions(shared)
    bend = np.sin(1.5 * _standardise(shared @ directions(shared).T))
    shared_part = _standardise(_standardise(shared @ loadings.T) + 0.4 * bend)
    signal = np.sqrt(_SHARED) * shared_part + np.sqrt(_NOISE) * rng.standard_normal(shared_part.shape)
    signal += np.sqrt(_PRIVATE) * (private @ directions(private).T)

    values = np.stack([_scale(feature, signal[:, j]) for j, feature in enumerate(features)], axis=1)
    names = pd.Index([feature.name for feature in features])
    var = pd.DataFrame(
        {
            "unit": pd.Categorical(names.str.extract(r"\(([^()]*)\)$", expand=False).fillna("")),
            "block": pd.Categorical([feature.block for feature in features]),
        },
        index=names,
    )
    return anndata.AnnData(values.astype(np.float32), obs=obs.copy(), var=var), loadings


def _scale(feature: _Feature, signal: Array) -> Array:
    """Transform a signal with standard deviation 1 to values in the unit of the feature."""
    match feature.scale:
        case "linear":
            return feature.centre + feature.spread * signal
        case "rectified":
            return np.maximum(0, feature.centre + feature.spread * signal)
        case "log":
            return feature.centre * np.exp(feature.spread * signal)
        case "count":
            return np.maximum(1, np.rint(feature.centre * np.exp(feature.spread * signal)))


def _lose_block(rng: np.random.Generator, adata: AnnData, blocks: Sequence[str], rate: float) -> None:
    """Remove one of the blocks from each cell with probability ``rate``, and record which."""
    lost = np.where(rng.random(adata.n_obs) < rate, rng.choice(blocks, adata.n_obs), "none")
    adata.obs["missing_block"] = pd.Categorical(lost, ["none", *blocks])
    adata.X[lost[:, None] == adata.var["block"].to_numpy()] = np.nan


def _lose_spike_trains(ephys: AnnData, min_spikes: int) -> None:
    """Remove the features of spike trains from cells with fewer action potentials than ``min_spikes``."""
    few = ephys[:, _MAX_APS].X[:, 0] < min_spikes
    ephys.obs["few_spikes"] = few
    ephys.X[few[:, None] & (ephys.var["block"] == "spike train").to_numpy()] = np.nan


def _standardise(values: Array) -> Array:
    return (values - values.mean(axis=0)) / values.std(axis=0)
