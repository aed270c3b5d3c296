"""Weights of the published networks, as Keras stored them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import h5py
import torch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np

    from scvi_cae.module import Arm

#: A layer and what is stored of it, as in ``TE/Encoder_T/Encoder_Tfc0/kernel:0``.
LAYER = re.compile(r"(fc(?P<number>\d+)|(?P<output>Xout)|(?P<norm>BN))/(?P<what>\w+):0$")
#: Number of the output layer, which comes after any number of hidden ones.
OUTPUT = 10**6
#: The networks of the two arms in a file.
ARMS = (("Encoder_T", "Decoder_T"), ("Encoder_E", "Decoder_E"))


@dataclass(frozen=True)
class PublishedArm:
    """One modality's published weights.

    Parameters
    ----------
    encoder, decoder
        Kernel, ``(n_in, n_out)``, and bias, if there is one, of each layer in order.
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
    """Read a weights file of the published code: first the transcriptomes' arm, then the other.

    Parameters
    ----------
    path
        HDF5 file as Keras writes it by ``save_weights``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not such a file, or incomplete.
    """
    try:
        with h5py.File(path) as file:
            networks = {name: _read_network(file, name) for pair in ARMS for name in pair}
    except FileNotFoundError as error:
        raise FileNotFoundError(f"There is no file {path}.") from error
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
            # Only the encoder's last layer may do without a bias.
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
