"""Trained networks of Gala et al. 2021, from their weights file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import torch

from scvi_cae.data import AlignedData, Split, check_modalities, check_mudata
from scvi_cae.model import CoupledAE
from scvi_cae.model._fitted import NO_CELLS, Fitted
from scvi_cae.model._preparation import fit_arms

from ._gala2021 import gala2021

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mudata import MuData

    from scvi_cae.module import Arm

#: Name of an array in the file, such as ``TE/Encoder_T/Encoder_Tfc0/kernel:0``.
LAYER = re.compile(r"(fc(?P<number>\d+)|(?P<output>Xout)|(?P<norm>BN))/(?P<what>\w+):0$")
#: Number of the output layer, larger than that of any hidden layer.
OUTPUT = 10**6
#: The networks of the two arms in a file.
ARMS = (("Encoder_T", "Decoder_T"), ("Encoder_E", "Decoder_E"))


@dataclass(frozen=True)
class PublishedArm:
    """One modality's published weights.

    Parameters
    ----------
    encoder, decoder
        Kernel, ``(n_in, n_out)``, and bias, if any, of each layer in order.
    mean, variance
        ``(n_latent,)`` running statistics of the batch normalisation.
    """

    encoder: Sequence[tuple[np.ndarray, np.ndarray | None]]
    decoder: Sequence[tuple[np.ndarray, np.ndarray | None]]
    mean: np.ndarray
    variance: np.ndarray

    @property
    def n_features(self) -> int:
        """Number of features."""
        return self.encoder[0][0].shape[0]

    @property
    def n_latent(self) -> int:
        """Number of latent dimensions."""
        return len(self.mean)

    @property
    def hidden(self) -> tuple[int, ...]:
        """Widths of the hidden layers."""
        return tuple(kernel.shape[1] for kernel, _ in self.encoder[:-1])

    @property
    def latent_bias(self) -> bool:
        """Whether the encoder's last layer has a bias."""
        return self.encoder[-1][1] is not None

    @torch.no_grad()
    def copy_to(self, arm: Arm) -> None:
        """Write the weights into an arm of the same sizes."""
        decoder = (*arm.decoder.layers, arm.decoder.last)
        for layers, network in ((self.encoder, arm.encoder.layers), (self.decoder, decoder)):
            for (kernel, bias), layer in zip(layers, network, strict=True):
                layer.weight.copy_(torch.from_numpy(kernel.T))
                if bias is not None:
                    layer.bias.copy_(torch.from_numpy(bias))
        assert arm.latent_norm is not None
        arm.latent_norm.running_mean.copy_(torch.from_numpy(self.mean))
        arm.latent_norm.running_var.copy_(torch.from_numpy(self.variance))


def read_published_weights(path: str | Path) -> tuple[PublishedArm, PublishedArm]:
    """Read a weights file of the published code: the arm of transcriptomes, and that of electrophysiology.

    Parameters
    ----------
    path
        HDF5 file as written by Keras' ``save_weights``.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If it is another file, or incomplete.
    """
    try:
        with h5py.File(path) as file:
            networks = {name: _read_network(file, name) for pair in ARMS for name in pair}
    except FileNotFoundError as error:
        raise FileNotFoundError(f"No file {path}.") from error
    except OSError as error:
        raise ValueError(f"{path} is not an HDF5 file of weights.") from error
    except KeyError as error:
        raise ValueError(
            f"{path} does not hold the weights of a published coupled autoencoder: {error.args[0]}."
        ) from error
    arms = []
    for encoder, decoder in ARMS:
        norm = (networks[encoder]["norm", what] for what in ("moving_mean", "moving_variance"))
        arm = PublishedArm(_layers(networks[encoder]), _layers(networks[decoder]), *norm)
        # The decoder mirrors the encoder, layer by layer.
        widths = (arm.n_features, *arm.hidden, arm.n_latent)
        for name, layers, expected in ((encoder, arm.encoder, widths), (decoder, arm.decoder, widths[::-1])):
            shapes = [kernel.shape for kernel, _ in layers]
            if shapes != list(pairwise(expected)):
                raise ValueError(
                    f"{path} holds no complete {name}: its layers map {shapes}, but "
                    f"{list(pairwise(expected))} would fit its first layer and the other network."
                )
            # Only the encoder's last layer may lack a bias.
            needed = layers[:-1] if name == encoder and not arm.latent_bias else layers
            if any(bias is None or bias.shape != kernel.shape[1:] for kernel, bias in needed):
                raise ValueError(f"{path} holds no complete {name}: a bias is missing or of the wrong size.")
        if arm.mean.shape != arm.variance.shape:
            raise ValueError(
                f"{path} holds no complete {encoder}: statistics of the normalisation differ in size."
            )
        arms.append(arm)
    first, second = arms
    for what in ("n_latent", "latent_bias"):
        if getattr(first, what) != getattr(second, what):
            raise ValueError(f"{path} is incomplete: its two encoders differ in {what}.")
    return first, second


