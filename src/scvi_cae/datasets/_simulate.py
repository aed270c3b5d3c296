"""Simulated Patch-seq with known truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

from ._assemble import join_modalities, rna_modality

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

# How a feature's standardised signal becomes its value: additive, positive, rectified or a whole number
Scale = Literal["linear", "log", "rectified", "count"]


class _Feature(NamedTuple):
    name: str
    scale: Scale
    centre: float  # median, in the feature's unit
    spread: (
        float  # standard deviation of the linear and rectified, log-scale standard deviation of the others
    )
    block: str  # features of a block are missing together


# Names, units, centres and spreads after Scala et al. (2021), in an order that keeps a short list varied
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
_PROTOCOLS = ("passive", "hyperpolarisation")  # ephys blocks that one failed protocol loses
_TRACINGS = ("axon", "dendrite")  # morphology blocks that a partial tracing lacks

# Shares of the variance of a feature: what other modalities can predict, what they cannot, and noise
_SHARED, _PRIVATE, _NOISE = 0.65, 0.15, 0.2

_AT_LEAST = {
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
    """Simulate a partially paired Patch-seq experiment whose truth is known.

    Cell types of uneven frequency lie in families. A cell's shared latent variables are its type's centre
    plus continuous variation within the type; they shape every modality. Each modality has private latent
    variables besides, which no other can predict. From these come

    - counts: negative binomial, with the spread of gene means, library sizes and dropout of Smart-seq data.
      About 40 % of the genes load on the shared latent variables, 20 % on the private ones, the others on
      none;
    - features: smooth, mildly nonlinear functions of the shared latent variables (65 % of the variance), the
      private ones (15 %) and noise (20 %), in the units and with the skew of Scala et al. (2021).

    Values are missing in blocks, as in real data: cells with few action potentials lack every feature of
    spike trains, a failed protocol or a partial tracing loses all that is measured on it.

    Parameters
    ----------
    n_cells
        Number of cells in all modalities together, at least 10. The default trains in seconds on a CPU.
    n_genes
        Number of genes, at least 20.
    n_ephys
        Number of electrophysiological features, at least 4; the first 24 are named as in Scala et al., any
        further are called ``Feature 25`` and so on.
    n_morph
        Number of morphological features (the first 12 have names); 0 (default) for no modality ``morph``.
        It has no influence on the other modalities.
    n_families, n_types
        Number of families and, in all of them together, of cell types, at least ``n_families``.
    n_latent
        Number of shared latent variables. The default of 5 is more than the 2 or 3 that are often plotted.
    n_private
        Number of private latent variables of each modality; may be 0.
    fraction_rna_only, fraction_ephys_only
        Fractions of the cells without electrophysiology (and morphology), and without RNA. All others are
        paired. The defaults pair 70 %; both modalities must keep a cell.
    fraction_morph
        Fraction of the cells with electrophysiology that are reconstructed; used if ``n_morph`` > 0.
    missing_rate
        Probability that a cell lacks one block of ``ephys`` (block "passive" or "hyperpolarisation"), and one
        of ``morph`` ("axon" or "dendrite"). 0 for none.
    min_spikes
        Cells that fire fewer action potentials than this lack the features of block "spike train": a few
        per cent with the default. 0 for none.
    seed
        Of the random numbers; the same seed and arguments give the same data. The global state of NumPy's
        random numbers is neither used nor changed.

    Returns
    -------
    MuData
        Modalities ``rna``, ``ephys`` and, if asked for, ``morph``, each listing its cells in an order of its
        own.

        ``rna``
            ``layers["counts"]``: counts (CSR, int32). ``X``: log1p of the counts per million (CSR, float32).
        ``ephys``, ``morph``
            ``X``: features in natural units (dense, float32), NaN where missing. ``var["unit"]`` and
            ``var["block"]``: each feature's unit and block. ``obs["missing_block"]``: the block that a cell
            lacks, or "none"; ``obs["few_spikes"]`` (``ephys``): whether it lacks block "spike train".

        The truth, for all cells, in the order of ``.obs_names``:

        ``.obs["cell_type"]``, ``.obs["family"]``
            Categorical; in each modality's ``obs`` too.
        ``.obsm["X_true"]``
            Shared latent variables, n_cells x n_latent, of mean 0 and standard deviation 1.
        ``.obsm["X_true_private_rna"]``, …
            Private latent variables, n_cells x n_private, standard normal; absent if ``n_private`` is 0.
        ``.uns["simulation"]``
            ``settings``: the arguments. ``genes_on_latent``: names of the genes that load on the shared
            latent variables. ``loadings``: of each modality, features x n_latent, 0 where a gene does not
            load; for genes in log mean per unit, for features the direction of their signal (of length 1).
            ``loadings["rna"] @ loadings["ephys"].T`` says which genes go with which features.

    Raises
    ------
    ValueError
        An argument is out of range; the message names it.

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
    settings: dict[str, float] = dict(locals())  # the arguments, before anything else is defined
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
            raise ValueError(f"{argument}={settings[argument]} leaves a modality without cells: change it.")

    # one stream for each part, so that what is asked of one part does not change another
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
    for name, minimum in _AT_LEAST.items():
        if settings[name] < minimum:
            raise ValueError(f"{name}={settings[name]} is too small: give at least {minimum}.")
    if settings["n_types"] < settings["n_families"]:
        raise ValueError(
            f"n_types={settings['n_types']} is less than n_families={settings['n_families']}: "
            "give each family a type."
        )
    for name in _FRACTIONS:
        if not 0 <= settings[name] <= 1:
            raise ValueError(f"{name}={settings[name]} is not a fraction: give a number from 0 to 1.")
    if settings["fraction_rna_only"] + settings["fraction_ephys_only"] > 1:
        raise ValueError(
            f"fraction_rna_only={settings['fraction_rna_only']} and fraction_ephys_only="
            f"{settings['fraction_ephys_only']} sum to more than 1: lower one of them."
        )


