"""Trained ensembles of published data, by name: made on the first call, and kept."""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lightning.pytorch.utilities.seed import isolate_rng
from scvi import settings

from scvi_cae._arguments import shorten
from scvi_cae.model import Ensemble
from scvi_cae.model._many import one_seed_after_another

from ._fetch import Registry, blob_ids, cache_folder
from ._reference_data import LABELS, MIN_CELLS, MIN_OF_TYPE, N_GENES, scala2020_to_refer_to, shared_ephys
from ._scala2020 import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable

    from mudata import MuData

logger = logging.getLogger("scvi_cae")

#: Number of models of an ensemble, and of epochs of each. These train in half a minute. Accuracies on inner
#: cells are the same with five models, and with the default of 100 epochs, when R2 is up to .01 better.
N_MODELS, MAX_EPOCHS = 3, 50
SEED = 0


class _Source(NamedTuple):
    """Published data that a reference is trained on.

    Parameters
    ----------
    registry
        Their files.
    load
        Function from a folder of these to the data.
    licence
        Under which they are published.
    """

    registry: Registry
    load: Callable[[str | Path | None], MuData]
    licence: str


SOURCES = {
    "scala2020": _Source(
        REGISTRY,
        scala2020_to_refer_to,
        "published in github.com/berenslab/mini-atlas, which names no licence",
    )
}


def reference(name: str, cache: str | Path | None = None, directory: str | Path | None = None) -> Ensemble:
    """Trained ensemble of published data, to predict types and the other modality of a laboratory's own cells.

    The first call loads the data, trains, and saves the ensemble with its data; later calls load it. It is trained anew
    for other files, another version of this package or other choices, which the name of its folder tells; what was
    saved before stays where it is. It is the same whatever seed is set, and leaves random numbers as they are.

    Parameters
    ----------
    name
        ``"scala2020"``: neurons of mouse motor cortex, :func:`~scvi_cae.datasets.scala2020`, that have a family and are
        not of "low quality" (1,232 in the published files). The data were published with their article without a
        licence; ask the authors before you pass them on, and the ensemble with them, which holds their values.

        ``rna``
            The 1,000 most variable genes of those found in at least 10 cells, by their symbols. Values are natural
            logarithms of 1 + counts per million over all genes of the file, as ``.uns["normalization"]`` states.
        ``ephys``
            The 13 of 29 features that Gouwens et al., Lee et al., ipfx or eFEL have in the same definition, or that can
            be calculated from theirs: :func:`~scvi_cae.pp.ephys_names` with target ``"scala2020"`` does. Names and
            units are the published ones; ``var["concept"]`` refers to :func:`~scvi_cae.pp.ephys_concepts`.
        ``rna_family``, ``rna_type``
            Labels, which are predicted like a modality. Types of fewer than 10 cells are none: their cells have a
            family only.
    cache
        Folder for trained ensembles; ``None`` (default) is ``references`` in ``$SCVI_CAE_CACHE``, or in the user's cache
        folder. One that was copied there is found without the data and without a network, if they are the published ones.
    directory
        Folder with the published files, as of the loader; by default they are found as the loader finds them.

    Returns
    -------
    The ensemble, on the CPU, with its data as ``.adata``, whose ``.obs`` has all that is published about the cells.

    Raises
    ------
    ValueError
        If the name is unknown, a downloaded file differs from the published one, or the saved ensemble is damaged.
    FileNotFoundError
        If the local folder lacks a file.
    ConnectionError
        If the files cannot be downloaded.

    Notes
    -----
    Logger ``scvi_cae`` tells at level INFO what is trained, on what, and where it is saved.

    Families and types of the data are those of one region, age and laboratory. Cells of a type that is not among them get
    one that is, and cells that were recorded otherwise may get a wrong one (docs/queries.md has figures).
    :meth:`Ensemble.novelty <scvi_cae.Ensemble.novelty>` tells how far a cell is from those of the reference.

    References
    ----------
    Scala F, Kobak D, et al. Phenotypic variation of transcriptomic cell types in mouse motor cortex.
    Nature 598, 144-150 (2021). https://doi.org/10.1038/s41586-020-2907-3

    Examples
    --------
    Families of cells with features of ipfx:

    >>> import mudata
    >>> from scvi_cae import Ensemble, datasets, io, pp
    >>> reference = datasets.reference("scala2020")  # doctest: +SKIP
    >>> mine = mudata.MuData({"ephys": io.read_ipfx("features.csv")})  # doctest: +SKIP
    >>> names = pp.ephys_names(mine["ephys"].var_names, "scala2020")  # doctest: +SKIP
    >>> query = Ensemble.prepare_query_mudata(mine, reference, rename={"ephys": names})  # doctest: +SKIP
    >>> reference.predict("ephys", "rna_family", adata=query)  # doctest: +SKIP
    """
    if name not in SOURCES:
        raise ValueError(f"No reference {name!r}; there is {shorten(list(SOURCES))}.")
    source = SOURCES[name]
    folders = cache_folder() / "references" if cache is None else Path(cache).expanduser()
    folder = folders / f"{name}-{version('scvi-cae')}-{_identity(name, blob_ids(source.registry, directory))}"
    # Also a module that is loaded draws random numbers, its first weights.
    with isolate_rng():
        if not folder.exists():
            _train(name, source, folder, directory)
        try:
            return Ensemble.load(folder, accelerator="cpu")
        except ValueError as error:
            raise ValueError(
                f"The reference saved in {folder} is damaged ({error}) Delete this folder, and call again to train it anew."
            ) from error


def _identity(name: str, files: dict[str, str]) -> str:
    """Eight digits that differ if files or choices do."""
    choices = [
        N_MODELS,
        MAX_EPOCHS,
        SEED,
        LABELS,
        N_GENES,
        MIN_CELLS,
        MIN_OF_TYPE,
        list(shared_ephys(name).index),
    ]
    return hashlib.blake2b(json.dumps([files, choices]).encode(), digest_size=4).hexdigest()


def _train(name: str, source: _Source, folder: Path, directory: str | Path | None) -> None:
    """Train a reference and save it to a folder, which appears complete or not at all."""
    others = sorted(path.name for path in folder.parent.glob(f"{name}-*"))
    if others:
        logger.info(
            "%s: %s in %s are of another version or other files, and are not used.",
            name,
            shorten(others),
            folder.parent,
        )
    start = time.perf_counter()
    with warnings.catch_warnings():
        # What is unusual in these data is known, and a user cannot change it.
        warnings.simplefilter("ignore", UserWarning)
        mdata = source.load(directory)
        Ensemble.setup_mudata(mdata, labels_key=LABELS)
    logger.info("%s: training on %d cells (%s).", name, mdata.n_obs, source.licence)
    # The same whatever seed is set, which is restored, as are random numbers.
    with one_seed_after_another():
        settings.seed = SEED
        ensemble = Ensemble(mdata, n_models=N_MODELS)
        ensemble.train(MAX_EPOCHS, accelerator="cpu")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=folder.parent) as temporary:
        complete = Path(temporary) / folder.name
        ensemble.save(complete, save_anndata=True)
        try:
            complete.rename(folder)
        except OSError:
            # Another process may have been faster; its ensemble is the same.
            if not folder.exists():
                raise
    logger.info("%s: trained in %.0f s, saved in %s.", name, time.perf_counter() - start, folder)