def _read_network(file: h5py.File, name: str) -> dict[tuple[int | str, str], np.ndarray]:
    """Arrays by layer (a number, ``"norm"`` for the normalisation) and kind."""
    if name not in file:
        raise KeyError(f"there is no network {name!r}")
    arrays: dict[tuple[int | str, str], np.ndarray] = {}

    def visit(path: str, item: h5py.Dataset | h5py.Group) -> None:
        if not isinstance(item, h5py.Dataset):
            return
        match = LAYER.search(path)
        if match is None:
            raise KeyError(f"{name} has an unknown layer {path!r}")
        layer = match["number"] and int(match["number"])
        arrays[layer if layer is not None else "norm" if match["norm"] else OUTPUT, match["what"]] = item[()]

    file[name].visititems(visit)
    n_layers = sum(isinstance(layer, int) and layer != OUTPUT for layer, what in arrays if what == "kernel")
    needed: list[tuple[int | str, str]] = [(number, "kernel") for number in range(max(n_layers, 1))]
    if name.startswith("Encoder"):
        needed += [("norm", "moving_mean"), ("norm", "moving_variance")]
    for key in needed:
        if key not in arrays:
            raise KeyError(f"{name} has no layer {key[0]!r} with {key[1]!r}")
    return arrays


def _layers(
    arrays: Mapping[tuple[int | str, str], np.ndarray],
) -> list[tuple[np.ndarray, np.ndarray | None]]:
    numbers = sorted(layer for layer, what in arrays if isinstance(layer, int) and what == "kernel")
    return [(arrays[number, "kernel"], arrays.get((number, "bias"))) for number in numbers]


def load_published_weights(
    path: str | Path,
    mdata: MuData,
    modalities: tuple[str, str] = ("rna", "ephys"),
    layers: Mapping[str, str] | None = None,
) -> CoupledAE:
    """Trained networks of Gala et al. 2021, read from the authors' weights file.

    The file holds no names: features must be those that the networks were trained on, in the same order and scaled in
    the same way, as :func:`scvi_cae.datasets.gala2021` reads them.

    Parameters
    ----------
    path
        HDF5 file of weights, ``...-weights.h5``, from github.com/AllenInstitute/coupledAE-patchseq. It is under
        the Allen Institute's licence, for non-commercial use.
    mdata
        MuData with log-transformed counts per million and scaled electrophysiology; it need not be set up.
        The published model has 1,252 genes and 68 features.
    modalities
        Keys of the transcriptomes and of the electrophysiology.
    layers
        Layer to read of a modality; ``X`` by default.

    Returns
    -------
    A trained model in the configuration of :func:`gala2021`. It predicts, embeds and saves like any other. If it is
    trained further, noise is scaled by the variance of features in ``mdata``. Its training cells are unknown, so that it
    has no held-out cells, quantiles or novelty.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If it holds no such weights, or if ``mdata`` lacks a modality or has another number of features.

    Examples
    --------
    >>> model = load_published_weights("weights.h5", mdata)  # doctest: +SKIP
    >>> ephys = model.predict(source="rna", target="ephys")  # doctest: +SKIP
    """
    if isinstance(modalities, str) or len(modalities) != 2:
        raise ValueError(f"modalities={modalities!r} must name two modalities: ('rna', 'ephys').")
    published = dict(zip(modalities, read_published_weights(path), strict=True))
    check_mudata(mdata)
    check_modalities(mdata, list(modalities), layers or {})
    for name, weights in published.items():
        if mdata[name].n_vars != weights.n_features:
            raise ValueError(
                f"Modality {name!r} has {mdata[name].n_vars} features, but the published networks read "
                f"{weights.n_features}: give these, in the published order."
            )
    arguments: dict[str, Any] = {
        "modalities": list(modalities),
        "layers": dict(layers or {}),
        "batch_key": {},
    }
    arguments |= {"labels_key": [], "likelihoods": {}, "gene_length_key": None}
    # Data that are not trained on may have constant features.
    CoupledAE._register(mdata, arguments, to_train=False)
    rna, ephys = modalities
    n_latent, latent_bias = published[rna].n_latent, published[rna].latent_bias
    settings = dict(gala2021(rna, ephys, n_latent=n_latent, latent_bias=latent_bias).model)
    settings["arms"] = {
        name: {**arm, "hidden": published[name].hidden} for name, arm in settings["arms"].items()
    }
    model = CoupledAE(mdata, **settings)
    moments = fit_arms(model.module, AlignedData(mdata, model.setup), np.arange(mdata.n_obs))
    for name, weights in published.items():
        weights.copy_to(model.module.arm(name))
    model.module.eval()
    unknown = np.empty(0, dtype=object)
    model.fitted = Fitted(cells=unknown, split=Split(NO_CELLS, NO_CELLS, NO_CELLS), moments=moments)
    return model
