"""What every tutorial begins with: libraries that keep quiet, and simulated data where the real ones cannot be had.

With ``SCVI_CAE_TUTORIAL_DATA=simulated``, the functions that tutorials load data with return simulated cells, which
have the names that tutorials use. The simulation knows nothing of these names: what a notebook then says of families
or genes is not so.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # networks too small to share out among threads
os.environ["TQDM_DISABLE"] = "1"  # progress bars, which a notebook would keep line by line
warnings.filterwarnings(
    "ignore", message="IProgress not found|.*LeafSpec|From 0.4 .update|Failed to import dep"
)
# Set-up tells of the same few values in each tutorial, and of a gene in one; their texts do, too.
warnings.filterwarnings(
    "ignore", message=".*robust standard deviations from the median|.*the same in every cell"
)

import mudata
import numpy as np
import scvi

import scvi_cae

scvi.settings.verbosity = logging.ERROR
for name in ("lightning.pytorch", "lightning.fabric"):  # which tell of each seed
    logging.getLogger(name).setLevel(logging.ERROR)

FAMILIES = {"family 1": "Pvalb", "family 2": "Sst", "family 3": "IT"}
CHANNELS = [f"Kcna{number}" for number in range(1, 21)]


def simulated_scala2020(n_cells: int = 800) -> mudata.MuData:
    """Simulated cells with names of the real ones: families, types, and genes of ion channels."""
    simulated = scvi_cae.datasets.simulate_patchseq(n_cells, n_morph=12)
    truth = simulated.uns["simulation"]
    modalities = {name: simulated[name].copy() for name in simulated.mod}
    for adata in modalities.values():
        adata.obs = adata.obs[[]]  # which the real ones lack

    rna, ephys = modalities["rna"], modalities["ephys"]
    shared = truth["loadings"]["rna"] @ truth["loadings"]["ephys"].T
    width, sag = (list(ephys.var_names).index(name) for name in ("AP width (ms)", "Sag time (s)"))
    names = rna.var_names.to_numpy(dtype=object)
    names[rna.var_names.get_indexer(truth["genes_on_latent"][: len(CHANNELS)])] = CHANNELS
    names[np.argsort(shared[:, width])[:2]] = ["Kcnc1", "Kcnc2"]
    names[np.argmax(np.where(np.char.startswith(names.astype(str), "Kcn"), -np.inf, shared[:, sag]))] = "Hcn1"
    rna.var_names = names.astype(str)
    ephys.var_names = ["Sag ratio" if name == "Sag time (s)" else name for name in ephys.var_names]

    mdata = mudata.MuData(modalities)
    obs = simulated.obs.loc[mdata.obs_names]
    mdata.obs["rna_family"] = obs["family"].cat.rename_categories(FAMILIES)
    mdata.obs["rna_type"] = obs["cell_type"]
    return mdata


def simulated_reference(name: str = "scala2020") -> scvi_cae.Ensemble:
    """A small ensemble of simulated cells."""
    del name
    scvi.settings.seed = 0
    cells = simulated_scala2020(1000)
    known = mudata.MuData(
        {m: cells[m][cells[m].obs_names.isin(cells.obs_names[:600])].copy() for m in ("rna", "ephys")}
    )
    known.obs["rna_family"] = cells.obs["rna_family"].reindex(known.obs_names)
    scvi_cae.Ensemble.setup_mudata(known, labels_key="rna_family")
    reference = scvi_cae.Ensemble(known, n_models=2)
    reference.train(50)
    return reference


def simulated_gouwens2020() -> mudata.MuData:
    """The cells that the simulated reference lacks, as another rig would have recorded them."""
    cells = simulated_scala2020(1000)
    ephys = cells["ephys"][cells["ephys"].obs_names.isin(cells.obs_names[600:])].copy()
    ephys.X = 1.2 * ephys.X + 0.5 * np.nanstd(ephys.X, axis=0)
    mdata = mudata.MuData({"ephys": ephys})
    mdata.obs["subclass"] = cells.obs["rna_family"].reindex(mdata.obs_names)
    return mdata


def no_gala2021() -> mudata.MuData:
    raise ConnectionError("There are no simulated data of Gala et al. (2021).")


def simulated_recordings(folder: Path) -> None:
    """Recordings of four simulated neurons, as ABF files in a folder."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from neurons import LeakyNeuron, write_abf_with_steps

    folder.mkdir()
    for number, tau in enumerate((10, 15, 20, 30)):
        sweeps = LeakyNeuron(tau=tau, resistance=10 * tau).sweeps(np.arange(-100, 500, 50))
        write_abf_with_steps(folder / f"cell_{number}.abf", sweeps, -100, 50)


if os.environ.get("SCVI_CAE_TUTORIAL_DATA") == "simulated":
    scvi_cae.datasets.scala2020 = simulated_scala2020
    scvi_cae.datasets.reference = simulated_reference
    scvi_cae.datasets.gouwens2020 = simulated_gouwens2020
    scvi_cae.datasets.gala2021 = no_gala2021
    os.environ["SCVI_CAE_DATA"] = tempfile.mkdtemp()
    simulated_recordings(Path(os.environ["SCVI_CAE_DATA"]) / "recordings")
