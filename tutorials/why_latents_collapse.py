# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Why latents collapse, and the couplings that prevent it
#
# A coupled autoencoder asks two things of its latents: each must be good enough to reconstruct its own modality,
# and the latents of the same cell must agree. Say "agree" the obvious way, by the mean squared distance, and the
# second wish ruins the first. [Gala et al. (2019)](https://papers.nips.cc/paper/2019/hash/30d4e6422cd65c7913bc9ce62e078b79-Abstract.html)
# saw why: a distance has a unit, and networks are free to choose it.
#
# - **Mean squared error.** Half the size of both latents, and the distance is a quarter; decoders simply scale
#   back up. The latents shrink towards a point.
# - **Mean squared error of batch-normalised latents.** Now every dimension has unit variance, but two dimensions
#   may be the same. All of them become copies of the one that agrees best: a line.
# - **Full covariance.** The distance in units of the latents' own covariance (Mahalanobis). No direction gains by
#   shrinking.
# - **Minimum variance.** The distance relative to the smallest variance in any direction. No direction may
#   become thin; there is no covariance to invert, so that small batches do. It is the published model's.
# - **Log-determinant.** How much of each direction is shared, whatever the scale: the default here, which also lets
#   directions go in which modalities have nothing in common.
#
# Let us watch that happen, on 1,208 neurons of mouse motor cortex with transcriptome and electrophysiology
# ([Scala et al., 2021](https://doi.org/10.1038/s41586-020-2907-3)).

# %% tags=["remove-cell"]
import _tutorial  # keeps libraries quiet; leave it out in a notebook of your own

# %%
import matplotlib.pyplot as plt
import mudata
import numpy as np
import pandas as pd
import scvi

import scvi_cae


# %%
mdata = scvi_cae.datasets.scala2020()
family = mdata.obs["rna_family"]

# %%
both = mdata["rna"].obs_names.intersection(mdata["ephys"].obs_names)
paired = mudata.MuData({name: mdata[name][both].copy() for name in ("rna", "ephys")})
paired.obs["family"] = family.reindex(paired.obs_names).cat.remove_unused_categories()
scvi_cae.CoupledAE.setup_mudata(paired)
paired

# %% [markdown]
# Four models, alike but for the coupling. Its weight is 10, as in 2019, so that the effect shows; two dimensions
# can be drawn. As published, a decoder reads every latent in the same way, and latents are looked at as the networks
# give them. A tenth of the cells is held out, and every number below is measured on them.

# %%
couplings = {
    "MSE": {"coupling_loss": "mse", "latent_norm": False},
    "MSE, batch norm": {"coupling_loss": "mse", "latent_norm": True},
    "full covariance": {"coupling_loss": "full_covariance", "latent_norm": False},
    "minimum variance": {"coupling_loss": "min_variance", "latent_norm": False},
}

models = {}
for name, settings in couplings.items():
    arm = {"cross_gradient": 0.0, "cross_map": False, "published": {"latent_norm": settings["latent_norm"]}}
    scvi.settings.seed = 0
    models[name] = scvi_cae.CoupledAE(
        paired,
        n_latent=2,
        arms={"rna": arm, "ephys": arm},
        coupling=10.0,
        coupling_loss=settings["coupling_loss"],
        latent_axes="network",
    )
    models[name].train(monitor=None, stratify_by="family", enable_progress_bar=False)

# %% [markdown]
# ## The size and the shape of the latents
#
# The eigenvalues of a latent's covariance say both: their sum is its size; the *participation ratio*
# $(\sum\lambda)^2/\sum\lambda^2$ counts the dimensions that it really uses, here between 1 (a line) and 2 (a disc).


# %%
def spectrum(model, modality):
    latent = model.get_latent_representation(modality=modality, indices=model.validation_indices)
    eigenvalues = np.linalg.eigvalsh(np.cov(latent, rowvar=False))
    return {
        "total variance": eigenvalues.sum(),
        "participation ratio": eigenvalues.sum() ** 2 / (eigenvalues**2).sum(),
        "smallest / largest": eigenvalues[0] / eigenvalues[-1],
    }


shapes = pd.DataFrame({(name, m): spectrum(models[name], m) for name in models for m in ("rna", "ephys")}).T
shapes.style.format("{:.3g}")

# %% [markdown]
# Plain MSE leaves latents with a hundredth of the variance of normalised ones, and with less than a thousandth of that of
# the two couplings of 2019. With batch normalisation the size is right, but they use a single dimension of the two. The
# two couplings of 2019 use both.
#
# In a picture, of all cells, on one scale but for the normalised latents: on the left a point, next to it a line.

# %%
figure, axes = plt.subplots(2, 4, figsize=(12, 6), sharex="col", sharey="col")
for column, (name, model) in enumerate(models.items()):
    for row, modality in enumerate(("rna", "ephys")):
        latent = model.get_latent_representation(modality=modality)
        axis = axes[row, column]
        for family in paired.obs["family"].cat.categories:
            cells = (paired.obs["family"] == family).to_numpy()
            axis.plot(*latent[cells].T, ".", markersize=2, label=family)
        axis.set_title(f"{name}\n{modality}", fontsize=10)
    span = np.abs(latent).max() if couplings[name]["latent_norm"] else 30
    axes[1, column].set(xlim=(-span, span), ylim=(-span, span), xlabel="latent dimension 1")
for axis in axes[:, 0]:
    axis.set_ylabel("latent dimension 2")
axes[0, 3].legend(title="family", markerscale=5, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
figure.tight_layout()

# %% [markdown]
# ## What it costs
#
# Held-out cells, pooled R² (1 is perfect, 0 the mean of the training cells), and FOSCTTM, the fraction of cells
# closer to a cell's latent than the cell itself seen through the other modality (0 is perfect, 0.5 chance):

# %%
scores = pd.concat(
    scvi_cae.evaluate.score(model).query("method == 'CoupledAE'").assign(coupling=name)
    for name, model in models.items()
)
scores["what"] = scores["metric"] + " " + scores["target"] + " from " + scores["source"]
table = scores.pivot(index="coupling", columns="what", values="value").loc[list(models)]
table.round(3)

# %% [markdown]
# One split is not a benchmark. The couplings that keep both dimensions match cells best. The point matches worst and
# predicts the other modality worst: decoders can undo the shrinking, but its size means nothing, and weight decay and noise act on it as
# it happens to be. The line predicts the other modality about as well as two dimensions do, and its own better: with
# a weight of 10, couplings that watch over both dimensions leave little room for what a modality alone has to say.
#
# The published model of [Gala et al. (2021)](https://doi.org/10.1038/s43588-021-00030-1) has minimum variance with
# batch-normalised latents, which also fixes the size. The package's default, the log-determinant, asks most of the
# directions in which modalities agree already, and little of the others. How a coupling is chosen:
#
# ```python
# scvi_cae.CoupledAE(mdata, coupling_loss="full_covariance")
# scvi_cae.CoupledAE(mdata, coupling={("rna", "ephys"): (0.1, 0.9)})   # ephys follows rna, more than the reverse
# ```

# %%
import session_info2

session_info2.session_info(os=False, dependencies=False)
