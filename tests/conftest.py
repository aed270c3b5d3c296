"""Small MuData with a known shared latent, and models fitted to them.

The process that shares tests out among others reads this file, too: what takes seconds to import is imported in use.
"""

from __future__ import annotations

import multiprocessing
import signal
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from hypothesis import settings

import scvi_cae

if TYPE_CHECKING:
    import anndata
    import mudata

# On a busy machine a first example can take long; how long is not what is tested.
settings.register_profile("scvi_cae", deadline=None)
settings.load_profile("scvi_cae")

QUIET = {"enable_progress_bar": False}


@pytest.fixture(autouse=True, scope="session")
def ctrl_c():
    """Ctrl-C raises KeyboardInterrupt, also where the tests run in the background of a shell, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def processes() -> multiprocessing.context.ForkServerContext:
    """Makes processes that need not import scvi-tools, which takes seconds.

    They are forked from one that has imported it and done nothing else: no thread and no random number is there that
    a process of its own would not have.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["scvi_cae.model"])
    return context


def make_modality(values: np.ndarray, cells: np.ndarray, prefix: str) -> anndata.AnnData:
    """An AnnData with named cells and features."""
    import anndata

    return anndata.AnnData(
        values.astype(np.float32),
        obs=pd.DataFrame(index=pd.Index(cells.astype(str))),
        var=pd.DataFrame(index=pd.Index([f"{prefix}{i}" for i in range(values.shape[1])])),
    )


def make_mdata(
    n_cells: int = 120,
    n_features: dict[str, int] | None = None,
    fraction: dict[str, float] | None = None,
    missing: dict[str, float] | None = None,
    seed: int = 0,
) -> mudata.MuData:
    """Modalities that are linear in 4 shared dimensions, each with its own cells, cell order and gaps.

    At least a third of the cells, the first ones, have every modality.
    """
    import mudata

    rng = np.random.default_rng(seed)
    n_features = n_features or {"rna": 30, "ephys": 8}
    names = np.array([f"cell{i}" for i in range(n_cells)])
    latent = rng.normal(size=(n_cells, 4))
    modalities = {}
    for name, n in n_features.items():
        values = 5 + 3 * (latent @ rng.normal(size=(4, n)) + 0.3 * rng.normal(size=(n_cells, n)))
        values[rng.random(values.shape) < (missing or {}).get(name, 0)] = np.nan
        has = rng.random(n_cells) < (fraction or {}).get(name, 0.8)
        has[: n_cells // 3] = True
        cells = rng.permutation(np.flatnonzero(has))
        modalities[name] = make_modality(values[cells], names[cells], f"{name}_")
    mdata = mudata.MuData(modalities)
    mdata.obs["kind"] = pd.Categorical(np.where(np.arange(mdata.n_obs) % 3 == 0, "a", "b"))
    return mdata


@pytest.fixture
def mdata() -> mudata.MuData:
    """Two partially paired modalities, one with missing values; set up."""
    out = make_mdata(missing={"ephys": 0.05})
    scvi_cae.CoupledAE.setup_mudata(out)
    return out


def fit(mdata: mudata.MuData, *, n_latent: int = 3, max_epochs: int = 3, seed: int = 0, **kwargs: object):
    """A model trained for a moment."""
    import scvi

    scvi.settings.seed = seed
    model = scvi_cae.CoupledAE(mdata, n_latent=n_latent)
    model.train(max_epochs=max_epochs, **{**QUIET, **kwargs})
    return model


@pytest.fixture(scope="session")
def trained_mdata() -> mudata.MuData:
    """Data of :func:`trained`; not to be changed."""
    out = make_mdata(missing={"ephys": 0.05})
    scvi_cae.CoupledAE.setup_mudata(out)
    return out


@pytest.fixture(scope="session")
def trained(trained_mdata: mudata.MuData):
    """A model that has learnt something; not to be changed."""
    return fit(trained_mdata, max_epochs=60)
