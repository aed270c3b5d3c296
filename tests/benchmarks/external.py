"""Methods of other packages as baselines: MOFA+, ridge CCA and UniVI.

The packages are those of the dependency group ``benchmark``: ``pip install --group benchmark``.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from scvi_cae.evaluate._latent import Decoder
from scvi_cae.regression import PairBaseline

if TYPE_CHECKING:
    from collections.abc import Iterator


def require(module: str, package: str) -> Any:
    """Import a module, or raise an ImportError that says how to install its package."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"This baseline needs {package}, which is not installed. Install it with "
            "pip install --group benchmark."
        ) from error


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Suppress prints, logs and warnings of another package."""
    sink, disabled = io.StringIO(), logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


class MOFABaseline(PairBaseline):
    """Multi-omics factor analysis (MOFA+), of package mofapy2: factors by variational Bayes.

    mofapy2 cannot project new cells. The factors of a new cell are their posterior mean given its source and
    the fitted weights and noise, so test cells do not take part in the fit.

    Parameters
    ----------
    n_latent
        Initial number of factors; factors that explain no variance are shrunk to zero.
    n_iterations
        Maximum number of iterations.
    seed
        Seed of the random numbers.

    References
    ----------
    Argelaguet et al., "MOFA+: a statistical framework for comprehensive integration of multi-modal
    single-cell data", Genome Biology 2020.
    """

    def __init__(self, n_latent: int = 15, n_iterations: int = 150, seed: int = 0) -> None:
        self.n_latent = n_latent
        self.n_iterations = n_iterations
        self.seed = seed

    def _fit(self, x: np.ndarray, y: np.ndarray, present: np.ndarray) -> None:
        entry_point = require("mofapy2.run.entry_point", "mofapy2").entry_point
        source = np.where(present[:, None], x, np.nan)
        # Cells with neither modality carry no information; constant features have no noise to fit.
        cells = present | ~np.isnan(y).all(1)
        self._varies = x[present].std(0) > 0
        with quietly():
            run = entry_point()
            run.set_data_options(scale_views=False)
            run.set_data_matrix(
                [[source[cells][:, self._varies]], [y[cells]]],
                likelihoods=["gaussian"] * 2,
                views_names=["source", "target"],
                groups_names=["cells"],
            )
            run.set_model_options(factors=self.n_latent, ard_weights=True, spikeslab_weights=False)
            run.set_train_options(iter=self.n_iterations, convergence_mode="fast", seed=self.seed, quiet=True)
            run.build()
            run.run()
            nodes = run.model.nodes
            weights = [np.asarray(w) for w in nodes["W"].getExpectation()]
            noise = np.asarray(nodes["Tau"].getExpectation()[0])
        # mofapy2 centres each feature by its mean; its noise has one row for all cells or one per cell.
        self._centre = x[present][:, self._varies].mean(0)
        self._mean = np.nan_to_num(np.nanmean(y, axis=0))
        precision = weights[0] * (noise[0] if noise.ndim > 1 else noise)[:, None]
        self._gain = np.linalg.solve(np.eye(weights[0].shape[1]) + weights[0].T @ precision, precision.T)
        self._weights = weights[1]

    def _predict(self, x: np.ndarray) -> np.ndarray:
        factors = (x[:, self._varies] - self._centre) @ self._gain.T
        return factors @ self._weights.T + self._mean


class CCAZooBaseline(PairBaseline):
    """Ridge-regularised canonical correlation analysis of all features, of package cca-zoo.

    The target is predicted by least squares from the latents of the source.
    :class:`scvi_cae.evaluate.CCABaseline` does the same on principal components.

    Parameters
    ----------
    n_latent
        Number of latent dimensions.
    shrinkage
        Shrinkage of the covariance of source and target, from 0 (none) to 1 (partial least squares).
    """

    def __init__(self, n_latent: int = 10, shrinkage: tuple[float, float] = (0.5, 0.1)) -> None:
        self.n_latent = n_latent
        self.shrinkage = shrinkage

    def _fit(self, x: np.ndarray, y: np.ndarray, present: np.ndarray) -> None:
        linear = require("cca_zoo.linear", "cca-zoo")
        both = present & ~np.isnan(y).all(1)
        n = min(self.n_latent, x.shape[1], y.shape[1])
        with quietly():
            self._model = linear.RidgeCCA(n_components=n, shrinkage=list(self.shrinkage)).fit(
                [x[both], np.nan_to_num(y[both])]
            )
        self._filler = np.zeros((1, y.shape[1]))
        self._decoder = Decoder(self._latents(x), y, present)

    def _latents(self, x: np.ndarray) -> np.ndarray:
        with quietly():
            return np.asarray(self._model.transform([x, np.tile(self._filler, (len(x), 1))])[0])

    def _predict(self, x: np.ndarray) -> np.ndarray:
        return self._decoder(self._latents(x))


class UniVIBaseline(PairBaseline):
    """Mixture-of-experts variational autoencoder of package univi, on cells that have both modalities.

    A tenth of the training cells selects the best epoch. Missing values of the target are replaced by the
    training mean.

    Parameters
    ----------
    n_latent
        Number of latent dimensions.
    n_epochs
        Number of epochs.
    seed
        Seed of the random numbers.
    """

    def __init__(self, n_latent: int = 10, n_epochs: int = 150, seed: int = 0) -> None:
        self.n_latent = n_latent
        self.n_epochs = n_epochs
        self.seed = seed

    def _fit(self, x: np.ndarray, y: np.ndarray, present: np.ndarray) -> None:
        univi = require("univi", "univi")
        config = require("univi.config", "univi")
        import torch
        from torch.utils.data import DataLoader

        both = present & ~np.isnan(y).all(1)
        x, y = x[both], np.nan_to_num(y[both])
        with quietly(), torch.random.fork_rng():
            torch.manual_seed(self.seed)
            order = torch.randperm(len(x)).numpy()
            modalities = [
                config.ModalityConfig(name, n, widths, widths[::-1], likelihood="gaussian")
                for name, n in (("source", x.shape[1]), ("target", y.shape[1]))
                for widths in ([[256, 128]] if n > 100 else [[64, 32]])
            ]
            model = univi.UniVIMultiModalVAE(
                config.UniVIConfig(
                    latent_dim=self.n_latent,
                    beta=1.25,
                    gamma=4.35,
                    modalities=modalities,
                    kl_anneal_start=20,
                    kl_anneal_end=40,
                    align_anneal_start=30,
                    align_anneal_end=60,
                )
            )
            parts = order[len(x) // 10 :], order[: len(x) // 10]
            loaders = [
                DataLoader(
                    univi.MultiModalDataset(
                        {"source": self._table(x[part]), "target": self._table(y[part])}, X_key="X"
                    ),
                    batch_size=128,
                    shuffle=number == 0,
                    drop_last=number == 0 and len(part) > 128,
                )
                for number, part in enumerate(parts)
            ]
            training = config.TrainingConfig(n_epochs=self.n_epochs, lr=1e-3, device="cpu")
            univi.UniVITrainer(
                model, train_loader=loaders[0], val_loader=loaders[1], train_cfg=training
            ).fit()
        self._model = model

    @staticmethod
    def _table(values: np.ndarray) -> Any:
        import anndata

        return anndata.AnnData(values.astype(np.float32))

    def _predict(self, x: np.ndarray) -> np.ndarray:
        evaluation = require("univi.evaluation", "univi")
        with quietly():
            predicted = evaluation.cross_modal_predict(
                self._model, self._table(x), src_mod="source", tgt_mod="target", device="cpu"
            )
        return np.array(predicted, dtype=float)