def _cells(
    rng: np.random.Generator, n_cells: int, n_families: int, n_types: int, n_latent: int
) -> tuple[pd.DataFrame, Array]:
    """Draw each cell's type, and its shared latent variables around the type's centre."""
    family_of_type = np.sort(np.arange(n_types) % n_families)
    rank_in_family = np.arange(n_types) - np.searchsorted(family_of_type, family_of_type)
    family_names = [f"family {f + 1}" for f in range(n_families)]
    type_names = [f"type {f + 1}.{r + 1}" for f, r in zip(family_of_type, rank_in_family, strict=True)]

    weights = rng.permutation(1 / np.arange(1, n_types + 1))  # the commonest n_types times the rarest
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
    """Simulate counts of every cell; also return the genes' loadings on the shared latent variables."""
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
    counts[rng.random(counts.shape) > mean / (1 + mean)] = 0  # dropout, of rare transcripts above all

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
    """Simulate features of every cell; also return their directions in the shared latent space."""
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
    """Turn a signal of standard deviation 1 into values in the feature's unit."""
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
    """With probability ``rate``, remove one of the blocks from a cell, and write down which."""
    lost = np.where(rng.random(adata.n_obs) < rate, rng.choice(blocks, adata.n_obs), "none")
    adata.obs["missing_block"] = pd.Categorical(lost, ["none", *blocks])
    adata.X[lost[:, None] == adata.var["block"].to_numpy()] = np.nan


def _lose_spike_trains(ephys: AnnData, min_spikes: int) -> None:
    """Remove what cannot be measured on fewer action potentials than ``min_spikes``."""
    few = ephys[:, _MAX_APS].X[:, 0] < min_spikes
    ephys.obs["few_spikes"] = few
    ephys.X[few[:, None] & (ephys.var["block"] == "spike train").to_numpy()] = np.nan


def _standardise(values: Array) -> Array:
    return (values - values.mean(axis=0)) / values.std(axis=0)
