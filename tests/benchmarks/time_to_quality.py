"""Training time until held-out scores reach those of the published schedule, on fold 0 of scala2020_folds.py.

    SCVI_CAE_DATA=... OMP_NUM_THREADS=1 python tests/benchmarks/time_to_quality.py
        [--published-epochs 200] [--seed 0]

The published recipe (``scvi_cae.recipes.gala2021``, three dimensions, electrophysiology centred and scaled by
the training cells) is trained for ``--published-epochs`` epochs of 500 steps; its final scores are the
targets. Then the package's default is trained and scored every ten epochs; the result is the first time at
which it reaches each target. Times are of training only, without scoring. Test cells select nothing: they
only determine the time.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings

import lightning.pytorch as pl
import mudata
import numpy as np
import scvi

import scvi_cae
from scvi_cae.evaluate import score
from scvi_cae.model._fitted import Fitted
from scvi_cae.splits import Split


def held_out(model: scvi_cae.CoupledAE, test: np.ndarray) -> dict[str, float]:
    """R2 by target and source."""
    table = score(model, test, baselines=False).query("metric == 'r2'")
    return {f"{row.target} from {row.source}": row.value for row in table.itertuples()}


class Watch(pl.Callback):
    """Score a model at intervals of epochs, with the clock stopped."""

    def __init__(self, model: scvi_cae.CoupledAE, split: Split, every: int) -> None:
        self.model, self.split, self.every = model, split, every
        self.seconds, self.scores = 0.0, []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._start = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock, and score."""
        self.seconds += time.perf_counter() - self._start
        epoch = trainer.current_epoch + 1
        if epoch % self.every and epoch != trainer.max_epochs:
            return
        # A model can predict once it has a fitted state; train replaces this one at its end.
        cells = self.model.adata.obs_names.astype(str).to_numpy(dtype=object)
        self.model.fitted = Fitted(cells, self.split)
        self.scores.append((self.seconds, held_out(self.model, self.split.test)))
        self.model.module.train()


def main() -> None:
    """Run both and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--published-epochs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    full = scvi_cae.datasets.scala2020()
    cells = full["rna"].obs_names
    mdata = mudata.MuData({name: full[name][cells].copy() for name in ("rna", "ephys")})
    scvi_cae.CoupledAE.setup_mudata(mdata)
    position = mdata.obs_names.get_indexer(cells)
    test = position[np.random.RandomState(42).permutation(len(cells))[:120]]
    split = Split(np.setdiff1d(position, test), np.empty(0, dtype=np.int64), test)

    scvi.settings.seed = args.seed
    recipe = scvi_cae.recipes.gala2021(n_epochs=args.published_epochs, n_fine_tuning=0)
    recipe.model["arms"]["ephys"]["standardise"] = True
    published = scvi_cae.CoupledAE(mdata, **recipe.model)
    slow = Watch(published, split, args.published_epochs)
    recipe.train(published, external_indexing=split, enable_progress_bar=False, callbacks=[slow])
    seconds, target = slow.scores[-1]
    print(f"published recipe: {args.published_epochs * 500} steps, {seconds:.0f} s")

    scvi.settings.seed = args.seed
    model = scvi_cae.CoupledAE(mdata)
    fast = Watch(model, split, 10)
    model.train(external_indexing=split, enable_progress_bar=False, callbacks=[fast])
    for name, value in target.items():
        reached = next((s for s, scores in fast.scores if scores[name] >= value), None)
        how = (
            f"reached after {reached:6.2f} s, {seconds / reached:5.0f} times as fast"
            if reached
            else "not reached"
        )
        print(
            f"{name:17s} published {value:6.3f}   default {fast.scores[-1][1][name]:6.3f}   {how}", flush=True
        )
    print(f"default: {fast.seconds:.1f} s in all")


if __name__ == "__main__":
    main()
