"""A small model in the published layout, computed from the paper's formulas in plain numpy, in double precision.

    python tests/recipes/published_fixture.py

writes ``published_fixture.npz`` beside this file: weights by the names that Keras gave them, random inputs, and what
the formulas make of them.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

FIXTURE = Path(__file__).with_suffix(".npz")
WIDTHS = {"T": (12, 7), "E": (6, 5)}
N_LATENT, N_CELLS = 3, 20


def layer_names(arm: str) -> tuple[list[str], list[str]]:
    """Groups of an arm's encoder and decoder layers; those of the transcriptomes' decoder have no prefix."""
    prefix = "" if arm == "T" else "Decoder_E"
    encoder = [f"Encoder_{arm}/TE/Encoder_{arm}/Encoder_{arm}fc{i}" for i in range(5)]
    decoder = [
        f"Decoder_{arm}/TE/Decoder_{arm}/{prefix}{name}" for name in ("fc0", "fc1", "fc2", "fc3", "Xout")
    ]
    return encoder, decoder


def draw_weights(rng: np.random.Generator) -> dict[str, np.ndarray]:
    weights = {}
    for arm, (n, hidden) in WIDTHS.items():
        encoder, decoder = layer_names(arm)
        shapes = [(n, hidden), *[(hidden, hidden)] * 3, (hidden, N_LATENT)]
        shapes += [(N_LATENT, hidden), *[(hidden, hidden)] * 3, (hidden, n)]
        for name, (n_in, n_out) in zip([*encoder, *decoder], shapes, strict=True):
            weights[f"{name}/kernel:0"] = rng.normal(size=(n_in, n_out)) * 1.5 / np.sqrt(n_in)
            weights[f"{name}/bias:0"] = rng.normal(size=n_out) * 0.3
        norm = f"Encoder_{arm}/TE/Encoder_{arm}/Encoder_{arm}BN"
        weights[f"{norm}/moving_mean:0"] = rng.normal(size=N_LATENT)
        weights[f"{norm}/moving_variance:0"] = rng.uniform(0.5, 2.0, size=N_LATENT)
    # As in the file: values are single precision, computed with in double.
    return {name: x.astype(np.float32) for name, x in weights.items()}


def network(x: np.ndarray, weights: dict[str, np.ndarray], layers: list[str]) -> np.ndarray:
    for i, name in enumerate(layers):
        x = x @ weights[f"{name}/kernel:0"].astype(float) + weights[f"{name}/bias:0"].astype(float)
        x = np.maximum(x, 0) if i < len(layers) - 1 else x
    return x


def encode(x: np.ndarray, weights: dict[str, np.ndarray], arm: str) -> np.ndarray:
    norm = f"Encoder_{arm}/TE/Encoder_{arm}/Encoder_{arm}BN"
    mean, variance = (weights[f"{norm}/moving_{what}:0"].astype(float) for what in ("mean", "variance"))
    return (network(x, weights, layer_names(arm)[0]) - mean) / np.sqrt(variance + 1e-10)


def decode(z: np.ndarray, weights: dict[str, np.ndarray], arm: str) -> np.ndarray:
    x = network(z, weights, layer_names(arm)[1])
    return np.maximum(x, 0) if arm == "T" else x


def coupling(zi: np.ndarray, zj: np.ndarray, weight: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """The coupling loss and its gradients, by singular values of the centred latents."""
    weight = weight * (weight > 1e-2)
    n, difference = len(zi), zi - zj
    distance = (weight * (difference**2).sum(1)).sum() / weight.sum()
    variances, gradients = [], []
    for z in (zi, zj):
        centred = z - z.mean(0)
        _, s, v = np.linalg.svd(centred, full_matrices=False)
        variances.append(s[-1] ** 2 / (n - 1))
        gradients.append(2 * np.outer(centred @ v[-1], v[-1]) / (n - 1))
    smaller = int(np.argmin(variances))
    floor = max(variances[smaller], 1e-2)
    gi = 2 * weight[:, None] * difference / weight.sum() / floor
    gj = -gi
    if variances[smaller] > 1e-2:
        shrink = -distance / floor**2 * gradients[smaller]
        gi, gj = (gi + shrink, gj) if smaller == 0 else (gi, gj + shrink)
    return distance / floor, gi, gj


def make() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    weights = draw_weights(rng)
    xt = rng.gamma(1.0, 2.0, size=(N_CELLS, 12)).astype(np.float32)
    xe = rng.normal(size=(N_CELLS, 6)).astype(np.float32)
    xe[rng.random(xe.shape) < 0.1] = np.nan
    filled, measured = np.nan_to_num(xe).astype(float), ~np.isnan(xe)
    z = {"T": encode(xt.astype(float), weights, "T"), "E": encode(filled, weights, "E")}
    x = {target + source: decode(z[source], weights, target) for target in "TE" for source in "TE"}
    mse = {
        "T": lambda prediction: np.mean((xt - prediction) ** 2),
        "E": lambda prediction: np.mean(measured * (filled - prediction) ** 2),
    }
    everyone = np.ones(N_CELLS)
    losses = [mse["T"](x["TT"]), mse["E"](x["EE"]), coupling(z["T"], z["E"], everyone)[0]]
    losses += [mse["T"](x["TE"]), mse["E"](x["ET"])]
    out = {"XT": xt, "XE": xe, "zT": z["T"], "zE": z["E"], "losses": np.array(losses)}
    out |= {"XrT": x["TT"], "XrE": x["EE"], "XrE_from_XT": x["ET"], "XrT_from_XE": x["TE"]}
    a, b = rng.normal(size=(2, 50, 3))
    out |= {"mv_a": a, "mv_b": b, "mv_W": rng.random(50)}
    for name, w in (("full", np.ones(50)), ("weighted", out["mv_W"])):
        out |= dict(
            zip((f"mv_{name}_{what}" for what in ("loss", "ga", "gb")), coupling(a, b, w), strict=True)
        )
    return {**{f"weights/{name}": value for name, value in weights.items()}, **out}


def write_weights(path: Path, fixture: dict[str, np.ndarray], latent_bias: bool = True) -> None:
    """Write the weights as Keras does."""
    with h5py.File(path, "w") as file:
        for name, value in fixture.items():
            if name.startswith("weights/") and (latent_bias or "fc4/bias" not in name):
                file[name.removeprefix("weights/")] = value


if __name__ == "__main__":
    np.savez_compressed(FIXTURE, **make())
